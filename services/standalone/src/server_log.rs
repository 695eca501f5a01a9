//! The nats-server's log, as part of ours.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::watch;

/// How much of one line is read at once; a longer one becomes several.
const LINE_BYTES_MAX: u64 = 4096;

/// How many lines are kept to explain why a server did not start.
const LAST_LINES: usize = 5;

/// What the server prints when it takes clients.
const READY: &str = "Server is ready";

/// How much a line matters to an operator of `glance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
}

/// Reads until the server closes its end, and logs each line. Sets `ready` when the server takes clients. Returns the
/// last warnings, oldest first.
pub(crate) async fn follow(log: impl AsyncRead + Unpin, ready: watch::Sender<bool>) -> Vec<String> {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    let mut warnings = VecDeque::new();
    loop {
        line.clear();
        match (&mut log)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(1..) => {}
            // Nothing more will come; why the server ended is said by who waits for it.
            Ok(0) | Err(_) => return warnings.into(),
        }
        let text = String::from_utf8_lossy(&line);
        let (level, text) = interpret(text.trim_end());
        match level {
            Level::Debug => {
                tracing::debug!(target: "nats_server", "{text}");
                if text == READY {
                    ready.send_replace(true);
                }
            }
            Level::Warning => {
                tracing::warn!(target: "nats_server", "{text}");
                if warnings.len() == LAST_LINES {
                    warnings.pop_front();
                }
                warnings.push_back(text.to_owned());
            }
        }
    }
}

/// Takes the process id and the level off a line such as `[123] [WRN] text`. A line without a level (a mistake in the
/// configuration, a crash) is a warning.
fn interpret(line: &str) -> (Level, &str) {
    let Some((_, rest)) = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] ["))
    else {
        return (Level::Warning, line);
    };
    match rest.split_once(']') {
        Some(("INF" | "DBG" | "TRC", text)) => (Level::Debug, text.trim_start()),
        Some(("WRN" | "ERR" | "FTL", text)) => (Level::Warning, text.trim_start()),
        _ => (Level::Warning, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_servers_level() {
        assert_eq!(
            interpret("[7] [INF] Server is ready"),
            (Level::Debug, READY)
        );
        assert_eq!(
            interpret("[7] [WRN] slow [x] consumer"),
            (Level::Warning, "slow [x] consumer")
        );
        assert_eq!(interpret("[7] [ERR] no"), (Level::Warning, "no"));
        for line in [
            "",
            "panic: x",
            "nats-server: a.conf:3:1: wrong",
            "[7] [NEW] x",
            "[",
            "[7] [",
        ] {
            assert_eq!(interpret(line), (Level::Warning, line));
        }
    }

    #[tokio::test]
    async fn the_last_warnings_and_the_start_are_noticed() {
        let (ready, is_ready) = watch::channel(false);
        let mut log = String::from("[7] [INF] Server is ready\n");
        for number in 0..9 {
            log.push_str(&format!("[7] [ERR] {number}\n[7] [INF] fine\n"));
        }
        let warnings = follow(log.as_bytes(), ready).await;
        assert_eq!(warnings, ["4", "5", "6", "7", "8"]);
        assert!(*is_ready.borrow());
    }

    #[tokio::test]
    async fn no_line_is_too_long_and_no_byte_wrong() {
        let (ready, _) = watch::channel(false);
        let log = vec![0xff; 100_000];
        let warnings = follow(log.as_slice(), ready).await;
        assert_eq!(warnings.len(), LAST_LINES);
        assert!(warnings.iter().all(|line| line.chars().count() <= 4096));
    }
}
