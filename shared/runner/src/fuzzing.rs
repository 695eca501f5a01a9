//! The parsers of this crate, for the fuzz targets in `fuzz/`.

#![allow(missing_docs, reason = "only fuzz targets call it")]

use std::net::{IpAddr, Ipv4Addr};

use warp::http::{HeaderMap, HeaderValue, header::HeaderName};

use crate::{broker, http::TrustedProxies};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub fn broker_version(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = broker::version_of(text);
    }
}

/// The trusted proxies, and then lines of `X-Forwarded-For`.
pub fn client_address(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let trusted = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let Ok(proxies) = trusted.parse::<TrustedProxies>() else {
        return;
    };
    let lines: Vec<_> = lines
        .take(64)
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let client = |lines: &[HeaderValue]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.clone());
        }
        proxies.client(Ipv4Addr::LOCALHOST.into(), &headers)
    };
    let found = client(&lines);
    if !lines.is_empty() && found != IpAddr::V4(Ipv4Addr::LOCALHOST) && !proxies.contains(found) {
        // What a client adds in front of what the proxies say changes nothing.
        let invented = [HeaderValue::from_static("192.0.2.77, 2001:db8::77")];
        let more = [&invented[..], &lines].concat();
        assert_eq!(client(&more), found);
    }
}
