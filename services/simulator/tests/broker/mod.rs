//! What an aggregator would make at the broker.

#![allow(
    dead_code,
    clippy::expect_used,
    reason = "several tests share this, and each needs a part of it"
)]

use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use glance_protocol::{
    ClusterInfo, ClusterList, ClusterName, ReportBody, ShardId, State, Subject, bucket, subject,
};
use glance_testing::{NatsServer, eventually};

/// Bound on everything that a test waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The stream of reports.
pub(crate) async fn make_stream(server: &NatsServer) -> stream::Stream {
    jetstream::new(server.client().await)
        .create_stream(stream::Config {
            name: bucket::STATES.into(),
            subjects: vec![subject::STATES_FILTER.into()],
            max_messages_per_subject: 1,
            allow_direct: true,
            ..stream::Config::default()
        })
        .await
        .expect("the stream can be made")
}

/// The table, with one cluster in its list.
pub(crate) async fn make_table(server: &NatsServer, name: &str, total: u32) {
    let table = jetstream::new(server.client().await)
        .create_key_value(kv::Config {
            bucket: bucket::TABLE.into(),
            ..kv::Config::default()
        })
        .await
        .expect("the bucket can be made");
    let list = ClusterList {
        epoch: 1,
        clusters: vec![ClusterInfo {
            name: name.parse().expect("a valid name"),
            total,
            timeout_s: 30.0,
            auto: false,
        }],
        ..ClusterList::default()
    };
    table
        .put(bucket::CLUSTERS_KEY, list.to_bytes().into())
        .await
        .expect("the list can be kept");
}

/// Waits until so many of the first 64 shards of `main` are kept as online.
pub(crate) async fn wait_for_online(server: &NatsServer, wanted: usize) {
    let jetstream = jetstream::new(server.client().await);
    let main: ClusterName = "main".parse().expect("a valid name");
    let subjects: Vec<String> = (0..64)
        .filter_map(|shard| ShardId::new(shard).ok())
        .map(|shard| Subject::State(main.clone(), shard).to_string())
        .collect();
    eventually(LIMIT, async || {
        let stream = jetstream.get_stream(bucket::STATES).await.ok()?;
        let mut online = 0;
        for subject in &subjects {
            if let Ok(last) = stream.get_last_raw_message_by_subject(subject).await {
                let body = ReportBody::parse_state(&last.payload).ok()?;
                online += usize::from(body.state == Some(State::Online));
            }
        }
        (online >= wanted).then_some(())
    })
    .await;
}
