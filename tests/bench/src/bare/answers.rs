//! An HTTP server that answers 204 and does nothing else: what hyper and the kernel cost.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::HEADER_TIMEOUT;

/// Listens on a free port of loopback until the process is killed.
///
/// # Errors
///
/// When there is no port.
pub(super) async fn play() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

/// With the settings of our listener.
async fn serve(stream: TcpStream) {
    // Without it, the numbers would only be lower.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .max_headers(64)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // The client ends it.
    let _ = connection.await;
}

async fn answer(_: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
