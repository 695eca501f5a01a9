//! Rules about the origins of pages (RFC 6454): whose pages may open the feed, show the page in a frame, or be loaded from.

use std::str::FromStr;

use warp::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::origin::{self, UNFIT, fits_policy, socket_of};

const ALLOWED: &str = "`*`, `none`, or `same` and origins";

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Which origins are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    /// All of them.
    Everybody,
    /// These; none when the list is empty.
    Only {
        /// Whether the origin that the page itself comes from is one of them.
        same: bool,
        /// The others, such as `https://status.example.org`.
        others: Vec<String>,
    },
}

impl OriginRule {
    /// No origin at all.
    pub(crate) const NONE: Self = Self::Only {
        same: false,
        others: Vec::new(),
    };
    /// The origin of the page itself.
    pub(crate) const SAME: Self = Self::Only {
        same: true,
        others: Vec::new(),
    };
}

impl FromStr for OriginRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "*" => return Ok(Self::Everybody),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let (mut same, mut others) = (false, Vec::new());
        for entry in text.split(',').map(str::trim) {
            if entry == "same" {
                same = true;
                continue;
            }
            let origin = origin::parse(entry).map_err(|problem| problem.of(entry, ALLOWED))?;
            others.push(origin);
        }
        Ok(Self::Only { same, others })
    }
}

impl OriginRule {
    /// Reads a rule that becomes a part of a Content Security Policy.
    ///
    /// # Errors
    ///
    /// When it is no rule, or browsers would ignore a part of it.
    pub(crate) fn for_policy(text: &str) -> Result<Self, String> {
        let rule: Self = text.parse()?;
        match rule.others().iter().find(|origin| !fits_policy(origin)) {
            Some(origin) => Err(format!("'{origin}' {UNFIT}")),
            None => Ok(rule),
        }
    }

    fn others(&self) -> &[String] {
        match self {
            Self::Everybody => &[],
            Self::Only { others, .. } => others,
        }
    }

    /// Whether a request may be answered. One that names no origin comes from a program and not from a page: a rule
    /// about pages does not stop it. `forwarded` is whether a trusted proxy says to which host it was sent.
    #[must_use]
    pub(crate) fn permits(&self, request: &HeaderMap, forwarded: bool) -> bool {
        let Self::Only { same, others } = self else {
            return true;
        };
        let permitted = |origin: &HeaderValue| {
            let Ok(origin) = origin.to_str() else {
                return false;
            };
            let is_named = || others.iter().any(|it| it.eq_ignore_ascii_case(origin));
            *same && is_same(origin, request, forwarded) || is_named()
        };
        request.get_all(header::ORIGIN).into_iter().all(permitted)
    }

    /// The same as sources of a Content Security Policy; empty for no origin.
    #[must_use]
    pub(crate) fn sources(&self) -> String {
        match self {
            Self::Everybody => "*".to_owned(),
            Self::Only { same, others } => {
                let same = same.then_some("'self'").into_iter();
                let all: Vec<&str> = same.chain(others.iter().map(String::as_str)).collect();
                all.join(" ")
            }
        }
    }

    /// The WebSockets of the others as such sources: one with `https:` does not cover `wss:` (Content Security Policy
    /// Level 3, "scheme-part matches"). `*` and `'self'` cover both.
    #[must_use]
    pub(crate) fn sockets(&self) -> String {
        let all = self.others().iter().map(|origin| socket_of(origin));
        all.collect::<Vec<_>>().join(" ")
    }
}

/// Whether a page comes from the host that it asks. A proxy may have taken the encryption away, so the scheme does not count.
fn is_same(origin: &str, request: &HeaderMap, forwarded: bool) -> bool {
    let told = request.get(FORWARDED_HOST).filter(|_| forwarded);
    let host = told.or_else(|| request.get(header::HOST));
    let host = host.and_then(|value| value.to_str().ok());
    // Each proxy of several adds itself behind the host that was asked.
    let host = host
        .and_then(|hosts| hosts.split(',').next())
        .map(str::trim);
    let Some((scheme, of_page)) = origin.split_once("://") else {
        return false;
    };
    let port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    host.is_some_and(|host| !host.is_empty() && bare(host) == bare(of_page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn settings() {
        for (text, wanted) in [
            ("*", "*"),
            ("none", ""),
            ("same", "'self'"),
            (
                "https://a.org, same,http://B:8080",
                "'self' https://a.org http://b:8080",
            ),
        ] {
            assert_eq!(text.parse::<OriginRule>().unwrap().sources(), wanted);
        }
        for wrong in ["", "a.org", "https://a.org/x", "*,same", "https://a.org;x"] {
            assert!(wrong.parse::<OriginRule>().unwrap_err().contains("same"));
            assert!(OriginRule::for_policy(wrong).is_err());
        }
    }

    #[test]
    fn a_rule_for_a_policy_names_only_what_it_can() {
        let rule = "same,https://a.org:443,http://10.0.0.1:81";
        assert_eq!(OriginRule::for_policy(rule), rule.parse());
        assert_eq!(OriginRule::for_policy("*"), Ok(OriginRule::Everybody));
        for wrong in ["http://[::1]:3000", "same,http://status_web"] {
            let error = OriginRule::for_policy(wrong).unwrap_err();
            assert!(
                error.contains("http://") && error.contains("IPv6"),
                "{error}"
            );
            // Who asks is compared with it, and that works.
            assert!(wrong.parse::<OriginRule>().is_ok());
        }
    }

    #[test]
    fn the_same_host_is_the_one_that_was_asked() {
        let rule: OriginRule = "same".parse().unwrap();
        for (host, origin, permitted) in [
            ("a.org", "https://a.org", true),
            ("A.org:443", "https://a.org", true),
            ("a.org:80", "http://a.org", true),
            ("a.org:3000", "http://a.org:3000", true),
            ("a.org:3000", "http://a.org", false),
            ("a.org", "https://b.org", false),
            ("a.org", "https://a.org.b.org", false),
            ("a.org", "null", false),
            ("a.org", "", false),
            ("", "https://", false),
        ] {
            let asked = request(&[(header::HOST, host), (header::ORIGIN, origin)]);
            assert_eq!(rule.permits(&asked, false), permitted, "{host} {origin}");
        }
        let told = request(&[
            (header::HOST, "inside"),
            (FORWARDED_HOST, "a.org, inside"),
            (header::ORIGIN, "https://a.org"),
        ]);
        assert!(rule.permits(&told, true));
        // Anybody can send the header.
        assert!(!rule.permits(&told, false));
    }

    #[test]
    fn only_pages_are_asked_where_they_come_from() {
        let rule: OriginRule = "https://a.org".parse().unwrap();
        assert!(rule.permits(&HeaderMap::new(), false));
        assert!(!OriginRule::NONE.permits(&request(&[(header::ORIGIN, "https://a.org")]), false));
        let written = [
            ("https://a.org:443", "https://a.org"),
            ("http://b:80", "http://b"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://status_web:3000", "http://status_web:3000"),
        ];
        for (listed, sent) in written {
            let rule: OriginRule = listed.parse().unwrap();
            assert!(
                rule.permits(&request(&[(header::ORIGIN, sent)]), false),
                "{listed}"
            );
        }
        let two = [
            (header::ORIGIN, "https://a.org"),
            (header::ORIGIN, "https://b.org"),
        ];
        assert!(rule.permits(&request(&two[..1]), false));
        assert!(!rule.permits(&request(&two), false));
        assert!(OriginRule::Everybody.permits(&request(&two), false));
    }
}
