//! What bots say: reports from the stream, reports as they are published, health checks.

use std::time::Duration;

use glance_protocol::{ClusterName, ReportBody, ShardId, Subject, body::BodyError};

use super::{HealthCheck, Owner, Role, Untold};
use crate::{
    metrics::{Kind, Reason},
    order::Key,
    states::StoredReport,
    store::STATE_MESSAGE_BYTES_MAX,
    table::{Input, Message, Moment, Refusal, Stored},
};

/// How many refused reports are remembered while another leads.
const UNTOLD_MAX: usize = 16_384;
/// A lease and a start last less.
const UNTOLD_AGE_MAX: Duration = Duration::from_secs(10);

/// A report that was read, or why it was not.
type Parsed = Result<(ClusterName, ShardId, ReportBody), Option<String>>;

impl Owner {
    /// Takes a report that the stream delivered, and the health checks around it.
    pub(super) fn take_report(&mut self, report: &StoredReport, now: Moment) {
        self.applied = self.applied.max(report.sequence);
        let payload = &report.message.payload;
        let parsed = parse_report(&report.message);
        let key = parsed.as_ref().ok().and_then(|(c, s, _)| self.key(c, *s));
        let released = key.map(|key| self.order.deliver(key, payload));
        let (before, after) = released.map(|r| (r.before, r.after)).unwrap_or_default();
        for check in &before {
            self.apply_health(check, now);
        }
        if let Err(reason) = self.apply_report(report, parsed, now) {
            self.refuse_report(Untold {
                at: now.mono,
                sequence: report.sequence,
                subject: report.message.subject.to_string(),
                reason,
            });
        }
        for check in &after {
            self.apply_health(check, now);
        }
    }

    /// Applies a report; otherwise says why it was refused, if somebody should be told.
    fn apply_report(
        &mut self,
        report: &StoredReport,
        parsed: Parsed,
        now: Moment,
    ) -> Result<(), Option<String>> {
        let (cluster, shard, body) = parsed.inspect_err(|_| {
            let place = self.place_of(&report.message.subject);
            self.tally.refuse(Kind::Report, place, Reason::Malformed);
        })?;
        let message = Message {
            cluster: &cluster,
            shard,
            body: &body,
        };
        let stored = Stored {
            sequence: report.sequence,
            at_ms: report.stored_ms,
        };
        let Err(refusal) = self.try_apply(Input::Report(message, stored), now) else {
            return Ok(());
        };
        self.count_refusal(Kind::Report, &cluster, &refusal);
        match refusal {
            // It was right when it was sent.
            Refusal::Gone { .. } => Err(None),
            refusal => Err(Some(refusal.to_string())),
        }
    }

    /// Tells of a refused report and removes it from the stream, now or when this process begins to lead.
    fn refuse_report(&mut self, report: Untold) {
        if self.role != Role::Leading {
            if self.untold.len() == UNTOLD_MAX {
                self.untold.pop_front();
            }
            self.untold.push_back(report);
            return;
        }
        if let Some(reason) = &report.reason {
            self.refusals.refuse(&report.subject, reason);
        }
        let is_strange = matches!(
            Subject::parse(&report.subject),
            Ok(Subject::State(cluster, _)) if self.strangers.contains(&cluster)
        );
        if !is_strange {
            self.refusals.delete(&self.store, report.sequence);
        }
    }

    /// What was refused while nobody led. What is older was told by the last leader.
    pub(super) fn tell_untold(&mut self, now: Duration) {
        for report in std::mem::take(&mut self.untold) {
            if now.saturating_sub(report.at) < UNTOLD_AGE_MAX {
                self.refuse_report(report);
            }
        }
    }

    /// Tells of a refused message, if that is ours to tell.
    pub(super) fn refuse(&mut self, subject: &str, reason: &str) {
        if self.role == Role::Leading {
            self.refusals.refuse(subject, reason);
        }
    }

    /// Notes reports as they are published, before the stream delivers them.
    pub(super) fn note_published(&mut self, messages: &[async_nats::Message]) {
        let now = self.now();
        self.stirred |= !messages.is_empty();
        for message in messages {
            let body_len = message.payload.len();
            if body_len > STATE_MESSAGE_BYTES_MAX {
                // The broker does not store it, and tells only who asks for an acknowledgement.
                let place = self.place_of(&message.subject);
                self.tally.refuse(Kind::Report, place, Reason::TooLarge);
                let reason = BodyError::TooLarge(body_len).to_string();
                self.refuse(&message.subject, &reason);
                continue;
            }
            if let Ok(Subject::State(cluster, shard)) = Subject::parse(&message.subject)
                && let Some(key) = self.key(&cluster, shard)
            {
                self.order.publish(key, message.payload.clone(), now.mono);
                self.note_claim(&cluster, shard, &message.payload, now);
            }
        }
    }

    /// Hears what a report says of the cluster's size before the stream delivers it, or a later one in its place.
    fn note_claim(&mut self, cluster: &ClusterName, shard: ShardId, payload: &[u8], now: Moment) {
        if self.replaying || !self.table.is_auto(cluster) {
            return;
        }
        let Ok(body) = ReportBody::parse_state(payload) else {
            return;
        };
        if body.details.total.is_some() {
            let message = Message {
                cluster,
                shard,
                body: &body,
            };
            // If it is refused, that is told when the stream delivers it.
            let _ = self.try_apply(Input::Claim(message), now);
        }
    }

    /// Takes a health check, or holds it back until the report before it is there.
    pub(super) fn take_health(&mut self, message: &async_nats::Message, now: Moment) {
        let subject = message.subject.as_str();
        let (cluster, shard) = match Subject::parse(subject) {
            Ok(Subject::Health(cluster, shard)) => (cluster, shard),
            Ok(_) => {
                let reason = "the subject is none of a health check";
                return self.refuse_health(subject, reason);
            }
            Err(cause) => return self.refuse_health(subject, &cause.to_string()),
        };
        let body = match ReportBody::parse_health(&message.payload) {
            Ok(body) => body,
            Err(cause) => return self.refuse_health(subject, &cause.to_string()),
        };
        self.stirred |= body.state.is_some() || body.details.total.is_some();
        let key = self.key(&cluster, shard);
        let check = HealthCheck {
            cluster,
            shard,
            body,
        };
        let check = match key {
            Some(key) => self.order.hold(key, check),
            None => Some(check),
        };
        match check {
            Some(check) => self.apply_health(&check, now),
            None => self.tally.held += 1,
        }
    }

    /// Refuses a health check that cannot be read.
    fn refuse_health(&mut self, subject: &str, reason: &str) {
        let place = self.place_of(subject);
        self.tally
            .refuse(Kind::HealthCheck, place, Reason::Malformed);
        self.refuse(subject, reason);
    }

    pub(super) fn apply_health(&mut self, check: &HealthCheck, now: Moment) {
        let message = Message {
            cluster: &check.cluster,
            shard: check.shard,
            body: &check.body,
        };
        if let Err(refusal) = self.try_apply(Input::Health(message), now) {
            self.count_refusal(Kind::HealthCheck, &check.cluster, &refusal);
            let subject = Subject::Health(check.cluster.clone(), check.shard);
            self.refuse(&subject.to_string(), &refusal.to_string());
        }
    }

    /// The place of the cluster that a subject names, if it is one of ours.
    fn place_of(&self, subject: &str) -> Option<usize> {
        match Subject::parse(subject) {
            Ok(Subject::State(cluster, _) | Subject::Health(cluster, _)) => {
                self.table.place(&cluster)
            }
            _ => None,
        }
    }

    fn key(&self, cluster: &ClusterName, shard: ShardId) -> Option<Key> {
        Some((self.table.place(cluster)?, shard.get()))
    }
}

fn parse_report(message: &async_nats::Message) -> Parsed {
    match Subject::parse(&message.subject) {
        Ok(Subject::State(cluster, shard)) => match ReportBody::parse_state(&message.payload) {
            Ok(body) => Ok((cluster, shard, body)),
            Err(cause) => Err(Some(cause.to_string())),
        },
        Ok(_) => Err(Some("the subject is none of a report".into())),
        Err(cause) => Err(Some(cause.to_string())),
    }
}
