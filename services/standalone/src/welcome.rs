//! What `glance` prints for the person who started it.

use std::io::{self, Write};
use std::net::IpAddr;

use glance_protocol::ClusterName;

/// What there is to tell.
#[derive(Debug)]
pub(crate) struct Welcome<'a> {
    /// What `GLANCE_HOST` says.
    pub(crate) host: &'a str,
    /// The port that is listened on.
    pub(crate) port: u16,
    /// A cluster to try; `None` when the sizes of all are learned from their reports.
    pub(crate) cluster: Option<&'a ClusterName>,
    /// Whether bots need a passphrase.
    pub(crate) passphrase: bool,
    /// Where NATS clients connect.
    pub(crate) broker: &'a str,
}

impl Welcome<'_> {
    /// Prints it on standard output.
    pub(crate) fn print(&self) {
        let mut output = io::stdout().lock();
        // Nobody reads it, then: no reason to end.
        let _ = output
            .write_all(self.text().as_bytes())
            .and_then(|()| output.flush());
    }

    fn text(&self) -> String {
        let site = format!("http://{}:{}", reachable(self.host), self.port);
        // The variable and not its value: a terminal is often seen by others, and its output kept.
        let (authorization, remark) = if self.passphrase {
            (
                "-H \"Authorization: $GLANCE_PASSPHRASE\" ",
                " (with the passphrase in your shell's GLANCE_PASSPHRASE)",
            )
        } else {
            ("", "")
        };
        let hint = match self.cluster {
            Some(cluster) => format!(
                "Turn shard 0 of '{cluster}' green{remark}:\n  \
                 curl -X POST {authorization}{site}/api/status/{cluster}/0/3"
            ),
            None => "The bots' sizes are learned from 'total' in their first reports.".to_owned(),
        };
        format!(
            "\nGlance runs.\n  page: {site}/\n  broker: {}\n\n{hint}\n\n",
            self.broker
        )
    }
}

/// A host that a browser on this machine can open.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => "localhost".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &str, passphrase: bool) -> String {
        let cluster = "main".parse().unwrap();
        let welcome = Welcome {
            host,
            port: 3000,
            cluster: Some(&cluster),
            passphrase,
            broker: "nats://127.0.0.1:4222",
        };
        welcome.text()
    }

    #[test]
    fn the_curl_can_be_pasted() {
        let open = text("0.0.0.0", false);
        assert!(
            open.contains("\n  curl -X POST http://localhost:3000/api/status/main/0/3\n"),
            "{open}"
        );
        assert!(
            open.contains("\n  page: http://localhost:3000/\n"),
            "{open}"
        );
        let closed = text("0.0.0.0", true);
        let curl = "curl -X POST -H \"Authorization: $GLANCE_PASSPHRASE\" http://localhost:3000/api/status/main/0/3\n";
        assert!(closed.contains(curl), "{closed}");
    }

    #[test]
    fn no_curl_is_given_that_would_fail() {
        let welcome = Welcome {
            host: "::",
            port: 3000,
            cluster: None,
            passphrase: false,
            broker: "nats://127.0.0.1:4222",
        };
        let text = welcome.text();
        assert!(!text.contains("curl") && text.contains("'total'"), "{text}");
    }

    #[test]
    fn the_host_is_one_that_can_be_opened() {
        for (host, site) in [
            ("::", "http://localhost:3000/"),
            ("::1", "http://[::1]:3000/"),
            ("127.0.0.1", "http://127.0.0.1:3000/"),
            ("shards.example", "http://shards.example:3000/"),
        ] {
            assert!(text(host, false).contains(site), "{host}");
        }
    }
}
