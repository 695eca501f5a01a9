//! What bots publish: the bodies of reports and health checks.

#![no_main]

use glance_protocol::ReportBody;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = ReportBody::parse_state(bytes) {
        let known = ReportBody { ignored: 0, ..body };
        assert_eq!(
            ReportBody::parse_state(&known.to_bytes()).as_ref(),
            Ok(&known)
        );
    }
    if let Ok(body) = ReportBody::parse_health(bytes) {
        let known = ReportBody { ignored: 0, ..body };
        assert_eq!(
            ReportBody::parse_health(&known.to_health_bytes()).as_ref(),
            Ok(&known)
        );
    }
});
