//! Bodies that are compressed once and sent to many, with the rules of HTTP
//! about entity tags and encodings (RFC 9110, sections 8.8, 12.5.3 and 13.1.2).

use std::{fmt::Write as _, io::Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use warp::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    reply::Response,
};

/// Below this, compression saves no packet.
const GZIP_BYTES_MIN: usize = 512;
/// From here on, speed counts for more than the last percents.
const LARGE_BYTES: usize = 512 * 1024;

/// A body in the forms in which clients may want it.
#[derive(Debug)]
pub(crate) struct Representation {
    content_type: &'static str,
    etag: String,
    identity: Bytes,
    gzip: Option<Bytes>,
    /// What a document may do in a browser; `None` where all of a kind have the same policy.
    policy: Option<HeaderValue>,
}

/// A weak entity tag of the first bytes of a hash.
#[must_use]
pub(crate) fn etag_of(hash: &[u8]) -> String {
    format!("W/\"{}\"", hex(hash))
}

/// The first 8 bytes of a hash as hexadecimal digits.
#[must_use]
pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl Representation {
    /// Compresses the body if that makes it smaller.
    #[must_use]
    pub(crate) fn new(content_type: &'static str, identity: Bytes, etag: String) -> Self {
        Self {
            gzip: gzip(&identity),
            content_type,
            etag,
            identity,
            policy: None,
        }
    }

    /// The same with a Content Security Policy of its own.
    #[must_use]
    pub(crate) fn with_policy(self, policy: Option<&str>) -> Self {
        // What it is made of was checked when the settings were read.
        let policy = policy.and_then(|policy| HeaderValue::from_str(policy).ok());
        Self { policy, ..self }
    }

    /// The body as it is.
    #[must_use]
    pub(crate) fn body(&self) -> &Bytes {
        &self.identity
    }

    /// How many bytes of body most clients get.
    #[cfg(test)]
    pub(crate) fn sent_bytes(&self) -> usize {
        self.gzip.as_ref().unwrap_or(&self.identity).len()
    }

    /// As [`Self::answer`], for a body that never changes under its address.
    #[must_use]
    pub(crate) fn answer_for_ever(&self, request: &HeaderMap) -> Response {
        let mut response = self.answer(request);
        let value = "public, max-age=31536000, immutable";
        set(response.headers_mut(), header::CACHE_CONTROL, value);
        response
    }

    /// The answer to a GET or HEAD request with these headers.
    #[must_use]
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        if is_known(request, &self.etag) {
            return not_modified(&self.etag);
        }
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(request));
        let mut response = Response::new(gzip.unwrap_or(&self.identity).clone().into());
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, self.content_type);
        if gzip.is_some() {
            set(headers, header::CONTENT_ENCODING, "gzip");
        }
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        set_validators(headers, &self.etag);
        response
    }
}

/// The answer to somebody who has the body already.
#[must_use]
pub(crate) fn not_modified(etag: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set_validators(response.headers_mut(), etag);
    response
}

fn set_validators(headers: &mut HeaderMap, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    // Kept, but asked for again each time.
    set(headers, header::CACHE_CONTROL, "no-cache");
    set(headers, header::VARY, "Accept-Encoding");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
}

/// Sets a header to a constant.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    if body.len() < GZIP_BYTES_MIN {
        return None;
    }
    let level = if body.len() < LARGE_BYTES { 6 } else { 2 };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(body).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < body.len()).then(|| compressed.into())
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether the client says that it has the body with this tag.
#[must_use]
pub(crate) fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    values(request, &header::IF_NONE_MATCH).any(|tag| tag == "*" || opaque(tag) == opaque(etag))
}

fn takes_gzip(request: &HeaderMap) -> bool {
    let mut any = false;
    for entry in values(request, &header::ACCEPT_ENCODING) {
        let mut parts = entry.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let wanted = weight.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= coding == "*" && wanted;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, name, value);
        headers
    }

    #[test]
    fn accept_encoding() {
        for (value, wanted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("*", true),
            ("*;q=0", false),
            ("br, deflate", false),
            ("", false),
        ] {
            let request = headers(header::ACCEPT_ENCODING, value);
            assert_eq!(takes_gzip(&request), wanted, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn if_none_match() {
        for (value, known) in [
            ("W/\"a\"", true),
            ("\"a\"", true),
            ("\"x\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let request = headers(header::IF_NONE_MATCH, value);
            assert_eq!(is_known(&request, "W/\"a\""), known, "{value}");
        }
    }

    #[test]
    fn only_what_shrinks_is_compressed() {
        assert!(gzip(&[b'x'; 100]).is_none());
        assert!(gzip(&[b'x'; 1000]).is_some());
    }
}
