//! A network that a test can break: a TCP proxy between a client and a server.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// More connections than this at a time are closed at once, as with [`Flow::Refuse`].
const CONNECTIONS_MAX: usize = 256;

/// What a direction of a connection holds at most, beside the buffers of its sockets.
const CHUNK_BYTES: usize = 16 * 1024;

/// Bound on reaching the upstream, which is on this machine too.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// The pause after a failed accept, which means that this process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a [`Proxy`] lets through. "Up" is from the client to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Everything.
    Pass,
    /// Nothing, and nobody is told: a half-open link. Connections stay, and new ones are accepted (the upstream sees
    /// these only when bytes may move again). What is sent waits in the buffers of the sockets, and moves on in order
    /// after [`Flow::Pass`]; so does the end of a connection.
    Stall,
    /// Only what the upstream sends; the bytes of the clients wait.
    StallUp,
    /// Only what the clients send; the bytes of the upstream wait.
    StallDown,
    /// No connection: the present ones are cut, new ones are closed at once.
    Refuse,
}

impl Flow {
    fn moves(self, direction: Direction) -> bool {
        match self {
            Self::Pass => true,
            Self::Stall | Self::Refuse => false,
            Self::StallUp => direction == Direction::Down,
            Self::StallDown => direction == Direction::Up,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A TCP proxy on a free port of 127.0.0.1, to an upstream on the same machine. It runs in tasks of the test's
/// runtime; dropping it ends them and cuts all connections.
///
/// A change counts for every byte that is sent after the call has returned. A NATS *cluster* tells its clients the
/// addresses of its nodes, which would lead them around a proxy: [`NatsCluster`](crate::NatsCluster) tells none.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    orders: watch::Sender<Orders>,
    slots: Arc<Semaphore>,
    listening: JoinHandle<()>,
}

/// What the connections do at present.
#[derive(Clone, Copy, Debug)]
struct Orders {
    flow: Flow,
    upstream: u16,
    /// How often all connections were cut. A connection ends when this is not what it was at its start.
    cuts: u64,
}

impl Proxy {
    /// Listens on a free port, for connections to `upstream_port` of 127.0.0.1. Nobody has to listen there yet.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(upstream_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (orders, inbox) = watch::channel(Orders {
            flow: Flow::Pass,
            upstream: upstream_port,
            cuts: 0,
        });
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let listening = tokio::spawn(listen(listener, inbox, Arc::clone(&slots)));
        Self {
            port,
            orders,
            slots,
            listening,
        }
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for NATS clients: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Changes what is let through, for the connections that stand and for later ones.
    pub fn set(&self, flow: Flow) {
        self.orders.send_modify(|orders| {
            orders.flow = flow;
            // Counted, so that no connection survives a Pass that comes right after.
            orders.cuts += u64::from(flow == Flow::Refuse);
        });
    }

    /// Cuts the connections that have been accepted; what they hold is lost. New ones are fine.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Changes where later connections go; those that stand stay where they are.
    pub fn set_upstream(&self, port: u16) {
        self.orders.send_modify(|orders| orders.upstream = port);
    }

    /// How many connections stand. One whose end waits behind a stall still counts.
    #[must_use]
    pub fn connections(&self) -> usize {
        CONNECTIONS_MAX - self.slots.available_permits()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its connections go with it.
        self.listening.abort();
    }
}

/// Accepts connections until the proxy is dropped.
async fn listen(listener: TcpListener, orders: watch::Receiver<Orders>, slots: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((client, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let now = *orders.borrow();
        if now.flow == Flow::Refuse {
            continue;
        }
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            connections.spawn(serve(client, Gate::new(orders.clone(), now.cuts), slot));
        }
    }
}

/// One connection, to its end. It may end for many reasons, and nobody asks for which.
async fn serve(client: TcpStream, gate: Gate, slot: OwnedSemaphorePermit) {
    let _ = relay(client, gate).await;
    drop(slot);
}

async fn relay(mut client: TcpStream, mut gate: Gate) -> io::Result<()> {
    gate.wait_for(|flow| flow != Flow::Stall).await?;
    let mut upstream = gate.connect().await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_reader, client_writer) = client.split();
    let (upstream_reader, upstream_writer) = upstream.split();
    let up = pump(gate.clone(), Direction::Up, client_reader, upstream_writer);
    let down = pump(gate, Direction::Down, upstream_reader, client_writer);
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Moves bytes in one direction, and then the end of the stream. Reads nothing while the direction is stalled.
async fn pump(
    mut gate: Gate,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        gate.wait_for(|flow| flow.moves(direction)).await?;
        let length = tokio::select! {
            biased;
            () = gate.changed() => continue,
            length = from.read(&mut chunk) => length?,
        };
        // Asked again before each write: the bytes may be younger than a stall.
        let mut held = chunk.get(..length).unwrap_or_default();
        while !held.is_empty() {
            gate.wait_for(|flow| flow.moves(direction)).await?;
            tokio::select! {
                biased;
                () = gate.changed() => {}
                written = to.write(held) => held = held.get(written?..).unwrap_or_default(),
            }
        }
        if length == 0 {
            gate.wait_for(|flow| flow.moves(direction)).await?;
            return to.shutdown().await;
        }
    }
}

/// What a connection asks before each step.
#[derive(Clone)]
struct Gate {
    orders: watch::Receiver<Orders>,
    cuts_at_start: u64,
}

impl Gate {
    fn new(orders: watch::Receiver<Orders>, cuts_at_start: u64) -> Self {
        Self {
            orders,
            cuts_at_start,
        }
    }

    /// Waits for a flow; an error when the connection is cut first.
    async fn wait_for(&mut self, fits: impl Fn(Flow) -> bool) -> io::Result<()> {
        let cuts_at_start = self.cuts_at_start;
        let cut = self
            .orders
            .wait_for(|orders| orders.cuts != cuts_at_start || fits(orders.flow))
            .await
            .map_or(true, |orders| orders.cuts != cuts_at_start);
        if cut {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Waits for the next change since the last `wait_for`.
    async fn changed(&mut self) {
        // An error means that the proxy is gone, which the next `wait_for` tells.
        let _ = self.orders.changed().await;
    }

    /// Connects to the upstream, unless the connection is cut first.
    async fn connect(&mut self) -> io::Result<TcpStream> {
        let upstream = self.orders.borrow().upstream;
        let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream));
        tokio::select! {
            connected = tokio::time::timeout(CONNECT_WAIT_MAX, connecting) => connected?,
            cut = self.wait_for(|_| false) => cut.and(Err(ErrorKind::ConnectionAborted.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_takes_little_at_a_time_gets_all() {
        let sent: Vec<u8> = (0..=250).cycle().take(100_000).collect();
        let (_orders, inbox) = watch::channel(Orders {
            flow: Flow::Pass,
            upstream: 0,
            cuts: 0,
        });
        let (writer, mut reader) = tokio::io::duplex(7);
        let mut read = Vec::new();
        let (pumped, taken) = tokio::join!(
            pump(Gate::new(inbox, 0), Direction::Up, sent.as_slice(), writer),
            reader.read_to_end(&mut read)
        );
        assert!(pumped.is_ok() && taken.is_ok());
        assert!(read == sent, "the bytes are others");
    }
}
