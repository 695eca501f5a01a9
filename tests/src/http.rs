//! One HTTP request over a connection of its own.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(10);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code; 0 when there was no connection or no answer.
    pub status: u16,
    /// The lines of the head, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// `GET path` from a server on this machine.
pub async fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path, "").await
}

/// `POST path` to a server on this machine.
pub async fn post(port: u16, path: &str) -> Answer {
    request(port, "POST", path, "").await
}

/// Any request. `head` holds further header lines, each with its line end.
///
/// # Panics
///
/// When it is not answered.
pub async fn request(port: u16, method: &str, path: &str, head: &str) -> Answer {
    match ask(port, method, path, head, "", LIMIT).await {
        Some(answer) => answer,
        None => panic!("{method} {path} was not answered within {LIMIT:?}"),
    }
}

/// Any request with a body; `None` when it is not answered within `limit`.
pub async fn ask(
    port: u16,
    method: &str,
    path: &str,
    head: &str,
    body: &str,
    limit: Duration,
) -> Option<Answer> {
    let length = body.len();
    // HTTP/1.0: the body of the answer ends with the connection, and is not in chunks.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    );
    let bytes = timeout(limit, exchange(port, &request)).await.ok()?;
    let bytes = bytes.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Some(Answer {
        status: status.unwrap_or(0),
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

async fn exchange(port: u16, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}
