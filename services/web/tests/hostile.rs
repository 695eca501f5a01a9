//! Clients that mean harm, against the real program. After each, it runs, its memory is bounded, and others are served.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod scene;
mod support;

use std::time::Duration;

use futures::future::join_all;
use scene::{ATTACKER, Scene, UPGRADE};
use support::LIMIT;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Most connections of one address in these tests.
const CLIENT_MAX: usize = 200;
/// No answer comes, and the connection stays.
const WAITS: &str = "waits";
/// The connection ends without an answer.
const CUT_OFF: &str = "cut off";
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The first bytes that come, or none when the connection ends before.
async fn begin(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    match timeout(LIMIT, stream.read_exact(&mut bytes)).await.unwrap() {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// The status that is answered, [`WAITS`], or [`CUT_OFF`].
async fn outcome(stream: &mut TcpStream, wanted: &str) -> String {
    let patience = match wanted {
        WAITS => Duration::from_millis(300),
        _ => LIMIT,
    };
    let mut bytes = [0; 12];
    match timeout(patience, stream.read_exact(&mut bytes)).await {
        Ok(Ok(_)) => String::from_utf8_lossy(&bytes).replace("HTTP/1.1 ", ""),
        Ok(Err(_)) => CUT_OFF.to_owned(),
        Err(_) => WAITS.to_owned(),
    }
}

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(0x80 | length),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The code of the close frame with which an answer ends.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let frames = (4..128).filter_map(|length| bytes.get(bytes.len().checked_sub(length)?..));
    let mut closes = frames.filter(|it| it[0] == 0x88 && usize::from(it[1]) == it.len() - 2);
    closes.next().map(|it| u16::from_be_bytes([it[2], it[3]]))
}

/// RFC 6455, sections 5.1, 5.2, 5.4, 5.5, 7.4.1 and 8.1.
#[tokio::test]
async fn frames_that_break_the_protocol() {
    let mut scene = Scene::start(|program| program).await;
    let fragments = frame(0x01, b"a")
        .into_iter()
        .chain((0..5).flat_map(|_| frame(0x00, &[b'x'; 4000])))
        .collect();
    for (what, bytes, code) in [
        ("not masked", vec![0x81, 1, b'x'], 1002),
        ("RSV1", frame(0xc1, b"x"), 1002),
        ("RSV2", frame(0xa1, b"x"), 1002),
        ("RSV3", frame(0x91, b"x"), 1002),
        ("reserved data opcode", frame(0x83, b"x"), 1002),
        ("reserved control opcode", frame(0x8b, b"x"), 1002),
        ("text that is not UTF-8", frame(0x81, b"\xff"), 1007),
        ("ping in fragments", frame(0x09, b"x"), 1002),
        ("ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("continues nothing", frame(0x80, b"x"), 1002),
        (
            "begins twice",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            1002,
        ),
        ("half a close code", frame(0x88, b"x"), 1002),
        (
            "close code that is none",
            frame(0x88, &999u16.to_be_bytes()),
            1002,
        ),
        (
            "2^62 bytes",
            [vec![0x82, 0xff, 0x40], vec![0; 11]].concat(),
            1009,
        ),
        (
            "2^64 - 1 bytes",
            [vec![0x82, 0xff], vec![0xff; 8], vec![0; 4]].concat(),
            1009,
        ),
        ("too many fragments", fragments, 1009),
    ] {
        let mut stream = scene
            .send(ATTACKER, &[UPGRADE.as_bytes(), &bytes].concat())
            .await;
        let mut answer = Vec::new();
        let _ = timeout(LIMIT, stream.read_to_end(&mut answer))
            .await
            .expect(what);
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{what}");
        println!("{what}: {:?}", close_code(&answer));
        assert_eq!(
            close_code(&answer),
            Some(code),
            "{what}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    scene.others_are_served().await;
    // All pings are taken, and pongs that nobody reads must not pile up: these would be 25 MB.
    let pings = frame(0x89, &[b'p'; 125]).repeat(200_000);
    let flood = scene.connect(ATTACKER).await;
    let (mut read, mut write) = flood.into_split();
    write.write_all(UPGRADE.as_bytes()).await.unwrap();
    let sent = timeout(2 * LIMIT, write.write_all(&pings)).await;
    sent.expect("they are read").expect("the viewer stays");
    scene.others_are_served().await;
    let grown = scene.grown_kib();
    assert!(grown < 8 * 1024, "{grown} KiB more");
    let _ = read.read(&mut [0; 1024]).await;
}

#[tokio::test]
async fn a_thousand_half_open_upgrades() {
    let mut scene = Scene::start(|program| {
        program.env("GLANCE_CLIENT_CONNECTIONS_MAX", CLIENT_MAX.to_string())
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(scene.send(ATTACKER, UPGRADE.as_bytes()).await);
    }
    let (mut taken, mut refused) = (0, 0);
    for stream in &mut held {
        match &begin(stream).await[..] {
            "HTTP/1.1 101" => taken += 1,
            "HTTP/1.1 429" => refused += 1,
            _ => {}
        }
    }
    println!("one address, 1,000 upgrades: {taken} taken, {refused} told 429");
    assert_eq!(taken, CLIENT_MAX);
    // A few may not have read it before the connection was reset.
    assert!(refused > 700, "{refused}");
    scene.others_are_served().await;
    // The same from where there is no such limit: they are viewers, and the memory of a viewer is small.
    drop(held);
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(scene.send("127.0.0.1", UPGRADE.as_bytes()).await);
    }
    scene.others_are_served().await;
    // Some stop before the 101 is read, and some leave in the middle of the request.
    for _ in 0..500 {
        drop(scene.send(ATTACKER, UPGRADE.as_bytes()).await);
        drop(scene.send(ATTACKER, &UPGRADE.as_bytes()[..50]).await);
    }
    scene.others_are_served().await;
}

#[tokio::test]
async fn floods_of_what_is_no_request() {
    let mut scene = Scene::start(|program| {
        program
            .env("GLANCE_CLIENT_CONNECTIONS_MAX", CLIENT_MAX.to_string())
            .env("GLANCE_TRUSTED_PROXIES", "127.0.0.9")
    })
    .await;
    let headers = "GET / HTTP/1.1\r\n".to_owned() + &"A: b\r\n".repeat(20_000);
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40);
    let garbage: Vec<u8> = (0..200_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let pipelined = "GET /api/snapshot HTTP/1.1\r\nHost: t\r\n\r\n".repeat(5000);
    let post = |head: &str| format!("POST / HTTP/1.1\r\nHost: t\r\n{head}\r\n\r\nx");
    let chunks = post("Transfer-Encoding: chunked");
    let huge = chunks.trim_end_matches('x').to_owned() + "ffffffffffffffff\r\nx";
    let post = |head: &str| post(head).into_bytes();
    for (what, bytes, count, wanted) in [
        ("half a head", b"GET / HTTP/1.1\r\nHo".to_vec(), 150, WAITS),
        ("20,000 headers", headers.into_bytes(), 50, "431"),
        ("a TLS hello", tls, 50, "400"),
        ("200 kB of garbage", garbage, 50, "400"),
        (
            "5,000 requests, no answer read",
            pipelined.into_bytes(),
            20,
            "200",
        ),
        (
            "a body that does not come",
            post("Content-Length: 1000000000"),
            50,
            "405",
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6"),
            50,
            "400",
        ),
        (
            "a length and chunks",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            50,
            "405",
        ),
        ("chunks that are none", chunks.into_bytes(), 50, "405"),
        ("a chunk of 2^64 - 1", huge.into_bytes(), 50, "405"),
    ] {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(scene.send(ATTACKER, &bytes).await);
        }
        scene.others_are_served().await;
        let seen = join_all(held.iter_mut().map(|stream| outcome(stream, wanted))).await;
        let as_wanted = seen.iter().filter(|it| *it == wanted).count();
        println!("{count} times {what}: {as_wanted} times {wanted}");
        // Who is still sending when the answer comes may lose it to the reset that follows.
        let sends_on = wanted.starts_with('4') && bytes.len() > HEAD_BYTES_MAX;
        let is_expected = |it: &String| it == wanted || sends_on && it == CUT_OFF;
        assert!(
            as_wanted > 0 && seen.iter().all(is_expected),
            "{what}: {seen:?}"
        );
    }
    // Nothing but connections, faster than anybody accepts them.
    let mut held = Vec::new();
    for _ in 0..2000 {
        held.push(scene.connect(ATTACKER).await);
    }
    scene.others_are_served().await;
    // As many clients as the flood likes to invent, behind no proxy that we trust.
    let invented = |n: usize| {
        format!("GET /plain HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 198.51.100.{n}\r\n\r\n")
    };
    drop(held);
    let mut held = Vec::new();
    for n in 0..CLIENT_MAX + 50 {
        held.push(scene.send(ATTACKER, invented(n % 250).as_bytes()).await);
    }
    let mut refused = 0;
    for stream in &mut held {
        refused += usize::from(!begin(stream).await.starts_with("HTTP/1.1 200"));
    }
    assert!(refused >= 50, "{refused}");
    scene.others_are_served().await;
}
