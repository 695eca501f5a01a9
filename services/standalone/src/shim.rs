//! How the nats-server is tied to the life of `glance`, without unsafe code.
//!
//! `glance` starts itself again as `glance __child <id of the parent> -- <program> <arguments>`. That process asks the
//! kernel to be killed when its parent dies, and then becomes the program. The kernel keeps the request across `execve`
//! of a program that is neither set-user-ID nor has capabilities (prctl(2), PR_SET_PDEATHSIG).
//!
//! The signal is SIGKILL and not SIGTERM: it must work on a server that hangs or is stopped too, and the store survives
//! it, as whatever a bot was told is stored has been handed to the operating system before. An orderly stop of `glance`
//! ends the server with SIGTERM.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitCode};

/// The hidden first argument.
const MARK: &str = "__child";

/// The exit code when the program could not be started, as shells use it.
const CANNOT_START: u8 = 127;

/// A command that runs `program` tied to the life of this process.
///
/// Note that the kernel watches the *thread* that starts the command: it must live as long as the program shall.
pub(crate) fn command(glance: &Path, program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(glance);
    command
        .arg(MARK)
        .arg(process::id().to_string())
        .arg("--")
        .arg(program);
    command
}

/// The program of this process, also after its file has been replaced by a newer one.
pub(crate) fn this_program() -> io::Result<std::path::PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() {
        Ok(link.to_owned())
    } else {
        env::current_exe()
    }
}

/// Becomes the program that the arguments name, if this process was started for that. Returns only when it was not, or
/// when that failed.
#[must_use]
pub fn run() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != MARK {
        return None;
    }
    let error = become_program(arguments);
    eprintln!("glance: {error}");
    Some(ExitCode::from(CANNOT_START))
}

fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let wrong = || io::Error::other("this way to start it is for its own use");
    let parent = arguments.next().and_then(|id| id.to_str()?.parse().ok());
    let (Some(parent), Some(separator)) = (parent, arguments.next()) else {
        return wrong();
    };
    let Some(program) = arguments.next().filter(|_| separator == OsStr::new("--")) else {
        return wrong();
    };
    if let Err(error) = tie_to(parent) {
        return error;
    }
    let error = Command::new(&program).args(arguments).exec();
    io::Error::other(format!("{} cannot be started: {error}", program.display()))
}

/// From here on this process does not outlive `parent`.
fn tie_to(parent: i32) -> io::Result<()> {
    // Other systems have no such request (or, as FreeBSD, drop it in `execve`); there only an orderly end of `glance`
    // ends the server.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have died before the request was made.
    let present = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    if present == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other(
            "the process that started this one is gone",
        ))
    }
}
