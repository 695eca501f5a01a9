//! A server that answers `/<n>` with `n` bytes, and does nothing else: the limit of hyper.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The largest answer.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers until the process is killed.
///
/// # Errors
///
/// When it cannot listen.
pub(super) async fn play() -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'x'; BYTES_MAX]);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let bytes = request.uri().path()[1..].parse().unwrap_or(0);
            let body = body.slice(..BYTES_MAX.min(bytes));
            async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
