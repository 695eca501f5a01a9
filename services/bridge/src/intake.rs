//! Request bodies: read within limits, or ignored without losing the connection.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};
use warp::http::{HeaderMap, HeaderValue, header};

use crate::refusal::{Refusal, Unavailable};

/// How long a client may take to send a body that is read.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body waits for memory, in all. Together with the broker's part, an answer stays below two seconds.
const ROOM_WAIT: Duration = Duration::from_millis(400);

/// How much of an ignored body is read, in bytes, and for how long, before the connection is closed instead.
const IGNORED_BYTES_MAX: usize = 1024 * 1024;
const IGNORED_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request.
pub(crate) struct Body {
    /// `None` when there is nothing to read.
    stream: Option<BoxStream<'static, Result<Bytes, warp::Error>>>,
    /// What `Content-Length` says.
    length: Option<u64>,
}

impl Body {
    pub(crate) fn new<B: Buf>(
        stream: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
        headers: &HeaderMap,
    ) -> Self {
        let chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let length = headers.get(header::CONTENT_LENGTH).filter(|_| !chunked);
        let parse = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
        // A length that is beyond any number is beyond any limit.
        let length = length.map(|value| parse(value).unwrap_or(u64::MAX));
        let to_bytes = |part: Result<B, _>| part.map(|mut buf| buf.copy_to_bytes(buf.remaining()));
        // Without either header, a request has no body.
        let any = chunked || length.unwrap_or(0) > 0;
        Self {
            stream: any.then(|| stream.map(to_bytes).boxed()),
            length,
        }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// When it has more than `max` bytes, takes too long, or breaks off.
    pub(crate) async fn read(&mut self, max: usize) -> Result<Bytes, Refusal> {
        Ok(self.read_into(max, &Room::new(max)).await?.0)
    }

    /// The same, where all bodies together have so much room. What has arrived holds its part of it as long as the
    /// permit is kept; what is only announced holds nothing, so that who sends nothing takes nothing from others.
    ///
    /// # Errors
    ///
    /// Also when there is no room.
    pub(crate) async fn read_into<'a>(
        &mut self,
        max: usize,
        room: &'a Room,
    ) -> Result<(Bytes, SemaphorePermit<'a>), Refusal> {
        if self.length.is_some_and(|length| length > max as u64) {
            return Err(Refusal::TooLarge(max));
        }
        match timeout(READ_TIMEOUT, self.collect(max, room)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::TooSlow),
        }
    }

    async fn collect<'a>(
        &mut self,
        max: usize,
        room: &'a Room,
    ) -> Result<(Bytes, SemaphorePermit<'a>), Refusal> {
        let mut whole = BytesMut::new();
        let mut held = Held::new(room)?;
        while let Some(stream) = &mut self.stream {
            match stream.next().await {
                Some(Ok(part)) if whole.len() + part.len() > max => {
                    return Err(Refusal::TooLarge(max));
                }
                Some(Ok(part)) => {
                    held.grow(whole.len() + part.len()).await?;
                    whole.extend_from_slice(&part);
                }
                Some(Err(_)) => {
                    self.stream = None;
                    return Err(Refusal::Malformed("the body broke off".into()));
                }
                None => self.stream = None,
            }
        }
        Ok((whole.freeze(), held.permit))
    }

    /// Lets the client send the rest of the body while it is answered, so that the connection can be used again.
    pub(crate) fn ignore(self) {
        let Some(mut stream) = self.stream else {
            return;
        };
        // There is one such task a connection at most: the next request is read only after the body.
        tokio::spawn(async move {
            let rest = async {
                let mut bytes = 0;
                while let Some(Ok(part)) = stream.next().await {
                    bytes += part.len();
                    if bytes > IGNORED_BYTES_MAX {
                        return;
                    }
                }
            };
            // Dropping the body half read makes hyper close the connection.
            let _ = timeout(IGNORED_TIMEOUT, rest).await;
        });
    }
}

/// How much memory all bodies may take together.
pub(crate) struct Room(Semaphore);

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Semaphore::new(bytes.div_ceil(1024)))
    }
}

/// The part of the room that one body has, in KiB.
struct Held<'a> {
    room: &'a Room,
    permit: SemaphorePermit<'a>,
    /// How long it may still wait for more.
    patience: Duration,
}

impl<'a> Held<'a> {
    fn new(room: &'a Room) -> Result<Self, Refusal> {
        Ok(Self {
            room,
            permit: room.0.try_acquire_many(0).map_err(no_room)?,
            patience: ROOM_WAIT,
        })
    }

    async fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes
            .div_ceil(1024)
            .saturating_sub(self.permit.num_permits());
        if more == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let more = self
            .room
            .0
            .acquire_many(u32::try_from(more).unwrap_or(u32::MAX));
        let more = timeout(self.patience, more).await.map_err(no_room)?;
        self.permit.merge(more.map_err(no_room)?);
        self.patience = self.patience.saturating_sub(begun.elapsed());
        Ok(())
    }
}

fn no_room<E>(_: E) -> Refusal {
    Unavailable::NoRoom.into()
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn body(length: Option<&str>, parts: Vec<&'static str>) -> Body {
        let mut headers = HeaderMap::new();
        match length {
            Some(length) => headers.insert(header::CONTENT_LENGTH, length.parse().unwrap()),
            None => headers.insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap()),
        };
        let parts = parts
            .into_iter()
            .map(|part| Ok(Bytes::from_static(part.as_bytes())));
        Body::new(stream::iter(parts.collect::<Vec<_>>()), &headers)
    }

    #[tokio::test]
    async fn takes_at_most_the_limit() {
        assert_eq!(
            body(Some("4"), vec!["ab", "cd"]).read(4).await.unwrap(),
            "abcd"
        );
        assert_eq!(body(None, vec!["ab", "cd"]).read(4).await.unwrap(), "abcd");
        assert_eq!(body(Some("0"), vec![]).read(4).await.unwrap(), "");
        for mut large in [
            body(Some("5"), vec!["abcde"]),
            body(None, vec!["abc", "de"]),
        ] {
            assert_eq!(large.read(4).await, Err(Refusal::TooLarge(4)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_ever() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "3".parse().unwrap());
        let mut body = Body::new(stream::pending::<Result<Bytes, _>>(), &headers);
        assert_eq!(body.read(4).await, Err(Refusal::TooSlow));
    }

    /// A body that announces three KiB, sends so many bytes and then waits.
    fn stalled(bytes: usize) -> Body {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "3072".parse().unwrap());
        let part: Result<_, warp::Error> = Ok(Bytes::from(vec![b'x'; bytes]));
        Body::new(stream::iter([part]).chain(stream::pending()), &headers)
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_takes_no_room() {
        let room = Room::new(3 * 1024);
        let mut silent: Vec<_> = (0..100).map(|_| stalled(0)).collect();
        let mut reads: Vec<_> = silent
            .iter_mut()
            .map(|body| Box::pin(body.read_into(4096, &room)))
            .collect();
        for read in &mut reads {
            assert!(futures::poll!(read).is_pending());
        }
        let mut whole = body(Some("4"), vec!["ab", "cd"]);
        let (bytes, _permit) = whole.read_into(4096, &room).await.unwrap();
        assert_eq!(bytes, "abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_it_is_refused_soon_and_the_room_comes_back() {
        let room = Room::new(3 * 1024);
        let mut first = stalled(2049);
        let mut first = Box::pin(first.read_into(4096, &room));
        assert!(futures::poll!(&mut first).is_pending());
        let start = Instant::now();
        let mut second = body(Some("4"), vec!["ab", "cd"]);
        let refused = second.read_into(4096, &room).await.map(drop);
        assert_eq!(refused, Err(Unavailable::NoRoom.into()));
        assert_eq!(start.elapsed(), ROOM_WAIT);
        drop(first);
        let mut third = body(Some("4"), vec!["ab", "cd"]);
        let (_, permit) = third.read_into(4096, &room).await.unwrap();
        assert_eq!(permit.num_permits(), 1);
    }
}
