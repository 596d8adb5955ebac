//! `/status`: a serialisable mirror of the run-time state.

mod pool;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::access_log::rfc3339;
use crate::config::address::Address;
use crate::config::{Route, Secrets};
use crate::control::detached::ADVICE;
use crate::control::reloads::Reload;
use crate::control::status::Status;
use crate::control::upgrade::Told;
use crate::listen::tls::{ServerTls, Validity};
use crate::proxy::cause::Cause;
use pool::PoolView;
pub(super) use pool::endpoint_as_set;

/// The whole of `/status`. The names of its fields are the keys of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    started: String,
    process: Told,
    ready: bool,
    connections: usize,
    workers: Vec<WorkerView>,
    listeners: Vec<ListenerView>,
    /// Absent in events: there may be thousands, and nobody watches them.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<RouteView>>,
    pools: Vec<PoolView>,
    /// Responses that unstick made itself, by cause; those that never happened are left out.
    own_responses: BTreeMap<&'static str, u64>,
    certificates: Vec<CertificatesView>,
    reloads: ReloadsView,
    config: ConfigView,
}

#[derive(Debug, Serialize)]
struct WorkerView {
    connections: usize,
    accepted: u64,
    handed_over: u64,
}

#[derive(Debug, Serialize)]
struct ListenerView {
    name: String,
    address: Address,
}

#[derive(Debug, Serialize)]
struct RouteView {
    host: Vec<String>,
    path: String,
    /// All of its conditions, as the log names it.
    route: String,
    /// Where its requests may go; empty if the proxy responds itself.
    pools: Vec<String>,
}

/// The certificates of one listener.
#[derive(Debug, Serialize)]
struct CertificatesView {
    listener: String,
    files: Vec<CertificateView>,
    /// Why the latest files are not used, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct CertificateView {
    file: String,
    not_after: String,
}

#[derive(Debug, Serialize)]
struct ReloadsView {
    applied: u64,
    refused: u64,
    /// Whether the last edit of the config was refused. Reloads of another kind, by names say, do not change it.
    config_refused: bool,
    /// `null` before the first, and absent in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Option<ReloadView>>,
    /// The last ones of each trigger, the latest first, with messages of a bounded length.
    recent: Vec<ReloadView>,
}

#[derive(Debug, Serialize)]
struct ReloadView {
    at: String,
    trigger: &'static str,
    ok: bool,
    message: String,
}

#[derive(Debug, Serialize)]
struct ConfigView {
    /// The files of the config, the first one first.
    files: Vec<String>,
    /// Files whose edits cannot be seen.
    detached: Vec<String>,
    /// What to do about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl StatusView {
    /// All there is to say.
    pub(super) fn of(status: &Status) -> Self {
        let mut view = Self::brief(status);
        let snapshot = status.shared.load();
        let (last, secrets) = {
            let state = status.state();
            (state.reloads.last().cloned(), state.secrets.clone())
        };
        view.routes = Some(snapshot.routes.list().iter().map(|route| RouteView::of(route, &secrets)).collect());
        view.reloads.last = Some(last.map(|last| ReloadView::of(&last, last.message().to_owned())));
        view
    }

    /// What is worth saying each second.
    pub(super) fn brief(status: &Status) -> Self {
        let snapshot = status.shared.load();
        let state = status.state().clone();
        let upstream_idle = snapshot.timeouts.upstream_idle;
        let workers = status.cells.iter().enumerate().map(|(number, cell)| WorkerView {
            connections: status.loads.of(number),
            accepted: cell.accepted.value(),
            handed_over: cell.handed_over.value(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(status.started),
            process: state.process,
            ready: status.is_ready.load(Relaxed),
            connections: status.loads.total(),
            workers: workers.collect(),
            listeners: state.listeners.into_iter().map(|(name, address)| ListenerView { name, address }).collect(),
            routes: None,
            pools: snapshot.pools.iter().map(|pool| PoolView::of(pool, &state.overrides, upstream_idle)).collect(),
            own_responses: own_responses(status),
            certificates: state.tls.iter().map(|(listener, tls)| CertificatesView::of(listener, tls)).collect(),
            reloads: ReloadsView {
                applied: status.reloads_applied.load(Relaxed),
                refused: status.reloads_refused.load(Relaxed),
                config_refused: state.reloads.last_of_config().is_some_and(|reload| reload.result.is_err()),
                last: None,
                recent: state.reloads.latest_first().map(|one| ReloadView::of(one, one.brief_message())).collect(),
            },
            config: ConfigView::of(&state.config_files, &state.detached),
        }
    }
}

fn own_responses(status: &Status) -> BTreeMap<&'static str, u64> {
    let mut totals = BTreeMap::new();
    for (index, cause) in Cause::all().enumerate() {
        let total = status.total(|cell| cell.own_responses.of(index));
        if total > 0 {
            *totals.entry(cause.name()).or_default() += total;
        }
    }
    totals
}

impl RouteView {
    fn of(route: &Route, secrets: &Secrets) -> Self {
        let shown = |what: &dyn Display| secrets.mask(&what.to_string());
        Self {
            host: route.host.iter().map(|host| shown(host)).collect(),
            path: shown(&route.path),
            route: shown(route),
            pools: route.pools().map(str::to_owned).collect(),
        }
    }
}

impl CertificatesView {
    fn of(listener: &str, tls: &Arc<ServerTls>) -> Self {
        let view = |one: Validity| CertificateView { file: one.file, not_after: rfc3339(one.not_after) };
        let files = tls.certificates().into_iter().map(view).collect();
        Self { listener: listener.to_owned(), files, refused: tls.refused() }
    }
}

impl ConfigView {
    fn of(files: &[PathBuf], detached: &[PathBuf]) -> Self {
        let [files, detached] = [files, detached].map(|files| files.iter().map(|file| file.display().to_string()));
        let (files, detached): (_, Vec<_>) = (files.collect(), detached.collect());
        Self { files, advice: (!detached.is_empty()).then_some(ADVICE), detached }
    }
}

impl ReloadView {
    fn of(reload: &Reload, message: String) -> Self {
        Self { at: rfc3339(reload.at), trigger: reload.trigger, ok: reload.result.is_ok(), message }
    }
}
