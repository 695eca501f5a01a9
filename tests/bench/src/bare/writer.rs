//! A loop that writes one frame to all its connections: no one could tell a crowd faster with one thread.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};

/// Where frames to write are published.
pub(crate) const SUBJECT: &str = "bench.write";
/// What each connection gets first.
const GREETING: &[u8] = b".";
/// What a connection is read with, as ours are.
const READ_BUFFER_BYTES: usize = 1024;

type Connections = Arc<Mutex<Vec<Arc<TcpStream>>>>;

/// Writes what is published to all who are connected, in one loop. Who does not take it at once goes without.
///
/// # Errors
///
/// When the broker cannot be reached.
pub(super) async fn play(broker: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(broker).await?;
    let mut frames = client.subscribe(SUBJECT).await?;
    client.flush().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let connections = Connections::default();
    println!("listening on http://{}", listener.local_addr()?);
    tokio::spawn(accept(listener, connections.clone()));
    loop {
        let frame = frames.next().await.context("the broker is gone")?;
        let connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in &*connections {
            // Fresh sockets have room for a frame.
            let _ = stream.try_write(&frame.payload);
        }
    }
}

async fn accept(listener: TcpListener, connections: Connections) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stream.clone());
        drop(all);
        // It is told from now on; ours know by the answer to their handshake.
        let _ = stream.try_write(GREETING);
        tokio::spawn(hold(stream, connections.clone()));
    }
}

/// Reads until the other side is gone.
async fn hold(stream: Arc<TcpStream>, connections: Connections) {
    let mut buffer = [0; READ_BUFFER_BYTES];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Err(cause) if cause.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
    let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|other| !Arc::ptr_eq(other, &stream));
}
