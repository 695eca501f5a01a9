//! Wrong passphrases are counted, told in the log, and answered ever more slowly.
//!
//! # What this does and does not
//!
//! A right passphrase is never slowed or refused, whatever else comes from its address: an attacker behind the same
//! address must not lock a bot out. So each passphrase that is sent is compared, and what limits guessing is how long
//! the answer takes that says "wrong". After a few failures, an address waits up to two seconds for each. A client gets one
//! answer at a time on a connection, so it has to open many; and only so many answers are held back for
//! one address and in all, since each holds a connection. What is beyond that is answered at once, and its connection is
//! closed. So an address can try some hundred passphrases a second, and beyond them one for each new connection: a
//! random passphrase is out of reach, a short word is not.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use glance_runner::Metrics;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tracing::warn;

/// So many failures of an address are answered at once. A bot with an old passphrase should learn so quickly.
const FREE: u32 = 5;
/// The first answer that is held back; each further one takes twice as long as the one before, up to the longest.
const DELAY_FIRST: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(2);
/// After so long without one, a failure is forgotten.
const FORGIVEN: Duration = Duration::from_secs(10);
/// More failures than lead to the longest delay are not remembered.
const REMEMBERED_MAX: u32 = FREE + 6;
/// How many answers are held back at the same time, in all and for one address.
const WAITING_MAX: usize = 4096;
const WAITING_EACH_MAX: usize = 256;
/// How many addresses are remembered is at most twice this.
const ADDRESSES_MAX: usize = 4096;
/// How often the log names an address: who looks for bots with an old passphrase finds each, and a loud one hides no other.
const TELL_AGAIN: Duration = Duration::from_secs(600);
/// How many lines there may be at once, and how soon there may be one more, so that a crowd does not fill the log.
const LINES_MAX: u32 = 20;
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The failures of all addresses.
pub(crate) struct Failures {
    counter: Counter,
    waiting: Arc<Semaphore>,
    state: Mutex<State>,
}

/// What is to be done about a failure.
#[derive(Debug)]
pub(crate) enum Measure {
    /// To answer at once.
    None,
    /// To answer after this time.
    Wait(Duration, [OwnedSemaphorePermit; 2]),
    /// To answer at once and to close the connection, since too many wait.
    Close,
}

#[derive(Default)]
struct State {
    /// The addresses that failed last, and those that did before them. When the first is full, it becomes the second.
    recent: HashMap<IpAddr, Record>,
    older: HashMap<IpAddr, Record>,
    lines: Lines,
    untold: u64,
}

struct Record {
    failures: u32,
    at: Instant,
    told: Option<Instant>,
    waiting: Arc<Semaphore>,
}

/// What follows from a failure.
struct Noted {
    /// How often the address failed lately, this time included.
    failures: u32,
    /// Its room for waiting.
    waiting: Arc<Semaphore>,
    /// Whether it is to be told, and then what of those that were not.
    told: Option<String>,
}

/// The lines that may be written.
#[derive(Default)]
struct Lines {
    written: u32,
    since: Option<Instant>,
}

impl Lines {
    fn take(&mut self, now: Instant) -> bool {
        let since = self.since.get_or_insert(now);
        let regained = now.duration_since(*since).as_secs() / LINE_INTERVAL.as_secs();
        let regained = u32::try_from(regained).unwrap_or(u32::MAX);
        *since += LINE_INTERVAL.saturating_mul(regained);
        self.written = self.written.saturating_sub(regained);
        let may = self.written < LINES_MAX;
        self.written += u32::from(may);
        may
    }
}

impl Failures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = Counter::default();
        let help = "Requests of bots that were refused for their passphrase";
        metrics.register(|it| it.register("bridge_authorization_failures", help, counter.clone()));
        Self {
            counter,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            state: Mutex::default(),
        }
    }

    /// Notes a failure, and waits as long as its answer should. Whether the connection should be closed after it.
    pub(crate) async fn note(&self, client: IpAddr) -> bool {
        match self.measure(client) {
            Measure::None => false,
            Measure::Wait(delay, _permits) => {
                sleep(delay).await;
                false
            }
            Measure::Close => true,
        }
    }

    fn measure(&self, client: IpAddr) -> Measure {
        self.counter.inc();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Noted {
            failures,
            waiting,
            told,
        } = state.note(subject(client));
        drop(state);
        if let Some(others) = told {
            warn!(
                "a request of {client} was refused: its passphrase is missing, wrong or not for its cluster{others}"
            );
        }
        if failures <= FREE {
            return Measure::None;
        }
        let permits = waiting
            .try_acquire_owned()
            .and_then(|one| Ok([one, self.waiting.clone().try_acquire_owned()?]));
        match permits {
            Ok(permits) => Measure::Wait(delay(failures), permits),
            Err(_) => Measure::Close,
        }
    }
}

impl State {
    fn note(&mut self, address: IpAddr) -> Noted {
        let now = Instant::now();
        let known = self
            .recent
            .remove(&address)
            .or_else(|| self.older.remove(&address));
        let mut record = known.unwrap_or_else(|| Record {
            failures: 0,
            at: now,
            told: None,
            waiting: Arc::new(Semaphore::new(WAITING_EACH_MAX)),
        });
        let forgiven = now.duration_since(record.at).as_secs() / FORGIVEN.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        record.failures = (record.failures.saturating_sub(forgiven) + 1).min(REMEMBERED_MAX);
        record.at = now;
        let due = record
            .told
            .is_none_or(|at| now.duration_since(at) >= TELL_AGAIN);
        let told = if due && self.lines.take(now) {
            record.told = Some(now);
            Some(std::mem::take(&mut self.untold))
        } else {
            self.untold += 1;
            None
        };
        let noted = Noted {
            failures: record.failures,
            waiting: record.waiting.clone(),
            told: told.map(|others| match others {
                0 => String::new(),
                others => format!(" ({others} more were since the last such line)"),
            }),
        };
        if self.recent.len() >= ADDRESSES_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(address, record);
        noted
    }
}

/// Who is taken for one client: an IPv4 address, or a network of IPv6, which is what one customer gets.
fn subject(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

fn delay(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(FREE + 1);
    DELAY_FIRST
        .saturating_mul(2u32.saturating_pow(doubled))
        .min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    async fn time_of(failures: &Failures, client: IpAddr) -> u128 {
        let start = Instant::now();
        assert!(!failures.note(client).await);
        start.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_are_answered_at_once_and_later_ones_ever_more_slowly() {
        let failures = Failures::new(&Metrics::default());
        let mut times = Vec::new();
        for _ in 0..12 {
            times.push(time_of(&failures, v4(1)).await);
        }
        assert_eq!(times, [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
        // Another address is not slowed by it.
        assert_eq!(time_of(&failures, v4(2)).await, 0);
        // It is forgiven step by step.
        sleep(FORGIVEN * 3).await;
        assert_eq!(time_of(&failures, v4(1)).await, 800);
        sleep(FORGIVEN * 20).await;
        assert_eq!(time_of(&failures, v4(1)).await, 0);
        assert_eq!(failures.counter.get(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_client() {
        let failures = Failures::new(&Metrics::default());
        for host in 0..5u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, host, 0, 0, host);
            assert_eq!(time_of(&failures, address.into()).await, 0);
        }
        let near = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9);
        assert_eq!(time_of(&failures, near.into()).await, 100);
        let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1);
        assert_eq!(time_of(&failures, far.into()).await, 0);
        // An IPv4 address that is written as IPv6 is that IPv4 address, and not one network with all others.
        let mapped = |last| {
            v4(last)
                .to_string()
                .parse::<std::net::Ipv4Addr>()
                .unwrap()
                .to_ipv6_mapped()
        };
        for last in 0..10 {
            assert_eq!(time_of(&failures, mapped(last).into()).await, 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_and_the_others_are_sent_away() {
        let failures = Failures::new(&Metrics::default());
        let mut held = Vec::new();
        let mut crowd = |address: IpAddr, count: usize| {
            let mut closed = 0;
            for _ in 0..count {
                match failures.measure(address) {
                    Measure::None => {}
                    Measure::Close => closed += 1,
                    wait => held.push(wait),
                }
            }
            closed
        };
        let free = FREE as usize;
        // Beyond its own share, and beyond what there is for all.
        assert_eq!(crowd(v4(0), free + WAITING_EACH_MAX + 7), 7);
        for last in 1..=15 {
            assert_eq!(crowd(v4(last), free + WAITING_EACH_MAX), 0);
        }
        assert_eq!(crowd(v4(16), free + 3), 3);
        held.clear();
        assert!(matches!(failures.measure(v4(16)), Measure::Wait(..)));
    }

    #[test]
    fn it_remembers_a_bounded_number_of_addresses() {
        let mut state = State::default();
        for number in 0..100_000u32 {
            // Who goes on is not forgotten because many others come.
            let failures = state.note(IpAddr::from([10, 0, 0, 1])).failures;
            assert_eq!(failures, (number + 1).min(REMEMBERED_MAX));
            state.note(IpAddr::from(number.to_be_bytes().map(|byte| byte ^ 0x80)));
            assert!(state.recent.len() <= ADDRESSES_MAX && state.older.len() <= ADDRESSES_MAX);
        }
    }

    #[tokio::test]
    async fn they_are_counted() {
        let metrics = Metrics::default();
        let failures = Failures::new(&metrics);
        for last in 0..3 {
            failures.note(v4(last)).await;
        }
        let mut text = String::new();
        metrics.register(|registry| encode(&mut text, registry).unwrap());
        let line = "\nglance_bridge_authorization_failures_total 3\n";
        assert!(text.contains(line), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_is_named_now_and_then() {
        let mut state = State::default();
        let mut told = |last| state.note(v4(last)).told;
        assert_eq!(told(1).as_deref(), Some(""));
        for _ in 0..1000 {
            assert_eq!(told(1), None);
        }
        // A loud one hides no other.
        assert!(told(2).is_some_and(|it| it.contains("1000 more")));
        sleep(TELL_AGAIN).await;
        assert_eq!(told(1).as_deref(), Some(""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_does_not_fill_the_log() {
        let mut state = State::default();
        let mut lines = |from: u8| {
            let told = (from..from + 80).filter_map(|last| state.note(v4(last)).told);
            u32::try_from(told.count()).unwrap()
        };
        assert_eq!(lines(0), LINES_MAX);
        assert_eq!(lines(80), 0);
        sleep(LINE_INTERVAL * 3).await;
        assert_eq!(lines(160), 3);
    }
}
