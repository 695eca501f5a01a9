//! What receiving alone costs: the same client as the aggregator's, and a counter.

use async_nats::{
    Client, Subject,
    jetstream::{self, consumer::push},
};
use futures::{Stream, StreamExt as _};
use glance_protocol::{bucket, subject};

use super::stream_of_reports;
use crate::flood::ANSWERS;

const BATCH_LEN_MAX: usize = 512;

/// What it prints when it listens.
pub(crate) const READY: &str = "bare: ready";

/// Where, and what is a mark.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Receiver {
    #[arg(long)]
    url: String,
    /// The first shard that is there for marks.
    #[arg(long)]
    first_mark: u32,
}

impl Receiver {
    /// A plain subscription.
    pub(super) async fn subscribe(self) -> anyhow::Result<()> {
        let client = async_nats::connect(&self.url).await?;
        let messages = client.subscribe(subject::HEALTHS_FILTER).await?;
        client.flush().await?;
        let subjects = messages.map(|message| Ok(message.subject));
        self.count(client, subjects).await
    }

    /// An ordered consumer of the stream.
    pub(super) async fn consume(self) -> anyhow::Result<()> {
        let client = async_nats::connect(&self.url).await?;
        let stream = jetstream::new(client.clone())
            .create_stream(stream_of_reports(bucket::STATES, subject::STATES_FILTER))
            .await?;
        let config = push::OrderedConfig {
            deliver_subject: client.new_inbox(),
            filter_subject: subject::STATES_FILTER.into(),
            ..push::OrderedConfig::default()
        };
        let messages = stream.create_consumer(config).await?.messages().await?;
        let subjects = messages.map(|message| Ok(message?.message.subject));
        self.count(client, subjects).await
    }

    /// Counts, and answers marks. It runs as the aggregator's reading does: in a task of its own, many at a time.
    async fn count<S>(self, client: Client, subjects: S) -> anyhow::Result<()>
    where
        S: Stream<Item = anyhow::Result<Subject>> + Send + Unpin + 'static,
    {
        println!("{READY}");
        let counting = tokio::spawn(async move {
            let mut batches = subjects.ready_chunks(BATCH_LEN_MAX);
            let mut count: u64 = 0;
            while let Some(batch) = batches.next().await {
                for subject in batch {
                    count += 1;
                    if self.is_mark(&subject?) {
                        client.publish(ANSWERS, count.to_string().into()).await?;
                    }
                }
            }
            Ok(())
        });
        counting.await?
    }

    fn is_mark(&self, subject: &str) -> bool {
        let shard = subject.rsplit('.').nth(1);
        let shard = shard.and_then(|shard| shard.parse::<u32>().ok());
        shard.is_some_and(|shard| shard >= self.first_mark)
    }
}
