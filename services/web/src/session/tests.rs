//! A session over a pipe, with time that is made to pass.

use glance_protocol::feed::Clock;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

use super::*;
use crate::{frames::message, mirror::Mirror, picture::Picture};

/// What the pipe holds before the writer has to wait.
const PIPE_BYTES: usize = 1024;

fn publish(fanout: &Fanout, number: u64, changes: &[frames::Change]) {
    let clock = Clock::default();
    let picture = Picture::take(
        &Mirror::default(),
        number,
        clock,
        None,
        Arc::default(),
        crate::history::History::default().lately(),
    );
    fanout.publish(picture, changes);
}

fn start(
    dialect: Dialect,
) -> (
    Arc<Fanout>,
    Shutdown,
    DuplexStream,
    tokio::task::JoinHandle<()>,
) {
    let fanout = Arc::new(Fanout::default());
    publish(&fanout, 1, &[]);
    let shutdown = Shutdown::new();
    let session = Session {
        fanout: fanout.clone(),
        counts: Arc::new(Counts::new(10)),
        build: "x".into(),
        shutdown: shutdown.clone(),
    };
    let (server, client) = duplex(PIPE_BYTES);
    let running = tokio::spawn(session.serve(server, dialect));
    (fanout, shutdown, client, running)
}

async fn client(pipe: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(pipe, Role::Client, None).await
}

fn pulse() -> [frames::Change; 1] {
    [frames::Change::Heard(Vec::new())]
}

async fn close_code(socket: &mut WebSocketStream<DuplexStream>) -> u16 {
    while let Some(message) = socket.next().await {
        if let Message::Close(Some(frame)) = message.unwrap() {
            return frame.code.into();
        }
    }
    panic!("the end came without a close frame");
}

#[tokio::test]
async fn a_page_that_lags_is_told_to_fetch_again() {
    let (fanout, _shutdown, pipe, _running) = start(Dialect::Page);
    let mut socket = client(pipe).await;
    assert!(
        socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .to_text()
            .unwrap()
            .contains("hello")
    );
    for number in 2..2000 {
        publish(&fanout, number, &pulse());
    }
    loop {
        let message = socket.next().await.unwrap().unwrap();
        if message.to_text().unwrap().contains("resync") {
            break;
        }
    }
    // And then it goes on.
    publish(&fanout, 2000, &pulse());
    let message = socket.next().await.unwrap().unwrap();
    assert!(message.to_text().unwrap().contains("pulse"));
}

#[tokio::test]
async fn everybody_else_who_lags_is_closed() {
    let (fanout, _shutdown, pipe, _running) = start(Dialect::Everybody);
    let mut socket = client(pipe).await;
    socket.next().await;
    for _ in 0..1000 {
        let frames = Item::Frames(2, message("{}"), 1);
        fanout.send_to_everybody(frames);
    }
    assert_eq!(close_code(&mut socket).await, 1013);
}

#[tokio::test]
async fn what_the_picture_holds_is_not_told_again() {
    let (fanout, shutdown, pipe, _running) = start(Dialect::Everybody);
    let mut socket = client(pipe).await;
    socket.next().await;
    for (number, text) in [(1, "old"), (2, "new")] {
        fanout.send_to_everybody(Item::Frames(number, message(text), 1));
    }
    let message = socket.next().await.unwrap().unwrap();
    assert_eq!(message.to_text().unwrap(), "new");
    shutdown.trigger();
    assert_eq!(close_code(&mut socket).await, 1001);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_dropped() {
    let (fanout, _shutdown, pipe, running) = start(Dialect::Page);
    let start = Instant::now();
    tokio::task::yield_now().await;
    for number in 2..100 {
        publish(&fanout, number, &pulse());
    }
    running.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), WRITE_MAX.as_secs());
    drop(pipe);
}

/// It reads, but its end of the protocol is dead.
#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_dropped() {
    let (_fanout, _shutdown, mut pipe, running) = start(Dialect::Page);
    let start = Instant::now();
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).await.unwrap();
    running.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), SILENCE_MAX.as_secs());
    assert!(bytes.ends_with(&[0x89, 0, 0x89, 0]), "two pings");
}

#[tokio::test(start_paused = true)]
async fn who_answers_pings_stays() {
    let (fanout, _shutdown, pipe, running) = start(Dialect::Page);
    let mut socket = client(pipe).await;
    let reading = async { while socket.next().await.is_some() {} };
    assert!(timeout(Duration::from_secs(595), reading).await.is_err());
    assert!(!running.is_finished());
    publish(&fanout, 2, &pulse());
    assert!(
        socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .to_text()
            .unwrap()
            .contains("pulse")
    );
}

#[tokio::test]
async fn what_a_client_sends_is_ignored_unless_it_is_huge() {
    let (fanout, _shutdown, pipe, _running) = start(Dialect::Page);
    let mut socket = client(pipe).await;
    socket.next().await;
    for _ in 0..100 {
        socket.send(Message::text("x".repeat(1000))).await.unwrap();
        socket.send(Message::binary(vec![0; 1000])).await.unwrap();
    }
    publish(&fanout, 2, &pulse());
    assert!(
        socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .to_text()
            .unwrap()
            .contains("pulse")
    );
    // The head of a frame is enough: binary, masked, 1 GiB.
    let head = [0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0];
    socket.get_mut().write_all(&head).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1009);
}

/// Who reads nothing must not hold up a stop.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_who_takes_nothing() {
    let (fanout, shutdown, pipe, running) = start(Dialect::Page);
    tokio::task::yield_now().await;
    for number in 2..100 {
        publish(&fanout, number, &pulse());
    }
    tokio::task::yield_now().await;
    let start = Instant::now();
    shutdown.trigger();
    running.await.unwrap();
    assert_eq!(start.elapsed(), LAST_WRITE_MAX);
    drop(pipe);
}
