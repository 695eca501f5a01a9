//! The opening handshake of a WebSocket (RFC 6455, section 4.2), without
//! `warp::ws`, whose buffers take 133 KB a connection.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;
use warp::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    reply::Response,
};

use crate::{
    metrics::{Counts, Refused},
    representation::set,
};

/// How long a client may take from our 101 to the WebSocket.
const UPGRADE_MAX: Duration = Duration::from_secs(10);

/// Why a request does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not ask for one.
    NotAsked,
    /// It speaks another version of the protocol than 13.
    Version,
    /// Its key is missing or not 16 bytes in base64.
    Key,
}

/// Checks a GET request, and gives the value of `Sec-WebSocket-Accept`.
///
/// # Errors
///
/// When the request does not open a WebSocket.
pub(crate) fn check(headers: &HeaderMap) -> Result<String, Refusal> {
    let asked = has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !asked {
        return Err(Refusal::NotAsked);
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::Version);
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(Refusal::Key),
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The value of a header that comes exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?;
    values.next().is_none().then_some(())?;
    value.to_str().ok().map(str::trim)
}

/// Whether the client offers to take messages that are compressed one by one (RFC 7692, section 7.1).
///
/// An offer that limits our window (`server_max_window_bits`) is not taken: what is compressed once for all has one window.
#[must_use]
pub(crate) fn takes_compressed(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(header::SEC_WEBSOCKET_EXTENSIONS)
        .into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut offers = texts.flat_map(|text| text.split(','));
    offers.any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let is_it = parts.next() == Some("permessage-deflate");
        is_it && parts.all(|parameter| TAKEN.contains(&parameter) || is_client_window(parameter))
    })
}

/// Parameters of an offer that ask for what we do anyway, or allow what we do not do.
const TAKEN: [&str; 2] = ["server_no_context_takeover", "client_no_context_takeover"];

/// The client would limit its own window, if we asked for it.
fn is_client_window(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    name.trim_end() == "client_max_window_bits"
}

/// The answer that makes the connection a WebSocket, with compressed messages or not.
#[must_use]
pub(crate) fn accept(key: &str, compressed: bool) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    set(headers, header::CONNECTION, "Upgrade");
    set(headers, header::UPGRADE, "websocket");
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if compressed {
        // Each message by itself, in both directions.
        let extension =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        set(headers, header::SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    response
}

/// Waits until the connection that gets our 101 is a WebSocket; `None` when its client left, or did not take the 101.
pub(crate) async fn opened(upgrade: OnUpgrade, counts: &Counts) -> Option<Upgraded> {
    match timeout(UPGRADE_MAX, upgrade).await {
        Ok(Ok(upgraded)) => return Some(upgraded),
        Ok(Err(cause)) => debug!("a viewer left during the handshake: {cause}"),
        Err(_) => debug!("a viewer took too long for the handshake"),
    }
    counts.refuse(Refused::Upgrade);
    None
}

/// The answer to a request that does not open a WebSocket.
#[must_use]
pub(crate) fn refuse(refusal: Refusal) -> Response {
    let (status, sentence) = match refusal {
        Refusal::NotAsked => (
            StatusCode::UPGRADE_REQUIRED,
            "This is a WebSocket; connect with a WebSocket client.\n",
        ),
        Refusal::Version => (
            StatusCode::UPGRADE_REQUIRED,
            "This WebSocket speaks version 13 of the protocol.\n",
        ),
        Refusal::Key => (
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key must be 16 bytes in base64.\n",
        ),
    };
    let mut response = Response::new(sentence.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    if status == StatusCode::UPGRADE_REQUIRED {
        set(headers, header::CONNECTION, "Upgrade");
        set(headers, header::UPGRADE, "websocket");
        set(headers, header::SEC_WEBSOCKET_VERSION, "13");
    }
    response
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future};

    use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncWriteExt as _, duplex, split},
        sync::mpsc,
        time::Instant,
    };

    use super::*;

    fn request(changes: &[(HeaderName, Option<&'static str>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, header::CONNECTION, "keep-alive, Upgrade");
        set(&mut headers, header::UPGRADE, "WebSocket");
        set(&mut headers, header::SEC_WEBSOCKET_VERSION, "13");
        // The example of RFC 6455, section 1.3.
        set(
            &mut headers,
            header::SEC_WEBSOCKET_KEY,
            "dGhlIHNhbXBsZSBub25jZQ==",
        );
        for (name, value) in changes {
            headers.remove(name);
            if let Some(value) = value {
                set(&mut headers, name.clone(), value);
            }
        }
        headers
    }

    #[test]
    fn accepts_the_example_of_the_rfc() {
        assert_eq!(
            check(&request(&[])).as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
    }

    /// A client that asks, and the connection up to the answer to it.
    async fn asked() -> (OnUpgrade, impl Sized) {
        let (client, server) = duplex(1024);
        let (sender, mut receiver) = mpsc::channel(1);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let _ = sender.try_send(request.extensions_mut().remove::<OnUpgrade>());
            // The answer does not come.
            future::pending::<Result<hyper::Response<String>, Infallible>>()
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let serving = tokio::spawn(serving.with_upgrades());
        let (reading, mut writing) = split(client);
        let request = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        writing.write_all(request.as_bytes()).await.unwrap();
        let upgrade = receiver.recv().await.unwrap().unwrap();
        (upgrade, (serving, reading, writing))
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_the_101_is_counted() {
        let counts = Counts::new(1);
        let (upgrade, left) = asked().await;
        drop(left);
        let begun = Instant::now();
        assert!(opened(upgrade, &counts).await.is_none());
        assert_eq!(counts.refused(Refused::Upgrade), 1);
        assert!(begun.elapsed() < UPGRADE_MAX);
        let (upgrade, _waits) = asked().await;
        assert!(opened(upgrade, &counts).await.is_none());
        assert!(begun.elapsed() >= UPGRADE_MAX);
        assert_eq!(counts.refused(Refused::Upgrade), 2);
    }

    #[test]
    fn takes_the_offers_that_it_can_keep() {
        for (offer, taken) in [
            ("permessage-deflate", true),
            // What Chromium and Firefox offer, and what Safari does.
            ("permessage-deflate; client_max_window_bits", true),
            (
                "x-webkit-deflate-frame, permessage-deflate;client_no_context_takeover",
                true,
            ),
            (
                "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
                true,
            ),
            (
                "permessage-deflate; server_max_window_bits=10, permessage-deflate",
                true,
            ),
            ("permessage-deflate; server_max_window_bits=10", false),
            ("permessage-deflate; unheard_of", false),
            ("permessage-bzip2", false),
            ("", false),
        ] {
            let changes = [(header::SEC_WEBSOCKET_EXTENSIONS, Some(offer))];
            assert_eq!(takes_compressed(&request(&changes)), taken, "{offer}");
        }
        assert!(!takes_compressed(&request(&[])));
    }

    #[test]
    fn refuses_what_is_none() {
        for (name, value, refusal) in [
            (header::CONNECTION, None, Refusal::NotAsked),
            (header::CONNECTION, Some("close"), Refusal::NotAsked),
            (header::UPGRADE, Some("h2c"), Refusal::NotAsked),
            (header::SEC_WEBSOCKET_VERSION, Some("8"), Refusal::Version),
            (header::SEC_WEBSOCKET_VERSION, None, Refusal::Version),
            (header::SEC_WEBSOCKET_KEY, None, Refusal::Key),
            (header::SEC_WEBSOCKET_KEY, Some("c2hvcnQ="), Refusal::Key),
            (header::SEC_WEBSOCKET_KEY, Some("not base64"), Refusal::Key),
        ] {
            assert_eq!(check(&request(&[(name, value)])), Err(refusal), "{value:?}");
        }
        let mut twice = request(&[]);
        twice.append(
            header::SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        assert_eq!(check(&twice), Err(Refusal::Key));
    }
}
