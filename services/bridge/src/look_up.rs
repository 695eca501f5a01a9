//! What the broker knows of a shard: whether it has ever reported, and whether it exists at all.
//!
//! A shard that has reported has its last report in the stream; when that one was refused and deleted, the table
//! still knows the shard. Any replica of the broker may answer yes. A no, which the bot is told, comes from the
//! leaders, since a replica may lag behind an acknowledged report.

use std::{collections::BTreeSet, fmt::Display};

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{DirectGetErrorKind, Stream},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use glance_protocol::{ReportBody, ShardId, ShardRow, Subject, TableBlock, bucket};
use glance_runner::broker::last_of;

use crate::{
    clusters::{Cluster, Clusters},
    publish::Turn,
    refusal::Unavailable,
};

/// How many questions one request may ask at the same time.
const LOOK_UPS_MAX: usize = 64;
/// How many blocks one request may read at the same time. They are larger.
const BLOCKS_MAX: usize = 8;

impl Turn<'_> {
    /// Whether a shard has ever reported.
    ///
    /// # Errors
    ///
    /// When that cannot be decided now.
    pub(crate) async fn has_reported(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        shard: ShardId,
    ) -> Result<bool, Unavailable> {
        if cluster.reported(shard) {
            return Ok(true);
        }
        let look_up = async {
            let _permit = self.room().await?;
            let lone = BTreeSet::from([shard]);
            Ok(self.near_report(cluster, shard).await?.is_some()
                || !self.in_block(clusters, cluster, lone).await?.is_empty()
                || self.last_report(cluster, shard).await?.is_some())
        };
        let known = self.bounded(look_up).await;
        let known = known.map_err(|_| Unavailable::Undecided(shard))?;
        if known {
            cluster.note_report(shard);
        }
        Ok(known)
    }

    /// Which of these shards have ever reported. Many are cheaper together: each block is read once.
    ///
    /// # Errors
    ///
    /// When that cannot be decided now.
    pub(crate) async fn have_reported(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        shards: &BTreeSet<ShardId>,
    ) -> Result<BTreeSet<ShardId>, Unavailable> {
        let Some(first) = shards.first() else {
            return Ok(BTreeSet::new());
        };
        let look_up = async {
            let mut known = self.in_table(clusters, cluster, shards).await?;
            let open: Vec<ShardId> = shards.difference(&known).copied().collect();
            let mut found = stream::iter(open)
                .map(|shard| async move {
                    let _permit = self.room().await?;
                    let report = self.last_report(cluster, shard).await?;
                    Ok(report.map(|_| shard))
                })
                .buffer_unordered(LOOK_UPS_MAX);
            while let Some(shard) = found.try_next().await? {
                known.extend(shard);
            }
            Ok(known)
        };
        let known = self.bounded(look_up).await;
        let known = known.map_err(|_| Unavailable::Undecided(*first))?;
        for shard in &known {
            cluster.note_report(*shard);
        }
        Ok(known)
    }

    /// The size that a report of this shard claims for the cluster, if the shard exists by that, and the list of
    /// clusters does not account for that report yet.
    ///
    /// # Errors
    ///
    /// When that cannot be decided now.
    pub(crate) async fn claimed_total(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        shard: ShardId,
    ) -> Result<Option<u32>, Unavailable> {
        let claims = |report: StreamMessage| {
            let body = ReportBody::parse_state(&report.payload).ok()?;
            let total = body.details.total?;
            (report.sequence > clusters.sequence && total > shard.get()).then_some(total)
        };
        let look_up = async {
            let _permit = self.room().await?;
            let near = self.near_report(cluster, shard).await?;
            if let Some(total) = near.and_then(claims) {
                return Ok(Some(total));
            }
            Ok(self.last_report(cluster, shard).await?.and_then(claims))
        };
        let claimed = self.bounded(look_up).await;
        claimed.map_err(|_| Unavailable::Undecided(shard))
    }

    /// The last report of a shard as some replica knows it, which may lag.
    async fn near_report(
        &self,
        cluster: &Cluster,
        shard: ShardId,
    ) -> Result<Option<StreamMessage>, Unavailable> {
        let subject = Subject::State(cluster.name.clone(), shard).to_string();
        let stream = self.states(shard).await?;
        match stream.direct_get_last_for_subject(subject).await {
            Ok(report) => Ok(Some(report)),
            Err(cause) if cause.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.undecided(shard, &cause)),
        }
    }

    /// The last report of a shard, from the stream's leader.
    async fn last_report(
        &self,
        cluster: &Cluster,
        shard: ShardId,
    ) -> Result<Option<StreamMessage>, Unavailable> {
        let subject = Subject::State(cluster.name.clone(), shard).to_string();
        let stream = self.states(shard).await?;
        self.last_of(&stream, &subject, shard).await
    }

    async fn last_of<T>(
        &self,
        stream: &Stream<T>,
        subject: &str,
        shard: ShardId,
    ) -> Result<Option<StreamMessage>, Unavailable> {
        let message = last_of(stream, subject).await;
        message.map_err(|cause| self.undecided(shard, &cause))
    }

    async fn states(&self, shard: ShardId) -> Result<Stream<()>, Unavailable> {
        let stream = self.broker().jetstream.get_stream_no_info(bucket::STATES);
        stream.await.map_err(|cause| self.undecided(shard, &cause))
    }

    fn undecided(&self, shard: ShardId, cause: &dyn Display) -> Unavailable {
        self.complain(&format_args!("cannot look up a shard: {cause}"));
        Unavailable::Undecided(shard)
    }

    /// Which of these shards the table knows to have reported.
    async fn in_table(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        shards: &BTreeSet<ShardId>,
    ) -> Result<BTreeSet<ShardId>, Unavailable> {
        let mut blocks: Vec<BTreeSet<ShardId>> = Vec::new();
        for shard in shards {
            match blocks.last_mut() {
                Some(block) if block.first().is_some_and(|it| it.block() == shard.block()) => {
                    block.insert(*shard);
                }
                _ => blocks.push(BTreeSet::from([*shard])),
            }
        }
        let mut reads = stream::iter(blocks)
            .map(|block| async move {
                let _permit = self.room().await?;
                self.in_block(clusters, cluster, block).await
            })
            .buffer_unordered(BLOCKS_MAX);
        let mut known = BTreeSet::new();
        while let Some(shards) = reads.try_next().await? {
            known.extend(shards);
        }
        Ok(known)
    }

    /// Which of these shards, all of one block, the table knows to have reported.
    async fn in_block(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        mut shards: BTreeSet<ShardId>,
    ) -> Result<BTreeSet<ShardId>, Unavailable> {
        let Some(first) = shards.first().copied() else {
            return Ok(shards);
        };
        let key = bucket::block_key(&cluster.name, first.block());
        let subject = format!("{}{key}", clusters.bucket.prefix);
        let value = self
            .last_of(&clusters.bucket.stream, &subject, first)
            .await?;
        // What cannot be read, such as the mark of a deletion, names nobody.
        let block = value.and_then(|value| TableBlock::from_bytes(&value.payload).ok());
        let rows = block.map(|block| block.rows).unwrap_or_default();
        shards.retain(|shard| rows.get(shard.offset()).is_some_and(ShardRow::reported));
        Ok(shards)
    }
}
