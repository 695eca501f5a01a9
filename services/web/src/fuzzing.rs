//! The parsers of the web service, for the fuzz targets in `fuzz/`. Each function panics when a rule is broken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "only fuzz targets call it"
)]

use std::{cell::OnceCell, sync::Arc, time::Duration};

use glance_protocol::feed::Clock;
use glance_runner::Shutdown;
use tokio::{
    io::{AsyncWriteExt as _, duplex, sink, split},
    runtime::{Builder, Runtime},
    time::timeout,
};
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    OriginRule, Origins,
    fanout::{Dialect, Fanout},
    handshake,
    history::{History, Question},
    metrics::Counts,
    mirror::Mirror,
    origin,
    picture::Picture,
    policy,
    representation::{Representation, etag_of},
    session::Session,
};

/// A session that is fed with bytes ends when its viewer leaves, at once.
const END_MAX: Duration = Duration::from_secs(5);

/// Lines `name: value`, as hyper hands them over.
fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// A path and headers, as lines.
pub fn request(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let path = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let headers = headers(parts.next().unwrap_or_default());
    if let Some(Question::Shard(cluster, id)) = Question::parse(&path) {
        let same = format!("/{cluster}/{id}");
        assert_eq!(Question::parse(&same), Some(Question::Shard(cluster, id)));
    }
    let body = vec![b'x'; 2048].into();
    let file = Representation::new("text/plain", body, etag_of(b"12345678"));
    let status = file.answer(&headers).status();
    assert!(matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED));
    if let Ok(origins) = path.parse::<Origins>() {
        let mut answer = HeaderMap::new();
        origins.allow(&headers, &mut answer);
        let told = answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        // Nobody is allowed who is not named.
        let asking = headers.get(header::ORIGIN);
        assert!(told.is_none() || origins == Origins::Everybody || told == asking);
    }
}

/// A list of origins, an address of data, and then headers, as lines.
pub fn origins(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let list = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let address = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let headers = headers(parts.next().unwrap_or_default());
    if let Ok(written) = origin::parse(&list) {
        // What was read is how browsers write it.
        assert_eq!(origin::parse(&written), Ok(written));
    }
    if let Ok(rule) = list.parse::<OriginRule>() {
        let asked = headers.contains_key(header::ORIGIN);
        assert!(rule.permits(&headers, false) || asked);
    }
    if let Ok(rule) = OriginRule::for_policy(&list) {
        // Nothing that is set adds a directive to the policy, or a second policy.
        let policy = policy::with_frames(&policy::of("", &address, &rule), &rule);
        assert_eq!(policy.matches(';').count(), 9, "{policy}");
        assert!(!policy.contains(',') && policy.is_ascii(), "{policy}");
    }
}

/// Headers, as lines.
pub fn handshake(bytes: &[u8]) {
    let headers = headers(bytes);
    let compressed = handshake::takes_compressed(&headers);
    match handshake::check(&headers) {
        Ok(key) => {
            let answer = handshake::accept(&key, compressed);
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert!(answer.headers().contains_key(header::SEC_WEBSOCKET_ACCEPT));
        }
        Err(refusal) => assert!(handshake::refuse(refusal).status().is_client_error()),
    }
}

/// What a viewer sends after the handshake; the first byte chooses the dialect.
pub fn session(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    let Some((first, frames)) = bytes.split_first() else {
        return;
    };
    let dialect = match first % 3 {
        0 => Dialect::Everybody,
        1 => Dialect::Page,
        _ => Dialect::PageCompressed,
    };
    let serve = async {
        let (server, client) = duplex(4096);
        let (mut reading, mut writing) = split(client);
        let send = async {
            // It may hang up before it has heard all.
            let _ = writing.write_all(frames).await;
            let _ = writing.shutdown().await;
        };
        let read = async { tokio::io::copy(&mut reading, &mut sink()).await };
        let all = async { tokio::join!(viewer().serve(server, dialect), send, read) };
        let (_, (), read) = timeout(END_MAX, all).await.expect("it ends");
        read.expect("a pipe can be read");
    };
    RUNTIME.with(|runtime| {
        let new = || Builder::new_current_thread().enable_time().build().unwrap();
        runtime.get_or_init(new).block_on(serve);
    });
}

fn viewer() -> Session {
    let fanout = Arc::new(Fanout::default());
    let lately = History::default().lately();
    let clock = Clock::default();
    let picture = Picture::take(&Mirror::default(), 1, clock, None, Arc::default(), lately);
    fanout.publish(picture, &[]);
    Session {
        fanout,
        build: "x".into(),
        shutdown: Shutdown::new(),
        counts: Arc::new(Counts::new(1)),
    }
}
