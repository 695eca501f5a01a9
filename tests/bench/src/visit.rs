//! Visits of the page as a browser makes them: the page, then all its parts and the data.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::crowd::connect;

const PAGE: &str = "/";
/// What the page asks for, beside the parts that it names.
const MANIFEST: &str = "/manifest.webmanifest";
const DATA: [&str; 2] = ["/api/snapshot", "/api/history"];
/// How long a visit may take.
const VISIT_MAX: Duration = Duration::from_secs(30);
const READ_BUFFER_BYTES: usize = 64 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What a visitor asks for, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    page: Vec<u8>,
    /// All that follows, sent at once.
    rest: Vec<u8>,
    rest_count: usize,
    /// How many of them are parts of the page; they come first.
    parts: usize,
    /// How many bytes of body the answers had in the visit that this was made of.
    pub(crate) bodies: Vec<usize>,
}

/// How long a visit took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// Until the page with all its parts was there.
    pub(crate) page: Duration,
    /// Until the data was there as well.
    pub(crate) whole: Duration,
    /// How many answers said that nothing has changed.
    pub(crate) unchanged: usize,
}

impl Visit {
    /// A first visit: nothing is known.
    ///
    /// # Errors
    ///
    /// When there is no page.
    pub(crate) async fn first(address: SocketAddrV4) -> anyhow::Result<Self> {
        let mut client = Client::open(address, 0).await?;
        let page = request(address, PAGE, "");
        client
            .stream
            .write_all(&request_plain(address, PAGE))
            .await?;
        let html = String::from_utf8(client.answer().await?.body)?;
        let parts = html.split("=\"assets/").skip(1);
        let parts = parts.filter_map(|part| part.split('"').next());
        let paths: Vec<String> = parts
            .map(|part| format!("/assets/{part}"))
            .chain([MANIFEST, DATA[0], DATA[1]].map(str::to_owned))
            .collect();
        let rest = paths.iter().flat_map(|path| request(address, path, ""));
        let mut visit = Self {
            page,
            rest: rest.collect(),
            rest_count: paths.len(),
            parts: paths.len() - DATA.len(),
            bodies: Vec::new(),
        };
        visit.learn_lengths(address).await?;
        Ok(visit)
    }

    /// A visit of somebody who has been here a moment ago: the parts are kept for ever, the page and the manifest are
    /// asked for again, the data comes anew. What has changed since this was made does as well, so make it just before
    /// it is used.
    ///
    /// # Errors
    ///
    /// When there is no page.
    pub(crate) async fn again(address: SocketAddrV4) -> anyhow::Result<Self> {
        let mut requests = Vec::new();
        for path in [PAGE, MANIFEST] {
            let mut client = Client::open(address, 0).await?;
            client.stream.write_all(&request(address, path, "")).await?;
            let tag = client
                .answer()
                .await?
                .etag
                .context("an answer without ETag")?;
            let header = format!("If-None-Match: {tag}\r\n");
            requests.push(request(address, path, &header));
        }
        requests.extend(DATA.map(|path| request(address, path, "")));
        let page = requests.remove(0);
        let mut visit = Self {
            page,
            rest_count: requests.len(),
            parts: 0,
            rest: requests.concat(),
            bodies: Vec::new(),
        };
        visit.learn_lengths(address).await?;
        Ok(visit)
    }

    /// A visit for which a bare server sends as many bytes with each answer.
    pub(crate) fn bare(&self, address: SocketAddrV4) -> Self {
        let mut requests = self
            .bodies
            .iter()
            .map(|bytes| request(address, &format!("/{bytes}"), ""));
        let page = requests.next().unwrap_or_default();
        Self {
            page,
            rest: requests.flatten().collect(),
            ..self.clone()
        }
    }

    /// How many requests it makes.
    pub(crate) fn requests(&self) -> usize {
        1 + self.rest_count
    }

    /// Visits once, on a connection of its own.
    ///
    /// # Errors
    ///
    /// When an answer is another than expected, or does not come.
    pub(crate) async fn make(&self, address: SocketAddrV4, number: usize) -> anyhow::Result<Took> {
        timeout(VISIT_MAX, self.make_without_limit(address, number))
            .await
            .context("no answer in time")?
    }

    async fn make_without_limit(
        &self,
        address: SocketAddrV4,
        number: usize,
    ) -> anyhow::Result<Took> {
        let start = Instant::now();
        let mut client = Client::open(address, number).await?;
        client.stream.write_all(&self.page).await?;
        let mut unchanged = usize::from(client.skip().await?);
        client.stream.write_all(&self.rest).await?;
        for _ in 0..self.parts {
            unchanged += usize::from(client.skip().await?);
        }
        let page = start.elapsed();
        for _ in self.parts..self.rest_count {
            unchanged += usize::from(client.skip().await?);
        }
        Ok(Took {
            page,
            unchanged,
            whole: start.elapsed(),
        })
    }

    async fn learn_lengths(&mut self, address: SocketAddrV4) -> anyhow::Result<()> {
        let mut client = Client::open(address, 0).await?;
        client.stream.write_all(&self.page).await?;
        client.stream.write_all(&self.rest).await?;
        for _ in 0..self.requests() {
            self.bodies.push(client.answer().await?.body.len());
        }
        Ok(())
    }
}

fn request(address: SocketAddrV4, path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: gzip, deflate, br\r\n{headers}\r\n").into()
}

fn request_plain(address: SocketAddrV4, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into()
}

struct Answer {
    etag: Option<String>,
    body: Vec<u8>,
}

/// A connection whose answers are read.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer was read but not used.
    held: std::ops::Range<usize>,
}

impl Client {
    async fn open(address: SocketAddrV4, number: usize) -> anyhow::Result<Self> {
        let stream = connect(address, number).await?;
        Ok(Self {
            stream,
            buffer: vec![0; READ_BUFFER_BYTES],
            held: 0..0,
        })
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let head = self.head().await?;
        is_unchanged(&head)?;
        let mut body = Vec::new();
        let mut missing = length(&head);
        while missing > 0 {
            let part = self.part(missing).await?;
            missing -= part.len();
            body.extend_from_slice(&self.buffer[part]);
        }
        Ok(Answer {
            etag: header(&head, "etag").map(str::to_owned),
            body,
        })
    }

    /// Reads an answer past, and says whether it was that nothing has changed.
    async fn skip(&mut self) -> anyhow::Result<bool> {
        let head = self.head().await?;
        let unchanged = is_unchanged(&head)?;
        let mut missing = length(&head);
        while missing > 0 {
            missing -= self.part(missing).await?.len();
        }
        Ok(unchanged)
    }

    async fn head(&mut self) -> anyhow::Result<String> {
        loop {
            let held = &self.buffer[self.held.clone()];
            if let Some(end) = memmem::find(held, HEAD_END) {
                let head = String::from_utf8(held[..end].to_vec())?;
                self.held.start += end + HEAD_END.len();
                return Ok(head);
            }
            ensure!(
                held.len() < self.buffer.len(),
                "the head of an answer is too long"
            );
            self.buffer.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
            let read = self.stream.read(&mut self.buffer[self.held.end..]).await?;
            ensure!(read > 0, "the connection was closed");
            self.held.end += read;
        }
    }

    /// The next bytes of a body, `max` at most.
    async fn part(&mut self, max: usize) -> anyhow::Result<std::ops::Range<usize>> {
        if self.held.is_empty() {
            let read = self.stream.read(&mut self.buffer).await?;
            ensure!(read > 0, "the connection was closed");
            self.held = 0..read;
        }
        let start = self.held.start;
        self.held.start = self.held.end.min(start + max);
        Ok(start..self.held.start)
    }
}

/// Whether an answer says 304, and not 200.
fn is_unchanged(head: &str) -> anyhow::Result<bool> {
    let unchanged = head.starts_with("HTTP/1.1 304");
    ensure!(
        unchanged || head.starts_with("HTTP/1.1 200"),
        "answered {head}"
    );
    Ok(unchanged)
}

fn length(head: &str) -> usize {
    let length = header(head, "content-length");
    length.and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_read() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\netag: W/\"a:b\"";
        assert_eq!(length(head), 12);
        assert_eq!(header(head, "etag"), Some("W/\"a:b\""));
        let unchanged = "HTTP/1.1 304 Not Modified";
        assert_eq!(length(unchanged), 0);
        assert!(is_unchanged(unchanged).unwrap() && !is_unchanged(head).unwrap());
        assert!(is_unchanged("HTTP/1.1 503 Service Unavailable").is_err());
    }
}
