//! The sign of life of the aggregator, and the sets in it.

#![no_main]

use glance_protocol::{BlockSet, Pulse, lease::epoch_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(set) = BlockSet::from_bitmap(bytes) {
        assert_eq!(BlockSet::from_bitmap(&set.to_bitmap()), Some(set));
        assert_eq!(set.iter().collect::<BlockSet>(), set);
        assert_eq!(set.iter().count(), set.len());
    }
    let Ok(pulse) = Pulse::from_bytes(bytes) else {
        return;
    };
    let written = pulse.to_bytes();
    assert_eq!(epoch_of(&written), pulse.epoch);
    assert_eq!(Pulse::from_bytes(&written).ok().as_ref(), Some(&pulse));
    for part in pulse.split() {
        assert_eq!(Pulse::from_bytes(&part.to_bytes()).ok(), Some(part));
    }
});
