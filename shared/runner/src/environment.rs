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
    let error = |problem: String| ConfigError::new(FILE, "", problem);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let entries = dotenvy::from_path_iter(path)
        .map_err(|e| error(format!("cannot be read ({e}); correct or remove the file")))?;
    let mut values = BTreeMap::new();
    for entry in entries {
        // The parser's own message repeats the line, which may hold a secret.
        let (name, value) = entry.map_err(|e| match e {
            dotenvy::Error::LineParse(_, index) => error(format!(
                "a line cannot be read (near its character {index}); write lines of the form NAME=value, \
                 with single quotes around a value that has blanks or '#' in it"
            )),
            other => error(format!("cannot be read ({other}); correct or remove the file")),
        })?;
        if name.starts_with(PREFIX) {
            values.insert(name, value);
        }
    }
    Ok(values)
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
    fn a_bad_line_is_an_error_that_hides_its_text() {
        let error = load("GLANCE_PASSPHRASE='hunter2\n", &[]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn secrets_stay_hidden() {
        let environment = Environment::from_pairs([("GLANCE_PASSPHRASE", "hunter2")]);
        let secret = environment.secret("GLANCE_PASSPHRASE").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{environment:?} {secret:?}").contains("hunter2"));
    }
}
