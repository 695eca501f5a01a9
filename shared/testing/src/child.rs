//! A child process that never outlives the test that started it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::waiting::POLL_INTERVAL;

/// A running (or ended) child. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub(crate) struct OwnedChild {
    child: Child,
}

impl OwnedChild {
    /// Starts a command made by [`command`].
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let (reply, started) = mpsc::channel();
        SPAWNER
            .send((command, reply))
            .expect("the spawner lives as long as the process");
        let child = started.recv().expect("the spawner answers")?;
        Ok(Self { child })
    }

    pub(crate) fn inner(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; a child that has already ended is left alone. After SIGSTOP the child really stands still.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_some() {
            return;
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child can be signalled");
        if signal == Signal::STOP {
            // Its threads go on until each has seen the signal. NOWAIT leaves an exit status to `Child`.
            let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), stopped).expect("a child can be waited for");
        }
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// How the child ended, or nothing if it still runs after `timeout`.
    pub(crate) async fn wait_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let ended = async {
            loop {
                if let Some(status) = self.exited() {
                    return status;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(timeout, ended).await.ok()
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command to start, and where the child goes.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts all children from one thread that never ends. The kernel sends the parent-death signal when the *thread*
/// that started the child ends, and a test's own thread may end before the test does.
static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in inbox {
            // Who asked waits for the answer, so this cannot fail.
            let _ = reply.send(command.spawn());
        }
    });
    orders
});

/// A command for `program` that runs it under `setpriv --pdeathsig`, where that works, as on every Debian: then the
/// kernel kills it when this process dies. setpriv replaces itself with the program, so the process id is the
/// program's own.
pub(crate) fn command(program: &Path) -> Command {
    static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(working_setpriv);
    match &*SETPRIV {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(DEATH_SIGNAL).arg(program);
            command
        }
        None => Command::new(program),
    }
}

const DEATH_SIGNAL: [&str; 3] = ["--pdeathsig", "KILL", "--"];

/// The setpriv of util-linux; others, as busybox's, do not know the option.
fn working_setpriv() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("setpriv"))
        .find(|setpriv| {
            Command::new(setpriv)
                .args(DEATH_SIGNAL)
                .arg("true")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
}
