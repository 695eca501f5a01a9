//! Which nats-server program `glance` starts.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use glance_protocol::ConfigError;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// The variable that names the program.
pub(crate) const VARIABLE: &str = "GLANCE_NATS_SERVER";

/// The oldest version that works: older ones lack what the streams and buckets need.
const MINIMUM: Version = Version(2, 10, 8);

/// How long a program may take to say its version.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How much of its answer is read.
const ANSWER_BYTES_MAX: u64 = 1024;

/// A nats-server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The program that was asked for; if none was, the first one in `search_path` that is new enough, otherwise the newest
/// in the folder `.tools` below `folder`, where `make run` puts one.
pub(crate) async fn find(
    asked_for: Option<&Path>,
    search_path: Option<&OsStr>,
    folder: &Path,
) -> Result<PathBuf, ConfigError> {
    if let Some(program) = asked_for {
        return check(program).await;
    }
    let mut too_old = None;
    for program in on_path(search_path) {
        match version_of(&program).await {
            Some(version) if version >= MINIMUM => return Ok(program),
            Some(version) => _ = too_old.get_or_insert((program, version)),
            None => {}
        }
    }
    match newest(in_tools(folder)).await {
        Some(program) => Ok(program),
        None => Err(none_found(too_old)),
    }
}

async fn check(program: &Path) -> Result<PathBuf, ConfigError> {
    let wrong = |problem: String| {
        ConfigError::new(
            VARIABLE,
            &program.display().to_string(),
            format!("{problem}; name a nats-server of version {MINIMUM} or newer"),
        )
    };
    match version_of(program).await {
        Some(version) if version >= MINIMUM => Ok(program.to_owned()),
        Some(version) => Err(wrong(format!("its version {version} is too old"))),
        None => Err(wrong("this is no nats-server that runs here".to_owned())),
    }
}

fn none_found(too_old: Option<(PathBuf, Version)>) -> ConfigError {
    let found = match too_old {
        Some((program, version)) => format!("{} is {version}, which is too old", program.display()),
        None => "no nats-server was found on PATH".to_owned(),
    };
    ConfigError::new(
        VARIABLE,
        "",
        format!(
            "{found}: install nats-server {MINIMUM} or newer, or name one here, or set GLANCE_NATS_URL to a broker \
             that runs already"
        ),
    )
}

fn on_path(search_path: Option<&OsStr>) -> Vec<PathBuf> {
    search_path
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join("nats-server"))
        .filter(|program| program.is_file())
        .collect()
}

fn in_tools(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.join(".tools").read_dir() else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("nats-server-")
        })
        .map(|entry| entry.path().join("nats-server"))
        .filter(|program| program.is_file())
        .collect()
}

async fn newest(programs: Vec<PathBuf>) -> Option<PathBuf> {
    let mut best = None;
    for program in programs {
        let found = version_of(&program).await.map(|version| (version, program));
        best = best.max(found.filter(|(version, _)| *version >= MINIMUM));
    }
    best.map(|(_, program)| program)
}

/// What the program says of itself; nothing if it does not run or is something else.
async fn version_of(program: &Path) -> Option<Version> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut answer = String::new();
    let mut output = child.stdout.take()?.take(ANSWER_BYTES_MAX);
    timeout(ANSWER_WAIT, output.read_to_string(&mut answer))
        .await
        .ok()?
        .ok()?;
    parse(&answer)
}

/// Reads `nats-server: v2.10.25`, also with `-RC.1` behind it.
fn parse(answer: &str) -> Option<Version> {
    let version = answer.trim().strip_prefix("nats-server: v")?;
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Version(next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A program that answers `--version` like a nats-server.
    fn pretend(folder: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let program = folder.join("nats-server");
        // Another process writes it: a child that a parallel test starts could inherit a file of ours that is open for
        // writing, and as long as it has it, the kernel refuses to run the program.
        let script = r#"printf '#!/bin/sh\necho "nats-server: v%s"\n' "$1" >"$0"; chmod 755 "$0""#;
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .args([program.as_os_str(), OsStr::new(version)])
            .status();
        assert!(status.unwrap().success());
        program
    }

    #[test]
    fn versions_are_read_and_ordered_by_number() {
        assert_eq!(parse("nats-server: v2.10.25\n"), Some(Version(2, 10, 25)));
        assert_eq!(parse("nats-server: v2.12.0-RC.1"), Some(Version(2, 12, 0)));
        assert!(parse("nats-server: v2.9.10") < Some(MINIMUM));
        for other in [
            "",
            "nats-server: v2.10",
            "nats: v2.10.9",
            "nats-server: vx.1.2",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn the_real_one_is_accepted() {
        let real = glance_testing::nats_server_program();
        assert_eq!(find(Some(real), None, Path::new("/")).await.unwrap(), real);
    }

    #[tokio::test]
    async fn what_was_asked_for_wins_and_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let old = pretend(&folder.path().join("old"), "2.9.10");
        let good = pretend(&folder.path().join("good"), "2.11.0");
        let path = good.parent().unwrap().as_os_str();

        let error = find(Some(&old), Some(path), folder.path())
            .await
            .unwrap_err();
        assert_eq!(
            (error.variable.as_str(), error.entry.as_str()),
            (VARIABLE, old.to_str().unwrap())
        );
        assert!(error.problem.contains("2.9.10"), "{error}");

        let error = find(Some(Path::new("/bin/true")), Some(path), folder.path())
            .await
            .unwrap_err();
        assert!(error.problem.contains("no nats-server"), "{error}");
    }

    #[tokio::test]
    async fn an_old_one_on_path_gives_way_to_the_newest_tool() {
        let folder = tempfile::tempdir().unwrap();
        let old = pretend(&folder.path().join("bin"), "2.9.10");
        let path = Some(old.parent().unwrap().as_os_str());

        let error = find(None, path, folder.path()).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is 2.9.10, which is too old: install"),
            "{error}"
        );

        pretend(&folder.path().join(".tools/nats-server-2.9.1"), "2.9.1");
        pretend(&folder.path().join(".tools/nats-server-2.10.9"), "2.10.9");
        let newest = pretend(&folder.path().join(".tools/nats-server-2.10.25"), "2.10.25");
        assert_eq!(find(None, path, folder.path()).await.unwrap(), newest);

        let good = pretend(&folder.path().join("sbin"), "2.10.8");
        let path = std::env::join_paths([old.parent().unwrap(), good.parent().unwrap()]).unwrap();
        assert_eq!(find(None, Some(&path), folder.path()).await.unwrap(), good);
    }

    #[tokio::test]
    async fn nothing_found_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(None, None, folder.path())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("install nats-server 2.10.8 or newer"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}
