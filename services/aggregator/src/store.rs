//! What the broker keeps for Glance: streams and buckets, created when missing.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    context::{GetStreamErrorKind, KeyValueErrorKind},
    kv,
    stream::{self, DiscardPolicy, Republish, StorageType},
};
use bytes::Bytes;
use glance_protocol::{Subject, bucket, subject};
use glance_runner::broker::last_of;

const MIB: i64 = 1024 * 1024;
/// A report is at most 1 KiB; the rest is for the subject and headers that a client may add.
pub(crate) const STATE_MESSAGE_BYTES_MAX: usize = 2048;
/// Some 200 bytes for each of a million shards.
const STATES_BYTES_MAX: i64 = 256 * MIB;
/// The least that the broker takes (2 minutes by default). Message ids are of the whole stream: within this time, one bot's
/// would make another's report a duplicate, which is acknowledged and not stored.
const STATES_DUPLICATES: Duration = Duration::from_millis(100);
const CHANGES_BYTES_MAX: i64 = 128 * MIB;
const CHANGES_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const TABLE_BYTES_MAX: i64 = 128 * MIB;
const LEASE_BYTES_MAX: i64 = MIB;
const NOTICES_BYTES_MAX: i64 = 8 * MIB;

/// The streams and buckets that the aggregator works with.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) states: stream::Stream,
    /// Which stream of states this is: its time of creation.
    pub(crate) states_id: String,
    /// The last sequence of the stream of states.
    pub(crate) last_sequence: u64,
    pub(crate) table: kv::Store,
    pub(crate) lease: kv::Store,
    /// Whether the lease's bucket was created by this opening.
    pub(crate) lease_created: bool,
}

impl Store {
    /// Opens everything, and creates what is missing.
    pub(crate) async fn open(
        jetstream: &jetstream::Context,
        replicas: usize,
    ) -> anyhow::Result<Self> {
        let states = open_stream(jetstream, states_config(replicas)).await?;
        open_stream(jetstream, changes_config(replicas)).await?;
        let (table, _) = open_bucket(jetstream, table_config(replicas)).await?;
        let (lease, lease_created) = open_bucket(jetstream, lease_config(replicas)).await?;
        open_bucket(jetstream, notices_config(replicas)).await?;
        let info = states
            .get_info()
            .await
            .context("cannot ask for the stream of states")?;
        Ok(Self {
            states_id: id_of(&info),
            last_sequence: info.state.last_sequence,
            states,
            table,
            lease,
            lease_created,
        })
    }
}

/// What tells a stream from others of the same name: its time of creation.
pub(crate) fn id_of(info: &stream::Info) -> String {
    info.created.unix_timestamp_nanos().to_string()
}

async fn open_stream(
    jetstream: &jetstream::Context,
    config: stream::Config,
) -> anyhow::Result<stream::Stream> {
    let name = config.name.clone();
    match jetstream.get_stream(&name).await {
        Ok(stream) => return Ok(stream),
        Err(cause) if !is_missing(&cause.kind()) => {
            return Err(cause).with_context(|| format!("cannot open stream {name}"));
        }
        Err(_) => {}
    }
    tracing::info!("creating stream {name}");
    jetstream
        .create_stream(config)
        .await
        .with_context(|| format!("cannot create stream {name}"))
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    use jetstream::ErrorCode;
    matches!(kind, GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Opens a bucket; the second value says whether it was created.
async fn open_bucket(
    jetstream: &jetstream::Context,
    config: kv::Config,
) -> anyhow::Result<(kv::Store, bool)> {
    let name = config.bucket.clone();
    match jetstream.get_key_value(&name).await {
        Ok(store) => return Ok((store, false)),
        // The client does not say whether it is missing or cannot be had now; creating one that exists fails and loses nothing.
        Err(cause) if cause.kind() != KeyValueErrorKind::GetBucket => {
            return Err(cause).with_context(|| format!("cannot open bucket {name}"));
        }
        Err(_) => {}
    }
    tracing::info!("creating bucket {name}");
    let store = jetstream
        .create_key_value(config)
        .await
        .with_context(|| format!("cannot create bucket {name}"))?;
    Ok((store, true))
}

fn states_config(replicas: usize) -> stream::Config {
    stream::Config {
        name: bucket::STATES.into(),
        description: Some("The last report of each shard".into()),
        subjects: vec![subject::STATES_FILTER.into()],
        max_messages_per_subject: 1,
        max_message_size: i32::try_from(STATE_MESSAGE_BYTES_MAX).unwrap_or(i32::MAX),
        max_bytes: STATES_BYTES_MAX,
        // A full stream must refuse, so that the bridge can say so, and not forget other shards.
        discard: DiscardPolicy::New,
        duplicate_window: STATES_DUPLICATES,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        ..stream::Config::default()
    }
}

fn changes_config(replicas: usize) -> stream::Config {
    stream::Config {
        name: bucket::CHANGES.into(),
        description: Some("Transitions of shards".into()),
        subjects: vec![subject::CHANGES_FILTER.into()],
        max_age: CHANGES_AGE_MAX,
        max_bytes: CHANGES_BYTES_MAX,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        ..stream::Config::default()
    }
}

fn table_config(replicas: usize) -> kv::Config {
    kv::Config {
        republish: Some(Republish {
            source: format!("$KV.{}.>", bucket::TABLE),
            destination: subject::TABLE_FILTER.into(),
            headers_only: false,
        }),
        ..bucket_config(bucket::TABLE, TABLE_BYTES_MAX, replicas)
    }
}

/// Who follows is told of each change, and need not ask for it.
fn lease_config(replicas: usize) -> kv::Config {
    kv::Config {
        republish: Some(Republish {
            source: format!("$KV.{}.{}", bucket::LEASE, bucket::LEADER_KEY),
            destination: Subject::Lease.to_string(),
            headers_only: false,
        }),
        ..bucket_config(bucket::LEASE, LEASE_BYTES_MAX, replicas)
    }
}

/// The web replicas are told of each change.
fn notices_config(replicas: usize) -> kv::Config {
    kv::Config {
        republish: Some(Republish {
            source: format!("$KV.{}.>", bucket::NOTICES),
            destination: subject::NOTICES_FILTER.into(),
            headers_only: true,
        }),
        ..bucket_config(bucket::NOTICES, NOTICES_BYTES_MAX, replicas)
    }
}

fn bucket_config(name: &str, max_bytes: i64, replicas: usize) -> kv::Config {
    kv::Config {
        bucket: name.into(),
        history: 1,
        max_bytes,
        storage: StorageType::File,
        num_replicas: replicas,
        ..kv::Config::default()
    }
}

/// A key's value and its revision. The value is empty when the key was deleted.
pub(crate) struct Entry {
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
}

/// Reads a key from the leader of the bucket's stream. (The bucket's own way asks
/// any replica, which may lag.)
pub(crate) async fn entry(bucket: &kv::Store, key: &str) -> anyhow::Result<Option<Entry>> {
    let subject = format!("{}{key}", bucket.prefix);
    let message = last_of(&bucket.stream, &subject).await;
    let message = message.with_context(|| format!("cannot read key {key}"))?;
    Ok(message.map(|message| Entry {
        value: message.payload,
        revision: message.sequence,
    }))
}
