//! Which aggregator leads: the value of the key `leader` in the lease's bucket.

use serde::{Deserialize, Serialize};

use crate::DecodeError;

const VERSION: u32 = 1;

/// Who leads, or led last. The value is never deleted, so that an epoch is never given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The greatest epoch that was given so far.
    pub epoch: u64,
    /// The aggregator that has it; `None` when it gave it up.
    pub holder: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
}

impl Lease {
    /// The value of the key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            epoch: self.epoch,
            holder: self.holder.clone(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the value of the key.
    ///
    /// # Errors
    ///
    /// When it is not JSON of the known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.v != VERSION {
            return Err(DecodeError::Version(wire.v));
        }
        Ok(Self {
            epoch: wire.epoch,
            holder: wire.holder,
        })
    }
}

/// The epoch that a value of the aggregator carries: a lease, a list, a block
/// or a pulse, of whatever version. 0 when it is none of these; every epoch is greater.
#[must_use]
pub fn epoch_of(value: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct AnyVersion {
        epoch: u64,
    }
    // serde would take a list of the fields as well.
    if value.trim_ascii_start().first() != Some(&b'{') {
        return 0;
    }
    serde_json::from_slice::<AnyVersion>(value).map_or(0, |value| value.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_read_whatever_the_version() {
        assert_eq!(epoch_of(br#"{"v":99,"epoch":8,"more":[1]}"#), 8);
        for other in [&b"{}"[..], b"", b"[8]", br#"{"epoch":-1}"#] {
            assert_eq!(epoch_of(other), 0);
        }
    }
}
