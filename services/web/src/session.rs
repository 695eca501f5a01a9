//! One viewer's WebSocket, from its hello to its end.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use glance_runner::Shutdown;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    fanout::{Dialect, Fanout, Item},
    frames,
    metrics::{Cause, Counts},
};

/// A viewer that cannot take what it is sent in this time is dropped ...
const WRITE_MAX: Duration = Duration::from_secs(10);
/// ... with a second more for each of these, so that a slow line can take the hello of a large fleet.
const BYTES_PER_S_MIN: usize = 64 * 1024;
/// How long a write may still take when the service stops.
const LAST_WRITE_MAX: Duration = Duration::from_secs(1);
/// How often a viewer is pinged.
const PING: Duration = Duration::from_secs(15);
/// A viewer that says nothing for this long, not even a pong, is dropped.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long a viewer may take to answer a close.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// The largest message that a viewer may send; it is ignored anyway.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Viewers send next to nothing, and the buffer is filled with zeros at every read.
const READ_BUFFER_BYTES: usize = 1024;

/// Why a session ends.
enum End {
    /// The viewer left, or is gone, or is dropped without a word.
    Gone(Cause),
    /// We close it, with this code and reason.
    Close(Cause, CloseCode, &'static str),
}

impl From<Error> for End {
    fn from(_: Error) -> Self {
        Self::Gone(Cause::Left)
    }
}

/// What all sessions share.
#[derive(Clone)]
pub(crate) struct Session {
    /// Where frames come from.
    pub fanout: Arc<Fanout>,
    /// What is counted.
    pub counts: Arc<Counts>,
    /// Which page this replica serves.
    pub build: Arc<str>,
    /// When to stop.
    pub shutdown: Shutdown,
}

impl Session {
    /// Serves a viewer whose request was accepted, until either side ends it.
    pub(crate) async fn run(self, upgraded: hyper::upgrade::Upgraded, dialect: Dialect) {
        self.serve(TokioIo::new(upgraded), dialect).await;
    }

    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        socket: S,
        dialect: Dialect,
    ) {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(4096)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        let mut viewer = Viewer {
            socket,
            dialect,
            counts: self.counts.clone(),
            heard: Instant::now(),
            shown: 0,
            shutdown: self.shutdown.clone(),
        };
        let feed = self.counts.feed(dialect);
        feed.open();
        let end = viewer.serve(&self).await;
        let (End::Gone(cause) | End::Close(cause, ..)) = end;
        feed.close(cause);
        if let End::Close(_, code, reason) = end {
            // A viewer that takes no close frame is dropped.
            let _ = timeout(CLOSE_MAX, viewer.close(code, reason)).await;
        }
    }
}

struct Viewer<S> {
    socket: WebSocketStream<S>,
    dialect: Dialect,
    counts: Arc<Counts>,
    /// When the viewer last sent something.
    heard: Instant,
    /// The number of the picture that it was shown.
    shown: u64,
    shutdown: Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Viewer<S> {
    async fn serve(&mut self, session: &Session) -> End {
        // First the channel, then the picture: so nothing is missed between the two.
        let mut items = session.fanout.follow(self.dialect);
        let Some(picture) = session.fanout.picture() else {
            return End::Close(Cause::NoTable, CloseCode::Again, "there is no table yet");
        };
        self.shown = picture.number;
        let hello = match self.dialect {
            Dialect::Everybody => picture.hello(),
            Dialect::Page | Dialect::PageCompressed => picture.page_hello(&session.build),
        };
        drop(picture);
        let count = frames::count(&hello);
        if let Err(end) = self.write(hello, count).await {
            return end;
        }
        // Who is slow was not silent meanwhile.
        self.heard = Instant::now();
        let mut ping_at = Instant::now() + PING;
        loop {
            let step = tokio::select! {
                item = items.recv() => self.tell(item, &mut items, &session.fanout).await,
                message = self.socket.next() => self.hear(message).await,
                () = sleep_until(ping_at.min(self.heard + SILENCE_MAX)) => {
                    ping_at = Instant::now() + PING;
                    self.ping().await
                }
                () = self.shutdown.requested() => {
                    Err(End::Close(Cause::Stop, CloseCode::Away, "the server stops"))
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn tell(
        &mut self,
        item: Result<Item, RecvError>,
        items: &mut Receiver<Item>,
        fanout: &Fanout,
    ) -> Result<(), End> {
        match (item, self.dialect) {
            (Ok(Item::Frames(number, ..) | Item::Restart(number)), _) if number <= self.shown => {
                Ok(())
            }
            (Ok(Item::Frames(_, bytes, count)), _) => self.write(bytes, count).await,
            (Ok(Item::Restart(_)), _) => Err(End::Close(
                Cause::Restart,
                CloseCode::Restart,
                "the clusters changed, connect again",
            )),
            (Err(RecvError::Lagged(_)), Dialect::Everybody) => Err(End::Close(
                Cause::Slow,
                CloseCode::Again,
                "too slow, connect again",
            )),
            (Err(RecvError::Lagged(_)), Dialect::Page | Dialect::PageCompressed) => {
                self.counts.feed(self.dialect).resync();
                *items = items.resubscribe();
                let picture = fanout.picture().ok_or(End::Gone(Cause::Left))?;
                self.shown = picture.number;
                let resync = picture.page_resync();
                let count = frames::count(&resync);
                self.write(resync, count).await
            }
            (Err(RecvError::Closed), _) => {
                Err(End::Close(Cause::Stop, CloseCode::Away, "the server stops"))
            }
        }
    }

    /// Writes whole frames past tungstenite, which would copy them into a buffer
    /// of the connection that never shrinks.
    async fn write(&mut self, frames: Bytes, count: u64) -> Result<(), End> {
        let seconds = u64::try_from(frames.len() / BYTES_PER_S_MIN).unwrap_or(0);
        let written = timeout(WRITE_MAX + Duration::from_secs(seconds), async {
            // A pong may still be in tungstenite's buffer; it must not end up inside of a frame.
            self.socket.flush().await?;
            let socket = self.socket.get_mut();
            socket.write_all(&frames).await?;
            socket.flush().await?;
            Ok::<_, Error>(())
        });
        let stopped = async {
            self.shutdown.requested().await;
            sleep(LAST_WRITE_MAX).await;
        };
        tokio::select! {
            biased;
            written = written => match written {
                Ok(result) => {
                    result?;
                    self.counts.feed(self.dialect).sent(frames.len(), count);
                    Ok(())
                }
                Err(_) => Err(End::Gone(Cause::Slow)),
            },
            () = stopped => Err(End::Gone(Cause::Stop)),
        }
    }

    /// Whatever a viewer sends is ignored, but it shows that it lives.
    async fn hear(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Close(_))) => {
                // Sends the answer, which tungstenite has prepared.
                let _ = timeout(CLOSE_MAX, self.socket.flush()).await;
                Err(End::Gone(Cause::Left))
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(Error::Capacity(_))) => Err(End::Close(
                Cause::Wrong,
                CloseCode::Size,
                "what you send is too large",
            )),
            Some(Err(Error::Utf8(_))) => Err(End::Close(
                Cause::Wrong,
                CloseCode::Invalid,
                "that is no text in UTF-8",
            )),
            Some(Err(Error::Protocol(_))) => Err(End::Close(
                Cause::Wrong,
                CloseCode::Protocol,
                "that is no WebSocket frame",
            )),
            Some(Err(_)) | None => Err(End::Gone(Cause::Left)),
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard.elapsed() >= SILENCE_MAX {
            return Err(End::Gone(Cause::Silent));
        }
        match timeout(WRITE_MAX, self.socket.send(Message::Ping(Bytes::new()))).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(End::Gone(Cause::Slow)),
        }
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Error> {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).await?;
        // The viewer answers; what it sent before that is ignored.
        while let Some(message) = self.socket.next().await {
            message?;
        }
        Ok(())
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone(Cause::Left)
    }
}

#[cfg(test)]
mod tests;
