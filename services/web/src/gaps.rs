//! What this replica has missed, judged by what the pulses say. No IO; time is passed in.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use glance_protocol::{ClusterName, Pulse, feed::Version};

use crate::mirror::Mirror;

/// A block comes on another subscription than the pulse: it may be on its way.
const BEHIND_MAX: Duration = Duration::from_millis(250);
/// How long to wait before the same block is read again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long pulses may say lower revisions than those held before these are
/// given up: the store was restored from a copy.
const CONTRADICTED_MAX: Duration = Duration::from_secs(3);

/// A block: the cluster, and which block of it.
pub(crate) type Place = (ClusterName, u32);

/// What has to be read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Due {
    /// These blocks.
    pub blocks: Vec<Place>,
    /// The list and every block.
    pub everything: bool,
    /// Everything, and whatever is held counts for nothing.
    pub anew: bool,
}

/// Watches for what was missed.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Blocks of which the pulse says a higher revision: that, and from when on to read them.
    behind: BTreeMap<Place, (u64, Instant)>,
    /// Blocks of which pulses say a lower revision: what is held, and when the first and the last said so.
    ahead: BTreeMap<Place, (Version, Instant, Instant)>,
    /// Since when the pulse names other clusters than the list.
    other_clusters: Option<Instant>,
}

impl Gaps {
    /// Takes in a pulse that the mirror believed.
    pub(crate) fn note(&mut self, pulse: &Pulse, mirror: &Mirror, now: Instant) {
        let is_whole = pulse.parts == 1;
        let mut strangers = is_whole && pulse.clusters.len() != mirror.clusters().len();
        for cluster in &pulse.clusters {
            let held = mirror.blocks(cluster.name.as_str());
            strangers |= is_whole && held != Some(cluster.blocks.len());
            for block in &cluster.blocks {
                match mirror.version(cluster.name.as_str(), block.block) {
                    Some(held) => {
                        self.compare(
                            (cluster.name.clone(), block.block),
                            held,
                            block.revision,
                            now,
                        );
                    }
                    None => strangers = true,
                }
            }
        }
        if strangers && mirror.has_list() {
            self.other_clusters.get_or_insert(now);
        } else if !strangers && pulse.part == 0 {
            // Of a pulse in parts, the first has to be right, and so have the others after it.
            self.other_clusters = None;
        }
    }

    /// Revisions of one bucket only grow, whatever the epoch.
    fn compare(&mut self, place: Place, held: Version, revision: u64, now: Instant) {
        if held.revision < revision {
            self.ahead.remove(&place);
            let behind = self.behind.entry(place);
            behind.or_insert((revision, now + BEHIND_MAX)).0 = revision;
            return;
        }
        self.behind.remove(&place);
        if held.revision == revision {
            self.ahead.remove(&place);
            return;
        }
        // Just after a put this is normal, but not for the same value again and again.
        let ahead = self.ahead.entry(place).or_insert((held, now, now));
        match ahead.0 == held {
            true => ahead.2 = now,
            false => *ahead = (held, now, now),
        }
    }

    /// What has to be read now. What is still missing later is due again.
    pub(crate) fn due(&mut self, mirror: &Mirror, now: Instant) -> Due {
        self.behind.retain(|(cluster, block), (revision, _)| {
            let held = mirror.version(cluster.as_str(), *block);
            held.is_some_and(|held| held.revision < *revision)
        });
        let mut due = Due::default();
        for (place, (_, at)) in &mut self.behind {
            if *at <= now {
                *at = now + AGAIN;
                due.blocks.push(place.clone());
            }
        }
        self.ahead.retain(|(cluster, block), (held, ..)| {
            mirror.version(cluster.as_str(), *block) == Some(*held)
        });
        // Not one pulse and silence after it: pulses have to go on saying so.
        let long = |first, last: Instant| last.saturating_duration_since(first) > CONTRADICTED_MAX;
        let mut ahead = self.ahead.values();
        if ahead.any(|(_, first, last)| long(*first, *last)) {
            *self = Self::default();
            due.anew = true;
        }
        if self
            .other_clusters
            .is_some_and(|since| now.saturating_duration_since(since) >= AGAIN)
        {
            self.other_clusters = Some(now);
            due.everything = true;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use glance_protocol::{
        BlockSet, ClusterInfo, ClusterList, PulseBlock, PulseCluster, ShardRow, TableBlock,
    };

    use super::*;
    use crate::mirror::Source;

    fn main() -> ClusterName {
        "main".parse().unwrap()
    }

    fn mirror(epoch: u64, revision: u64) -> Mirror {
        let mut mirror = Mirror::default();
        let clusters = vec![ClusterInfo {
            name: main(),
            total: 1,
            timeout_s: 30.0,
            auto: false,
        }];
        mirror.apply_clusters(
            Source::Key,
            1,
            ClusterList {
                epoch,
                clusters,
                ..ClusterList::default()
            },
        );
        put(&mut mirror, epoch, revision);
        mirror
    }

    fn put(mirror: &mut Mirror, epoch: u64, revision: u64) {
        let value = TableBlock {
            epoch,
            cluster: main(),
            block: 0,
            stream: String::new(),
            sequence: 0,
            at_ms: 0,
            rows: vec![ShardRow::default()],
        };
        mirror.apply_block(Source::Live, revision, value);
    }

    fn pulse(epoch: u64, name: &str, revision: u64) -> Pulse {
        Pulse {
            epoch,
            number: 1,
            at_ms: 0,
            judging_since_ms: None,
            part: 0,
            parts: 1,
            clusters: vec![PulseCluster {
                name: name.parse().unwrap(),
                blocks: vec![PulseBlock {
                    block: 0,
                    revision,
                    heard: BlockSet::default(),
                    healed: BlockSet::default(),
                }],
            }],
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_block_that_does_not_come_is_due() {
        let (mut gaps, mut mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        gaps.note(&pulse(7, "main", 5), &mirror, start);
        gaps.note(&pulse(7, "main", 6), &mirror, start);
        assert_eq!(gaps.due(&mirror, start + ms(249)), Due::default());
        assert_eq!(gaps.due(&mirror, start + ms(250)).blocks, [(main(), 0)]);
        assert_eq!(gaps.due(&mirror, start + ms(300)), Due::default());
        assert_eq!(gaps.due(&mirror, start + ms(1250)).blocks, [(main(), 0)]);
        put(&mut mirror, 7, 6);
        assert_eq!(gaps.due(&mirror, start + ms(9999)), Due::default());
    }

    #[test]
    fn a_block_just_put_is_no_contradiction() {
        let (mut gaps, mut mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        for step in 0..10 {
            put(&mut mirror, 7, 6 + step);
            gaps.note(
                &pulse(7, "main", 5 + step),
                &mirror,
                start + ms(1000 * step),
            );
            assert_eq!(gaps.due(&mirror, start + ms(1000 * step)), Due::default());
        }
    }

    #[test]
    fn who_contradicts_for_long_is_right() {
        let wrong = pulse(7, "main", 2);
        let (mut gaps, mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        for second in 0..=3 {
            gaps.note(&wrong, &mirror, start + ms(1000 * second));
            assert!(!gaps.due(&mirror, start + ms(1000 * second)).anew);
        }
        gaps.note(&wrong, &mirror, start + ms(3100));
        assert!(gaps.due(&mirror, start + ms(3100)).anew);
        assert!(!gaps.due(&mirror, start + ms(3200)).anew);
    }

    #[test]
    fn other_clusters_mean_that_the_list_was_missed() {
        let (mut gaps, mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        gaps.note(&pulse(7, "demo", 9), &mirror, start);
        assert!(!gaps.due(&mirror, start + ms(500)).everything);
        assert!(gaps.due(&mirror, start + ms(1000)).everything);
        gaps.note(&pulse(7, "main", 5), &mirror, start + ms(1500));
        assert!(!gaps.due(&mirror, start + ms(9000)).everything);
    }

    #[test]
    fn one_pulse_and_silence_after_it_contradict_nothing() {
        let (mut gaps, mirror, start) = (Gaps::default(), mirror(7, 6), Instant::now());
        // It was made just before the acknowledgement of revision 6; then the leader died.
        gaps.note(&pulse(7, "main", 5), &mirror, start);
        assert_eq!(gaps.due(&mirror, start + ms(9000)), Due::default());
    }

    #[test]
    fn a_pulse_that_names_fewer_blocks_means_that_the_list_was_missed() {
        let (mut gaps, mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        let mut smaller = pulse(7, "main", 5);
        smaller.clusters[0].blocks.clear();
        gaps.note(&smaller, &mirror, start);
        assert!(gaps.due(&mirror, start + ms(1000)).everything);
    }

    #[test]
    fn a_later_part_of_a_pulse_does_not_hide_what_the_first_said() {
        let (mut gaps, mirror, start) = (Gaps::default(), mirror(7, 5), Instant::now());
        let part = |name, part| Pulse {
            part,
            parts: 2,
            ..pulse(7, name, 5)
        };
        gaps.note(&part("demo", 0), &mirror, start);
        gaps.note(&part("main", 1), &mirror, start);
        assert!(gaps.due(&mirror, start + ms(1000)).everything);
    }
}
