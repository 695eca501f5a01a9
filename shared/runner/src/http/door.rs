//! Who is let in, and what the others are told.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use warp::{
    http::{HeaderValue, Request, StatusCode, header},
    reply::Response,
};

use super::{
    Limits, Peer, TrustedProxies,
    clients::{Clients, Lease},
    counts::{Counts, Refused},
    json_error,
    stream::Guarded,
};

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 10\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// How long a client may take to read that it is refused ...
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// ... how many bytes it may send meanwhile ...
const LEAVE_BYTES_MAX: usize = 64 * 1024;
/// ... and how many may do so at the same time.
const LEAVING_MAX: usize = 256;

/// In the extensions of a request that a trusted proxy passed on. Who goes on after the answer, as a WebSocket does,
/// keeps it: the client has a connection until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Forwarded(#[allow(dead_code, reason = "dropped at the end")] Option<Arc<Lease>>);

/// The room that connections and clients have. Clones share it, and so do listeners whose [`Limits`] are clones of each
/// other, as when one follows the other at the same place. Its size is that of the first.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<OnceLock<Arc<Shared>>>);

#[derive(Debug)]
struct Shared {
    slots: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
    clients: Clients,
}

impl Room {
    fn shared(&self, limits: &Limits) -> Arc<Shared> {
        let shared = self.0.get_or_init(|| {
            Arc::new(Shared {
                slots: Arc::new(Semaphore::new(limits.connections_max)),
                leaving: Arc::new(Semaphore::new(LEAVING_MAX)),
                clients: Clients::new(limits.clients),
            })
        });
        shared.clone()
    }
}

/// Decides who is let in.
pub(super) struct Door {
    room: Arc<Shared>,
    proxies: TrustedProxies,
    counts: Counts,
    patience: Duration,
}

/// The client that an answer is sent to, until the connection has taken all of it. A request is over before that, and who
/// reads slowly has a connection as well.
#[derive(Debug, Clone, Default)]
pub(super) struct Sending(Arc<Mutex<Option<Arc<Lease>>>>);

impl Sending {
    pub(super) fn begin(&self, lease: Option<Arc<Lease>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    pub(super) fn end(&self) {
        self.begin(None);
    }
}

/// A connection that was let in.
pub(super) struct Admitted {
    pub(super) stream: Guarded<TcpStream>,
    pub(super) origin: Origin,
    /// Only of a proxy's connection: a client's own is counted until it is closed.
    pub(super) sending: Option<Sending>,
    /// It is given back when the connection becomes a WebSocket.
    pub(super) slot: OwnedSemaphorePermit,
}

/// Who is at the other end of a connection.
pub(super) enum Origin {
    /// The client itself.
    Client(Peer),
    /// A trusted proxy. Each request has a client of its own.
    Proxy {
        peer: SocketAddr,
        proxies: TrustedProxies,
        clients: Clients,
        counts: Counts,
    },
}

impl Door {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            room: limits.room.shared(limits),
            proxies: limits.trusted_proxies.clone(),
            counts: limits.counts.clone(),
            patience: limits.write_timeout,
        }
    }

    /// Lets a connection in, or tells the client why not.
    pub(super) fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Option<Admitted> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let is_proxy = self.proxies.contains(peer.ip());
        let lease = match is_proxy {
            true => None,
            false => match self.room.clients.admit(peer.ip()) {
                Ok(lease) => lease,
                Err(_) => {
                    self.refuse(stream, Refused::Client);
                    return None;
                }
            },
        };
        let Ok(slot) = self.room.slots.clone().try_acquire_owned() else {
            self.refuse(stream, Refused::Connections);
            return None;
        };
        let origin = match is_proxy {
            false => Origin::Client(Peer(peer)),
            true => Origin::Proxy {
                peer,
                proxies: self.proxies.clone(),
                clients: self.room.clients.clone(),
                counts: self.counts.clone(),
            },
        };
        let sending = is_proxy.then(Sending::default);
        let stream = Guarded::new(stream, self.patience, self.counts.clone(), lease);
        Some(Admitted {
            stream: stream.with_sending(sending.clone()),
            origin,
            sending,
            slot,
        })
    }

    /// Says that there is no room. The client has a moment to read it: a connection that is closed with something
    /// unread in it is reset, and what was sent is lost.
    fn refuse(&self, mut stream: TcpStream, why: Refused) {
        self.counts.refuse(why);
        let answer = match why {
            Refused::Client => TOO_MANY,
            _ => FULL,
        };
        // A fresh socket has room for these few bytes.
        let _ = stream.try_write(answer);
        let Ok(permit) = self.room.leaving.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let leave = async {
                stream.shutdown().await?;
                let mut left = LEAVE_BYTES_MAX;
                let mut bytes = [0; 512];
                while left > 0 {
                    match stream.read(&mut bytes).await? {
                        0 => break,
                        read => left = left.saturating_sub(read),
                    }
                }
                Ok::<_, std::io::Error>(())
            };
            let _ = timeout(LEAVE_MAX, leave).await;
            drop(permit);
        });
    }
}

impl Origin {
    /// Notes in a request who the client is. Gives what counts for it behind a proxy.
    ///
    /// # Errors
    ///
    /// What to answer to a client that has too many connections. In a box, since room for it is part of each request.
    pub(super) fn sign(
        &self,
        request: &mut Request<Incoming>,
    ) -> Result<Option<Arc<Lease>>, Box<Response>> {
        match self {
            Self::Client(peer) => {
                request.extensions_mut().insert(*peer);
                Ok(None)
            }
            Self::Proxy {
                peer,
                proxies,
                clients,
                counts,
            } => {
                let client = proxies.client(peer.ip(), request.headers());
                let lease = match proxies.contains(client) {
                    true => None,
                    false => clients.admit(client).map_err(|_| {
                        counts.refuse(Refused::Client);
                        Box::new(too_many(client))
                    })?,
                };
                let extensions = request.extensions_mut();
                extensions.insert(Peer(SocketAddr::new(client, peer.port())));
                let lease = lease.map(Arc::new);
                extensions.insert(Forwarded(lease.clone()));
                Ok(lease)
            }
        }
    }
}

fn too_many(client: IpAddr) -> Response {
    let sentence = format!("there are too many connections from {client}, please try again soon");
    let mut response = json_error(StatusCode::TOO_MANY_REQUESTS, &sentence);
    let retry = HeaderValue::from_static("10");
    response.headers_mut().insert(header::RETRY_AFTER, retry);
    response
}
