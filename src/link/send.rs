//! The door: it sends one request to one endpoint, over an unused connection, a shared one, or a new one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, Request, StatusCode, Uri};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::error::{AMBIGUOUS, Back, Chain, Failed, LinkError, Phase};
use super::h1::{Preamble, UpstreamConnection};
use super::h2::Lease;
use super::request_body::RequestBody;
use super::response::{LinkResponse, Over, Source, Written, put_back};
use super::sending::Sending;
use super::waits::Waits;
use super::wishes::{Sharing, Upgrade, Wishes};
use super::{Link, WorkerEndpoint, framing, timing};
use crate::deadlines::Wait;
use crate::net::socket::Look;
use crate::net::{lacks_descriptors, proxy_protocol};

/// A reused connection that ends this soon after the request was sent was already being closed. If it ends later, the
/// replica has failed.
const STALE_AFTER_SENDING: Duration = Duration::from_millis(100);

/// Hardly any endpoint closes a connection because it was unused for no longer than this.
const BUSY: Duration = Duration::from_secs(1);

impl WorkerEndpoint {
    /// Sends `request` and waits for the response head: one entry and one return for each attempt.
    ///
    /// The request leaves its place, and comes back by its type in [`Failed`] or through [`LinkResponse::take_back`].
    /// It is lent all the same: the future of every request would keep the space of what is passed by value, once for
    /// each function on the way. The head stays in place meanwhile.
    ///
    /// # Errors
    /// What went wrong, and what is left of the request.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, or resets its stream.
    pub async fn send(
        &self,
        request: &mut Request<RequestBody>,
        wishes: &Wishes<'_>,
        waits: &Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let preamble = self.preamble(wishes);
        let mut connected_at = None;
        let link = match self.reusable(wishes, preamble.as_deref(), waits) {
            Some(link) => link,
            None => match self.connect_within(wishes, preamble, waits).await {
                Ok(link) => {
                    connected_at = Some(Instant::now());
                    wishes.timing.iter().for_each(|timing| timing.ready.set(connected_at));
                    link
                }
                Err(why) => return Err(self.failed(why, Back::Unsent(std::mem::take(request)), false)),
            },
        };
        let mut response = match link {
            Link::Own(connection) => self.send_h1(connection, request, wishes, waits).await?,
            // Boxed: what most requests do not need must not make the future of every request larger.
            Link::Multiplexed(lease) => {
                wishes.timing.iter().for_each(|timing| timing.is_h2.set(true));
                Box::pin(self.send_h2(lease, request, wishes, waits)).await?
            }
        };
        response.connected_at = connected_at;
        Ok(response)
    }

    fn failed(&self, why: LinkError, back: Back, reused: bool) -> Box<Failed> {
        let (pool, address) = (&self.endpoint.pool, &self.endpoint.address);
        tracing::debug!(%pool, endpoint = %address, error = %Chain(&why), "no response");
        if let LinkError::Tls(_) = &why
            && let error = why.root()
            && self.is_news(&error)
        {
            tracing::warn!(%pool, endpoint = %address, "cannot establish TLS with an endpoint: {error}");
        }
        Box::new(Failed { why, back, reused })
    }

    /// The PROXY header with which a connection must begin, if the pool wants one.
    fn preamble(&self, wishes: &Wishes<'_>) -> Option<Box<Preamble>> {
        let version = self.proxy_protocol()?;
        let (client, addresses) = (wishes.client)();
        Some(Box::new(Preamble { header: proxy_protocol::header(version, addresses), client }))
    }

    /// An existing connection that fits, if there is one.
    fn reusable(&self, wishes: &Wishes<'_>, preamble: Option<&Preamble>, waits: &Waits<'_>) -> Option<Link> {
        if wishes.fresh {
            return None;
        }
        let (idle_timeout, now) = (waits.timeouts.upstream_idle, waits.began);
        if let Some(own) = wishes.private.take(self, now) {
            return Some(Link::Own(own));
        }
        if let Some(preamble) = preamble {
            return self.checkout_of(preamble.client, idle_timeout, now).map(Link::Own);
        }
        let needs_own = wishes.upgrade == Upgrade::Wanted || wishes.sharing == Sharing::Private;
        let lease = if needs_own { None } else { self.lease() };
        lease.map(Link::Multiplexed).or_else(|| self.checkout(idle_timeout, now).map(Link::Own))
    }

    /// Opens a connection; once more if there was no descriptor left, and there are some now.
    async fn connect_within(
        &self,
        wishes: &Wishes<'_>,
        mut preamble: Option<Box<Preamble>>,
        waits: &Waits<'_>,
    ) -> Result<Link, LinkError> {
        waits.arm(waits.began + waits.timeouts.connect);
        timing::note(wishes.timing, |timing| &timing.opening);
        let mut was_room_made = false;
        loop {
            // Boxed: the future of a handshake is larger than the rest of a request's.
            let mut connecting = Box::pin(self.connect(wishes, waits.timeouts.upstream_h2_ping, preamble));
            let result = poll_fn(|cx| match (connecting.as_mut().poll(cx), waits.passed(Phase::Connect)) {
                (Poll::Pending, Some(phase)) => Poll::Ready(Err(LinkError::TimedOut(phase))),
                (polled, _) => polled,
            })
            .await;
            let lacks = matches!(&result, Err(LinkError::OutOfSockets(error)) if lacks_descriptors(error));
            if lacks && !was_room_made && (wishes.make_room)() {
                (was_room_made, preamble) = (true, self.preamble(wishes));
                continue;
            }
            waits.deadlines.disarm(Wait::Upstream);
            return result;
        }
    }

    async fn send_h1(
        &self,
        mut connection: Box<UpstreamConnection>,
        request: &mut Request<RequestBody>,
        wishes: &Wishes<'_>,
        waits: &Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let (reused, idle_for) = (connection.is_reused(), connection.idle_for(waits.began));
        let record = Rc::clone(connection.record());
        record.set_tunnel(wishes.upgrade == Upgrade::Wanted);
        if reused {
            let is_own = connection.is_private();
            record.socket.look_before_sending(if is_own { Look::Kernel } else { look(request, wishes, idle_for) });
        }
        let mut sending = Sending::begin(request.body().upload().cloned(), self, waits);
        if wishes.sharing == Sharing::Private {
            connection.set_private();
        }
        connection.begin(request, wishes.added);
        let result = poll_fn(|cx| {
            let polled = connection.poll_response(cx, &mut |head| sending.pass_interim(head, wishes.interim));
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Some(result));
            }
            ready!(sending.poll_deadline());
            // A task that has used up its turn hears nothing of a response that is there.
            let mut pass_interim = |head| sending.pass_interim(head, wishes.interim);
            let look = poll_fn(|cx| connection.poll_response(cx, &mut pass_interim));
            let looked = pin!(unconstrained(look)).poll(cx);
            Poll::Ready(match looked {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            })
        })
        .await;
        sending.end_waits();
        let why = match result {
            Some(Ok(response)) => match refusal_of(response.status(), wishes.upgrade) {
                Some(why) => LinkError::Unacceptable(why),
                None => {
                    record.set_tunnel(response.status() == StatusCode::SWITCHING_PROTOCOLS);
                    if !reused {
                        self.clear_tls_error();
                    }
                    if sending.is_refused() {
                        // The endpoint waits for a body that does not come.
                        connection.set_last();
                    }
                    let over = Over::connection(connection, sending.rest());
                    return Ok(sending.into_response(response.map(|()| Source::Http1), over));
                }
            },
            None => LinkError::TimedOut(Phase::Response),
            Some(Err(error)) => LinkError::awaiting(error.into(), record.tls_failure()),
        };
        // What was not sent must not be sent any more.
        let has_written = connection.has_written();
        drop(connection);
        let why = sending.blame(why);
        if reused
            && matches!(why, LinkError::Closed(_) | LinkError::Tls(_))
            && waits.began.elapsed() < STALE_AFTER_SENDING
        {
            self.endpoint.idle_limit().observed(idle_for, waits.began);
        }
        let is_unread = !has_written || !reused && why.refuses_certificate();
        let written = if is_unread { Written::Nothing } else { Written::Something };
        let fields = Some(std::mem::take(request.headers_mut()));
        let back = put_back(request, sending.upload.as_ref(), fields, written);
        Err(self.failed(why, back, reused))
    }

    async fn send_h2(
        &self,
        lease: Box<Lease>,
        request: &mut Request<RequestBody>,
        wishes: &Wishes<'_>,
        waits: &Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let reused = lease.is_reused();
        let Some(uri) = h2_uri(request, lease.scheme()) else {
            return Err(self.failed(LinkError::InvalidHost, Back::Unsent(std::mem::take(request)), reused));
        };
        let mut sending = Sending::begin(request.body().upload().cloned(), self, waits);
        let mut fields = request.headers().clone();
        // HTTP/2 has no such fields: it says these things in other ways (RFC 9113 section 8.2.2).
        for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
            fields.remove(name);
        }
        wishes.added.extend(&mut fields);
        let mut attempt = lease.send(outgoing(request, uri, fields));
        let result = poll_fn(|cx| match attempt.poll(&|head| sending.pass_interim(head, wishes.interim), cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => sending.poll_deadline().map(|()| None),
        })
        .await;
        sending.end_waits();
        let why = match result {
            Some(Ok(mut response)) => match refusal_of(response.status(), Upgrade::Unwanted)
                .or_else(|| framing::is_ambiguous(response.headers_mut()).then_some(AMBIGUOUS))
            {
                Some(why) => LinkError::Unacceptable(why),
                None => {
                    if !reused {
                        self.clear_tls_error();
                    }
                    if sending.is_refused() {
                        attempt.leave_out_body();
                    }
                    return Ok(sending.into_response(response, attempt.into_over()));
                }
            },
            None => LinkError::TimedOut(Phase::Response),
            Some(Err(why)) => why,
        };
        let why = sending.blame(why);
        if matches!(why, LinkError::TimedOut(_)) {
            // It may be dead. If the client has sent no more of its body, nothing is known of it.
            attempt.lease().suspect();
        }
        let written = attempt.written();
        // The stream is reset before the request may be sent elsewhere.
        drop(attempt);
        let fields = Some(std::mem::take(request.headers_mut()));
        Err(self.failed(why, put_back(request, sending.upload.as_ref(), fields, written), reused))
    }
}

/// Why a response with this status must not be passed on, if it must not.
fn refusal_of(status: StatusCode, upgrade: Upgrade) -> Option<&'static str> {
    // `Upgrade` is passed on only if the client wants it.
    let is_agreed = upgrade == Upgrade::Wanted && status == StatusCode::SWITCHING_PROTOCOLS;
    (status.is_informational() && !is_agreed).then_some("switches to another protocol, which nobody asked for")
}

/// The target of a request over HTTP/2, which carries scheme and host before the fields (RFC 9113 section 8.3.1). It is
/// `None` if the host is not a valid authority.
fn h2_uri(request: &Request<RequestBody>, scheme: Scheme) -> Option<Uri> {
    let host = request.headers().get(HOST)?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build().ok()
}

/// Who is asked whether the endpoint has closed a connection before it carries this request. The kernel knows it first.
/// A request that may be repeated anyway, on a connection that is in use all the time, does not pay for that.
fn look(request: &Request<RequestBody>, wishes: &Wishes<'_>, idle_for: Duration) -> Look {
    let is_repeatable = request.method().is_idempotent() && request.body().is_empty();
    let is_plain = wishes.sharing == Sharing::Shared && wishes.upgrade == Upgrade::Unwanted;
    if is_repeatable && is_plain && idle_for < BUSY { Look::Runtime } else { Look::Kernel }
}

/// What goes to the connection: the body, and a head with this target and these fields.
fn outgoing(request: &mut Request<RequestBody>, uri: Uri, fields: HeaderMap) -> Request<RequestBody> {
    let mut outgoing = Request::new(std::mem::take(request.body_mut()));
    *outgoing.method_mut() = request.method().clone();
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = fields;
    outgoing
}
