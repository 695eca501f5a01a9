//! The proxy, with plain sockets and with a NATS client.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use glance_testing::{Flow, NatsServer, Proxy, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// How long "nothing comes" is watched. What is checked this way also has a proof that the bytes come later.
const SILENCE: Duration = Duration::from_millis(100);

/// A proxy before a listener, and both ends of a connection through it.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().port()).await;
        let client = connect(&proxy).await;
        let server = accept(&listener).await;
        Self {
            proxy,
            listener,
            client,
            server,
        }
    }
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
        .await
        .unwrap()
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0
}

async fn send(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// Exactly this text comes next.
async fn expect(socket: &mut TcpStream, text: &str) {
    let mut read = vec![0; text.len()];
    timeout(LIMIT, socket.read_exact(&mut read))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), text);
}

async fn expect_silence(socket: &mut TcpStream) {
    let read = timeout(SILENCE, socket.read(&mut [0; 1])).await;
    assert!(read.is_err(), "{read:?} came through");
}

/// The connection ends, by FIN or by RST.
async fn expect_end(socket: &mut TcpStream) {
    let read = timeout(LIMIT, socket.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn bytes_pass_in_both_directions_and_so_does_the_end() {
    let mut line = Line::new().await;
    // The server speaks first, as NATS does.
    send(&mut line.server, "INFO").await;
    expect(&mut line.client, "INFO").await;
    send(&mut line.client, "CONNECT").await;
    expect(&mut line.server, "CONNECT").await;
    assert_eq!(line.proxy.connections(), 1);

    // Half of the connection may end before the other.
    line.client.shutdown().await.unwrap();
    expect_end(&mut line.server).await;
    send(&mut line.server, "bye").await;
    expect(&mut line.client, "bye").await;
    drop(line.server);
    expect_end(&mut line.client).await;
    let proxy = line.proxy;
    eventually(LIMIT, async || (proxy.connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn what_is_sent_during_a_stall_waits_and_moves_on_in_order() {
    let mut line = Line::new().await;
    for round in 0..20 {
        line.proxy.set(Flow::Stall);
        send(&mut line.client, &format!("up {round:02}")).await;
        send(&mut line.server, &format!("down {round:02}")).await;
        expect_silence(&mut line.server).await;
        expect_silence(&mut line.client).await;
        send(&mut line.client, " and on").await;
        line.proxy.set(Flow::Pass);
        expect(&mut line.server, &format!("up {round:02} and on")).await;
        expect(&mut line.client, &format!("down {round:02}")).await;
    }
}

#[tokio::test]
async fn a_stall_holds_a_sender_back() {
    const BLOCK: usize = 1024 * 1024;
    let line = Line::new().await;
    line.proxy.set(Flow::Stall);

    let (mut client, mut server) = (line.client, line.server);
    let (mut sent, mut blocks) = (0_usize, Vec::new());
    // The buffers of a socket are a few megabytes at most.
    while let Ok(written) = timeout(
        SILENCE,
        client.write(&vec![u8::try_from(blocks.len()).unwrap(); BLOCK]),
    )
    .await
    {
        blocks.push(written.unwrap());
        sent += blocks.last().unwrap();
        assert!(sent < 64 * BLOCK, "nothing holds the sender back");
    }
    expect_silence(&mut server).await;

    line.proxy.set(Flow::Pass);
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    timeout(LIMIT, server.read_to_end(&mut read))
        .await
        .unwrap()
        .unwrap();
    let expected = blocks
        .iter()
        .enumerate()
        .flat_map(|(index, length)| vec![u8::try_from(index).unwrap(); *length]);
    assert!(expected.eq(read), "the bytes are others");
}

#[tokio::test]
async fn one_direction_can_stall_alone() {
    let mut line = Line::new().await;
    line.proxy.set(Flow::StallUp);
    send(&mut line.client, "up").await;
    send(&mut line.server, "down").await;
    expect(&mut line.client, "down").await;
    expect_silence(&mut line.server).await;

    line.proxy.set(Flow::StallDown);
    expect(&mut line.server, "up").await;
    send(&mut line.server, "more").await;
    expect_silence(&mut line.client).await;

    line.proxy.set(Flow::Pass);
    expect(&mut line.client, "more").await;
}

#[tokio::test]
async fn a_stall_accepts_connections_and_hides_them_from_the_upstream() {
    let mut line = Line::new().await;
    line.proxy.set(Flow::Stall);
    let mut late = connect(&line.proxy).await;
    send(&mut late, "late").await;
    assert!(timeout(SILENCE, line.listener.accept()).await.is_err());
    // Those that stand are not told of an end either.
    drop(line.server);
    expect_silence(&mut line.client).await;

    line.proxy.set(Flow::Pass);
    expect_end(&mut line.client).await;
    expect(&mut accept(&line.listener).await, "late").await;
}

#[tokio::test]
async fn refusing_cuts_what_stands_and_closes_what_comes() {
    let mut line = Line::new().await;
    line.proxy.set(Flow::Refuse);
    expect_end(&mut line.client).await;
    expect_end(&mut line.server).await;
    expect_end(&mut connect(&line.proxy).await).await;

    line.proxy.set(Flow::Pass);
    let mut client = connect(&line.proxy).await;
    send(&mut client, "again").await;
    expect(&mut accept(&line.listener).await, "again").await;
}

#[tokio::test]
async fn a_short_refusal_and_a_cut_end_connections_also_in_a_stall() {
    let mut line = Line::new().await;
    line.proxy.set(Flow::Refuse);
    line.proxy.set(Flow::Pass);
    expect_end(&mut line.client).await;

    let mut client = connect(&line.proxy).await;
    let mut server = accept(&line.listener).await;
    line.proxy.set(Flow::Stall);
    send(&mut client, "lost").await;
    expect_silence(&mut server).await;
    line.proxy.cut();
    expect_end(&mut client).await;
    expect_end(&mut server).await;

    line.proxy.set(Flow::Pass);
    let mut client = connect(&line.proxy).await;
    send(&mut client, "new").await;
    expect(&mut accept(&line.listener).await, "new").await;
    assert_eq!(line.proxy.connections(), 1);
}

#[tokio::test]
async fn later_connections_can_go_elsewhere() {
    let mut line = Line::new().await;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    line.proxy.set_upstream(other.local_addr().unwrap().port());
    let mut client = connect(&line.proxy).await;
    send(&mut client, "there").await;
    expect(&mut accept(&other).await, "there").await;
    send(&mut line.client, "here").await;
    expect(&mut line.server, "here").await;
}

#[tokio::test]
async fn without_an_upstream_clients_are_closed() {
    let proxy = Proxy::start(free_port()).await;
    expect_end(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_all() {
    let mut line = Line::new().await;
    let port = line.proxy.port();
    drop(line.proxy);
    expect_end(&mut line.client).await;
    expect_end(&mut line.server).await;
    eventually(LIMIT, async || {
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        connected.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port()).await;
    // In a stall, the upstream does not see them, and needs no file descriptors.
    proxy.set(Flow::Stall);
    let mut clients = Vec::new();
    for _ in 0..256 {
        clients.push(connect(&proxy).await);
    }
    eventually(LIMIT, async || (proxy.connections() == 256).then_some(())).await;
    expect_end(&mut connect(&proxy).await).await;
    assert_eq!(proxy.connections(), 256);

    // Whoever goes makes room.
    proxy.cut();
    eventually(LIMIT, async || (proxy.connections() == 0).then_some(())).await;
}

/// Tasks of several threads, all while the flow changes: no byte is lost, doubled or moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_line_keeps_every_byte() {
    const BYTES: usize = 4 * 1024 * 1024;
    let line = Line::new().await;
    let (mut client, mut server) = (line.client, line.server);
    let pattern: Vec<u8> = (0..=250).cycle().take(BYTES).collect();
    let expected = pattern.clone();
    let sending = tokio::spawn(async move {
        for piece in pattern.chunks(40_000) {
            client.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client
    });
    let reading = tokio::spawn(async move {
        let mut read = vec![0; BYTES];
        server.read_exact(&mut read).await.unwrap();
        read
    });
    let mut flips = 0;
    while !sending.is_finished() {
        line.proxy.set(Flow::Stall);
        tokio::task::yield_now().await;
        line.proxy.set(Flow::StallUp);
        line.proxy.set(Flow::Pass);
        tokio::time::sleep(Duration::from_millis(1)).await;
        flips += 1;
    }
    assert!(flips > 10, "{flips} changes are no test");
    let _client = sending.await.unwrap();
    assert!(timeout(LIMIT, reading).await.unwrap().unwrap() == expected);
}

#[tokio::test]
async fn a_nats_client_survives_a_stall_and_knows_no_way_around_the_proxy() {
    let nats = NatsServer::start().await;
    let proxy = Proxy::start(nats.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    assert_eq!(client.server_info().connect_urls, Vec::<String>::new());

    let mut heard = client.subscribe("x").await.unwrap();
    client.flush().await.unwrap();
    proxy.set(Flow::Stall);
    client.publish("x", "kept".into()).await.unwrap();
    client.flush().await.unwrap();
    let next = timeout(SILENCE, futures::StreamExt::next(&mut heard)).await;
    assert!(next.is_err());
    proxy.set(Flow::Pass);
    let next = timeout(LIMIT, futures::StreamExt::next(&mut heard)).await;
    assert_eq!(next.unwrap().unwrap().payload, "kept");
}
