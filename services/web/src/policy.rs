//! What the page may do in a browser (Content Security Policy Level 3). Pure.
//!
//! Scripts and styles that stand in the page itself are allowed by their hashes, which are taken from the template:
//! what gets into the page later, by whatever mistake, has none and does not run.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{
    OriginRule,
    origin::{self, socket_of},
};

/// Stands for what is filled in later.
pub(crate) const GAP: char = '\0';

/// The policy of a page without the rule about frames, which is no part of it where it stands in the page.
///
/// `api` is where its data comes from, empty for the same host; `others` are further hosts that the operator's page needs.
#[must_use]
pub(crate) fn of(template: &str, api: &str, others: &OriginRule) -> String {
    let (others, sockets) = (others.sources(), others.sockets());
    let list = |sources: &[&str]| {
        let sources = sources.iter().copied().chain([&others[..]]);
        let sources: Vec<&str> = sources.filter(|it| !it.is_empty()).collect();
        sources.join(" ")
    };
    let [scripts, styles] = ["script", "style"].map(|tag| hashes(template, tag));
    let directives = [
        ("default-src", "'none'".to_owned()),
        ("script-src", list(&["'self'", &scripts])),
        ("style-src", list(&["'self'", &styles])),
        ("img-src", list(&["'self'", "data:"])),
        ("font-src", list(&["'self'", "data:"])),
        (
            "connect-src",
            list(&["'self'", &connections(api), &sockets]),
        ),
        ("manifest-src", "'self'".to_owned()),
        ("base-uri", "'none'".to_owned()),
        ("form-action", "'none'".to_owned()),
    ];
    let directives = directives.map(|(name, sources)| format!("{name} {sources}"));
    directives.join("; ")
}

/// A policy with the rule about frames.
#[must_use]
pub(crate) fn with_frames(policy: &str, frames: &OriginRule) -> String {
    let sources = frames.sources();
    let frames = if sources.is_empty() {
        "'none'"
    } else {
        &sources
    };
    format!("{policy}; frame-ancestors {frames}")
}

/// The origin of an address, and the same for WebSockets. Empty for an address without one, which `brand` refuses.
fn connections(api: &str) -> String {
    origin::of_address(api).map_or(String::new(), |origin| {
        format!("{origin} {}", socket_of(&origin))
    })
}

/// The hashes of the elements of this name that stand in the page itself.
fn hashes(template: &str, tag: &str) -> String {
    let (start, end) = (format!("<{tag}"), format!("</{tag}"));
    // As the browser reads it.
    let template = template.replace("\r\n", "\n");
    let lower = template.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = lower[at..]
        .find(&start)
        .map(|begin| at + begin + start.len())
    {
        let Some(body) = lower[begin..].find('>').map(|length| begin + length + 1) else {
            break;
        };
        let length = lower[body..].find(&end).unwrap_or(lower.len() - body);
        at = body + length;
        let attributes = &lower[begin..body];
        let text = &template[body..at];
        // What is data or elsewhere needs no hash, and what changes can have none.
        if !attributes.contains("json") && !attributes.contains("src=") && !text.contains(GAP) {
            let hash = STANDARD.encode(Sha256::digest(text));
            found.push(format!("'sha256-{hash}'"));
        }
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_in_the_page_are_allowed_by_their_hash() {
        let page = "<script type=\"application/json\">{}</script><script src=\"a.js\"></script>\
            <SCRIPT nonce>alert('Hello, world.');</SCRIPT><script>var x = \"\0\";</script><style>b{}</style>";
        let policy = of(page, "", &OriginRule::NONE);
        // The example of the specification, section 8.2.
        let hash = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        assert!(
            policy.contains(&format!("script-src 'self' {hash};")),
            "{policy}"
        );
        assert_eq!(policy.matches("sha256-").count(), 2, "{policy}");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    }

    #[test]
    fn data_from_another_host_may_be_read() {
        for (api, connect) in [
            ("", "connect-src 'self';"),
            (
                "https://api.example.org/glance/",
                "connect-src 'self' https://api.example.org wss://api.example.org;",
            ),
            (
                "http://h:3000",
                "connect-src 'self' http://h:3000 ws://h:3000;",
            ),
            ("https://H:443/", "connect-src 'self' https://h wss://h;"),
            ("https://h; script-src *", "connect-src 'self';"),
        ] {
            let policy = of("", api, &OriginRule::NONE);
            assert!(policy.contains(connect), "{policy}");
            assert_eq!(policy.matches(';').count(), 8, "{policy}");
        }
    }

    #[test]
    fn other_hosts_may_be_loaded_from_and_talked_to() {
        let others = "https://a.org,http://b:81".parse().unwrap();
        let policy = of("", "", &others);
        let named = |directive: &str| policy.contains(&format!("; {directive};"));
        assert!(named("font-src 'self' data: https://a.org http://b:81"));
        // A WebSocket is another scheme, and nothing but a connection.
        let connect = "connect-src 'self' wss://a.org ws://b:81 https://a.org http://b:81";
        assert!(named(connect), "{policy}");
        assert_eq!(policy.matches("ws").count(), 2, "{policy}");
        let policy = of("", "", &OriginRule::Everybody);
        assert!(policy.contains("; connect-src 'self' *;"), "{policy}");
    }

    #[test]
    fn a_torn_page_is_no_trouble() {
        for page in [
            "<script",
            "<script>",
            "<script>a",
            "<style></",
            "</script><script>é",
        ] {
            let _ = of(page, "", &OriginRule::NONE);
        }
    }
}
