//! What a process costs, as the kernel counts it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// The kernel counts processor time in these; it is fixed for programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    cpu_s: f64,
    wakeups: u64,
}

/// What a process used in a period.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) period: Duration,
    /// Processor time in seconds, of all threads, in the program and for it in the kernel.
    pub(crate) cpu_s: f64,
    /// How often a thread went to sleep by itself: each time it had been woken.
    pub(crate) wakeups: u64,
}

impl Usage {
    /// Percent of one core.
    pub(crate) fn core_percent(&self) -> f64 {
        100.0 * self.cpu_s / self.period.as_secs_f64()
    }

    pub(crate) fn wakeups_per_s(&self) -> f64 {
        as_float(self.wakeups) / self.period.as_secs_f64()
    }
}

/// A count as a number to divide; what is counted here is far below what a float cannot hold.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn as_float(count: u64) -> f64 {
    count as f64
}

impl Reading {
    /// Reads the counters of a process.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub(crate) fn take(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The name in parentheses may hold anything; after it come the state and numbers.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .map(|rest| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |place: usize| fields.get(place).and_then(|it| it.parse::<f64>().ok());
        let (user, system) = (ticks(11), ticks(12));
        let ticks = user
            .zip(system)
            .map(|(user, system)| user + system)
            .with_context(|| format!("{path} is not as expected"))?;
        Ok(Self {
            at: Instant::now(),
            cpu_s: ticks / TICKS_PER_SECOND,
            wakeups: wakeups(pid)?,
        })
    }

    /// What was used between this reading and a later one.
    pub(crate) fn until(self, later: Self) -> Usage {
        Usage {
            period: later.at.saturating_duration_since(self.at),
            cpu_s: later.cpu_s - self.cpu_s,
            wakeups: later.wakeups.saturating_sub(self.wakeups),
        }
    }
}

/// Voluntary switches of all threads that live. One that ended in between is not counted any more.
fn wakeups(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        sum += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok(sum)
}

/// The resident memory of a process in bytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// The most memory that was resident since the process began, in bytes.
///
/// # Errors
///
/// When there is no such process.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = field(&status, name).with_context(|| format!("{path} has no {name}"))?;
    Ok(kib * 1024)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_time_and_memory() {
        let own = std::process::id();
        let before = Reading::take(own).unwrap();
        let mut number = 1_u64;
        while Reading::take(own).unwrap().cpu_s - before.cpu_s < 0.05 {
            number = std::hint::black_box(number.wrapping_mul(31));
        }
        let usage = before.until(Reading::take(own).unwrap());
        assert!(
            usage.cpu_s >= 0.05 && usage.core_percent() > 0.0,
            "{usage:?}"
        );
        let resident = resident_bytes(own).unwrap();
        assert!((100_000..=peak_bytes(own).unwrap()).contains(&resident));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status =
            "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nVmRSS:\t  340 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(12));
        assert_eq!(field(status, "VmRSS:"), Some(340));
        assert_eq!(field(status, "VmHWM:"), None);
    }
}
