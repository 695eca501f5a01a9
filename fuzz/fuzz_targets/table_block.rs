//! Blocks of the table.

#![no_main]

use glance_protocol::{TableBlock, lease::epoch_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut block) = TableBlock::from_bytes(bytes) else {
        return;
    };
    // Of long numbers, the last bit may be read otherwise; the aggregator writes three decimals.
    for row in &mut block.rows {
        for number in [&mut row.details.latency_ms, &mut row.details.events_per_s] {
            *number = number.map(f64::trunc).filter(|number| number.abs() < 1e9);
        }
    }
    let written = block.to_bytes();
    assert_eq!(epoch_of(&written), block.epoch);
    assert_eq!(TableBlock::from_bytes(&written).ok(), Some(block));
});
