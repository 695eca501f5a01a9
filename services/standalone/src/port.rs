//! The port of the nats-server that `glance` starts.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

/// The port that NATS clients try first.
const FIRST: u16 = 4222;

/// The last port that is tried before any free one. They all lie below the ports that systems use for outgoing
/// connections: nothing takes such a port by chance while the server restarts.
const LAST: u16 = 4322;

/// A port of loopback that no other `glance` of this machine chooses as long as this value lives, also while nobody
/// listens on it: otherwise, while the server restarts, its clients might find themselves at another one's server.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reservation: Reservation,
}

impl Port {
    /// Chooses a port that nobody listens on: 4222 if possible, but none of `taken`.
    pub(crate) fn reserve(taken: &[u16]) -> anyhow::Result<Self> {
        let preferred = (FIRST..=LAST).filter(|number| !taken.contains(number));
        for number in preferred.chain([any_port()?]) {
            if let Some(reservation) = Reservation::of(number)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
            {
                return Ok(Self {
                    number,
                    _reservation: reservation,
                });
            }
        }
        anyhow::bail!("there is no free port for the broker")
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn any_port() -> anyhow::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context("there is no free port for the broker")
}

/// A socket with a name that only one process can have. Such names live in the same network namespace as the ports, and
/// end with the process.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Reservation {
    /// Nothing where processes may not have such sockets.
    _socket: Option<std::os::unix::net::UnixDatagram>,
}

#[cfg(target_os = "linux")]
impl Reservation {
    /// Nothing if another process has reserved the port.
    fn of(port: u16) -> Option<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};

        let name = format!("glance broker 127.0.0.1:{port}");
        let bound = SocketAddr::from_abstract_name(name)
            .and_then(|address| UnixDatagram::bind_addr(&address));
        match bound {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => None,
            other => Some(Self {
                _socket: other.ok(),
            }),
        }
    }
}

/// Other systems have no such names.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Reservation;

#[cfg(not(target_os = "linux"))]
impl Reservation {
    fn of(_port: u16) -> Option<Self> {
        Some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let first = Port::reserve(&[]).unwrap();
        let second = Port::reserve(&[]).unwrap();
        assert_ne!(first.number(), second.number());
        let other = Port::reserve(&[second.number() + 1]).unwrap();
        assert_ne!(other.number(), second.number() + 1);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_chosen() {
        let port = Port::reserve(&[]).unwrap().number();
        // Fails when another test was given the port meanwhile, which does as well.
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        assert_ne!(Port::reserve(&[]).unwrap().number(), port);
    }
}
