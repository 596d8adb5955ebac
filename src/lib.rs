//! `unstick`: an HTTP reverse proxy and load balancer for stateless replicas, without session affinity of any kind.
//!
//! # From above
//! A *worker* is one thread with a runtime of its own; it accepts client connections and has its own connections to every
//! endpoint. All workers read one immutable *snapshot* of routes and pools. One *control* thread does everything that is not
//! a request: config, probes, name resolution, signals, the admin port.
//!
//! # The life of a request
//! 1. [`worker`](self) accepts the connection, or hands it to a worker that has fewer.
//! 2. `listen::conn` lets hyper read the request, and keeps the deadlines of the connection.
//! 3. [`proxy::handle`] routes it ([`snapshot::routes`]) and prepares its fields.
//! 4. `proxy::attempt` tries it on an endpoint picked by [`upstream::balance`], over one of the worker's own
//!    [`upstream::connections`], again if `proxy::retry` says so.
//! 5. [`proxy::body`] streams the answer; at its end the books are closed and the connection goes back.
//!
//! # Imports point one way
//! `app -> control -> worker, admin, reload`; `worker -> listen -> proxy -> snapshot -> upstream -> config::model`; `config`, `metrics`
//! and `deadlines` import nothing else. `upstream` never hears of routes, `proxy` never of TOML. `prove -> trial, replica`: the
//! experiment uses the proxy only as a process with a file.

mod access_log;
pub mod app;
pub mod config;
mod control;
pub mod deadlines;
pub mod demo;
mod fields;
pub mod link;
mod listen;
pub mod metrics;
pub mod net;
pub mod pool;
#[cfg(feature = "prove")]
pub mod prove;
pub mod proxy;
mod replica;
pub mod snapshot;
pub mod telemetry;
#[cfg(feature = "prove")]
pub mod trial;
mod worker;
