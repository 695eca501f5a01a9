//! A client that publishes as fast as it can: what the broker and its client cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, jetstream};
use bytes::Bytes;
use tokio::{task::JoinSet, time::sleep};

use super::stream_of_reports;
use crate::meter;

/// Nobody of ours listens below this.
const STREAM: &str = "bench_states";
const SUBJECTS: &str = "bench.*.*.state";

/// How it publishes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Publishes {
    /// The broker.
    url: String,
    /// Of how many shards.
    shards: u32,
    /// How many are under way at the same time, each until its acknowledgement; 0 publishes without them.
    in_flight: u32,
    /// Before it counts, in milliseconds.
    warm_up_ms: u64,
    /// For how long it counts, in milliseconds.
    period_ms: u64,
}

impl Publishes {
    /// Publishes for a while, and prints how many a second that were.
    ///
    /// # Errors
    ///
    /// When the broker does not take something.
    pub(super) async fn play(self) -> anyhow::Result<()> {
        let client = async_nats::connect(&self.url).await?;
        let count = Arc::new(AtomicU64::new(0));
        let mut work = JoinSet::new();
        if self.in_flight == 0 {
            work.spawn(plain(client, self.shards, count.clone()));
        } else {
            let context = jetstream::new(client);
            context
                .get_or_create_stream(stream_of_reports(STREAM, SUBJECTS))
                .await?;
            let step = self.in_flight;
            for first in 0..step {
                let shards = (first..self.shards).step_by(step as usize);
                work.spawn(acknowledged(context.clone(), shards, count.clone()));
            }
        }
        sleep(Duration::from_millis(self.warm_up_ms)).await;
        let (before, start) = (count.load(Ordering::Relaxed), Instant::now());
        tokio::select! {
            () = sleep(Duration::from_millis(self.period_ms)) => {}
            // Nothing ends but by an error.
            Some(ended) = work.join_next() => ended??,
        }
        let published = count.load(Ordering::Relaxed) - before;
        let rate = meter::as_float(published) / start.elapsed().as_secs_f64();
        println!("{RATE}{rate}");
        Ok(())
    }
}

/// What stands before the number.
pub(crate) const RATE: &str = "published a second: ";

/// Health checks: nobody says that they arrived.
async fn plain(client: Client, shards: u32, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    for shard in (0..shards).cycle() {
        let subject = format!("bench.main.{shard}.health");
        client.publish(subject, Bytes::new()).await?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reports, one after the other.
async fn acknowledged(
    context: jetstream::Context,
    shards: impl Iterator<Item = u32> + Clone,
    count: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    for shard in shards.cycle() {
        let subject = format!("bench.main.{shard}.state");
        let stored = context.publish(subject, Bytes::from_static(b"3")).await?;
        stored.await?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
