//! A viewer of the feed.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    arrivals::{Arrival, Arrivals},
    frames::{self, Frame},
    pace::Report,
};

/// How long a viewer may wait for its hello.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Connects to a feed, and waits for its hello. The feed's address may ask for a dialect.
///
/// # Errors
///
/// When there is no feed, or no hello in time.
pub(crate) async fn watch(url: &str) -> anyhow::Result<Arrivals> {
    let connecting = async {
        let (socket, _) = connect_async(url).await?;
        let mut frames = Box::pin(texts(socket));
        match frames.next().await {
            Some(first) if first.body.starts_with(br#"{"op":"hello""#) => Ok(frames),
            Some(first) => bail!("the first frame is {:?}", first.body),
            None => bail!("it was closed before its hello"),
        }
    };
    let frames = timeout(HELLO_MAX, connecting)
        .await
        .context("no hello in time")
        .flatten()
        .with_context(|| format!("cannot follow {url}"))?;
    Ok(Arrivals::collect(frames, reports_in))
}

/// The text frames, each with the time at which it was read, until the connection ends.
fn texts<S>(socket: S) -> impl Stream<Item = Arrival> + Send
where
    S: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Send,
{
    socket
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(async |message| match message {
            Ok(Message::Text(text)) => Some(Arrival::now(String::new(), text.into())),
            _ => None,
        })
}

fn reports_in(arrival: &Arrival) -> Vec<Report> {
    match frames::parse(&arrival.body) {
        Frame::Changes(shards) => shards,
        Frame::Resync | Frame::Other => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use glance_protocol::State;

    use super::*;

    fn read(text: &'static str) -> Vec<Report> {
        reports_in(&Arrival::now(String::new(), text.into()))
    }

    #[test]
    fn both_dialects_are_understood() {
        let frame = r#"{"op":"state_update","payload":{"cluster":"main","shard":3,"state":6}}"#;
        assert_eq!(read(frame), [(3, State::Resuming)]);
        let frame = r#"{"op":"changes","payload":{"cluster":"main","block":0,"version":[7,56],
            "shards":[[12,3,1,1795358092.349,"health"],[13,6,3,null,null]]}}"#;
        assert_eq!(read(frame), [(12, State::Online), (13, State::Resuming)]);
    }

    #[test]
    fn other_frames_show_no_report() {
        for frame in [
            r#"{"op":"health_ping","payload":{"cluster":"main","shard":4,"state":3}}"#,
            r#"{"op":"pulse","payload":{"now":1.5,"clusters":{}}}"#,
            r#"{"op":"resync","payload":{}}"#,
            "x",
        ] {
            assert_eq!(read(frame), [], "{frame}");
        }
    }
}
