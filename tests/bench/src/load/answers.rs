//! Answers, counted.

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// All answers of a load have one length: those of 16 requests, or the longest one, have to fit.
const BYTES_MAX: usize = 8 * 1024;

/// The answers of one connection.
#[derive(Debug)]
pub(super) struct Answers {
    /// What each begins with.
    status: Vec<u8>,
    /// The length of each, from the first one; 0 before it has come.
    len: usize,
    buffer: Box<[u8]>,
    filled: usize,
}

impl Answers {
    pub(super) fn new(status: u16) -> Self {
        Self {
            status: format!("HTTP/1.1 {status} ").into_bytes(),
            len: 0,
            buffer: vec![0; BYTES_MAX].into(),
            filled: 0,
        }
    }

    /// Reads once, and says how many answers have come to their end.
    ///
    /// # Errors
    ///
    /// When the connection ends, or an answer is another one.
    pub(super) async fn read_from(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> anyhow::Result<usize> {
        let read = stream.read(&mut self.buffer[self.filled..]).await?;
        ensure!(
            read > 0,
            "the connection was closed, or an answer is too long"
        );
        self.filled += read;
        self.count()
    }

    fn count(&mut self) -> anyhow::Result<usize> {
        let filled = &self.buffer[..self.filled];
        if self.len == 0 {
            self.len = length(filled)?.unwrap_or(0);
        }
        if self.len == 0 {
            return Ok(0);
        }
        let whole = self.filled / self.len;
        for answer in filled.chunks_exact(self.len) {
            let text = || String::from_utf8_lossy(answer).into_owned();
            ensure!(answer.starts_with(&self.status), "the answer is {}", text());
        }
        let rest = whole * self.len..self.filled;
        self.filled = rest.len();
        self.buffer.copy_within(rest, 0);
        Ok(whole)
    }
}

/// The length of the first answer, with its body; nothing while its head is not whole.
fn length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let end = bytes.windows(END.len()).position(|it| it == END);
    let Some(end) = end else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length:"));
    let body: usize = match body {
        Some(length) => length.trim().parse().context("no length")?,
        None => 0,
    };
    Ok(Some(end + END.len() + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";

    #[tokio::test]
    async fn whole_answers_are_counted() {
        let mut answers = Answers::new(200);
        let bytes = ONE.repeat(3);
        let (first, rest) = bytes.as_bytes().split_at(ONE.len() * 2 + 5);
        assert_eq!(answers.read_from(&mut &first[..20]).await.unwrap(), 0);
        assert_eq!(answers.read_from(&mut &first[20..]).await.unwrap(), 2);
        assert_eq!(answers.read_from(&mut &rest[..]).await.unwrap(), 1);
        assert!(answers.read_from(&mut &b""[..]).await.is_err());
    }

    #[tokio::test]
    async fn another_answer_is_told() {
        let mut answers = Answers::new(204);
        let cause = answers.read_from(&mut ONE.as_bytes()).await.unwrap_err();
        assert!(cause.to_string().contains("200 OK"), "{cause}");
    }
}
