//! The wall clock, for times that people see. Deadlines use the monotonic clock instead.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault;

/// Now, in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0);
    now.saturating_add(fault::clock_offset_ms())
}
