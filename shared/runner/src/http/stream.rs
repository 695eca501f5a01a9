//! A client's connection, which ends when the client does not read.
//!
//! hyper waits for ever for a client that takes no bytes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    clients::Lease,
    counts::{Counts, Open, Refused},
    door::Sending,
};

/// Who takes less than this for longer than the patience does not read. In bytes per second.
const RATE_MIN: u32 = 4096;

/// A connection. It is counted as open, and for its client, until it is dropped, also when it became a WebSocket.
pub(super) struct Guarded<S> {
    inner: S,
    patience: Duration,
    /// When the client has to have read, while it does not.
    deadline: Option<Pin<Box<Sleep>>>,
    counts: Counts,
    _open: Open,
    _lease: Option<Lease>,
    sending: Option<Sending>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, patience: Duration, counts: Counts, lease: Option<Lease>) -> Self {
        Self {
            inner,
            patience,
            deadline: None,
            _open: counts.opened(),
            counts,
            _lease: lease,
            sending: None,
        }
    }

    /// Also notes when an answer has been taken.
    pub(super) fn with_sending(self, sending: Option<Sending>) -> Self {
        Self { sending, ..self }
    }

    /// Judges an attempt to write.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match attempt {
            Poll::Ready(Ok(bytes)) => self.earn(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let patience = self.patience;
                let begin = || Box::pin(sleep_until(Instant::now() + patience));
                let deadline = self.deadline.get_or_insert_with(begin);
                ready!(deadline.as_mut().poll(context));
                self.counts.refuse(Refused::Stalled);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        attempt
    }

    /// Each byte that the client takes gives it more time, up to the whole patience.
    fn earn(&mut self, bytes: usize) {
        if let Some(deadline) = &mut self.deadline {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let more = Duration::from_secs(1) * bytes / RATE_MIN;
            let later = (deadline.deadline() + more).min(Instant::now() + self.patience);
            deadline.as_mut().reset(later);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.inner).poll_write(context, buffer);
        self.judge(context, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.judge(context, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only asked for when all was written.
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(context));
        self.deadline = None;
        if let Some(sending) = &self.sending {
            sending.end();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const BUFFER: usize = 4096;

    fn pair() -> (Guarded<DuplexStream>, DuplexStream, Counts) {
        let (ours, theirs) = duplex(BUFFER);
        let counts = Counts::default();
        let guarded = Guarded::new(ours, PATIENCE, counts.clone(), None);
        (guarded, theirs, counts)
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_cut_off() {
        let (mut ours, _theirs, counts) = pair();
        assert_eq!(counts.open(), 1);
        ours.write_all(&[0; BUFFER]).await.unwrap();
        let start = Instant::now();
        let error = ours.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());
        assert_eq!(counts.refused(Refused::Stalled), 1);
        drop(ours);
        assert_eq!(counts.open(), 0);
    }

    /// How long a client lasts that takes so many bytes a second, of a large answer.
    async fn last(bytes_per_s: usize) -> Result<(), io::Error> {
        let (mut ours, mut theirs, _) = pair();
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; bytes_per_s];
            while theirs.read_exact(&mut bytes).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let written = ours.write_all(&vec![0; 1024 * 1024]).await;
        reading.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_served_and_who_reads_drops_is_not() {
        assert!(last(2 * RATE_MIN as usize).await.is_ok());
        let error = last(RATE_MIN as usize / 8).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_two_answers_is_none() {
        let (mut ours, mut theirs, _) = pair();
        for _ in 0..3 {
            let mut bytes = [0; 2 * BUFFER];
            let read = async {
                sleep(PATIENCE / 2).await;
                theirs.read_exact(&mut bytes).await
            };
            let write = async {
                ours.write_all(&[0; 2 * BUFFER]).await?;
                ours.flush().await
            };
            let (written, _) = tokio::join!(write, read);
            written.unwrap();
            sleep(PATIENCE * 2).await;
        }
    }
}
