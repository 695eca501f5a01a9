//! `POST /api/report`: many shards in one request.

use std::{collections::BTreeSet, fmt};

use glance_protocol::{
    Details, ReportBody, ShardId, Subject,
    body::{BODY_BYTES_MAX, BodyError},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{Map, Number as JsonNumber, Value};

use crate::{
    clusters::{Cluster, Clusters},
    path::Number,
    publish::{Message, Turn},
    refusal::{Refusal, Unavailable},
};

/// The largest report, in bytes.
pub(crate) const BYTES_MAX: usize = 512 * 1024;
/// The most entries of a report.
pub(crate) const ENTRIES_MAX: usize = 4096;

/// A report, of which nothing but its shape has been checked.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) cluster: String,
    /// `total`, `group` and `version` for all entries that have none of their own.
    defaults: Details,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Wire {
    cluster: String,
    shards: Entries,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

struct Entries(Vec<Entry>);

/// One shard of a report.
#[derive(Debug)]
struct Entry {
    id: Option<JsonNumber>,
    body: Result<ReportBody, String>,
}

/// The answer to a report.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) accepted: usize,
    rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Rejected {
    id: Option<JsonNumber>,
    error: String,
}

impl Outcome {
    /// The body of the answer.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Numbers and texts always fit into JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// An entry that makes sense by itself.
struct Valid {
    id: Option<JsonNumber>,
    shard: ShardId,
    body: ReportBody,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    ///
    /// When it is none, or has too many entries. Wrong entries are no error.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|cause| Refusal::Malformed(format!("the body is no report: {cause}")))?;
        let given = Details::from_map(&wire.rest).0;
        Ok(Self {
            cluster: wire.cluster,
            defaults: Details {
                total: given.total,
                group: given.group,
                version: given.version,
                ..Details::default()
            },
            entries: wire.shards.0,
        })
    }

    /// Publishes the entries, in their order.
    ///
    /// # Errors
    ///
    /// When the broker did not take all of them. The whole report can be sent again.
    pub(crate) async fn deliver(
        self,
        clusters: &Clusters,
        cluster: &Cluster,
        turn: &Turn<'_>,
    ) -> Result<Outcome, Unavailable> {
        let (valid, mut rejected) = self.check(cluster);
        let known = look_up(&valid, clusters, cluster, turn).await?;
        let mut messages = Vec::with_capacity(valid.len());
        let mut reported = Vec::new();
        for (entry, known) in valid.into_iter().zip(known) {
            if !known {
                let error = Refusal::NeverReported(entry.shard).to_string();
                rejected.push(Rejected {
                    id: entry.id,
                    error,
                });
                continue;
            }
            if entry.body.state.is_some() {
                reported.push(entry.shard);
            }
            messages.push(entry.into_message(cluster));
        }
        let accepted = messages.len();
        turn.deliver(messages).await?;
        for shard in reported {
            cluster.note_report(shard);
        }
        Ok(Outcome { accepted, rejected })
    }

    /// Checks that each entry is either taken, as the aggregator would take it, or told.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check_all(self, cluster: &Cluster) {
        let count = self.entries.len();
        let (valid, rejected) = self.check(cluster);
        assert_eq!(valid.len() + rejected.len(), count);
        for entry in valid {
            let message = entry.into_message(cluster);
            let read = match message.subject {
                Subject::State(..) => ReportBody::parse_state(&message.body),
                _ => ReportBody::parse_health(&message.body),
            };
            assert!(read.is_ok(), "{message:?}");
        }
        // It can be told.
        let outcome = Outcome {
            accepted: 0,
            rejected,
        };
        assert!(!outcome.to_bytes().is_empty());
    }

    fn check(self, cluster: &Cluster) -> (Vec<Valid>, Vec<Rejected>) {
        let mut valid = Vec::new();
        let mut rejected = Vec::new();
        for entry in self.entries {
            let id = entry.id.clone();
            match entry.check(cluster, &self.defaults) {
                Ok((shard, body)) => valid.push(Valid { id, shard, body }),
                Err(error) => rejected.push(Rejected { id, error }),
            }
        }
        (valid, rejected)
    }
}

impl Entry {
    fn check(self, cluster: &Cluster, defaults: &Details) -> Result<(ShardId, ReportBody), String> {
        let number = self.id.map(|number| number.to_string());
        let number = number.and_then(|number| Number::parse(&number));
        let number = number.ok_or("'id' must be a whole number")?;
        let mut details = defaults.clone();
        if let Ok(body) = &self.body {
            details.update(&body.details);
        }
        let shard = cluster.shard(&number, details.total);
        let shard = shard.map_err(|cause| cause.to_string())?;
        let mut body = self.body?;
        body.details = details;
        match body.to_bytes().len() {
            size if size > BODY_BYTES_MAX => Err(BodyError::TooLarge(size).to_string()),
            _ => Ok((shard, body)),
        }
    }
}

impl Valid {
    fn into_message(self, cluster: &Cluster) -> Message {
        let name = cluster.name.clone();
        match self.body.state {
            Some(_) => Message {
                subject: Subject::State(name, self.shard),
                body: self.body.to_bytes().into(),
            },
            None => Message {
                subject: Subject::Health(name, self.shard),
                body: self.body.to_health_bytes().into(),
            },
        }
    }
}

/// Which entries may be published: all reports, and the health checks of shards
/// that have reported, be it earlier in the same request.
async fn look_up(
    entries: &[Valid],
    clusters: &Clusters,
    cluster: &Cluster,
    turn: &Turn<'_>,
) -> Result<Vec<bool>, Unavailable> {
    let mut reported = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut places = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        if entry.body.state.is_some() {
            reported.insert(entry.shard);
        } else if !reported.contains(&entry.shard) && !cluster.reported(entry.shard) {
            open.insert(entry.shard);
            places.push((place, entry.shard));
        }
    }
    let found = turn.have_reported(clusters, cluster, &open).await?;
    let mut known = vec![true; entries.len()];
    for (place, shard) in places {
        if let Some(known) = known.get_mut(place) {
            *known = found.contains(&shard);
        }
    }
    Ok(known)
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of shards")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                // Each entry is turned into its few fields at once, so that odd ones take no memory.
                while let Some(value) = seq.next_element::<Value>()? {
                    if entries.len() == ENTRIES_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a report has at most {ENTRIES_MAX} shards"
                        )));
                    }
                    entries.push(Entry::from(value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_seq(EntriesVisitor)
    }
}

impl From<Value> for Entry {
    fn from(value: Value) -> Self {
        let Value::Object(mut map) = value else {
            return Self {
                id: None,
                body: Err(
                    "an entry must be an object such as {\"id\":48,\"state\":\"online\"}".into(),
                ),
            };
        };
        let id = match map.remove("id") {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        Self {
            id,
            body: ReportBody::from_map(&map).map_err(|cause| cause.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(report: &str) -> (Vec<(u32, String)>, Vec<String>) {
        check_for(100, false, report)
    }

    fn check_for(total: u32, auto: bool, report: &str) -> (Vec<(u32, String)>, Vec<String>) {
        let info = glance_protocol::ClusterInfo {
            name: "main".parse().unwrap(),
            total,
            timeout_s: 30.0,
            auto,
        };
        let cluster = Cluster::new(&info, None);
        let (valid, rejected) = Report::from_bytes(report.as_bytes())
            .unwrap()
            .check(&cluster);
        let body = |entry: &Valid| String::from_utf8(entry.body.to_bytes()).unwrap();
        let valid = valid.iter().map(|entry| (entry.shard.get(), body(entry)));
        let rejected = rejected.into_iter().map(|entry| entry.error);
        (valid.collect(), rejected.collect())
    }

    #[test]
    fn defaults_fill_what_an_entry_leaves_open() {
        // Only these three are defaults: a latency is one shard's own.
        let (valid, rejected) = check(
            r#"{"total":5,"cluster":"main","latency_ms":3,"state":3,"version":"v","shards":[
                {"id":1,"state":2,"total":6},{"id":2,"other":[{}]}],"group":"g"}"#,
        );
        assert_eq!(
            valid,
            [
                (
                    1,
                    r#"{"state":2,"total":6,"group":"g","version":"v"}"#.to_owned()
                ),
                (2, r#"{"total":5,"group":"g","version":"v"}"#.to_owned()),
            ]
        );
        assert_eq!(rejected, [] as [String; 0]);
    }

    #[test]
    fn each_entry_may_claim_a_size() {
        let report = r#"{"cluster":"main","total":10,"shards":[
            {"id":9,"state":3},{"id":10,"state":3},{"id":10,"total":11},{"id":9,"total":0}]}"#;
        let ids = |valid: Vec<(u32, String)>| valid.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let (valid, rejected) = check_for(0, true, report);
        assert_eq!(ids(valid), [9, 10, 9]);
        assert!(
            rejected.len() == 1 && rejected[0].contains("'10' falls outside"),
            "{rejected:?}"
        );
        // A configured size stays as it is, and the claim is passed on.
        let (valid, rejected) = check_for(10, false, report);
        assert_eq!(valid[0].1, r#"{"state":3,"total":10}"#);
        assert_eq!((ids(valid), rejected.len()), (vec![9, 9], 2));
        let report = r#"{"cluster":"main","shards":[{"id":9,"state":3},{"id":0,"total":-1}]}"#;
        let (valid, rejected) = check_for(0, true, report);
        assert_eq!(valid, []);
        assert!(
            rejected
                .iter()
                .all(|error| error.starts_with("size not yet known: "))
        );
    }

    #[test]
    fn an_entry_that_would_be_refused_later_is_refused_here() {
        let control = "\\u0001".repeat(64);
        let (valid, rejected) = check(&format!(
            r#"{{"cluster":"main","group":"{control}","version":"{control}","shards":[
                {{"id":1,"state":2}},
                {{"id":1,"state":2,"total":262144,"latency_ms":99999999.12345678,"guilds":9007199254740991,
                  "unavailable_guilds":9007199254740991,"events_per_s":99999999.12345678}}]}}"#
        ));
        for (_, body) in &valid {
            assert!(body.len() <= BODY_BYTES_MAX);
        }
        assert_eq!(valid.len() + rejected.len(), 2);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0u32..120).prop_map(Value::from),
            "online|[a-z]{0,3}|.{60,70}".prop_map(Value::from),
        ];
        let key = "id|state|group|version|total|latency_ms|guilds|x";
        leaf.prop_recursive(3, 20, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(key, inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::from_bytes(&bytes);
        }

        #[test]
        fn every_entry_is_taken_or_told(entries in prop::collection::vec(json(), 0..20), group in json()) {
            let count = entries.len();
            let report = serde_json::json!({"cluster":"main","group":group,"shards":entries});
            let (valid, rejected) = check(&report.to_string());
            prop_assert_eq!(valid.len() + rejected.len(), count);
            for (shard, body) in valid {
                prop_assert!(shard < 100);
                let read = ReportBody::parse_health(body.as_bytes());
                prop_assert!(read.is_ok() || body.len() == 1, "{}", body);
            }
        }
    }
}
