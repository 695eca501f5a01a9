//! Which proxies are believed when they say who the client is.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use glance_protocol::ConfigError;
use ipnet::{IpNet, Ipv4Net};
use warp::http::HeaderMap;

const VARIABLE: &str = "GLANCE_TRUSTED_PROXIES";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The addresses of proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl FromStr for TrustedProxies {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let entries = text.split(',').map(str::trim);
        entries.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(entry: &str) -> Result<IpNet, ConfigError> {
    let error = |problem| ConfigError::new(VARIABLE, entry, problem);
    let network = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => entry.parse::<IpNet>().map(canonical).map_err(|_| {
            error("is neither an address nor a network; write such as 10.0.0.7 or 10.0.0.0/8, separated by commas")
        })?,
    };
    if network.prefix_len() == 0 {
        let problem =
            "would believe everybody, and anybody could claim any address; name the proxies alone";
        return Err(error(problem));
    }
    Ok(network)
}

/// A network of IPv4 addresses that are written as IPv6 is the one of those IPv4 addresses, as which they are met.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpAddr::V4(address) = network.addr().to_canonical() else {
        return network;
    };
    let bits = network.prefix_len().checked_sub(MAPPED_BITS);
    match (network, bits.map(|bits| Ipv4Net::new(address, bits))) {
        (IpNet::V6(_), Some(Ok(v4))) => v4.into(),
        _ => network,
    }
}

impl TrustedProxies {
    /// Whether the machine at this address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind the trusted proxy `peer`: the last address in `X-Forwarded-For` that is no trusted proxy
    /// itself. What stands before it may be invented. A trusted proxy that names nobody counts as the client.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        // Each proxy adds the one that it heard, at the end or in a line of its own.
        for line in headers.get_all(FORWARDED_FOR).into_iter().rev() {
            let Ok(line) = line.to_str() else {
                return client;
            };
            for entry in line.rsplit(',').map(str::trim).filter(|it| !it.is_empty()) {
                let Some(address) = address(entry) else {
                    return client;
                };
                client = address;
                if !self.contains(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// An entry of `X-Forwarded-For`. Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(entry).parse::<IpAddr>().ok();
    let with_port = || Some(entry.parse::<std::net::SocketAddr>().ok()?.ip());
    Some(address.or_else(with_port)?.to_canonical())
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(lines: &[&'static str]) -> String {
        let proxies: TrustedProxies = "10.0.0.0/24, 2001:db8::7".parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        proxies.client(PROXY.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        for (lines, wanted) in [
            (vec![], PROXY),
            (vec!["203.0.113.5"], "203.0.113.5"),
            // Who sends the header with the request only adds to the front.
            (vec!["127.0.0.1, 198.51.100.1, 203.0.113.5"], "203.0.113.5"),
            (vec!["198.51.100.1", "203.0.113.5, 10.0.0.9"], "203.0.113.5"),
            (vec!["203.0.113.5,10.0.0.3 , 2001:db8::7,"], "203.0.113.5"),
            (vec!["203.0.113.5:4711"], "203.0.113.5"),
            (vec!["[2001:db8::1]:4711"], "2001:db8::1"),
            (vec!["[2001:db8::1]"], "2001:db8::1"),
            (vec!["::ffff:203.0.113.5"], "203.0.113.5"),
            // All of them are proxies: the first one asked.
            (vec!["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            // What a trusted proxy cannot say properly is nobody.
            (vec!["203.0.113.5, unknown"], PROXY),
            (vec!["203.0.113.5, unknown, 10.0.0.3"], "10.0.0.3"),
            (vec!["203.0.113.5", ""], "203.0.113.5"),
        ] {
            assert_eq!(client(&lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn settings() {
        let text = "10.1.2.3/8,192.0.2.1, ::1,::ffff:198.51.100.0/120";
        let proxies: TrustedProxies = text.parse().unwrap();
        for (address, trusted) in [
            ("10.200.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("::1", true),
            ("198.51.100.7", true),
            ("198.51.101.7", false),
        ] {
            assert_eq!(
                proxies.contains(address.parse().unwrap()),
                trusted,
                "{address}"
            );
        }
        for wrong in [
            "",
            "proxy",
            "10.0.0.1,",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
        ] {
            let error = wrong.parse::<TrustedProxies>().unwrap_err();
            assert_eq!(error.variable, VARIABLE, "{wrong}");
        }
    }
}
