//! One HTTP connection that is kept.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long a request may take, with its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a snapshot of the whole fleet.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to one of our programs.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    address: String,
}

impl Connection {
    /// Connects to an address such as `127.0.0.1:3000`.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; its error reaches whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address: address.to_owned(),
        })
    }

    /// Sends a request without a body, and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the answer takes too long.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .body(Empty::new())?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((status, body.to_bytes()))
        };
        timeout(REQUEST_TIMEOUT, exchange)
            .await
            .context("no answer in time")?
            .with_context(|| format!("no answer to {path}"))
    }
}
