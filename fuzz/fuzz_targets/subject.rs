//! Subjects, keys of notices, and what is told of a message that was refused.

#![no_main]

use glance_protocol::{Rejection, Subject, bucket::NoticeKey};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(subject) = Subject::parse(text) {
        // A number may have leading zeros, and nothing else may be written in two ways.
        assert_eq!(Subject::parse(&subject.to_string()).as_ref(), Ok(&subject));
        assert!(subject.to_string() == text || text.contains(".0"));
    }
    if let Some(key) = NoticeKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    let told = Rejection::new(text, text, 1).to_bytes();
    assert!(serde_json::from_slice::<serde_json::Value>(&told).is_ok());
});
