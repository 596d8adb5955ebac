//! A listener as its connections see it, on one worker: what may precede HTTP, the rules for each request, and since
//! when it drains.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::tls::ServerTls;
use crate::config::model::{self, AcceptProxy, Timeouts};
use crate::proxy::exchange::ENDED_BY;
use crate::proxy::rules::Rules;

/// How long a connection that has had no request yet may wait for its first one when idle connections are closed at
/// once: the client has connected to send it, so it is probably on its way.
const FIRST_REQUEST_IN_HASTE: Duration = Duration::from_secs(1);

/// The settings of a listener, as the control thread sends them to the workers.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Arc<model::Listener>,
    /// Its certificates and TLS settings, shared by all workers; `None` for plain text.
    pub(crate) tls: Option<Arc<ServerTls>>,
}

/// The versions of HTTP that a client connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// What becomes of connections without a request when their listener drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Each may bring its next request, within `timeouts.drain_idle`.
    MayAsk,
    /// They are closed at once.
    IsClosed,
}

/// When the connections of one version of HTTP began to drain.
type Since = Rc<Cell<Option<Instant>>>;

/// What the connections of one listener need to know about it; see the module.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) settings: Settings,
    /// What holds for each request. An edit renews it, if the present connections stay.
    pub(crate) rules: Rc<Rules>,
    /// When its connections began to drain: it was removed, the process stops, or they cannot have the settings of an
    /// edit. They finish what is under way, then close.
    http1: Since,
    http2: Since,
    idle: Rc<Cell<Idle>>,
}

impl ListenerState {
    pub(crate) fn new(settings: &Settings) -> Rc<Self> {
        Self::with(settings, Rc::default(), [Rc::default(), Rc::default()], Rc::new(Cell::new(Idle::MayAsk)))
    }

    fn with(settings: &Settings, rules: Rc<Rules>, [http1, http2]: [Since; 2], idle: Rc<Cell<Idle>>) -> Rc<Self> {
        let model::Listener { name, trusted_proxies, redirect_to_https, .. } = &*settings.config;
        rules.renew(name, trusted_proxies, *redirect_to_https);
        Rc::new(Self { settings: settings.clone(), rules, http1, http2, idle })
    }

    /// The state after an edit. Present connections have the new settings from their next request on. Those that cannot
    /// have them drain.
    pub(crate) fn renewed(&self, settings: &Settings) -> Rc<Self> {
        if !fits(&self.settings, settings) {
            self.drain(Idle::MayAsk);
            return Self::with(settings, Rc::default(), [Rc::default(), Rc::default()], Rc::clone(&self.idle));
        }
        let model::Protocols { h1, h2 } = settings.config.protocols;
        let kept = [(&self.http1, h1), (&self.http2, h2)].map(|(since, is_spoken)| match is_spoken {
            true => Rc::clone(since),
            false => {
                begin(since);
                Rc::default()
            }
        });
        Self::with(settings, Rc::clone(&self.rules), kept, Rc::clone(&self.idle))
    }

    /// Begins to drain: its connections finish what they have. A second call changes only what becomes of idle ones.
    pub(crate) fn drain(&self, idle: Idle) {
        begin(&self.http1);
        begin(&self.http2);
        if idle == Idle::IsClosed {
            self.idle.set(idle);
        }
    }

    /// Since when its connections that speak this version have been draining.
    pub(crate) fn since(&self, speaks: Speaks) -> &Since {
        match speaks {
            Speaks::Http1 => &self.http1,
            Speaks::Http2 => &self.http2,
        }
    }

    /// Whether its connections that speak this version are draining.
    pub(crate) fn is_draining(&self, speaks: Speaks) -> bool {
        self.since(speaks).get().is_some()
    }

    /// When a connection that waits for its next request since `waiting_since` is closed because it drains, if it does.
    pub(super) fn idle_until(
        &self,
        speaks: Speaks,
        waiting_since: Instant,
        is_fresh: bool,
        timeouts: &Timeouts,
    ) -> Option<Instant> {
        let since = self.since(speaks).get()?;
        let patience = match self.idle.get() {
            Idle::MayAsk => timeouts.drain_idle,
            Idle::IsClosed if is_fresh => FIRST_REQUEST_IN_HASTE.min(timeouts.drain_idle),
            Idle::IsClosed => Duration::ZERO,
        };
        // A response that ended a moment ago may have its next request following it.
        Some((since.max(waiting_since) + patience).min(since + timeouts.drain.mul_f64(ENDED_BY)))
    }

    /// Whether a connection of this peer may begin with a PROXY header.
    pub(crate) fn expects_header_of(&self, peer: IpAddr) -> bool {
        self.settings.config.proxy_protocol != AcceptProxy::Off && self.rules.trusts(peer)
    }
}

fn begin(since: &Since) {
    since.set(Some(since.get().unwrap_or_else(Instant::now)));
}

/// Whether connections that were accepted with the settings `before` can go on with those of `next`. What was settled
/// before the first request, and would not be settled in the same way now, cannot be changed afterwards.
fn fits(before: &Settings, next: &Settings) -> bool {
    let (old, new) = (&before.config, &next.config);
    let same_tls = match (&old.tls, &new.tls) {
        (None, None) => true,
        // Another certificate is for new handshakes; whose certificates are accepted concerns those who are here.
        (Some(old), Some(new)) => old.client_ca == new.client_ca,
        _ => false,
    };
    // A peer that is trusted no more may have named the client of a connection by a PROXY header.
    let still_trusted = old.proxy_protocol == AcceptProxy::Off
        || old.trusted_proxies.iter().all(|network| new.trusted_proxies.contains(network));
    same_tls && old.proxy_protocol == new.proxy_protocol && still_trusted
}
