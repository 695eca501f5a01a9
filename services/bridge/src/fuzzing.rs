//! The parsers of the bridge, for the fuzz targets in `fuzz/`. Each function panics when a rule is broken.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "only fuzz targets and tests call it"
)]

use glance_protocol::ClusterInfo;
use serde_json::Value;

use crate::{
    authorization::passphrases::Passphrases, clusters::Cluster, outbox::acknowledgement::check,
    path::Endpoint, report::Report,
};

/// What the broker says of a report.
pub fn acknowledgement(bytes: &[u8]) {
    if check(None, bytes).is_err() {
        return;
    }
    // What is skipped there is not looked at so closely.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    // Only what has a sequence counts as stored; the fields may come without their names.
    let sequence = value.get("seq").or_else(|| value.get(1));
    assert!(sequence.is_some_and(|it| !it.is_null()), "{value}");
}

pub fn path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else {
        return;
    };
    let encoded: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    if path.contains('%') {
        let _ = Endpoint::parse(path);
    } else {
        assert_eq!(Endpoint::parse(path), Endpoint::parse(&encoded));
    }
}

/// The first byte chooses the cluster's size, and whether it is learned.
pub fn report(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let Ok(report) = Report::from_bytes(body) else {
        return;
    };
    let cluster = Cluster::new(
        &ClusterInfo {
            name: "main".parse().unwrap(),
            total: u32::from(first >> 1),
            timeout_s: 30.0,
            auto: first & 1 == 1,
        },
        None,
    );
    report.check_all(&cluster);
}

/// A file of passphrases, a zero byte, and a header.
pub fn authorization(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (file, header) = (parts.next().unwrap_or_default(), parts.next());
    let Ok(passphrases) = Passphrases::from_file_text(file) else {
        return;
    };
    // A file never opens everything to everybody.
    assert!(!passphrases.entries().is_empty() && passphrases.opens(None).is_none());
    let Some(header) = header else { return };
    let opened = passphrases.opens(Some(header));
    // What opens something is the end of a line of the file.
    if opened.is_some() {
        let bearer = header.get(7..).unwrap_or(header).trim_ascii_start();
        let ends = |line: &[u8]| {
            let line = line.trim_ascii();
            line.ends_with(header) || line.ends_with(bearer)
        };
        assert!(file.split(|byte| *byte == b'\n').any(ends));
    }
}
