//! Who is let in, and what the others are told.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
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

/// Decides who is let in.
pub(super) struct Door {
    slots: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
    clients: Clients,
    proxies: TrustedProxies,
    counts: Counts,
    patience: Duration,
}

/// A connection that was let in.
pub(super) struct Admitted {
    pub(super) stream: Guarded<TcpStream>,
    pub(super) origin: Origin,
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
            slots: Arc::new(Semaphore::new(limits.connections_max)),
            leaving: Arc::new(Semaphore::new(LEAVING_MAX)),
            clients: Clients::new(limits.clients),
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
            false => match self.clients.admit(peer.ip()) {
                Ok(lease) => lease,
                Err(_) => {
                    self.refuse(stream, Refused::Client);
                    return None;
                }
            },
        };
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.refuse(stream, Refused::Connections);
            return None;
        };
        let origin = match is_proxy {
            false => Origin::Client(Peer(peer)),
            true => Origin::Proxy {
                peer,
                proxies: self.proxies.clone(),
                clients: self.clients.clone(),
                counts: self.counts.clone(),
            },
        };
        Some(Admitted {
            stream: Guarded::new(stream, self.patience, self.counts.clone(), lease),
            origin,
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
        let Ok(permit) = self.leaving.clone().try_acquire_owned() else {
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
    /// Notes in a request who the client is.
    ///
    /// # Errors
    ///
    /// What to answer to a client that has too many connections. In a box, since room for it is part of each request.
    pub(super) fn sign(&self, request: &mut Request<Incoming>) -> Result<(), Box<Response>> {
        match self {
            Self::Client(peer) => {
                request.extensions_mut().insert(*peer);
                Ok(())
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
                extensions.insert(Forwarded(lease.map(Arc::new)));
                Ok(())
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
