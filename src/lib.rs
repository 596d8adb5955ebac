//! `unstick`: an HTTP reverse proxy and load balancer for stateless replicas, without session affinity of any kind.
//!
//! # From above
//! A *worker* is one thread with a runtime of its own. It accepts client connections, and has its own connections to
//! every endpoint. All workers read one immutable *snapshot* of routes and pools. One *control* thread does everything
//! that is not a request: config, probes, name resolution, signals, the admin port.
//!
//! # The rooms
//! The path of a file says which thread its lines run on.
//! - The control thread: [`app`] wires everything and starts it; `control` runs it.
//! - One worker, without locks or `Send`: `worker`; `listen`, connections of clients; [`proxy`], one request; [`link`],
//!   this worker's connections to one endpoint.
//! - Shared by all threads, without `Rc`: [`snapshot`], routes and pools as one value; [`rate`], rate limits;
//!   [`pool`], endpoints and what is known of them.
//! - Used by all: [`net`], sockets; [`config`], TOML to checked values; and the leaves, which import little.
//! - A guest, which runs the proxy through `app` with replicas behind it: [`demo`].
//!
//! What `unstick prove` does is in a crate of its own, `unstick_proof`, in `src/proof`: it knows the proxy only as a
//! process with a file. [`config`] is one too, `unstick_config`: nothing else can reach TOML.
//!
//! Imports point down this list and never up: `app -> control -> worker -> listen -> proxy -> link -> snapshot -> rate
//! -> pool -> net -> config`. So `pool` never hears of routes, and `proxy` never of TOML.
//!
//! # The life of a request, in six files
//! 1. `worker.rs` accepts the connection, or hands it to a worker that has fewer.
//! 2. `listen/h1_server.rs` reads the request, and `listen/h1.rs` keeps the deadlines of the connection (`listen/h2.rs`
//!    for HTTP/2).
//! 3. `proxy/admit.rs`: [`proxy::admit()`] routes the request and prepares its fields.
//! 4. `proxy/attempts.rs` picks an endpoint and tries the request there, and again elsewhere if `proxy/retry.rs` says
//!    so.
//! 5. `link/send.rs` sends it over one of the worker's own connections, and waits for the response head.
//! 6. `proxy/body.rs` streams the response. At its end the books are closed, and the connection goes back.

pub mod app;

mod control;

mod worker;

mod listen;

pub mod proxy;

pub mod link;

pub mod snapshot;

pub mod rate;

pub mod pool;

pub mod net;

/// The config file: a crate of its own, in `src/config`.
pub use unstick_config as config;

mod access_log;
pub mod deadlines;
mod fields;
pub mod metrics;
mod resources;
mod sync;
pub mod telemetry;

pub mod demo;
#[cfg(feature = "sim")]
pub mod sim;
