//! A request before an endpoint is asked: it is routed, and its head becomes the one that the endpoint gets; or the
//! proxy responds itself.
//!
//! Nothing is awaited here. What is needed on the way has no place in the future of a request then, and a worker with
//! many connections has less to read and to write for each.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use tokio::time::Instant;

use super::access::AccessDraft;
use super::attempts::Needs;
use super::body::ResponseBody;
use super::busy::Busy;
use super::cause::Cause;
use super::client::{Client, Proxy, Received};
use super::connection::Connection;
use super::exchange::Exchange;
use super::headers::FieldsSeen;
use super::malformed::Malformed;
use super::planned::Planned;
use super::request_id::Identifier;
use super::target::Host;
use super::upgrade::Wanted;
use super::{credentials, expect, grpc, headers, planned, redirect, refusal, story, target, trace};
use crate::config::address;
use crate::link::added::Added;
use crate::link::client_body::ClientBody;
use crate::link::framing;
use crate::link::request_body::{Bounds, RequestBody};
use crate::link::view::View;
use crate::link::wishes::{Sharing, Upgrade};
use crate::snapshot::Snapshot;
use crate::snapshot::asked::Asked;
use crate::snapshot::plan::{Local, Plan};

/// A request that an endpoint is to answer.
pub struct Admitted {
    pub(super) exchange: Exchange,
    pub(super) request: Request<RequestBody>,
    /// What it is if it is a call of gRPC.
    pub(super) call: Option<grpc::Call>,
    pub(super) needs: Needs,
    /// What the client wants to change to, if it does.
    pub(super) wanted: Option<Box<Wanted>>,
    /// Whether the client waits to be told that it may send the body.
    pub(super) expects: bool,
    pub(super) busy: Busy,
}

/// What becomes of a request: an endpoint is asked, or there is a response without that.
pub type Admission = Result<Box<Admitted>, Early>;

/// A response that no endpoint is asked for.
pub(super) type Early = Pin<Box<dyn Future<Output = Response<ResponseBody>>>>;

/// Finds what becomes of what has come.
///
/// # Errors
/// The response of the proxy itself.
pub fn admit(proxy: Rc<Proxy>, client: Rc<Client>, received: Received) -> Admission {
    let (started, busy) = (Instant::now(), Busy::begin(&client));
    let came = Came { proxy, client, started, busy };
    match received {
        Received::Request(request) if came.client.has_many_rests() => Err(Box::pin(async move {
            came.client.wait_for_rests().await;
            super::respond(came.admit(request)).await
        })),
        Received::Request(request) => came.admit(request),
        Received::Refused(head) => Err(Box::pin(async move {
            let Came { proxy, client, started, busy } = came;
            refusal::refuse_head(&proxy, &client, *head, started, busy)
        })),
    }
}

/// From whom something has come, and when.
struct Came {
    proxy: Rc<Proxy>,
    client: Rc<Client>,
    started: Instant,
    busy: Busy,
}

/// What the proxy says itself.
enum Answer {
    Refused(Cause),
    /// Somebody who wants another protocol would take for it what the proxy has to say.
    Misled,
    Local(Local),
}

impl Came {
    fn admit(self, mut request: Request<ClientBody>) -> Admission {
        let Self { proxy, client, started, .. } = &self;
        client.connection.follow_rules();
        let view = proxy.viewer.current();
        let seen = FieldsSeen::of(request.headers());
        let wanted = Wanted::of(&mut request, seen);
        let (mut parts, incoming) = request.into_parts();
        let body = RequestBody::new(incoming, bounds(&view));
        let expects = seen.expect && expect::is_asked(&mut parts, &body);
        client.begin_upload(body.upload(), expects);
        client.begin_interims(parts.version);
        let mut planned = None;
        let moment = (proxy.worker, *started);
        let routed =
            wanted.and_then(|wanted| Ok((wanted, route(&mut parts, &body, &view, client, moment, &mut planned)?)));
        let (wanted, host, found) = match routed {
            Ok((wanted, Routed::Pool(host, found))) => (wanted, host, found),
            Ok((Some(wanted), Routed::Here(local))) if wanted.is_misled_by(local.status) => {
                return Err(self.answer((parts, body), planned, Answer::Misled));
            }
            Ok((_, Routed::Here(local))) => return Err(self.answer((parts, body), planned, Answer::Local(local))),
            Err(cause) => return Err(self.answer((parts, body), planned, Answer::Refused(cause))),
        };
        let https = client.connection.rules.redirect_to_https();
        let asked = (seen, host, wanted.as_deref());
        let exchange = self.open(&mut parts, view, asked, found, planned);
        if let Some(port) = https {
            return Err(self.send_to_https(exchange, (parts, body), port));
        }
        let call = if seen.content_type { grpc::Call::of(&parts.headers) } else { None };
        let needs = needs(&parts.headers, seen, wanted.as_deref());
        // The extensions belong to the client's connection; the endpoint's must not see them.
        parts.extensions.clear();
        let request = Request::from_parts(parts, body);
        Ok(Box::new(Admitted { exchange, request, call, needs, wanted, expects, busy: self.busy }))
    }

    /// Turns the head into the one that the endpoint gets, and opens the books.
    fn open(
        &self,
        parts: &mut Parts,
        view: Rc<View>,
        (seen, host, wanted): (FieldsSeen, Host, Option<&Wanted>),
        RouteAndPool { route, pool }: RouteAndPool,
        mut planned: Option<Box<Planned>>,
    ) -> Exchange {
        let Self { proxy, client, started, .. } = self;
        let via = view.snapshot.pools[pool].config.via.then(|| headers::via(parts.version));
        let is_logged = planned.as_ref().is_none_or(|planned| planned.is_logged());
        let mut access = if is_logged { AccessDraft::begin(&view.snapshot, &client.connection, parts) } else { None };
        let mut story = proxy.stories.begin(&view.snapshot, || story::Head {
            parts,
            host: &host.value,
            client: client.connection.client_address(&parts.headers),
            route,
        });
        let mut added = prepare(parts, seen, via, host, wanted, &client.connection);
        if let Some(draft) = &mut story {
            draft.id = Identifier::of(&parts.headers, &added);
        }
        match &mut planned {
            Some(planned) if client.connection.rules.redirect_to_https().is_some() => {
                planned.look_at(parts, &client.connection);
            }
            Some(planned) => planned.edit_request(parts, &mut added, &client.connection),
            None => {}
        }
        if let Some(traces) = &view.snapshot.traces {
            trace::begin(traces, &mut parts.headers, &client.connection, &mut added, story.as_deref_mut());
        }
        if let Some(draft) = &mut access {
            draft.note_sent(&parts.headers, added.request_id.as_ref());
        }
        Exchange::open(proxy, client, view, (pool, planned, added), *started, (access, story))
    }

    /// The proxy responds itself.
    #[cold]
    fn answer(self, (parts, body): (Parts, RequestBody), mut planned: Option<Box<Planned>>, answer: Answer) -> Early {
        Box::pin(async move {
            let Self { proxy, client, started, busy } = self;
            let _body = body;
            if !matches!(answer, Answer::Misled) {
                client.look_through_body().await;
            }
            let planned = planned.as_deref_mut();
            match answer {
                Answer::Refused(cause) => refusal::refuse(&proxy, &client, &parts, cause, planned, started, busy),
                Answer::Misled => refusal::refuse(&proxy, &client, &parts, Cause::NoUpgrade, planned, started, busy),
                Answer::Local(local) => refusal::respond(&proxy, &client, &parts, local, planned, started, busy),
            }
        })
    }

    /// The client is to come again over https, at this port.
    #[cold]
    fn send_to_https(self, exchange: Exchange, (parts, body): (Parts, RequestBody), port: u16) -> Early {
        Box::pin(async move {
            let _body = body;
            self.client.look_through_body().await;
            redirect::to_https(exchange, &parts, port, self.busy)
        })
    }
}

/// The bounds of a request body, from the config.
fn bounds(view: &View) -> Bounds {
    let Snapshot { limits, timeouts, .. } = &*view.snapshot;
    let (bytes_max, trailers_max) = (limits.request_body.unwrap_or(u64::MAX), limits.request_head);
    Bounds { bytes_max, replay_max: limits.replay, trailers_max, read_timeout: timeouts.request_body }
}

/// Turns the head into the one that the replica gets. Returns what is to be added to its fields.
pub(super) fn prepare(
    parts: &mut Parts,
    seen: FieldsSeen,
    via: Option<&'static str>,
    host: Host,
    wanted: Option<&Wanted>,
    connection: &Connection,
) -> Added {
    let added = headers::prepare_request(&mut parts.headers, seen, via, host, &connection.forwarding);
    if let Some(wanted) = wanted {
        wanted.ask(&mut parts.headers);
    }
    added
}

/// What the connection to the replica must be like.
fn needs(headers: &HeaderMap, seen: FieldsSeen, wanted: Option<&Wanted>) -> Needs {
    let is_private = seen.credentials && credentials::of_request(headers);
    Needs {
        upgrade: if wanted.is_some() { Upgrade::Wanted } else { Upgrade::Unwanted },
        sharing: if is_private { Sharing::Private } else { Sharing::Shared },
    }
}

/// Who responds to a request.
pub(super) enum Routed {
    /// The endpoints of a pool; the host is the one that they hear.
    Pool(Host, RouteAndPool),
    /// The proxy.
    Here(Local),
}

/// A route and one of its pools, by their places in the snapshot.
pub(super) struct RouteAndPool {
    pub(super) route: usize,
    pub(super) pool: usize,
}

/// Finds who responds. If the route wants more than its pool, that is left in `planned`.
///
/// # Errors
/// Why the request is refused.
pub(super) fn route(
    parts: &mut Parts,
    body: &RequestBody,
    view: &Rc<View>,
    client: &Client,
    moment: (usize, Instant),
    planned: &mut Option<Box<Planned>>,
) -> Result<Routed, Cause> {
    let rules = &client.connection.rules;
    let mut host = target::take_target(parts)?;
    if parts.version == Version::HTTP_2 {
        headers::check_list_size(parts, host.as_ref(), view.snapshot.limits.request_head)?;
        headers::join_cookies(&mut parts.headers);
    }
    let is_added = host.as_mut().is_some_and(|host| host.become_field(&mut parts.headers));
    if parts.headers.len() > view.snapshot.limits.request_fields + usize::from(is_added) {
        return Err(Cause::HeadTooLarge);
    }
    let host_text = host.as_ref().and_then(|host| host.value.to_str().ok()).unwrap_or_default();
    let asked = Asked {
        listener: &rules.listener(),
        host: host_text,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    let found = view.snapshot.routes.find(&asked)?;
    if let Some(others) = &found.others {
        planned::pass_guards(view, others, &client.connection, &parts.headers, moment)?;
    }
    let length = http_body::Body::size_hint(body);
    // A body with a length was not framed by a transfer coding.
    if length.exact().is_none() && !framing::is_plainly_chunked(&parts.headers) {
        return Err(Cause::UnknownCoding);
    }
    let pool = match view.snapshot.plans[found.route] {
        Plan::Pool(pool) => pool,
        Plan::More(_) => {
            let planned = planned.insert(Planned::new(view, &found, &client.connection, host.as_ref(), &parts.headers));
            match planned.admit(parts, body, &client.connection, moment)? {
                Some(pool) => pool,
                None => return planned.respond(parts, client).map(Routed::Here),
            }
        }
    };
    let body_max = planned.as_ref().map_or(view.snapshot.limits.request_body, |planned| planned.body_max());
    if body_max.is_some_and(|most| length.lower() > most) {
        return Err(Cause::BodyTooLarge);
    }
    if host.is_none() && rules.redirect_to_https().is_some() {
        // Nobody knows where to send the client.
        return Err(Cause::BadRequest(Malformed::HostMissing));
    }
    // Only an HTTP/1.0 client may leave out the host. The replica is sent HTTP/1.1, which needs one.
    let host = host.unwrap_or_else(|| {
        let first = view.snapshot.pools[pool].members.first();
        let value = first.and_then(|first| HeaderValue::try_from(&*address::host_field(&first.backend)).ok());
        Host { value: value.unwrap_or_else(|| HeaderValue::from_static("")), is_field: false }
    });
    Ok(Routed::Pool(host, RouteAndPool { route: found.route, pool }))
}
