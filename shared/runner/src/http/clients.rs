//! How many connections each client has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

/// So many by default: a tenth of the viewers that there is room for. Thousands of people may share one address of a
/// university or of a mobile network, and thousands of bot processes one host.
const INTERNET_MAX: u32 = 5000;
/// How often the log names a client that has too many.
const WARN_EVERY: Duration = Duration::from_secs(10);

const THIS_MACHINE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// How many connections one client may have at the same time. Those from 127.0.0.1 and ::1
/// are never limited: they are programs of the same machine, mostly a proxy that all clients come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientLimit {
    /// There is no limit.
    None,
    /// So many for each address of the internet. Private addresses are those of own machines, or of a proxy that all
    /// clients come through.
    Internet(u32),
    /// So many for each address.
    Each(u32),
}

impl Default for ClientLimit {
    fn default() -> Self {
        Self::Internet(INTERNET_MAX)
    }
}

impl ClientLimit {
    /// What the setting says; 0 is no limit.
    #[must_use]
    pub fn of_setting(setting: Option<u32>) -> Self {
        match setting {
            None => Self::default(),
            Some(0) => Self::None,
            Some(max) => Self::Each(max),
        }
    }

    /// How many this address may have; `None` for any number.
    fn of(self, address: IpAddr) -> Option<u32> {
        match self {
            Self::Internet(max) if !is_internal(address) => Some(max),
            Self::Each(max) if !THIS_MACHINE.contains(&address) => Some(max),
            _ => None,
        }
    }
}

/// Whether nobody on the internet can have this address.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // Between a provider and its customers, and in virtual networks (RFC 6598).
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// A client: an IPv4 address, or the 64 bits of an IPv6 address that one customer has for himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl Client {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        })
    }
}

/// Who has how many connections. Only clients that have one are in it, so it has no more entries than there are
/// connections and requests.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    limit: ClientLimit,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    held: HashMap<Client, u32>,
    warned: Option<Instant>,
}

/// A client has as many connections as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Clients {
    pub(super) fn new(limit: ClientLimit) -> Self {
        Self {
            limit,
            book: Arc::default(),
        }
    }

    /// Counts one more connection of a client until the lease is dropped. `None` if this client may have any number.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Option<Lease>, TooMany> {
        let Some(max) = self.limit.of(address) else {
            return Ok(None);
        };
        let client = Client::of(address);
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let held = book.held.entry(client).or_default();
        if *held >= max {
            let is_news = book.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
            if is_news {
                book.warned = Some(Instant::now());
                drop(book);
                warn!(
                    "{address} has {max} connections and gets no more (GLANCE_CLIENT_CONNECTIONS_MAX); \
                     if it is a proxy, name it in GLANCE_TRUSTED_PROXIES"
                );
            }
            return Err(TooMany);
        }
        *held += 1;
        Ok(Some(Lease {
            client,
            book: self.book.clone(),
        }))
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.book.lock().unwrap().held.len()
    }
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Lease {
    client: Client,
    book: Arc<Mutex<Book>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = book.held.get_mut(&self.client) {
            *held -= 1;
            if *held == 0 {
                book.held.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_and_gets_it_back() {
        let clients = Clients::new(ClientLimit::Each(2));
        let first = clients.admit(at("203.0.113.5")).unwrap();
        let second = clients.admit(at("::ffff:203.0.113.5")).unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(clients.admit(at("203.0.113.5")).is_err());
        let other = clients.admit(at("203.0.113.6")).unwrap();
        assert_eq!(clients.count(), 2);
        drop(first);
        let again = clients.admit(at("203.0.113.5")).unwrap();
        assert!(clients.admit(at("203.0.113.5")).is_err());
        drop((second, other, again));
        assert_eq!(clients.count(), 0);
    }

    #[test]
    fn the_64_bits_of_one_customer_are_one_client() {
        let clients = Clients::new(ClientLimit::Internet(1));
        let held = clients.admit(at("2001:db8:1:2::1")).unwrap();
        assert!(clients.admit(at("2001:db8:1:2:ffff::9")).is_err());
        assert!(clients.admit(at("2001:db8:1:3::1")).is_ok());
        drop(held);
    }

    #[test]
    fn who_is_not_limited() {
        for (limit, address, wanted) in [
            (ClientLimit::default(), "203.0.113.5", Some(INTERNET_MAX)),
            (ClientLimit::default(), "2001:db8::1", Some(INTERNET_MAX)),
            (ClientLimit::default(), "172.18.0.2", None),
            (ClientLimit::default(), "100.64.0.1", None),
            (ClientLimit::default(), "100.128.0.1", Some(INTERNET_MAX)),
            (ClientLimit::default(), "fd00::1", None),
            (ClientLimit::default(), "127.0.0.1", None),
            (ClientLimit::of_setting(Some(9)), "172.18.0.2", Some(9)),
            (ClientLimit::of_setting(Some(9)), "::1", None),
            (ClientLimit::of_setting(Some(9)), "127.0.0.2", Some(9)),
            (ClientLimit::of_setting(Some(9)), "127.0.0.1", None),
            (ClientLimit::of_setting(Some(0)), "203.0.113.5", None),
            (
                ClientLimit::of_setting(None),
                "203.0.113.5",
                Some(INTERNET_MAX),
            ),
        ] {
            assert_eq!(limit.of(at(address)), wanted, "{limit:?} {address}");
        }
    }
}
