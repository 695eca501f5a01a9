//! From the one task that owns the mirror to all viewers.
//!
//! A viewer subscribes first and takes the picture then; the owner shows the
//! picture first and sends its frames then. So a viewer gets every frame
//! after its picture, and knows by number which ones the picture already holds.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::{
    frames::{self, Change},
    picture::Picture,
};

/// How many pieces a viewer may lag behind. A piece is at most some 64 KiB, so a
/// dialect holds at most 32 MiB for its slowest viewers, however many they are.
const LAG_MAX: usize = 512;

/// How a viewer wants its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As the public contract says: one frame for each shard.
    Everybody,
    /// Our page's: many shards in a frame.
    Page,
    /// The same, compressed.
    PageCompressed,
}

impl Dialect {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Everybody, Self::Page, Self::PageCompressed];

    /// A word for operators.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Everybody => "everybody",
            Self::Page => "page",
            Self::PageCompressed => "page_compressed",
        }
    }
}

/// Something for all viewers of a dialect.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// Whole frames, ready for the socket: the number of the picture that holds their changes, and how many they are.
    Frames(u64, Bytes, u64),
    /// The clusters are others from this picture on: who was told once what they are has to come again.
    Restart(u64),
}

/// The channels to the viewers.
#[derive(Debug)]
pub(crate) struct Fanout {
    everybody: broadcast::Sender<Item>,
    page: broadcast::Sender<Item>,
    page_compressed: broadcast::Sender<Item>,
    picture: watch::Sender<Option<Arc<Picture>>>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            everybody: broadcast::Sender::new(LAG_MAX),
            page: broadcast::Sender::new(LAG_MAX),
            page_compressed: broadcast::Sender::new(LAG_MAX),
            picture: watch::Sender::new(None),
        }
    }
}

impl Fanout {
    /// The newest picture; `None` until a table was received.
    #[must_use]
    pub(crate) fn picture(&self) -> Option<Arc<Picture>> {
        self.picture.borrow().clone()
    }

    /// How many viewers follow.
    #[must_use]
    pub(crate) fn viewers(&self) -> usize {
        Dialect::ALL.map(|it| self.viewers_of(it)).iter().sum()
    }

    /// How many viewers follow a dialect.
    #[must_use]
    pub(crate) fn viewers_of(&self, dialect: Dialect) -> usize {
        self.channel(dialect).receiver_count()
    }

    fn channel(&self, dialect: Dialect) -> &broadcast::Sender<Item> {
        match dialect {
            Dialect::Everybody => &self.everybody,
            Dialect::Page => &self.page,
            Dialect::PageCompressed => &self.page_compressed,
        }
    }

    /// Follows a dialect from now on. Take the picture after this.
    #[must_use]
    pub(crate) fn follow(&self, dialect: Dialect) -> broadcast::Receiver<Item> {
        self.channel(dialect).subscribe()
    }

    /// Shows a picture, and sends what changed since the one before.
    pub(crate) fn publish(&self, picture: Picture, changes: &[Change]) {
        let picture = Arc::new(picture);
        self.picture.send_replace(Some(picture.clone()));
        if changes.is_empty() {
            return;
        }
        // Who subscribes after these looks sees the new picture.
        if self.everybody.receiver_count() > 0 {
            send(&self.everybody, picture.number, frames::everybody(changes));
            if changes.iter().any(|c| matches!(c, Change::Clusters)) {
                // Nobody may be left, which is fine.
                let _ = self.everybody.send(Item::Restart(picture.number));
            }
        }
        let plain = self.page.receiver_count() > 0;
        let compressed = self.page_compressed.receiver_count() > 0;
        if plain || compressed {
            let texts = frames::page(changes, &picture);
            if plain {
                send(&self.page, picture.number, frames::plain(&texts));
            }
            if compressed {
                let pieces = frames::compressed(&texts);
                send(&self.page_compressed, picture.number, pieces);
            }
        }
    }

    /// Sends to those who follow the default dialect.
    #[cfg(test)]
    pub(crate) fn send_to_everybody(&self, item: Item) {
        let _ = self.everybody.send(item);
    }
}

fn send(channel: &broadcast::Sender<Item>, number: u64, pieces: Vec<Bytes>) {
    for piece in pieces {
        // Nobody may be left, which is fine.
        let count = frames::count(&piece);
        let _ = channel.send(Item::Frames(number, piece, count));
    }
}
