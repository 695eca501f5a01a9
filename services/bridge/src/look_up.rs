//! Whether a shard has ever reported.

use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use glance_protocol::{ShardId, ShardRow, Subject, TableBlock, bucket};

use crate::{
    clusters::{Cluster, Clusters},
    publish::Turn,
    refusal::Unavailable,
};

impl Turn<'_> {
    /// Whether a shard has ever reported.
    ///
    /// What is not known here is looked up: the stream holds the last report of each shard, and the table's
    /// block also knows the shards whose last report was refused and deleted.
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
            Ok(self.in_stream(cluster, shard).await?
                || self.in_table(clusters, cluster, shard).await?)
        };
        let known = self.bounded(look_up).await;
        let known = known.map_err(|_| Unavailable::Undecided(shard))?;
        if known {
            cluster.note_report(shard);
        }
        Ok(known)
    }

    async fn in_stream(&self, cluster: &Cluster, shard: ShardId) -> Result<bool, Unavailable> {
        let undecided = |cause: &dyn std::fmt::Display| {
            self.complain(&format_args!("cannot look up a report: {cause}"));
            Unavailable::Undecided(shard)
        };
        let subject = Subject::State(cluster.name.clone(), shard).to_string();
        let stream = self.broker().jetstream.get_stream_no_info(bucket::STATES);
        let stream = stream.await.map_err(|cause| undecided(&cause))?;
        match stream.direct_get_last_for_subject(subject.as_str()).await {
            Ok(_) => return Ok(true),
            Err(cause) if cause.kind() == DirectGetErrorKind::NotFound => {}
            Err(cause) => return Err(undecided(&cause)),
        }
        // A replica that lags may have answered. This one always asks the stream's leader.
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(_) => Ok(true),
            Err(cause) if cause.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(cause) => Err(undecided(&cause)),
        }
    }

    async fn in_table(
        &self,
        clusters: &Clusters,
        cluster: &Cluster,
        shard: ShardId,
    ) -> Result<bool, Unavailable> {
        let key = bucket::block_key(&cluster.name, shard.block());
        let value = clusters.bucket.get(key).await.map_err(|cause| {
            self.complain(&format_args!("cannot read a block of the table: {cause}"));
            Unavailable::Undecided(shard)
        })?;
        let block = value.and_then(|value| TableBlock::from_bytes(&value).ok());
        let row = block.and_then(|block| block.rows.into_iter().nth(shard.offset()));
        Ok(row.is_some_and(|row: ShardRow| row.reported()))
    }
}
