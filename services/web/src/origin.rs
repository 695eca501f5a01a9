//! What an origin is, written as browsers write it (RFC 6454; URL Standard, section 3). Pure.

use url::Url;

/// What is told about an origin that no policy can name.
pub(crate) const UNFIT: &str = "cannot stand in a Content Security Policy, and browsers would ignore it: a host there is \
    a name of letters, digits and -, with dots between, and no IPv6 address; give the host such a name";

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is not `https://` or `http://`, a host, and a port or none.
    NotOne,
    /// Its host is not in ASCII; this is how browsers write it.
    NotAscii(String),
}

impl Problem {
    /// What is told about an entry of a list; `allowed` says what may stand there.
    #[must_use]
    pub(crate) fn of(&self, entry: &str, allowed: &str) -> String {
        match self {
            Self::NotOne => format!(
                "'{entry}' is no origin; write {allowed} such as https://status.example.org, separated by commas"
            ),
            Self::NotAscii(written) => {
                format!("'{entry}' is not how browsers write it; write {written}")
            }
        }
    }
}

/// Reads an origin. What is given back is what browsers send: in small letters, and without the port that the scheme has
/// anyway.
///
/// # Errors
///
/// When no page can have such an origin.
pub(crate) fn parse(text: &str) -> Result<String, Problem> {
    let rest = without_scheme(text).ok_or(Problem::NotOne)?;
    let written = Url::parse(text).map(|url| url.origin().ascii_serialization());
    // A URL may be written in many ways that an origin may not, such as with a path, a user or escapes.
    let is_expected = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if !rest.is_ascii() {
        let rest_is_expected = rest.chars().all(|c| is_expected(c) || !c.is_ascii());
        let written = written.ok().filter(|it| rest_is_expected && is_host_of(it));
        return Err(written.map_or(Problem::NotOne, Problem::NotAscii));
    }
    let is_plain = rest.chars().all(is_expected) && !rest.ends_with(':');
    let written = written.ok().filter(|it| is_plain && is_host_of(it));
    written.ok_or(Problem::NotOne)
}

/// The origin of an address, such as `https://a.org` of `https://a.org/glance/`.
///
/// # Errors
///
/// When the address has no host that a page can ask, or names a user.
pub(crate) fn of_address(address: &str) -> Result<String, Problem> {
    let rest = without_scheme(address).ok_or(Problem::NotOne)?;
    // A backslash is a slash to browsers.
    let host = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let scheme = &address[..address.len() - rest.len()];
    parse(&format!("{scheme}{host}"))
}

/// The same origin for WebSockets.
#[must_use]
pub(crate) fn socket_of(origin: &str) -> String {
    origin.replacen("http", "ws", 1)
}

/// Whether a Content Security Policy can name it (Level 3, section 2.3.1). It has no words for IPv6 addresses and for
/// names with `_`: browsers leave them out, and say so in their console alone.
#[must_use]
pub(crate) fn fits_policy(origin: &str) -> bool {
    let rest = without_scheme(origin).unwrap_or_default();
    let host = rest.split(':').next().unwrap_or_default();
    let is_label = |label: &str| {
        let mut chars = label.chars();
        !label.is_empty() && chars.all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.split('.').all(is_label)
}

fn without_scheme(text: &str) -> Option<&str> {
    let https = text.strip_prefix("https://");
    https.or_else(|| text.strip_prefix("http://"))
}

/// Whether none of the parts of its name is empty, but for the last.
fn is_host_of(origin: &str) -> bool {
    let rest = without_scheme(origin).unwrap_or_default();
    if rest.starts_with('[') {
        return true;
    }
    let host = rest.split(':').next().unwrap_or_default();
    let host = host.strip_suffix('.').unwrap_or(host);
    host.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for (text, written) in [
            ("https://status.example.org", "https://status.example.org"),
            ("https://Status.Example.org", "https://status.example.org"),
            ("https://a.org:443", "https://a.org"),
            ("http://h:80", "http://h"),
            ("http://h:0080", "http://h"),
            ("http://a.org:443", "http://a.org:443"),
            ("https://a.org:80", "https://a.org:80"),
            ("http://status_web:3000", "http://status_web:3000"),
            (
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example",
            ),
            ("http://10.0.0.1:3000", "http://10.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://[2001:DB8::0:1]:443", "https://[2001:db8::1]"),
            ("https://a.org.", "https://a.org."),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn what_no_page_can_have_is_refused() {
        for text in [
            "",
            "a.org",
            "ftp://a.org",
            "https://",
            "https://:",
            "https://:443",
            "https://a.org:",
            "https://a.org:99999",
            "https://a.org:-1",
            "https://a.org:https",
            "https://a:1:2",
            "https://[[",
            "https://[::1",
            "https://::1",
            "https://[::g]",
            "https://.",
            "https://a..org",
            "https://.a.org",
            "https://a.org/",
            "https://a.org?",
            "https://a.org#",
            "https://a.org\\",
            "https:///a.org",
            "https://u@a.org",
            "https://*.a.org",
            "https://%61.org",
            "https://a.org;x",
            "https://a.org x",
            " https://a.org",
            "https://a\t.org",
            "https://256.256.256.256",
            "https://xn--a",
            "https://bücher.example/",
            "https://ü..example",
        ] {
            assert_eq!(parse(text), Err(Problem::NotOne), "{text}");
        }
        let written = "https://xn--bcher-kva.example:8443".to_owned();
        let problem = Err(Problem::NotAscii(written));
        assert_eq!(parse("https://bücher.example:8443"), problem);
    }

    #[test]
    fn an_address_has_an_origin() {
        for (address, origin) in [
            ("https://api.example.org", "https://api.example.org"),
            ("https://api.example.org/", "https://api.example.org"),
            ("https://a.org:443/glance/?a=//b#c", "https://a.org"),
            ("http://h:3000?x", "http://h:3000"),
            ("https://a.org\\b", "https://a.org"),
        ] {
            assert_eq!(of_address(address).as_deref(), Ok(origin), "{address}");
        }
        for address in [
            "",
            "/glance",
            "https:///a",
            "https://u:p@a.org/",
            "https://h; a",
        ] {
            assert_eq!(of_address(address), Err(Problem::NotOne), "{address}");
        }
    }

    #[test]
    fn sockets_have_a_scheme_of_their_own() {
        assert_eq!(socket_of("https://http.org:1"), "wss://http.org:1");
        assert_eq!(socket_of("http://h"), "ws://h");
    }

    #[test]
    fn a_policy_cannot_name_every_host() {
        for (origin, fits) in [
            ("https://a-1.org:8443", true),
            ("http://10.0.0.1:3000", true),
            ("http://[::1]:3000", false),
            ("http://status_web:3000", false),
            ("https://a.org.", false),
        ] {
            assert_eq!(fits_policy(origin), fits, "{origin}");
        }
    }
}
