//! The HTTP listener: an accept loop with a limit on everything.
//!
//! warp's own server has no header timeout, and its graceful stop neither
//! awaits nor closes upgraded connections, so hyper is driven here.

mod clients;
mod counts;
mod door;
mod options;
mod proxies;
mod stream;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use glance_protocol::ConfigError;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warp::{
    http::{HeaderValue, Request, StatusCode, header},
    reply::Response,
};

use crate::Shutdown;

pub use clients::ClientLimit;
pub use counts::{Counts, Refused};
use door::{Admitted, Door};
pub use door::{Forwarded, Room};
pub use options::HttpOptions;
pub use proxies::TrustedProxies;

/// What a service answers to requests.
pub type Routes = warp::filters::BoxedFilter<(Response,)>;

/// The address of the client, in the extensions of each request. Behind a trusted proxy it is the one that the proxy
/// tells; the port is the proxy's then.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Limits of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a client may take to send the head of a request. It also ends
    /// a kept connection on which no further request comes.
    pub header_timeout: Duration,
    /// The largest head of a request in bytes; at least 8,192.
    pub header_bytes_max: usize,
    /// The most header fields of a request.
    pub headers_max: usize,
    /// How long a client may take nothing of what it is sent. It has to take 4 KiB a second in the long run.
    pub write_timeout: Duration,
    /// The most connections that are not upgraded.
    pub connections_max: usize,
    /// The most connections of one client, upgraded ones too.
    pub clients: ClientLimit,
    /// Who is believed about the addresses of clients.
    pub trusted_proxies: TrustedProxies,
    /// How long clients may take after the shutdown to finish what they have begun.
    pub finish_timeout: Duration,
    /// Where it is counted what is open and what was refused.
    pub counts: Counts,
    /// The room that the two limits of connections are about.
    pub room: Room,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(20),
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            write_timeout: Duration::from_secs(30),
            connections_max: 20_000,
            clients: ClientLimit::default(),
            trusted_proxies: TrustedProxies::default(),
            finish_timeout: Duration::from_secs(3),
            counts: Counts::default(),
            room: Room::default(),
        }
    }
}

const BACKLOG: i32 = 4096;
/// How long, once it is time to stop, a connection waits for its first request.
const FIRST_MAX: Duration = Duration::from_millis(250);
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that is gone without a word is noticed after this silence and three questions.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long the system keeps for a client what it does not acknowledge, also after we closed.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Opens a listening socket. `variables` names the settings, for the error.
///
/// # Errors
///
/// When the host is unknown or the port is taken.
pub async fn bind(host: &str, port: u16, variables: &str) -> Result<TcpListener, ConfigError> {
    let error = |cause: &dyn std::fmt::Display| {
        let entry = format!("{host}:{port}");
        let problem = format!("cannot listen there ({cause}); free the port or choose another");
        ConfigError::new(variables, &entry, problem)
    };
    let addresses = tokio::net::lookup_host((host, port)).await;
    let mut last = None;
    for address in addresses.map_err(|e| error(&e))? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(cause) => last = Some(cause),
        }
    }
    Err(match last {
        Some(cause) => error(&cause),
        None => error(&"the host has no address"),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Each connection inherits what the listening socket has.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until the shutdown, then finishes the requests that were accepted. A
/// client that has sent half a request holds up the stop for no longer than the limit.
///
/// Upgraded connections are not awaited: who upgraded them ends them.
pub async fn serve(listener: TcpListener, routes: Routes, limits: Limits, shutdown: Shutdown) {
    let tracker = TaskTracker::new();
    let door = Door::new(&limits);
    loop {
        // The end first: another loop may listen at the same place, and should have who comes now.
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers and frames are small and must not wait for each other.
                if let Err(cause) = stream.set_nodelay(true) {
                    debug!("no TCP_NODELAY: {cause}");
                }
                if let Some(admitted) = door.admit(stream, peer) {
                    let serving = admitted.serve(routes.clone(), limits.clone(), shutdown.clone());
                    tracker.spawn(serving);
                }
            }
            Err(cause) => {
                warn!("cannot accept a connection: {cause}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    if timeout(limits.finish_timeout, tracker.wait())
        .await
        .is_err()
    {
        warn!("{} connections did not end in time", tracker.len());
    }
}

impl Admitted {
    async fn serve(self, routes: Routes, limits: Limits, shutdown: Shutdown) {
        let (origin, sending) = (self.origin, self.sending);
        let filter = TowerToHyperService::new(warp::service(routes));
        let asked = Arc::new(AtomicBool::new(false));
        let note = asked.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            note.store(true, Ordering::Relaxed);
            let signed = origin.sign(&mut request);
            let sending = sending.clone();
            let answer =
                signed.map(|lease| (lease, hyper::service::Service::call(&filter, request)));
            async move {
                match answer {
                    Ok((lease, answer)) => {
                        let answer = answer.await.map_err(|error: Infallible| error);
                        if let Some(sending) = sending {
                            sending.begin(lease);
                        }
                        answer
                    }
                    Err(refusal) => Ok(*refusal),
                }
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes_max.max(8192))
            .max_headers(limits.headers_max)
            // Otherwise hyper would read on while an answer is made, into a new buffer for each request, to
            // notice a client that went away. It is noticed after the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(self.stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = shutdown.requested() => {
                // Who has just come is about to ask something, and should not find the door shut.
                let first = if asked.load(Ordering::Relaxed) { Duration::ZERO } else { FIRST_MAX };
                if let Ok(result) = timeout(first, connection.as_mut()).await {
                    result
                } else {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(cause) = result {
            debug!("a connection ended early: {cause}");
            if cause.is_parse() {
                limits.counts.refuse(Refused::Malformed);
            }
        }
        drop(self.slot);
    }
}

/// An error as JSON, `{"error": "..."}`.
#[must_use]
pub fn json_error(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "error": message });
    json(status, body.to_string().into_bytes())
}

/// An answer in JSON, which no browser takes for something else.
#[must_use]
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
