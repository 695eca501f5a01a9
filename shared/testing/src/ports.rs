//! Free ports on loopback.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes the ports of outgoing connections. Otherwise a server that a test restarts
/// could find its port taken, or a client that reconnects to it could be connected to itself.
const CANDIDATES: Range<u16> = 12_000..32_000;

/// A port on 127.0.0.1 that nobody listens on; no port is given twice to the tests of one process.
///
/// Another process may still take it before the caller does: who can, listens on port 0 instead.
///
/// # Panics
///
/// When every candidate is taken.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(random()));
    (0..CANDIDATES.len())
        .map(|_| CANDIDATES.start + NEXT.fetch_add(1, Ordering::Relaxed) % width())
        .find(|port| is_free(*port))
        .expect("no port is free")
}

/// Asks by connecting, not by listening: a child that another thread starts at that moment inherits a listening
/// socket until its exec, and keeps the port taken for as long.
fn is_free(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn width() -> u16 {
    CANDIDATES.end - CANDIDATES.start
}

/// Where this process begins, so that test processes that run side by side rarely ask for the same ports.
fn random() -> u16 {
    let [low, high, ..] = RandomState::new()
        .hash_one(std::process::id())
        .to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_are_distinct_and_in_range() {
        let (first, second) = (free_port(), free_port());
        assert_ne!(first, second);
        assert!(CANDIDATES.contains(&first) && CANDIDATES.contains(&second));
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
