//! One replica of the demo's shop as a process of its own: the hidden subcommand `demo-replica`. See
//! [`unstick_proof::replica`].

use std::future::ready;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use super::cookie::Key;
use super::shop::Shop;
use unstick_proof::replica::runtime;
use unstick_proof::replica::serve::{Handler, Responding, serve};

/// Environment variable that holds the key, in hex. Arguments show up in `ps`, the environment only to its owner.
pub(super) const KEY_VARIABLE: &str = "UNSTICK_DEMO_KEY";

/// What the parent says on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name shown on the page and in `x-replica`.
    pub name: String,
    /// Port on 127.0.0.1; 0 asks the kernel for a free one.
    pub port: u16,
}

/// Serves the shop until SIGTERM or the end of the parent.
///
/// # Errors
/// The environment holds no key, the name is no field value, or the port cannot be used.
pub fn run(options: Options) -> anyhow::Result<()> {
    let key = std::env::var(KEY_VARIABLE).ok().and_then(|hex| Key::from_hex(&hex));
    let key = key.with_context(|| format!("{KEY_VARIABLE} holds no key; `unstick demo` starts its replicas itself"))?;
    let shop = Shop::new(&options.name, std::process::id(), key).context("this name cannot stand in a header field")?;
    runtime::run(serve(options.port, Arc::new(shop)))
}

impl Handler for Shop {
    fn respond(&self, request: Request<Bytes>) -> Responding<'_> {
        Box::pin(ready(Shop::respond(self, &request).map(Full::from)))
    }

    fn text(&self, status: StatusCode, message: &str) -> Response<Full<Bytes>> {
        Shop::text(self, status, message).map(Full::from)
    }
}
