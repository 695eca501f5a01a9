//! What came to each viewer, and when, so that it is read after the measurement.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

/// A recording under way.
#[derive(Debug)]
pub(super) struct Recording {
    logs: Mutex<Vec<Log>>,
}

/// What came to one viewer since the recording began.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The bytes themselves, of those who keep them.
    pub(crate) bytes: Vec<u8>,
    /// After each read: when, and how many bytes had come until then.
    reads: Vec<(Instant, usize)>,
}

impl Log {
    /// When so many bytes had come; `None` if fewer did.
    pub(crate) fn reached(&self, bytes: usize) -> Option<Instant> {
        let place = self.reads.partition_point(|(_, total)| *total < bytes);
        self.reads.get(place).map(|(at, _)| *at)
    }

    /// How many bytes came.
    pub(crate) fn len(&self) -> usize {
        self.reads.last().map_or(0, |(_, total)| *total)
    }
}

/// The place where a recording is begun and ended.
#[derive(Debug, Default)]
pub(super) struct Recorder(RwLock<Option<Arc<Recording>>>);

impl Recorder {
    pub(super) fn begin(&self) {
        let recording = Recording {
            logs: Mutex::default(),
        };
        self.set(Some(Arc::new(recording)));
    }

    /// Ends the recording. A viewer notices when the next bytes come.
    pub(super) fn end(&self) -> Option<Arc<Recording>> {
        let recording = self.current();
        self.set(None);
        recording
    }

    fn set(&self, recording: Option<Arc<Recording>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = recording;
    }

    fn current(&self) -> Option<Arc<Recording>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

impl Recording {
    /// Takes the logs that are there.
    pub(super) fn take(&self) -> Vec<Log> {
        std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One viewer's part in recordings.
#[derive(Debug)]
pub(super) struct Pen {
    /// Whether the bytes are kept, and not only counted.
    keeps: bool,
    writing: Option<(Arc<Recording>, Log)>,
}

impl Pen {
    pub(super) fn new(keeps: bool) -> Self {
        Self {
            keeps,
            writing: None,
        }
    }

    /// Notes what was read just now, if a recording is under way.
    pub(super) fn note(&mut self, bytes: &[u8], recorder: &Recorder) {
        let current = recorder.current();
        if let Some((recording, log)) = self.writing.take() {
            if current
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, &recording))
            {
                self.writing = Some((recording, log));
            } else {
                let mut logs = recording
                    .logs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                logs.push(log);
            }
        }
        let Some(current) = current else { return };
        let (_, log) = self
            .writing
            .get_or_insert_with(|| (current, Log::default()));
        if self.keeps {
            log.bytes.extend_from_slice(bytes);
        }
        log.reads.push((Instant::now(), log.len() + bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_holds_what_came_between_its_begin_and_its_end() {
        let recorder = Recorder::default();
        let mut pens = [Pen::new(true), Pen::new(false)];
        let mut come = |bytes: &[u8]| pens.iter_mut().for_each(|pen| pen.note(bytes, &recorder));
        come(b"before");
        recorder.begin();
        come(b"one");
        come(b"two");
        let recording = recorder.end().unwrap();
        assert!(recording.take().is_empty());
        come(b"after");
        let logs = recording.take();
        assert_eq!(logs.len(), 2);
        assert_eq!(logs.iter().map(Log::len).collect::<Vec<_>>(), [6, 6]);
        assert_eq!(logs[0].bytes, b"onetwo");
        assert!(logs[1].bytes.is_empty());
        let [first, second] = [3, 4].map(|bytes| logs[1].reached(bytes).unwrap());
        assert!(first <= second && logs[1].reached(7).is_none());
    }
}
