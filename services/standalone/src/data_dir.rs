//! The directory that `glance` keeps its data in, and who may use it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use glance_protocol::ConfigError;
use tokio::time::{Instant, sleep};

/// The variable that names the directory.
pub(crate) const VARIABLE: &str = "GLANCE_DATA_DIR";

/// How long the lock of a `glance` that is just being killed is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// How long the end of an earlier nats-server is waited for.
const SERVER_LOCK_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A data directory of which this process is the only owner. The lock ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if there is none, readable for its owner only, and locks it.
    pub(crate) async fn open(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |problem: String| {
            ConfigError::new(
                VARIABLE,
                &path.display().to_string(),
                format!("{problem}; name a folder that glance may write to"),
            )
        };
        let absolute = create(path).map_err(|error| wrong(format!("cannot be made: {error}")))?;
        let lock = open_lock(&absolute.join("lock"))
            .map_err(|error| wrong(format!("cannot be used: {error}")))?;
        match lock_within(&lock, LOCK_WAIT).await {
            Ok(()) => Ok(Self {
                path: absolute,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(ConfigError::new(
                VARIABLE,
                &path.display().to_string(),
                format!(
                    "another glance uses this folder; stop it, or set {VARIABLE} to another folder"
                ),
            )),
            Err(TryLockError::Error(error)) => Err(wrong(format!("cannot be locked: {error}"))),
        }
    }

    /// The folder of the broker's store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("nats")
    }

    /// The file of the broker's configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path.join("nats.conf")
    }

    /// Writes the broker's configuration, readable for its owner only.
    pub(crate) fn write_configuration(&self, text: &str) -> anyhow::Result<()> {
        let path = self.configuration();
        let new = self.path.join("nats.conf.new");
        write_private(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The lock that a nats-server holds on the store: as the file is inherited by it, the lock ends when that process
    /// has ended and never before. Waits for an earlier server to end.
    pub(crate) async fn lock_store(&self) -> anyhow::Result<File> {
        let path = self.path.join("nats.lock");
        let lock =
            open_lock(&path).with_context(|| format!("{} cannot be used", path.display()))?;
        match lock_within(&lock, SERVER_LOCK_WAIT).await {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "a nats-server that an earlier glance started still uses {} after {} s: end it",
                self.store().display(),
                SERVER_LOCK_WAIT.as_secs()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }
}

/// The absolute path of the directory, which exists then.
fn create(path: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.canonicalize()
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

async fn lock_within(file: &File, limit: Duration) -> Result<(), TryLockError> {
    let end = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(LOCK_RETRY).await,
            done => return done,
        }
    }
}

/// Syncs before it returns: after a power cut the name must not stand for an empty file.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // A leftover of an interrupted start could have another mode.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_second_owner_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let first = DataDir::open(&path).await.unwrap();

        let error = DataDir::open(&path).await.unwrap_err();
        assert_eq!(error.variable, VARIABLE);
        assert_eq!(error.entry, path.display().to_string());

        drop(first);
        DataDir::open(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDir::open(&file.join("data")).await.unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }

    #[tokio::test]
    async fn the_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).await.unwrap();
        let file = data.configuration();
        data.write_configuration("# one\n").unwrap();
        data.write_configuration("# two\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "# two\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&folder.path().join("data")), 0o700);
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_waits_for_its_earlier_server() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).await.unwrap();
        let first = data.lock_store().await.unwrap();
        let error = data.lock_store().await.unwrap_err();
        assert!(error.to_string().contains("still uses"), "{error}");
        drop(first);
        data.lock_store().await.unwrap();
    }
}
