//! Which endpoint a path means.

use std::fmt;

use percent_encoding::percent_decode_str;

/// An endpoint, with the parts of its path as they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/api/status/<cluster>/<id>/<state>`
    Status {
        cluster: String,
        shard: Number,
        state: Number,
    },
    /// `/api/health/<cluster>/<id>`
    Health { cluster: String, shard: Number },
    /// `/api/report`
    Report,
    /// `/api/announcement`
    Announcement,
    /// `/api/maintenance/<cluster>` and `/api/maintenance/<cluster>/<group>`
    Maintenance {
        cluster: String,
        group: Option<String>,
    },
}

impl Endpoint {
    /// Reads the path of a request; `None` when it is none of ours.
    ///
    /// Percent-encoding is decoded first, and one `/` at the end is ignored.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        // What is no UTF-8 becomes a replacement character, which is in no cluster's name.
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let rest = decoded.strip_prefix("/api/")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut parts = rest.split('/');
        let endpoint = parts.next()?;
        match (
            endpoint,
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            ("status", Some(cluster), Some(shard), Some(state), None) => Some(Self::Status {
                cluster: name(cluster)?,
                shard: Number::parse(shard)?,
                state: Number::parse(state)?,
            }),
            ("health", Some(cluster), Some(shard), None, _) => Some(Self::Health {
                cluster: name(cluster)?,
                shard: Number::parse(shard)?,
            }),
            ("report", None, ..) => Some(Self::Report),
            ("announcement", None, ..) => Some(Self::Announcement),
            ("maintenance", Some(cluster), group, None, _) => Some(Self::Maintenance {
                cluster: name(cluster)?,
                group: match group {
                    Some(group) => Some(name(group)?),
                    None => None,
                },
            }),
            _ => None,
        }
    }

    /// The methods that the endpoint takes, as an `Allow` header says them.
    pub(crate) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Status { .. } | Self::Health { .. } | Self::Report => &["POST"],
            Self::Announcement | Self::Maintenance { .. } => &["PUT", "DELETE"],
        }
    }
}

fn name(part: &str) -> Option<String> {
    (!part.is_empty()).then(|| part.to_owned())
}

/// A decimal integer of any length, without a plus sign, and without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number(String);

impl Number {
    /// Reads `03` as 3 and `-0` as 0; refuses `+3`, `3.5` and `abc`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        Some(Self(match significant {
            "" => "0".to_owned(),
            _ if digits.len() < text.len() => format!("-{significant}"),
            _ => significant.to_owned(),
        }))
    }

    /// The value, when it is a small number that is not negative.
    pub(crate) fn value(&self) -> Option<u32> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(cluster: &str, shard: &str, state: &str) -> Endpoint {
        Endpoint::Status {
            cluster: cluster.into(),
            shard: Number(shard.into()),
            state: Number(state.into()),
        }
    }

    fn maintenance(cluster: &str, group: Option<&str>) -> Endpoint {
        Endpoint::Maintenance {
            cluster: cluster.into(),
            group: group.map(Into::into),
        }
    }

    #[test]
    fn reads_every_endpoint() {
        let digits = "123456789012345678901234567890";
        for (path, endpoint) in [
            ("/api/status/main/1/3", status("main", "1", "3")),
            ("/api/status/main/1/3/", status("main", "1", "3")),
            ("/api/status/main/003/-1", status("main", "3", "-1")),
            ("/api/status/main/-0/00", status("main", "0", "0")),
            ("/api/status/m%61in/%31/3%2F", status("main", "1", "3")),
            ("/%61pi/status/a%20b/1/3", status("a b", "1", "3")),
            ("/api/status/%FF/1/3", status("\u{fffd}", "1", "3")),
            (
                "/api/health/nope/123456789012345678901234567890",
                Endpoint::Health {
                    cluster: "nope".into(),
                    shard: Number(digits.into()),
                },
            ),
            ("/api/report", Endpoint::Report),
            ("/api/report/", Endpoint::Report),
            ("/api/announcement", Endpoint::Announcement),
            ("/api/maintenance/main", maintenance("main", None)),
            ("/api/maintenance/main/", maintenance("main", None)),
            (
                "/api/maintenance/main/g-1",
                maintenance("main", Some("g-1")),
            ),
        ] {
            assert_eq!(Endpoint::parse(path), Some(endpoint), "{path}");
        }
    }

    #[test]
    fn leaves_everything_else_alone() {
        for path in [
            "",
            "*",
            "/",
            "/api",
            "/api/",
            "/api//",
            "//api/report",
            "/API/report",
            "/api/status",
            "/api/status/main/1",
            "/api/status/main/1/",
            "/api/status//1/3",
            "/api/status/main/1/3//",
            "/api/status/main/1/3/4",
            "/api/status/main/+1/3",
            "/api/status/main/%2B1/3",
            "/api/status/main/1/3.5",
            "/api/status/main/1/abc",
            "/api/status/main/1/online",
            "/api/status/main/-/3",
            "/api/status/main/--1/3",
            "/api/status/main/ 1/3",
            "/api/status/main/\u{0661}/3",
            "/api/health/main",
            "/api/health/main/1/3",
            "/api/health/main/x",
            "/api/report/main",
            "/api/announcement/x",
            "/api/maintenance",
            "/api/maintenance/",
            "/api/maintenance/main//",
            "/api/maintenance/main/1/2",
            "/api/feed",
            "/api/snapshot",
        ] {
            assert_eq!(Endpoint::parse(path), None, "{path}");
        }
    }

    #[test]
    fn only_small_numbers_have_a_value() {
        let value = |text: &str| Number::parse(text).unwrap().value();
        assert_eq!(value("0012"), Some(12));
        assert_eq!(value("-0"), Some(0));
        assert_eq!(value("4294967295"), Some(u32::MAX));
        for text in ["-1", "4294967296", "123456789012345678901234567890"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_a_panic(path in ".*") {
            let _ = Endpoint::parse(&path);
        }

        #[test]
        fn any_tail_is_read_without_a_panic(
            path in "/api/(status|health|report|maintenance)(/[-+%.0-9a-f]{0,4}){0,5}/?"
        ) {
            let _ = Endpoint::parse(&path);
        }

        #[test]
        fn an_encoded_path_means_the_same(shard in any::<u32>(), state in 0u8..9) {
            let plain = format!("/api/status/main/{shard}/{state}");
            let encoded: String = plain.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let wanted = status("main", &shard.to_string(), &state.to_string());
            prop_assert_eq!(Endpoint::parse(&plain), Some(wanted.clone()));
            prop_assert_eq!(Endpoint::parse(&encoded), Some(wanted));
        }
    }
}
