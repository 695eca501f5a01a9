//! Environment variables and the `.env` file.

use std::{collections::BTreeMap, fmt, path::Path};

use glance_protocol::ConfigError;

const FILE: &str = ".env";
const PREFIX: &str = "GLANCE_";

/// The variables whose names begin with `GLANCE_`. One that is set wins over the
/// `.env` file, also when it is empty; an empty one counts as not given.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

/// A value that must not be seen. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self(value.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: values may be secrets.
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Environment {
    /// Reads the process's variables and the `.env` file in the working directory.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or parsed, or a value is not UTF-8.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_sources(std::env::vars_os(), Path::new(FILE))
    }

    fn from_sources(
        process: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        file: &Path,
    ) -> Result<Self, ConfigError> {
        let mut values = read_file(file)?;
        for (name, value) in process {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if !name.starts_with(PREFIX) {
                continue;
            }
            let value = value.into_string().map_err(|_| {
                ConfigError::new(&name, "", "the value is not UTF-8; write it in UTF-8")
            })?;
            values.insert(name, value);
        }
        Ok(Self { values })
    }

    /// An environment of exactly these variables, for tests and embedding.
    #[must_use]
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let values = pairs.into_iter().map(|(n, v)| (n.into(), v.into()));
        Self {
            values: values.collect(),
        }
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Like [`Self::get`], for a value that must not be seen.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(|value| Secret(value.to_owned()))
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(path).map_err(|cause| {
        let problem = format!("cannot be read ({cause}); correct or remove the file");
        ConfigError::new(FILE, "", problem)
    })?;
    let mut values = BTreeMap::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let Some((name, value)) = read_line(line, number)? else {
            continue;
        };
        if name.starts_with(PREFIX) {
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// A line `NAME=value`; nothing for a blank line or a remark.
///
/// A value without quotes is taken as it stands, up to a ` #`: it may hold
/// blanks, quotes and `$`, as it could in the files of the first Glance.
fn read_line(line: &str, number: usize) -> Result<Option<(String, String)>, ConfigError> {
    // The line itself is never repeated: it may hold a secret.
    let error = || {
        let problem = format!(
            "line {number} cannot be read; write lines of the form NAME=value, and close the quotes"
        );
        ConfigError::new(FILE, "", problem)
    };
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.split_once('=').ok_or_else(error)?;
    let name = name.trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let value = value.trim_start();
    if !value.starts_with(['"', '\'']) {
        let remark = value.find(" #").unwrap_or(value.len());
        let value = value.get(..remark).unwrap_or(value).trim_end();
        return Ok(Some((name.to_owned(), value.to_owned())));
    }
    let mut quoted = dotenvy::from_read_iter(line.as_bytes());
    match quoted.next() {
        Some(Ok((_, value))) => Ok(Some((name.to_owned(), value))),
        _ => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn load(file: &str, process: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        let mut temporary = tempfile::NamedTempFile::new().unwrap();
        temporary.write_all(file.as_bytes()).unwrap();
        let process = process.iter().map(|(n, v)| (n.into(), v.into()));
        Environment::from_sources(process, temporary.path())
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let file =
            "GLANCE_BOTS=main:360;demo:1\n# a remark\nGLANCE_PORT=\"80\"\nGLANCE_HOST=h\nOTHER=1\n";
        let environment = load(file, &[("GLANCE_PORT", "81"), ("GLANCE_HOST", "")]).unwrap();
        assert_eq!(environment.get("GLANCE_BOTS"), Some("main:360;demo:1"));
        assert_eq!(environment.get("GLANCE_PORT"), Some("81"));
        assert_eq!(environment.get("GLANCE_HOST"), None);
        assert_eq!(environment.get("OTHER"), None);
    }

    #[test]
    fn values_without_quotes_are_taken_as_they_stand() {
        let file = "\u{feff}export GLANCE_BOTS=main:360; demo:1 ; # two\r\nGLANCE_PASSPHRASE=don't $HOME\nGLANCE_X='a b' # c\nGLANCE_Y=\n";
        let environment = load(file, &[]).unwrap();
        assert_eq!(environment.get("GLANCE_BOTS"), Some("main:360; demo:1 ;"));
        assert_eq!(environment.get("GLANCE_PASSPHRASE"), Some("don't $HOME"));
        assert_eq!(environment.get("GLANCE_X"), Some("a b"));
        assert_eq!(environment.get("GLANCE_Y"), None);
    }

    #[test]
    fn a_bad_line_is_an_error_that_hides_its_text() {
        let error = load("GLANCE_PORT=1\nGLANCE_PASSPHRASE='hunter2\n", &[]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn secrets_stay_hidden() {
        let environment = Environment::from_pairs([("GLANCE_PASSPHRASE", "hunter2")]);
        let secret = environment.secret("GLANCE_PASSPHRASE").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{environment:?} {secret:?}").contains("hunter2"));
    }
}
