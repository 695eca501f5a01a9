//! A thread that starts processes, and does nothing else.
//!
//! The kernel ends a process that is tied to its parent (`shim`) as soon as the *thread* that started it ends. Threads of
//! tokio's pools come and go; this one stays as long as its [`Spawner`].

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A command to start, and where the child goes.
type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts processes that end at the latest when this value is dropped.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: SyncSender<Order>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime, which watches over the children.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Handle::current();
        let (orders, inbox) = mpsc::sync_channel::<Order>(1);
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    let child = {
                        let _context = runtime.enter();
                        command.spawn()
                    };
                    // Files that the command passed on must not stay open here.
                    drop(command);
                    // Who ordered may have given up; then the child is dropped here.
                    let _ = reply.send(child);
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts `command`.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (reply, child) = oneshot::channel();
        self.orders.try_send((command, reply)).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
