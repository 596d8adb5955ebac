//! What a route wants besides its pool: who may ask, who responds, and what becomes of path and fields.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::cause::Cause;
use super::client::Client;
use super::client_address::ClientAddresses;
use super::connection::Connection;
use super::edits::{Known, apply, lines, strip_alike, values};
use super::exchange::Exchange;
use super::local;
use super::malformed::Malformed;
use super::target::Host;
use crate::config::model::Timeouts;
use crate::config::path::{has_prefix, normal};
use crate::fields::{X_FORWARDED_PREFIX, X_REQUEST_ID};
use crate::link::added::{Added, RequestId};
use crate::link::request_body::{Bounds, RequestBody};
use crate::link::texts::Texts;
use crate::link::view::View;
use crate::rate::RetryAfter;
use crate::snapshot::Snapshot;
use crate::snapshot::plan::{Admission, Destination, Edits, Local, More, Plan, Rewriting};
use crate::snapshot::routes::{Found, bare_host};

/// The longest target that is rewritten, in bytes. `http` takes no more than 65,534.
const TARGET_BYTES_MAX: usize = 60 * 1024;

/// A route that wants more than its pool, for as long as a request of it is served. It belongs to the snapshot with
/// which the request began.
#[derive(Debug)]
pub(super) struct Planned {
    view: Rc<View>,
    route: usize,
    /// Whether the path is known to be normal.
    is_normal: bool,
    client: ClientAddresses,
    /// The host that the client asked for, with its port, if the route has a use for it.
    host: Option<HeaderValue>,
    /// When the client may ask again, if its rate is used up.
    retry_after: Option<RetryAfter>,
    /// What the templates of its response have made of the request, in their order.
    made: Box<[Option<HeaderValue>]>,
}

impl Planned {
    /// The plan for a request to this host with these fields, as they came.
    pub(super) fn new(
        view: &Rc<View>,
        found: &Found,
        connection: &Connection,
        host: Option<&Host>,
        headers: &HeaderMap,
    ) -> Box<Self> {
        let client = connection.client_addresses(headers);
        let is_used = matches!(view.snapshot.plans.get(found.route), Some(Plan::More(more)) if more.wants_host());
        let host = host.filter(|_| is_used).map(|host| host.value.clone());
        Box::new(Self {
            view: Rc::clone(view),
            route: found.route,
            is_normal: found.is_normal,
            client,
            host,
            retry_after: None,
            made: Box::default(),
        })
    }

    /// The name of the pool that takes over.
    pub(super) fn fallback(&self) -> Option<&Arc<str>> {
        let fallback = self.more()?.fallback?;
        self.view.snapshot.pools.get(fallback).map(|pool| &pool.name)
    }

    /// The place of the route, counted from 0.
    pub(super) fn route(&self) -> usize {
        self.route
    }

    /// Whether its requests are in the access log.
    pub(super) fn is_logged(&self) -> bool {
        self.more().is_none_or(|more| more.access_log)
    }

    /// The most bytes of a request body; `None` means no limit.
    pub(super) fn body_max(&self) -> Option<u64> {
        self.more().and_then(|more| more.body_max)
    }

    /// The deadlines of its requests.
    pub(super) fn timeouts(&self) -> &Timeouts {
        self.more().map_or(&self.view.snapshot.timeouts, |more| &more.timeouts)
    }

    /// The response of the proxy.
    ///
    /// # Errors
    /// Why there is none for this request.
    pub(super) fn respond(&self, parts: &Parts, client: &Client) -> Result<Local, Cause> {
        match self.more().map(|more| &more.target) {
            Some(Destination::Respond(local)) => Ok(local.clone()),
            Some(Destination::Redirect(redirect)) => {
                let known = self.known(parts, &client.connection, None);
                local::redirect(redirect, |variable| known.value(variable))
            }
            _ => Err(Cause::NoRoute),
        }
    }

    fn known<'a>(&'a self, parts: &'a Parts, connection: &'a Connection, id: Option<&'a RequestId>) -> Known<'a> {
        // What a stranger has written there is not what a replica gets.
        let told = if connection.is_trusted() { parts.headers.get(X_REQUEST_ID) } else { None };
        let told = told.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let request_id = id.map_or(told, RequestId::as_str);
        let (path, query) = (parts.uri.path(), parts.uri.query());
        let host = self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        Known { host: bare_host(host), path, query, client: self.client.address, request_id, connection }
    }

    /// What the route wants.
    pub(super) fn more(&self) -> Option<&More> {
        match self.view.snapshot.plans.get(self.route)? {
            Plan::More(more) => Some(more),
            Plan::Pool(_) => None,
        }
    }

    /// Whether the request is let in, and how much of its body. Returns the index of the pool that responds, or `None`
    /// if the proxy does.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn admit(
        &mut self,
        parts: &mut Parts,
        body: &RequestBody,
        connection: &Connection,
        (worker, now): (usize, Instant),
    ) -> Result<Option<usize>, Cause> {
        let Some(Plan::More(more)) = self.view.snapshot.plans.get(self.route) else { return Ok(None) };
        if !lets_in(more, self.client) {
            return Err(Cause::Forbidden);
        }
        if let Some(rate) = &more.rate
            && let Err(retry_after) =
                rate.decide(worker, connection.hashed(self.client.address, rate), &parts.headers, now)
        {
            self.retry_after = Some(retry_after);
            return Err(Cause::RateLimited);
        }
        if more.maintenance {
            return Err(Cause::Maintenance);
        }
        let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if more.rewrite.as_ref().is_some_and(|rewrite| target + rewrite.to.len() > TARGET_BYTES_MAX) {
            // What cannot be rewritten must not go out as it is.
            return Err(Cause::UriTooLong);
        }
        // While there are only those that the client has sent.
        strip_alike(&mut parts.headers, &more.request);
        if !more.request.names.is_empty() {
            body.keep_from_trailers(&more.request.names);
        }
        body.set_bounds(Bounds {
            bytes_max: more.body_max.unwrap_or(u64::MAX),
            replay_max: more.replay,
            trailers_max: self.view.snapshot.limits.request_head,
            read_timeout: more.timeouts.request_body,
        });
        Ok(pool(more, &self.view.snapshot))
    }

    /// Turns path and fields into what the replica gets, after they were prepared as those of every request, and makes
    /// what the response will need of them.
    pub(super) fn edit_request(&mut self, parts: &mut Parts, added: &mut Added, connection: &Connection) {
        let Some(more) = self.more() else { return };
        let values = |edits: &Edits| {
            let known = || self.known(parts, connection, added.request_id.as_ref());
            edits.has_templates.then(|| values(edits, &known()))
        };
        let (request, made) = (values(&more.request).unwrap_or_default(), values(&more.response));
        let target = more
            .rewrite
            .as_ref()
            .and_then(|rewrite| Some((rewrite, rewritten(&parts.uri, rewrite, self.is_normal, &self.view.texts)?)));
        // What is not inert may concern what is added.
        let can_add = more.request.is_inert && !connection.is_trusted();
        if can_add {
            added.route = lines(&more.request, &request);
        } else {
            std::mem::take(added).extend(&mut parts.headers);
            apply(&mut parts.headers, &more.request, &request);
        }
        if let Some((rewrite, target)) = target {
            parts.uri = Uri::from(target);
            match can_add {
                true => added.prefix = rewrite.line.clone(),
                false => tell_prefix(&mut parts.headers, rewrite, connection.is_trusted()),
            }
        }
        if let Some(made) = made {
            self.made = made;
        }
    }

    /// The same for a request that no replica gets.
    pub(super) fn look_at(&mut self, parts: &Parts, connection: &Connection) {
        let known = self.known(parts, connection, None);
        self.made = self.more().map(|more| values(&more.response, &known)).unwrap_or_default();
    }

    /// Edits the fields of a response.
    pub(super) fn edit_response(&self, headers: &mut HeaderMap) {
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.seconds()));
        }
        if let Some(more) = self.more() {
            apply(headers, &more.response, &self.made);
        }
    }
}

fn lets_in(more: &More, ClientAddresses { address, other }: ClientAddresses) -> bool {
    let admits = |admission: &Admission| admission.admits(address) && other.is_none_or(|it| admission.admits(it));
    more.admission.as_ref().is_none_or(admits)
}

/// Whether a request passes the guards of routes that it would have if its path were read in another way.
///
/// # Errors
/// Why it does not.
#[cold]
pub(super) fn pass_guards(
    view: &View,
    routes: &[usize],
    connection: &Connection,
    headers: &HeaderMap,
    (worker, now): (usize, Instant),
) -> Result<(), Cause> {
    let client = connection.client_addresses(headers);
    let plans = routes.iter().filter_map(|route| view.snapshot.plans.get(*route));
    for plan in plans {
        let Plan::More(more) = plan else { continue };
        if matches!(more.target, Destination::Respond(_) | Destination::Redirect(_)) {
            return Err(Cause::BadRequest(Malformed::PathAmbiguous));
        }
        if !lets_in(more, client) {
            return Err(Cause::Forbidden);
        }
        if more
            .rate
            .as_ref()
            .is_some_and(|rate| rate.decide(worker, connection.hashed(client.address, rate), headers, now).is_err())
        {
            return Err(Cause::RateLimited);
        }
        if more.maintenance {
            return Err(Cause::Maintenance);
        }
    }
    Ok(())
}

/// When a request is sent again: what the route says, else its pool.
impl Exchange {
    /// The most attempts, the first included.
    pub(super) fn attempts_max(&self) -> usize {
        let of_route = self.more().and_then(|more| more.retry.attempts);
        of_route.unwrap_or(self.pool().config.retry.attempts).get()
    }

    /// The time of each attempt, if it has one of its own.
    #[inline]
    pub(super) fn attempt_timeout(&self) -> Option<Duration> {
        let of_route = self.more().and_then(|more| more.retry.attempt_timeout);
        of_route.unwrap_or(self.pool().config.retry.attempt_timeout)
    }

    /// Whether this status of an endpoint counts as a failure.
    #[inline]
    pub(super) fn is_unwell(&self, status: StatusCode) -> bool {
        let of_route = self.more().and_then(|more| more.retry.on_status.as_ref());
        of_route.unwrap_or(&self.pool().config.retry.on_status).contains(&status.as_u16())
    }
}

/// The pool that responds; `None` if the proxy does.
fn pool(more: &More, snapshot: &Snapshot) -> Option<usize> {
    let is_usable = |index: usize| snapshot.pools.get(index).is_some_and(|pool| pool.has_healthy());
    let pool = match &more.target {
        Destination::Pool(pool) => *pool,
        Destination::Split(split) => split.pick(is_usable)?,
        Destination::Respond(_) | Destination::Redirect(_) => return None,
    };
    // With a healthy endpoint in the fallback, the pool does not fail open.
    let stands_in = more.fallback.filter(|fallback| !is_usable(pool) && is_usable(*fallback));
    Some(stands_in.unwrap_or(pool))
}

/// The target with another beginning; `None` if it does not begin so. It is made of the normal form of the path.
fn rewritten(uri: &Uri, rewriting: &Rewriting, is_normal: bool, texts: &Texts) -> Option<PathAndQuery> {
    let Rewriting { from, to, is_sure, .. } = rewriting;
    let (target, path) = (uri.path_and_query()?.as_str(), uri.path());
    let normal = if is_normal { Cow::Borrowed(path) } else { normal(path) };
    let is_known = is_normal && *is_sure;
    if !is_known && (normal == "*" || !has_prefix(&normal, from)) {
        return None;
    }
    let whole;
    let target = if is_normal {
        target
    } else {
        // The question mark is part of the query.
        whole = [&normal, target.get(path.len()..)?].concat();
        &whole
    };
    // What is behind the prefix: a path, a query, or nothing.
    let rest = target.get(from.len()..)?;
    let root = if to.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    PathAndQuery::from_maybe_shared(texts.join([to, root, rest])).ok()
}

/// Tells the replica which prefix was taken off, behind the one that a trusted proxy has taken off before.
fn tell_prefix(headers: &mut HeaderMap, rewriting: &Rewriting, is_trusted: bool) {
    // What a stranger had written was removed.
    let before = if is_trusted { headers.get(X_FORWARDED_PREFIX) } else { None };
    let value = match before.and_then(|before| before.to_str().ok()) {
        Some(before) => HeaderValue::try_from([before.trim_end_matches('/'), &rewriting.from].concat()).ok(),
        None => rewriting.told.clone(),
    };
    if let Some(value) = value {
        headers.insert(X_FORWARDED_PREFIX, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{PathPattern, Rewrite};

    #[test]
    fn the_beginning_of_a_path_is_replaced() {
        for (path, from, to, expected) in [
            ("/api/x?q=1", "/api", "/", Some("/x?q=1")),
            ("/api", "/api", "/", Some("/")),
            ("/api/", "/api", "/", Some("/")),
            ("/api?q", "/api", "/", Some("/?q")),
            ("/apix", "/api", "/", None),
            ("/api/x", "/api", "/v1/inner", Some("/v1/inner/x")),
            ("/api", "/api", "/v1", Some("/v1")),
            ("/x", "/", "/v1", Some("/v1/x")),
            ("/", "/", "/v1", Some("/v1/")),
            ("/%61pi/%2e./api/a%2Fb", "/api", "/", Some("/a%2Fb")),
            ("//api//x", "/api", "/", Some("/x")),
            ("*", "/", "/v1", None),
        ] {
            let rewrite = Rewrite { from: from.to_owned(), to: to.to_owned() };
            let uri: Uri = path.parse().unwrap();
            let may_be_normal = normal(uri.path()) == uri.path();
            for (pattern, is_normal) in [("/other", false), ("/other", may_be_normal), (from, false)] {
                let rewriting = Rewriting::of(&rewrite, &PathPattern::Prefix(pattern.to_owned()));
                let found = rewritten(&uri, &rewriting, is_normal, &Texts::default());
                assert_eq!(found.as_ref().map(PathAndQuery::as_str), expected, "{path} {from} {to}");
            }
            if expected.is_some() {
                let rewriting = Rewriting::of(&rewrite, &PathPattern::Prefix(from.to_owned()));
                let found = rewritten(&uri, &rewriting, may_be_normal, &Texts::default());
                assert_eq!(found.as_ref().map(PathAndQuery::as_str), expected, "{path} {from} {to}");
            }
        }
    }
}
