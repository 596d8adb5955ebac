//! The checked configuration: every value here has been proven to make sense.
//!
//! Nothing in this folder knows about TOML. The only way to obtain a [`Config`] from outside the crate's own code is
//! [`super::load`], [`super::parse`] or [`super::from_flags`], so no other code checks anything again. The default of a
//! key is beside its field; `config/reference.toml` shows all of them with their reasons, and a test compares the two.

mod access;
mod action;
mod admin;
mod backend;
mod dns;
mod explain;
mod health;
mod limits;
mod listener;
mod log;
mod pattern;
mod pool;
mod route;
mod template;
mod traces;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

pub use access::*;
pub use action::*;
pub use admin::*;
pub use backend::*;
pub use dns::*;
pub use explain::*;
pub use health::*;
pub use limits::*;
pub use listener::*;
pub use log::*;
pub use pattern::*;
pub use pool::*;
pub use route::*;
pub use template::*;
pub use traces::*;
use unstick_reading::Secrets;

/// Everything one process needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Worker threads; `None` means one per CPU, or what the quota comes to. Cannot change live.
    pub workers: Option<NonZeroUsize>,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Which pool serves which request. At least one.
    pub routes: Vec<Route>,
    /// Pools by name; every route names one of them.
    pub pools: BTreeMap<String, Pool>,
    /// Deadlines of every wait.
    pub timeouts: Timeouts,
    /// Bounds of every buffer, queue and table.
    pub limits: Limits,
    /// What is logged, where, in which form.
    pub log: Log,
    /// The admin port.
    pub admin: Admin,
    /// What error responses of the proxy contain, unless the route says something else.
    pub errors: ErrorPages,
    /// How the names among the backends become addresses.
    pub dns: Dns,
    /// Of which requests it is kept what became of them.
    pub explain: Explain,
    /// Which requests are traced, and where their spans go.
    pub traces: Traces,
    /// The secrets among all these values. What is said of a config must not show them.
    pub secrets: Secrets,
}

/// A config that has no listeners, routes and pools yet.
impl Default for Config {
    fn default() -> Self {
        Self {
            workers: None,
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: BTreeMap::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            log: Log::default(),
            admin: Admin::default(),
            errors: ErrorPages::new(),
            dns: Dns::default(),
            explain: Explain::default(),
            traces: Traces::default(),
            secrets: Secrets::default(),
        }
    }
}
