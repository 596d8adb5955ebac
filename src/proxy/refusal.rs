//! Responses in place of the application: each gets its name, its line in the access log and its counter.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::access::{AccessDraft, Ending, Origin};
use super::body::ResponseBody;
use super::busy::Busy;
use super::cause::Cause;
use super::client::{Client, Proxy};
use super::error;
use super::exchange::Exchange;
use super::local;
use super::malformed::Malformed;
use super::planned::Planned;
use super::story::Refused;
use crate::metrics::Outcome;
use crate::snapshot::plan::Local;

/// The most bytes of a refused head that are noted.
const LINE_BYTES_MAX: usize = 256;

/// A head that is none of a request.
#[derive(Debug)]
pub struct RefusedHead {
    cause: Cause,
    /// Its first line, as far as it has come.
    line: Box<str>,
    /// What is wrong with it.
    error: Box<str>,
}

impl RefusedHead {
    /// A head that begins with `line`. It is refused because it is too large, or for another reason; `error` says
    /// which.
    pub fn of(is_too_large: bool, line: &[u8], error: &dyn std::fmt::Display) -> Self {
        let cause = if is_too_large { Cause::HeadTooLarge } else { Cause::BadRequest(Malformed::Head) };
        let line = line.trim_ascii();
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        Self { cause, line: String::from_utf8_lossy(line).into(), error: error.to_string().into() }
    }
}

/// Responds to a head that is refused. Nothing that follows it can be understood, so the connection ends.
pub(super) fn refuse_head(
    proxy: &Proxy,
    client: &Client,
    head: RefusedHead,
    started: Instant,
    busy: Busy,
) -> Response<ResponseBody> {
    let RefusedHead { cause, line, error } = head;
    let view = proxy.viewer.current();
    let page = view.snapshot.errors.page(cause.status(), None, &client.connection.rules.listener());
    let mut response = error::answer(cause, &HeaderMap::new(), page, &view.snapshot.timeouts, busy);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    // The client may go on sending, see [`Client::may_still_send`].
    client.set_in_head(true);
    let draft = AccessDraft::of_line(&view.snapshot, &client.connection, Some(line));
    note(proxy, client, draft, &response, Some(cause), Some(error), started);
    response
}

/// Responds to a request that reaches no pool.
pub(super) fn refuse(
    proxy: &Proxy,
    client: &Client,
    parts: &Parts,
    cause: Cause,
    mut planned: Option<&mut Planned>,
    started: Instant,
    busy: Busy,
) -> Response<ResponseBody> {
    let view = proxy.viewer.current();
    let timeouts = planned.as_deref().map_or(&view.snapshot.timeouts, Planned::timeouts);
    let route = planned.as_deref().and_then(Planned::more);
    let page = view.snapshot.errors.page(cause.status(), route, &client.connection.rules.listener());
    let mut response = error::answer(cause, &parts.headers, page, timeouts, busy);
    if let Some(planned) = planned.as_deref_mut() {
        planned.look_at(parts, &client.connection);
        planned.edit_response(response.headers_mut());
    }
    let (status, bytes) = (response.status(), response.body().size_hint().lower());
    let route = planned.as_deref().map(Planned::route);
    Refused { parts, route, status, cause: Some(cause), bytes, started }.tell(proxy, client, &view.snapshot);
    let is_logged = planned.is_none_or(|planned| planned.is_logged());
    let draft = if is_logged { AccessDraft::of_refused(&view.snapshot, &client.connection, parts) } else { None };
    note(proxy, client, draft, &response, Some(cause), None, started);
    response
}

/// Responds to a request whose route does that itself.
pub(super) fn respond(
    proxy: &Proxy,
    client: &Client,
    parts: &Parts,
    local: Local,
    planned: Option<&mut Planned>,
    started: Instant,
    busy: Busy,
) -> Response<ResponseBody> {
    let view = proxy.viewer.current();
    let mut response = local::send(local, client, &view.snapshot.timeouts, busy);
    let (status, bytes) = (response.status(), response.body().size_hint().lower());
    let route = planned.as_deref().map(Planned::route);
    Refused { parts, route, status, cause: None, bytes, started }.tell(proxy, client, &view.snapshot);
    let is_logged = planned.as_ref().is_none_or(|planned| planned.is_logged());
    if let Some(planned) = planned {
        planned.look_at(parts, &client.connection);
        planned.edit_response(response.headers_mut());
    }
    let draft = if is_logged { AccessDraft::of_refused(&view.snapshot, &client.connection, parts) } else { None };
    note(proxy, client, draft, &response, None, None, started);
    response
}

fn note(
    proxy: &Proxy,
    client: &Client,
    draft: Option<Box<AccessDraft>>,
    response: &Response<ResponseBody>,
    cause: Option<Cause>,
    error: Option<Box<str>>,
    started: Instant,
) {
    let peer = client.connection.peer;
    match cause {
        Some(cause) => {
            tracing::debug!(client = %peer, cause = cause.name(), error, "{}", cause.explanation());
            proxy.cell().refused.add(1);
            proxy.cell().own_response(cause.index());
        }
        None => proxy.cell().local.add(1),
    }
    let Some(draft) = draft else { return };
    let status = response.status();
    let ending = Ending {
        pool: None,
        endpoint: None,
        status: Some(status),
        outcome: Outcome::Answered(status.as_u16()),
        bytes: response.body().size_hint().lower(),
        duration: started.elapsed(),
        attempts: 0,
        origin: Some(Origin::Unstick(cause)),
        error,
    };
    draft.finish(ending).into_iter().for_each(|record| proxy.log_access(record));
}

/// Responds to a request that no endpoint has answered, and closes its books.
pub(super) fn fail(
    exchange: &mut Exchange,
    cause: Cause,
    error: Option<Box<str>>,
    headers: &HeaderMap,
    busy: Busy,
) -> Response<ResponseBody> {
    let mut response = error::answer(cause, headers, exchange.page(cause.status()), exchange.timeouts(), busy);
    if let Some(planned) = exchange.planned() {
        planned.edit_response(response.headers_mut());
    }
    exchange.proxy().cell().own_response(cause.index());
    exchange.answered_here(cause.status(), Some(cause), error);
    exchange.passed_on(usize::try_from(response.body().size_hint().lower()).unwrap_or_default());
    exchange.finish_answered();
    response
}
