//! How unstick reads files that people write in TOML: the config of the proxy, the journeys of the audit.
//!
//! [`document`] reports what is no TOML; [`fill()`] fills in what strings refer to; [`join_documents`] makes one
//! document of several files. A [`Section`] then hands out the values of one table, checks them, and knows which keys
//! it was asked for: every other key of the table is unknown. What is wrong goes into a [`Sink`], which becomes
//! [`Problems`]: all of them, each with its place and, if there is one, what to write instead.

mod fill;
mod hidden;
mod join;
mod outside;
mod print;
mod problem;
mod secrets;
mod section;
mod sources;
mod syntax;
mod units;
mod value;

pub use fill::fill;
pub use join::join as join_documents;
pub use outside::Outside;
pub use print::print;
pub use problem::{Problem, Problems, Sink, Synonyms, did_you_mean, nearest};
pub use secrets::{MASK, Secrets};
pub use section::{Section, path, strings};
pub use syntax::{Document, document};
pub use units::{duration, percent, show_duration, show_size, size};
pub use value::{Value, join, one_of, quoted};
