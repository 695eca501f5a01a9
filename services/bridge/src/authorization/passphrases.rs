//! Which passphrases open what.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use glance_protocol::ClusterName;
use glance_runner::{ConfigError, Environment};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tracing::warn;

pub(crate) const VARIABLE: &str = "GLANCE_PASSPHRASE";
pub(crate) const FILE_VARIABLE: &str = "GLANCE_PASSPHRASES_FILE";
const SCHEME: &[u8] = b"Bearer ";

/// The largest file of passphrases, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The most passphrases in it: each request is compared with all.
const PASSPHRASES_MAX: usize = 1000;
/// The longest passphrase in the file, in bytes: it has to fit into the head of a request.
const PASSPHRASE_BYTES_MAX: usize = 4096;
/// A shorter passphrase may be guessed, and is warned of. In characters.
const CHARS_RECOMMENDED: usize = 12;

/// What a passphrase is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every cluster, and the announcement, which is of none.
    Everything,
    /// These clusters.
    Clusters(Arc<[ClusterName]>),
}

/// Passphrases and their scopes. `Debug` is absent on purpose.
pub(crate) enum Passphrases {
    /// There are none: everybody may do everything.
    Open,
    /// At least one.
    Required(Vec<Entry>),
}

pub(crate) struct Entry {
    /// Hashes have one length, so comparing them tells nothing about the passphrase's.
    hash: Hash,
    scope: Scope,
    /// Where it is in the file.
    line: Option<usize>,
}

type Hash = [u8; 32];

impl Scope {
    /// Whether it allows to speak for a cluster, which need not exist.
    pub(crate) fn covers(&self, cluster: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Clusters(names) => names.iter().any(|name| name.as_str() == cluster),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everything);
        }
        let names: Result<_, _> = text.split(',').map(str::parse).collect();
        names.ok().map(Self::Clusters)
    }

    fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Clusters(some), Self::Clusters(more)) => {
                Self::Clusters(some.iter().chain(more.iter()).cloned().collect())
            }
            _ => Self::Everything,
        }
    }
}

impl Passphrases {
    /// Reads the passphrase of the environment, and the file, if there is one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has no passphrase, and when no HTTP client could send one of them.
    pub(crate) fn read(
        environment: &Environment,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut entries = Vec::new();
        if let Some(secret) = environment.secret(VARIABLE) {
            let error = |problem| ConfigError::new(VARIABLE, "", problem);
            // HTTP strips blanks around a header's value, so they cannot count.
            let passphrase = secret.expose().trim_matches(' ');
            check(passphrase).map_err(error)?;
            if is_short(passphrase) {
                warn!(
                    "{VARIABLE} is shorter than {CHARS_RECOMMENDED} characters: it may be guessed"
                );
            }
            entries.push(Entry::new(passphrase, Scope::Everything, None));
        }
        if let Some(path) = file {
            entries.extend(read_file(path)?);
        }
        Ok(match entries.is_empty() {
            // Nobody asked for passphrases: a file has at least one.
            true => Self::Open,
            false => Self::Required(merge(entries)),
        })
    }

    /// Those of a file's text.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn from_file_text(bytes: &[u8]) -> Result<Self, String> {
        let (entries, _) = parse_file(bytes)?;
        Ok(Self::Required(merge(entries)))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match self {
            Self::Open => &[],
            Self::Required(entries) => entries,
        }
    }

    /// How many different ones there are, in words.
    pub(crate) fn overview(&self) -> String {
        let all = self.entries();
        let whole = all.iter().filter(|it| it.scope == Scope::Everything);
        format!(
            "passphrases: {}, {} of them for everything",
            all.len(),
            whole.count()
        )
    }

    /// The lines of the file whose passphrases open nothing, as no cluster of their scope exists. The first words of a
    /// passphrase whose scope was forgotten can look like one.
    pub(crate) fn useless(&self, exists: impl Fn(&str) -> bool) -> Vec<usize> {
        let useless = self.entries().iter().filter(|it| match &it.scope {
            Scope::Everything => false,
            Scope::Clusters(names) => !names.iter().any(|name| exists(name.as_str())),
        });
        useless.filter_map(|it| it.line).collect()
    }

    /// What the value of an `Authorization` header opens: it is a passphrase itself, or `Bearer <passphrase>`.
    ///
    /// Each passphrase is looked at, also after one fits, so that the time tells nothing about them.
    pub(crate) fn opens(&self, header: Option<&[u8]>) -> Option<Scope> {
        let Self::Required(entries) = self else {
            return Some(Scope::Everything);
        };
        let value = header?;
        let raw = hash(value);
        let bearer = match value.split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                hash(token.trim_ascii_start())
            }
            _ => raw,
        };
        let mut opened: Option<Scope> = None;
        for Entry { hash, scope, .. } in entries {
            let fits: Choice = hash.ct_eq(&raw) | hash.ct_eq(&bearer);
            if fits.into() {
                opened = Some(opened.map_or_else(|| scope.clone(), |other| other.join(scope)));
            }
        }
        opened
    }
}

impl Entry {
    fn new(passphrase: &str, scope: Scope, line: Option<usize>) -> Self {
        Self {
            hash: hash(passphrase.as_bytes()),
            scope,
            line,
        }
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// One entry for each passphrase, which is good for all that it was given for.
fn merge(entries: Vec<Entry>) -> Vec<Entry> {
    let mut places: HashMap<Hash, usize> = HashMap::new();
    let mut merged: Vec<Entry> = Vec::new();
    for entry in entries {
        let place = *places.entry(entry.hash).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(same) => same.scope = same.scope.join(&entry.scope),
            None => merged.push(entry),
        }
    }
    merged
}

/// Whether a client can send it in a header; if not, what to do.
fn check(passphrase: &str) -> Result<(), &'static str> {
    if passphrase.chars().any(char::is_control) {
        Err("it has a control character, which no HTTP header can carry; remove it")
    } else if passphrase.is_empty() {
        Err(
            "it consists of blanks, which no HTTP header can carry; choose another or leave it empty",
        )
    } else {
        Ok(())
    }
}

fn is_short(passphrase: &str) -> bool {
    passphrase.chars().count() < CHARS_RECOMMENDED
}

/// Reads a file of lines `<scope> <passphrase>`.
fn read_file(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let error =
        |problem: String| ConfigError::new(FILE_VARIABLE, &path.display().to_string(), problem);
    let unreadable = |cause| {
        error(format!(
            "cannot be read ({cause}); correct the path or the file's owner"
        ))
    };
    // Asked before it is opened: to open a pipe can take for ever.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(error(
            "is no regular file; name one that can be read again".into(),
        ));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(error(format!(
            "has more than {FILE_BYTES_MAX} bytes; remove what is not needed"
        )));
    }
    let (entries, short) = parse_file(&bytes).map_err(error)?;
    // The group may read it, as in Kubernetes, where a process that is not root gets a secret in no other way.
    if metadata.permissions().mode() & 0o007 != 0 {
        warn!(
            "{FILE_VARIABLE}: every user of this machine can open '{}'; take that right away (chmod o= ...)",
            path.display()
        );
    }
    if let Some(line) = short {
        warn!(
            "{FILE_VARIABLE}: line {line} has a passphrase of less than {CHARS_RECOMMENDED} characters: it may be guessed"
        );
    }
    Ok(entries)
}

/// The entries of a file, and the first line whose passphrase is short. A line is never repeated: it may be a
/// passphrase whose scope was forgotten.
fn parse_file(bytes: &[u8]) -> Result<(Vec<Entry>, Option<usize>), String> {
    const FORM: &str = "write '<scope> <passphrase>', where the scope is '*' or names of clusters, separated by commas without blanks";
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut entries, mut short) = (Vec::new(), None);
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = std::str::from_utf8(line)
            .map_err(|_| format!("line {number} is not UTF-8; write it in UTF-8"))?;
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (scope, passphrase) = line
            .split_once([' ', '\t'])
            .ok_or_else(|| format!("line {number} has no scope or no passphrase; {FORM}"))?;
        let scope = Scope::parse(scope)
            .ok_or_else(|| format!("line {number} does not begin with a scope; {FORM}"))?;
        let passphrase = passphrase.trim_matches([' ', '\t']);
        check(passphrase)
            .map_err(|problem| format!("the passphrase of line {number}: {problem}"))?;
        if passphrase.len() > PASSPHRASE_BYTES_MAX {
            return Err(format!(
                "the passphrase of line {number} is longer than {PASSPHRASE_BYTES_MAX} bytes; choose a shorter one"
            ));
        }
        if entries.len() == PASSPHRASES_MAX {
            return Err(format!(
                "it has more than {PASSPHRASES_MAX} passphrases; remove what is not needed"
            ));
        }
        if is_short(passphrase) {
            short = short.or(Some(number));
        }
        entries.push(Entry::new(passphrase, scope, Some(number)));
    }
    if entries.is_empty() {
        return Err(format!(
            "it has no passphrase; {FORM}, or unset the variable to let everybody report"
        ));
    }
    Ok((entries, short))
}

#[cfg(test)]
mod tests;
