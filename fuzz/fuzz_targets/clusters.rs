//! The list of clusters, and the lease.

#![no_main]

use glance_protocol::{ClusterList, Lease, lease::epoch_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = epoch_of(bytes);
    if let Ok(mut list) = ClusterList::from_bytes(bytes) {
        // Of long numbers, the last bit may be read otherwise.
        for info in &mut list.clusters {
            info.timeout_s = info.timeout_s.trunc().clamp(-1e9, 1e9);
        }
        let written = list.to_bytes();
        assert_eq!(epoch_of(&written), list.epoch);
        assert_eq!(ClusterList::from_bytes(&written).ok(), Some(list));
    }
    if let Ok(lease) = Lease::from_bytes(bytes) {
        let written = lease.to_bytes();
        assert_eq!(epoch_of(&written), lease.epoch);
        assert_eq!(Lease::from_bytes(&written).ok(), Some(lease));
    }
});
