//! Many viewers at once, each a socket of its own that costs this process next to nothing.

mod recording;

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) use self::recording::Log;
use self::recording::{Pen, Recorder};

/// How many connect at the same time; far below what a listener queues.
const CONNECTING_MAX: usize = 128;
/// How long all may take to connect, or to see what they wait for.
const WAIT_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// On the stack of the reading thread, so that viewers cost no memory.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// The largest head of an answer to a handshake.
const HEAD_BYTES_MAX: usize = 4096;
/// How often a viewer says something, which a server of WebSockets takes for a sign of life.
const PONG: Duration = Duration::from_secs(10);
/// An empty pong, masked with zeros (RFC 6455, section 5.5.3).
const PONG_FRAME: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
/// What Chromium offers.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
/// From one address to another there are some 28,000 ports, and closed connections keep theirs for a minute.
const SOURCES: usize = 200;

/// So many of the first viewers of a crowd keep what a recording holds.
const KEEPERS: usize = 8;

/// What viewers connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A feed at this path.
    Feed(&'a str),
    /// The same, with the compression that browsers offer.
    Browser(&'a str),
    /// A plain connection, on which frames come after a greeting of one byte.
    Bare,
}

/// Many connected viewers. They leave when this is dropped.
pub(crate) struct Crowd {
    tasks: JoinSet<()>,
    sight: Arc<Sight>,
    size: usize,
}

/// What all viewers look for.
#[derive(Default)]
struct Sight {
    wanted: RwLock<Arc<Wanted>>,
    recorder: Recorder,
    /// How many are connected.
    present: AtomicUsize,
}

/// A text that each viewer is to see once.
#[derive(Default)]
struct Wanted {
    generation: usize,
    text: Vec<u8>,
    missing: AtomicUsize,
    last: Mutex<Option<Instant>>,
    all: Notify,
}

impl Crowd {
    /// Connects `size` viewers, and waits until each has its hello.
    ///
    /// # Errors
    ///
    /// When one of them is refused.
    pub(crate) async fn connect(
        address: SocketAddrV4,
        line: Line<'_>,
        size: usize,
    ) -> anyhow::Result<Self> {
        let mut crowd = Self {
            tasks: JoinSet::new(),
            sight: Arc::default(),
            size,
        };
        let mut keepers = KEEPERS;
        let mut streams = stream::iter(0..size)
            .map(|number| open(address, line, number))
            .buffer_unordered(CONNECTING_MAX);
        while let Some(stream) = streams.try_next().await? {
            let pen = Pen::new(keepers > 0);
            keepers = keepers.saturating_sub(1);
            crowd.tasks.spawn(view(stream, crowd.sight.clone(), pen));
        }
        crowd.sight.present.store(size, Ordering::Relaxed);
        Ok(crowd)
    }

    /// Connects viewers of a feed that read nothing after the handshake. What they ask for is not waited for.
    ///
    /// # Errors
    ///
    /// When one of them is refused.
    pub(crate) async fn connect_stalled(
        address: SocketAddrV4,
        line: Line<'_>,
        size: usize,
    ) -> anyhow::Result<Vec<TcpStream>> {
        stream::iter(0..size)
            .map(|number| open(address, line, number))
            .buffer_unordered(CONNECTING_MAX)
            .try_collect()
            .await
    }

    /// From now on, each viewer looks for a text that comes once.
    pub(crate) fn look_for(&self, text: String) -> Awaited {
        let mut slot = self
            .sight
            .wanted
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let wanted = Arc::new(Wanted {
            generation: slot.generation + 1,
            text: text.into_bytes(),
            missing: AtomicUsize::new(self.size),
            ..Wanted::default()
        });
        *slot = wanted.clone();
        Awaited(wanted)
    }

    /// Records what comes from now on.
    pub(crate) fn record(&self) {
        self.sight.recorder.begin();
    }

    /// Ends the recording, and waits until all viewers have handed in what they noted, which they do when the next
    /// frame comes.
    ///
    /// # Errors
    ///
    /// When some do not.
    pub(crate) async fn recorded(&self) -> anyhow::Result<Vec<Log>> {
        let recording = self.sight.recorder.end().context("nothing was recorded")?;
        let mut logs = Vec::new();
        let start = Instant::now();
        while logs.len() < self.size {
            ensure!(
                start.elapsed() < WAIT_MAX,
                "{} viewers noted nothing",
                self.size - logs.len()
            );
            sleep(LOOK_INTERVAL).await;
            logs.extend(recording.take());
        }
        Ok(logs)
    }

    /// Nobody was closed.
    ///
    /// # Errors
    ///
    /// When somebody was.
    pub(crate) fn ensure_all_present(&self) -> anyhow::Result<()> {
        let present = self.sight.present.load(Ordering::Relaxed);
        ensure!(
            present == self.size,
            "{} viewers were closed",
            self.size - present
        );
        Ok(())
    }
}

/// The text that is looked for.
pub(crate) struct Awaited(Arc<Wanted>);

impl Awaited {
    /// Waits until the last viewer has seen it, and says when that was.
    ///
    /// # Errors
    ///
    /// When somebody does not see it.
    pub(crate) async fn seen(self) -> anyhow::Result<Instant> {
        let all = timeout(WAIT_MAX, self.0.all.notified()).await;
        all.with_context(|| {
            let missing = self.0.missing.load(Ordering::Relaxed);
            let text = String::from_utf8_lossy(&self.0.text);
            format!("{missing} viewers did not see {text}")
        })?;
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.context("nobody saw it")
    }
}

/// A connection from one of many addresses of loopback.
pub(crate) async fn connect(address: SocketAddrV4, number: usize) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let host = u8::try_from(2 + number % SOURCES)?;
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    let connecting = timeout(WAIT_MAX, socket.connect(address.into()));
    let stream = connecting.await.context("no connection in time")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn open(address: SocketAddrV4, line: Line<'_>, number: usize) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address, number).await?;
    let (path, offer) = match line {
        Line::Feed(path) => (path, ""),
        Line::Browser(path) => (path, OFFER),
        Line::Bare => {
            let greeting = timeout(WAIT_MAX, stream.read_u8());
            greeting.await.context("no greeting in time")??;
            return Ok(stream);
        }
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let reading = timeout(WAIT_MAX, read_head(&mut stream));
    let head = reading.await.context("no answer in time")??;
    ensure!(head.starts_with("HTTP/1.1 101"), "refused: {head}");
    Ok(stream)
}

/// Reads the head byte by byte, so that what follows stays in the socket.
async fn read_head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

/// Reads what comes, looks for what is wanted, and shows now and then that it lives.
async fn view(stream: TcpStream, sight: Arc<Sight>, pen: Pen) {
    let mut tail = Tail {
        bytes: Vec::new(),
        seen: 0,
        pen,
    };
    let mut spoke = Instant::now();
    loop {
        if stream.readable().await.is_err() || read_all(&stream, &sight, &mut tail).is_err() {
            sight.present.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if spoke.elapsed() > PONG {
            spoke = Instant::now();
            // Six bytes fit; if not, the next ones will.
            let _ = stream.try_write(&PONG_FRAME);
        }
    }
}

/// What a viewer remembers from read to read.
struct Tail {
    pen: Pen,
    /// The end of what was read, in which a text may begin that goes on in the next read.
    bytes: Vec<u8>,
    /// The generation that was seen last.
    seen: usize,
}

fn read_all(stream: &TcpStream, sight: &Sight, tail: &mut Tail) -> io::Result<()> {
    let mut buffer = [0; READ_BUFFER_BYTES];
    loop {
        let kept = tail.bytes.len();
        buffer[..kept].copy_from_slice(&tail.bytes);
        let read = match stream.try_read(&mut buffer[kept..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(cause) => return Err(cause),
        };
        tail.pen.note(&buffer[kept..kept + read], &sight.recorder);
        look(&buffer[..kept + read], sight, tail);
    }
}

fn look(bytes: &[u8], sight: &Sight, tail: &mut Tail) {
    let wanted = sight
        .wanted
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    tail.bytes.clear();
    if tail.seen == wanted.generation {
        return;
    }
    if memmem::find(bytes, &wanted.text).is_none() {
        let start = bytes.len().saturating_sub(wanted.text.len() - 1);
        tail.bytes.extend_from_slice(&bytes[start..]);
        return;
    }
    tail.seen = wanted.generation;
    if wanted.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
        *wanted.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        wanted.all.notify_one();
    }
}
