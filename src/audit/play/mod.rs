//! One run: the steps of a journey, each sent to the replica that its placement says, and what came of them.
//!
//! Every request has a connection of its own, so nothing hangs on one that was kept. Each actor has one jar of cookies
//! for all replicas, and all replicas are asked for the same host: only the placement tells two runs apart.

mod capture;
mod connection;
mod content;
mod exchange;
mod jar;
mod plan;
mod run;
mod talk;
mod unpack;

use std::time::Duration;

pub use connection::{Connector, Trust};
pub use plan::{Plan, Planned};
pub use run::{Move, Player, Stage, Took};

/// How long one request may take, its response included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// How long a connection may take to be opened, TLS included.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Of a longer body only a hash is kept.
pub const BODY_KEPT_MAX: usize = 8 << 20;

/// A body that is longer is not read to its end.
pub const BODY_MAX: u64 = 1 << 30;

/// Redirects that are followed within one step.
pub const REDIRECTS_MAX: usize = 10;

/// Messages that are kept of one WebSocket or event stream.
pub const MESSAGES_MAX: usize = 10_000;

/// Bytes of them that are kept.
pub const MESSAGES_BYTES_MAX: usize = 32 << 20;
