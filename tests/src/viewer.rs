//! A viewer of the feed.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A connection to `/api/feed`.
pub struct Viewer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Viewer {
    /// Connects to a server on this machine. `query` is empty or begins with `?`.
    ///
    /// # Panics
    ///
    /// When the server does not take it.
    pub async fn connect(port: u16, query: &str) -> Self {
        let url = format!("ws://127.0.0.1:{port}/api/feed{query}");
        let (socket, _) = connect_async(url).await.unwrap();
        Self(socket)
    }

    /// The next text frame.
    ///
    /// # Panics
    ///
    /// When there is none within `limit`.
    pub async fn text(&mut self, limit: Duration) -> String {
        let next = timeout(limit, async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(_)) => {}
                    other => panic!("the feed ended: {other:?}"),
                }
            }
        });
        next.await.expect("no frame came in time")
    }

    /// The next frame for which `wanted` holds.
    ///
    /// # Panics
    ///
    /// When there is none within `limit`.
    pub async fn until(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let next = timeout(limit, async {
            loop {
                let frame: Value = serde_json::from_str(&self.text(limit).await).unwrap();
                if wanted(&frame) {
                    return frame;
                }
            }
        });
        next.await.expect("the frame did not come in time")
    }

    /// The code with which the server closes.
    ///
    /// # Panics
    ///
    /// When it does not close within `limit`.
    pub async fn close_code(mut self, limit: Duration) -> Option<u16> {
        let closed = timeout(limit, async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|f| u16::from(f.code)),
                    Some(Ok(_)) => {}
                    _ => return None,
                }
            }
        });
        closed.await.expect("the server does not close")
    }
}
