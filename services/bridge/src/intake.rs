//! Request bodies: read within limits, or ignored without losing the connection.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::time::timeout;
use warp::http::{HeaderMap, HeaderValue, header};

use crate::refusal::Refusal;

/// How long a client may take to send a body that is read.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);

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

    /// The most bytes that reading the body can give when at most `max` are taken.
    pub(crate) fn bytes_at_most(&self, max: usize) -> usize {
        match self.length.map(usize::try_from) {
            Some(Ok(length)) => length.min(max),
            _ if self.stream.is_none() => 0,
            _ => max,
        }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// When it has more than `max` bytes, takes too long, or breaks off.
    pub(crate) async fn read(&mut self, max: usize) -> Result<Bytes, Refusal> {
        if self.length.is_some_and(|length| length > max as u64) {
            return Err(Refusal::TooLarge(max));
        }
        match timeout(READ_TIMEOUT, self.collect(max)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::TooSlow),
        }
    }

    async fn collect(&mut self, max: usize) -> Result<Bytes, Refusal> {
        let mut whole = BytesMut::new();
        while let Some(stream) = &mut self.stream {
            match stream.next().await {
                Some(Ok(part)) if whole.len() + part.len() > max => {
                    return Err(Refusal::TooLarge(max));
                }
                Some(Ok(part)) => whole.extend_from_slice(&part),
                Some(Err(_)) => {
                    self.stream = None;
                    return Err(Refusal::Malformed("the body broke off".into()));
                }
                None => self.stream = None,
            }
        }
        Ok(whole.freeze())
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

    #[test]
    fn says_how_much_it_may_be() {
        assert_eq!(body(Some("3"), vec![]).bytes_at_most(10), 3);
        assert_eq!(
            body(Some("99999999999999999999"), vec![]).bytes_at_most(10),
            10
        );
        assert_eq!(body(None, vec![]).bytes_at_most(10), 10);
    }
}
