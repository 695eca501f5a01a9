//! Many requests over HTTP, as cheaply as they can be sent: encoded before, over raw sockets that are kept, by one
//! thread. The answers are counted by their status line and their length.

mod answers;
mod requests;

use std::{
    net::SocketAddrV4,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use self::answers::Answers;
pub(crate) use self::requests::Requests;
use crate::{meter, statistics::Samples};

/// How long the last answers may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who sends what.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddrV4,
    pub(crate) requests: Arc<Requests>,
    /// What every answer has to be.
    pub(crate) status: u16,
    pub(crate) connections: usize,
    /// How many requests a connection sends before their answers.
    pub(crate) depth: usize,
}

impl Load {
    /// How many requests a second are answered when each connection sends the next as soon as it may.
    ///
    /// # Errors
    ///
    /// When an answer is another one, or none comes.
    pub(crate) async fn rate(&self, warm_up: Duration, period: Duration) -> anyhow::Result<f64> {
        let load = self.clone();
        in_thread(async move {
            let count = Arc::new(AtomicU64::new(0));
            let mut work = JoinSet::new();
            for place in 0..load.connections {
                work.spawn(load.clone().flood(place, count.clone()));
            }
            unbroken(&mut work, sleep(warm_up)).await?;
            let (before, start) = (count.load(Ordering::Relaxed), Instant::now());
            unbroken(&mut work, sleep(period)).await?;
            let answered = count.load(Ordering::Relaxed) - before;
            ensure!(answered > 0, "no answers come");
            let rate = meter::as_float(answered) / start.elapsed().as_secs_f64();
            anyhow::Ok(rate)
        })
        .await
    }

    /// How long answers take while so many requests a second come, whatever the answers take.
    ///
    /// # Errors
    ///
    /// When an answer is another one, or none comes.
    pub(crate) async fn delays(
        &self,
        rate: f64,
        warm_up: Duration,
        period: Duration,
    ) -> anyhow::Result<Samples> {
        let load = self.clone();
        in_thread(async move {
            let connections = meter::as_float(load.connections as u64);
            let pause = Duration::from_secs_f64(connections / rate);
            let (start, mut work) = (Instant::now(), JoinSet::new());
            for place in 0..load.connections {
                // One after the other, evenly.
                let first = start + pause.mul_f64(meter::as_float(place as u64) / connections);
                let counts = start + warm_up..start + warm_up + period;
                work.spawn(load.clone().pace(place, first, pause, counts));
            }
            let collect = async {
                let mut all = Samples::new();
                while let Some(samples) = work.join_next().await {
                    all.extend(samples??);
                }
                anyhow::Ok(all)
            };
            let collected = timeout(warm_up + period + ANSWER_MAX, collect).await;
            collected.context("no answer in time")?
        })
        .await
    }

    async fn flood(self, place: usize, count: Arc<AtomicU64>) -> anyhow::Result<()> {
        let mut connection = Connection::open(&self, place).await?;
        connection.send(self.depth).await?;
        loop {
            let answered = connection.answered().await?;
            count.fetch_add(answered as u64, Ordering::Relaxed);
            connection.send(answered).await?;
        }
    }

    async fn pace(
        self,
        place: usize,
        first: Instant,
        pause: Duration,
        counts: std::ops::Range<Instant>,
    ) -> anyhow::Result<Samples> {
        let mut connection = Connection::open(&self, place).await?;
        let mut samples = Samples::new();
        let mut due = first;
        while due < counts.end {
            // A request that waits for the answer before it has begun when it was due. A late timer of this thread
            // is not the program's.
            let late = Instant::now() >= due;
            sleep_until(due).await;
            let begun = if late { due } else { Instant::now() };
            connection.send(1).await?;
            while connection.answered().await? == 0 {}
            if counts.contains(&due) {
                samples.push(begun.elapsed());
            }
            due += pause;
        }
        Ok(samples)
    }
}

/// One that is kept.
struct Connection {
    stream: TcpStream,
    requests: Arc<Requests>,
    next: usize,
    answers: Answers,
}

impl Connection {
    /// Those of a load begin at different requests.
    async fn open(load: &Load, place: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(load.address).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", load.address))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            next: place * load.requests.len() / load.connections,
            requests: load.requests.clone(),
            answers: Answers::new(load.status),
        })
    }

    /// Sends the next so many requests.
    async fn send(&mut self, mut count: usize) -> anyhow::Result<()> {
        while count > 0 {
            let (bytes, some) = self.requests.some(self.next, count);
            self.stream.write_all(bytes).await?;
            self.next = (self.next + some) % self.requests.len();
            count -= some;
        }
        Ok(())
    }

    /// Waits for answers, and says how many have come to their end.
    async fn answered(&mut self) -> anyhow::Result<usize> {
        self.answers.read_from(&mut self.stream).await
    }
}

/// Waits, while nothing breaks.
async fn unbroken(
    work: &mut JoinSet<anyhow::Result<()>>,
    wait: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        () = wait => Ok(()),
        Some(ended) = work.join_next() => match ended? {
            Err(cause) => Err(cause),
            Ok(()) => bail!("a connection ended"),
        },
    }
}

/// Runs a load in a thread of its own, so that it costs the same beside whatever else the benchmark does.
async fn in_thread<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(work),
            Err(cause) => Err(cause.into()),
        };
        // Whoever waited is gone: then nobody wants it.
        let _ = sender.send(result);
    });
    receiver.await.context("the load broke off")?
}
