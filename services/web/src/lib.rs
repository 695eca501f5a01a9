//! The service that shows the fleet to viewers: the page, the feed, the JSON
//! and the text. It keeps no state of its own; any number of replicas may run.
//!
//! # Layout
//!
//! From the broker to the viewers:
//!
//! * `keeper`: the one task that owns the mirror; all that happens is its `Event`.
//! * `mirror`, `cluster` (pure): what this replica believes of the fleet.
//! * `gaps` (pure): what it has missed.
//! * `reads`: what to read next; `table`, `notices`: reading keys at the broker.
//! * `basis` (pure): what time it is for viewers.
//! * `picture`: the fleet at one moment, and all that is rendered from it: `plain`, hello, snapshot.
//! * `frames` (pure): changes as bytes for the sockets; `deflate` (pure): compressed once for all.
//! * `fanout`: from the keeper to all viewers.
//! * `session`: one viewer's WebSocket; `handshake`: how it opens.
//! * `routes`: which request gets which answer; `representation`: ETag, gzip, 304.
//! * `page`: the page and its parts, embedded or from a folder; `brand`: the operator's name and colours on it;
//!   `html`: the verdict in it; `parts`, `bundle`: its many files as few.
//! * `verdict`: one sentence and one colour for the whole fleet, for `/`, `/plain` and unfurled links.
//! * `history`: the last transitions of each shard, and the outages.
//! * `origin` (pure): what an origin is; `cors`, `origins`: whose pages may read from another host, open the feed, or show the page in a frame.
//! * `policy` (pure), `protection`: what a browser may do with the page, and with all else.
//! * `metrics`: what is counted, and by which names it is told.
//! * `web`: starts and stops all of this.

mod basis;
mod brand;
mod bundle;
mod cluster;
mod cors;
mod deflate;
mod fanout;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod handshake;
mod history;
mod html;
mod keeper;
mod metrics;
mod mirror;
#[cfg(test)]
mod model;
mod notices;
mod options;
mod origin;
mod origins;
mod page;
mod parts;
mod picture;
mod plain;
mod policy;
mod protection;
mod reads;
mod representation;
mod routes;
mod session;
mod table;
mod verdict;
mod web;

pub use cors::Origins;
pub use options::{Options, WebOptions};
pub use origins::OriginRule;
pub use routes::not_found;
pub use web::{Web, run};
