//! Messages as fast as a receiver takes them: pre-encoded, over a plain socket.
//!
//! The client of a receiver holds 65,536 messages and drops what comes then, and the server's queue in front of a stream
//! holds 10,000. So after each run of messages goes a mark, and only a few marks may be unanswered. An aggregator
//! answers with the transition of a shard that is there for marks; a bare receiver with a message of its own.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write as _},
    net::{SocketAddrV4, TcpStream},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use glance_protocol::State;

use crate::{
    fleet::{self, MARKS, Verb},
    meter,
};

/// A receiver that does not answer for this long has lost something.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What the server said and the writer has not looked at. Each mark has one answer, pings are rare.
const HEARD_MAX: usize = 1024;
/// The longest line or body that the server may send.
const LINE_BYTES_MAX: u64 = 4096;

/// Where a bare receiver answers, with the number of messages that it has counted.
pub(crate) const ANSWERS: &str = "bench.answers";

/// Who is flooded.
#[derive(Debug)]
pub(crate) struct Target {
    broker: SocketAddrV4,
    /// The subjects of its answers.
    answers: Vec<String>,
    /// The first shard that is there for marks.
    first_mark: u32,
    /// How many marks and how many messages it has got so far.
    marks: u32,
    messages: u64,
}

impl Target {
    /// An aggregator that leads. The fleet has [`MARKS`] shards more than those that report.
    ///
    /// # Errors
    ///
    /// When there can be no such shards.
    pub(crate) fn aggregator(broker: SocketAddrV4, shards: u32) -> anyhow::Result<Self> {
        let answers = (shards..shards + MARKS).map(fleet::changed);
        Ok(Self {
            answers: answers.collect::<Result<_, _>>()?,
            ..Self::bare(broker, shards)
        })
    }

    /// A process that only counts.
    pub(crate) fn bare(broker: SocketAddrV4, shards: u32) -> Self {
        Self {
            broker,
            answers: vec![ANSWERS.to_owned()],
            first_mark: shards,
            marks: 0,
            messages: 0,
        }
    }

    /// The next mark: a shard, and a state that it was not in. No two unanswered ones are of the same shard.
    fn next_mark(&mut self, verb: Verb) -> anyhow::Result<Vec<u8>> {
        let shard = self.first_mark + self.marks % MARKS;
        let even = (self.marks / MARKS).is_multiple_of(2);
        self.marks += 1;
        let state = if even { State::Resuming } else { State::Online };
        let mut bytes = Vec::new();
        fleet::publish(&mut bytes, verb, shard, &fleet::mark_body(verb, state))?;
        Ok(bytes)
    }
}

/// What is sent over and over.
#[derive(Debug)]
pub(crate) struct Traffic {
    verb: Verb,
    /// The number of messages in each run, and their bytes.
    runs: Vec<(u32, Vec<u8>)>,
}

impl Traffic {
    /// Every shard once in each pass, with the bodies of the passes in turn.
    ///
    /// # Errors
    ///
    /// When there can be no such shards.
    pub(crate) fn new(verb: Verb, shards: u32, bodies: &[&[u8]]) -> anyhow::Result<Self> {
        let mut runs = Vec::new();
        for body in bodies {
            for first in (0..shards).step_by(verb.run_len() as usize) {
                let len = verb.run_len().min(shards - first);
                let mut bytes = Vec::new();
                for shard in first..first + len {
                    fleet::publish(&mut bytes, verb, shard, body)?;
                }
                runs.push((len, bytes));
            }
        }
        Ok(Self { verb, runs })
    }
}

/// How long to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// Each message once.
    Once,
    /// What is received in the warm-up does not count; then for as long as told.
    Timed {
        /// Before the measurement.
        warm_up: Duration,
        /// The measurement.
        period: Duration,
    },
}

/// Floods a target, until all that was sent is answered. Returns how many messages a second it took, if that was
/// timed.
///
/// # Errors
///
/// When something was lost, or the broker is gone.
pub(crate) fn flood(target: &mut Target, traffic: &Traffic, length: Length) -> anyhow::Result<f64> {
    // The thread is the benchmark's own: nothing else has to run meanwhile.
    tokio::task::block_in_place(|| Flood::open(target, traffic.verb)?.run(traffic, length))
}

/// What the server sent.
enum Heard {
    Ping,
    /// An answer, with its body.
    Answer(Vec<u8>),
    Error(String),
}

struct Flood<'a> {
    target: &'a mut Target,
    verb: Verb,
    socket: TcpStream,
    heard: Receiver<Heard>,
    /// For each unanswered mark, how many messages had been sent with it.
    unanswered: VecDeque<u64>,
    answered: u64,
    answered_at: Instant,
}

impl<'a> Flood<'a> {
    fn open(target: &'a mut Target, verb: Verb) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(target.broker).context("cannot reach the broker")?;
        socket.set_nodelay(true)?;
        let mut greeting =
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"0\"}\r\n"
                .to_owned();
        for (number, subject) in target.answers.iter().enumerate() {
            greeting += &format!("SUB {subject} {number}\r\n");
        }
        socket.write_all(greeting.as_bytes())?;
        let (sender, heard) = mpsc::sync_channel(HEARD_MAX);
        let reader = BufReader::new(socket.try_clone()?);
        // It ends with the connection.
        thread::spawn(move || listen(reader, &sender));
        Ok(Self {
            answered: target.messages,
            target,
            verb,
            socket,
            heard,
            unanswered: VecDeque::new(),
            answered_at: Instant::now(),
        })
    }

    fn run(mut self, traffic: &Traffic, length: Length) -> anyhow::Result<f64> {
        let start = Instant::now();
        let (from, to) = match length {
            Length::Once => (start, start),
            Length::Timed { warm_up, period } => (start + warm_up, start + warm_up + period),
        };
        let (mut first, mut last) = (None, None);
        for (number, (count, bytes)) in traffic.runs.iter().cycle().enumerate() {
            if number >= traffic.runs.len() && Instant::now() >= to {
                break;
            }
            self.socket.write_all(bytes)?;
            let mark = self.target.next_mark(self.verb)?;
            self.socket.write_all(&mark)?;
            self.target.messages += u64::from(*count) + 1;
            self.unanswered.push_back(self.target.messages);
            self.hear(MARKS as usize - 1)?;
            let now = (self.answered_at, self.answered);
            first = first.or((now.0 >= from).then_some(now));
            last = Some(now);
        }
        self.hear(0)?;
        self.socket.shutdown(std::net::Shutdown::Both)?;
        Ok(first
            .zip(last)
            .map_or(0.0, |(first, last)| rate(first, last)))
    }

    /// Takes what the server sent, until at most so many marks are unanswered.
    fn hear(&mut self, unanswered_max: usize) -> anyhow::Result<()> {
        loop {
            let heard = match self.unanswered.len() <= unanswered_max {
                true => match self.heard.try_recv() {
                    Ok(heard) => heard,
                    Err(_) => return Ok(()),
                },
                false => match self.heard.recv_timeout(ANSWER_MAX) {
                    Ok(heard) => heard,
                    Err(RecvTimeoutError::Timeout) => {
                        bail!("a mark is not answered: something is lost")
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        bail!("the broker closed the connection")
                    }
                },
            };
            self.take(heard)?;
        }
    }

    fn take(&mut self, heard: Heard) -> anyhow::Result<()> {
        match heard {
            Heard::Ping => self.socket.write_all(b"PONG\r\n")?,
            Heard::Error(text) => bail!("the broker says: {text}"),
            Heard::Answer(body) => {
                let sent = self.unanswered.pop_front().context("nobody was asked")?;
                // An aggregator does not count.
                let counted = std::str::from_utf8(&body)
                    .ok()
                    .and_then(|it| it.parse::<u64>().ok());
                if let Some(counted) = counted {
                    ensure!(
                        counted == sent,
                        "{sent} messages were sent, and {counted} arrived"
                    );
                }
                self.answered = sent;
                self.answered_at = Instant::now();
            }
        }
        Ok(())
    }
}

fn rate(first: (Instant, u64), last: (Instant, u64)) -> f64 {
    meter::as_float(last.1 - first.1) / last.0.duration_since(first.0).as_secs_f64()
}

/// Reads what the server sends until the connection ends.
fn listen(mut reader: BufReader<TcpStream>, sender: &SyncSender<Heard>) {
    let mut line = String::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let heard = match line.split_whitespace().next() {
            Some("PING") => Heard::Ping,
            Some("-ERR") => Heard::Error(line.trim().to_owned()),
            Some("MSG") => match body(&mut reader, &line) {
                Some(body) => Heard::Answer(body),
                None => return,
            },
            _ => continue,
        };
        if sender.send(heard).is_err() {
            return;
        }
    }
}

/// The body after a line such as `MSG bench.answers 0 5`.
fn body(reader: &mut impl Read, line: &str) -> Option<Vec<u8>> {
    let len = line.split_whitespace().last()?.parse::<u64>().ok()?;
    let mut body = Vec::new();
    reader.take(len + 2).read_to_end(&mut body).ok()?;
    body.truncate(body.len().saturating_sub(2));
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_change_a_state_and_no_shard_is_marked_twice_in_a_row() {
        let address = "127.0.0.1:4222".parse().unwrap();
        let mut target = Target::bare(address, 100);
        let marks: Vec<String> = (0..2 * MARKS)
            .map(|_| String::from_utf8(target.next_mark(Verb::State).unwrap()).unwrap())
            .collect();
        assert_eq!(marks[0], "PUB glance.main.100.state 1\r\n6\r\n");
        assert_eq!(marks[7], "PUB glance.main.107.state 1\r\n6\r\n");
        assert_eq!(marks[8], "PUB glance.main.100.state 1\r\n3\r\n");
    }

    #[test]
    fn traffic_holds_each_shard_once_a_pass() {
        let traffic = Traffic::new(Verb::State, 600, &[b"6", b"3"]).unwrap();
        let lens: Vec<u32> = traffic.runs.iter().map(|(len, _)| *len).collect();
        assert_eq!(lens, [512, 88, 512, 88]);
        assert!(
            traffic.runs[1]
                .1
                .starts_with(b"PUB glance.main.512.state 1\r\n6\r\n")
        );
    }

    #[test]
    fn the_body_of_an_answer_is_read_to_its_end() {
        let mut bytes: &[u8] = b"12345\r\nPING\r\n";
        let read = body(&mut bytes, "MSG bench.answers 0 5\r\n");
        assert_eq!(
            (read.as_deref(), bytes),
            (Some(&b"12345"[..]), &b"PING\r\n"[..])
        );
    }
}
