//! What the process takes from the machine, by the names that Prometheus's own clients use.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::Encoder;

/// What is told of the process. On systems without `/proc` it is less.
pub(super) struct Process {
    started_s: f64,
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_s: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
}

impl Default for Process {
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started_s: since_epoch.map_or(0.0, |it| it.as_secs_f64()),
        }
    }
}

impl Process {
    pub(super) fn tell(&self, encoder: &mut Encoder<'_>) -> fmt::Result {
        let help = "When the process started, in Unix seconds";
        encoder.gauge("process_start_time_seconds", help, self.started_s)?;
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            let help = "How many files and connections may be open";
            encoder.gauge("process_max_fds", help, limit as f64)?;
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The look itself has one open.
            let open = entries.count().saturating_sub(1);
            let help = "How many files and connections are open";
            encoder.gauge("process_open_fds", help, open as f64)?;
        }
        let stat = fs::read_to_string("/proc/self/stat");
        let Some(usage) = stat.ok().as_deref().and_then(usage) else {
            return Ok(());
        };
        let help = "Processor time that was used, in seconds";
        encoder.counter_f64("process_cpu_seconds_total", help, usage.cpu_s)?;
        let help = "Memory in use, in bytes";
        encoder.gauge("process_resident_memory_bytes", help, usage.resident_bytes)?;
        let help = "Addresses in use, in bytes";
        encoder.gauge("process_virtual_memory_bytes", help, usage.virtual_bytes)
    }
}

/// Reads a line of `/proc/<pid>/stat`: see proc_pid_stat(5).
fn usage(stat: &str) -> Option<Usage> {
    // The name of the program may hold anything, also a parenthesis.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<f64> = fields
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // The first one is field 4 of the manual's.
    let field = |number: usize| fields.get(number - 4).copied();
    Some(Usage {
        cpu_s: (field(14)? + field(15)?) / clock_ticks_per_second() as f64,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_size() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_says() {
        let line =
            "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 77 4096000 300 184 1";
        let ticks = clock_ticks_per_second() as f64;
        let wanted = Usage {
            cpu_s: 300.0 / ticks,
            virtual_bytes: 4_096_000.0,
            resident_bytes: 300.0 * page_size() as f64,
        };
        assert_eq!(usage(line), Some(wanted));
        for wrong in ["", "7 (a", "7 (a) S 1 2"] {
            assert_eq!(usage(wrong), None, "{wrong}");
        }
    }
}
