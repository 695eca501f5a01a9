//! The states of a shard, and what changes them.

use std::fmt;

/// What a shard is doing. The numbers are part of the public contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum State {
    /// Never reported, or reported as unknown.
    #[default]
    Unknown = 0,
    /// Silent for longer than the health timeout.
    Unhealthy = 1,
    /// Not connected to the gateway.
    Offline = 2,
    /// Connected and serving.
    Online = 3,
    /// On its way to the first connection.
    Starting = 4,
    /// Shutting down.
    Stopping = 5,
    /// Resuming a session that was lost.
    Resuming = 6,
}

/// A number or a name that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state '{given}' is none of 0 to 6 or {names}", names = NAMES)]
pub struct StateError {
    given: String,
}

const NAMES: &str = "unknown, unhealthy, offline, online, starting, stopping, resuming";

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Unhealthy,
        Self::Offline,
        Self::Online,
        Self::Starting,
        Self::Stopping,
        Self::Resuming,
    ];

    /// The state with this number.
    ///
    /// # Errors
    ///
    /// When the number is not 0 to 6.
    pub fn from_number(number: i64) -> Result<Self, StateError> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .ok_or_else(|| StateError {
                given: number.to_string(),
            })
    }

    /// The state with this name, whatever the case of its letters.
    ///
    /// # Errors
    ///
    /// When no state has this name.
    pub fn from_name(name: &str) -> Result<Self, StateError> {
        Self::ALL
            .into_iter()
            .find(|state| state.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| StateError {
                given: name.chars().take(32).collect(),
            })
    }

    /// 0 to 6.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
            Self::Offline => "offline",
            Self::Online => "online",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Resuming => "resuming",
        }
    }

    /// The digit that stands for this state in a column.
    #[must_use]
    pub fn to_char(self) -> char {
        char::from(b'0' + self.number())
    }

    /// The state of a digit in a column.
    #[must_use]
    pub fn from_char(digit: char) -> Option<Self> {
        let index = digit.to_digit(10)? as usize;
        Self::ALL.get(index).copied()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What made a shard enter its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The bot said so.
    Report,
    /// A health check of a shard that was Unhealthy.
    Health,
    /// Silence for longer than the health timeout.
    Timeout,
}

impl Cause {
    /// The word used in public messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Health => "health",
            Self::Timeout => "timeout",
        }
    }

    /// The cause with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Report, Self::Health, Self::Timeout]
            .into_iter()
            .find(|cause| cause.as_str() == word)
    }

    /// The letter in a column; `-` stands for none.
    #[must_use]
    pub fn to_char(cause: Option<Self>) -> char {
        match cause {
            Some(Self::Report) => 'r',
            Some(Self::Health) => 'h',
            Some(Self::Timeout) => 't',
            None => '-',
        }
    }

    /// The cause of a letter in a column; the outer `None` is an unknown letter.
    #[must_use]
    #[allow(clippy::option_option)]
    pub fn from_char(letter: char) -> Option<Option<Self>> {
        Some(match letter {
            'r' => Some(Self::Report),
            'h' => Some(Self::Health),
            't' => Some(Self::Timeout),
            '-' => None,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_digits_agree() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(State::from_number(number as i64), Ok(state));
            assert_eq!(usize::from(state.number()), number);
            assert_eq!(State::from_name(&state.name().to_uppercase()), Ok(state));
            assert_eq!(State::from_char(state.to_char()), Some(state));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for number in [-1, 7, i64::MAX, i64::MIN] {
            assert!(State::from_number(number).is_err());
        }
        assert!(State::from_name("on line").is_err());
        assert_eq!(State::from_char('7'), None);
        assert_eq!(State::from_char('x'), None);
    }
}
