//! One try of a request on one endpoint: take or open a connection, send, wait for the answer's head.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use rustix::io::Errno;
use tokio::time::Instant;

use super::cause::Cause;
use super::client::Client;
use super::headers::{self, Seen};
use super::retry::Failure;
use super::{framing, grpc};
use crate::config::model::Timeouts;
use crate::deadlines::{Deadlines, Wait};
use crate::link::Lease;
use crate::link::WorkerEndpoint;
use crate::link::h1::{Link, Preamble, UpstreamConnection};
use crate::link::record::Record;
use crate::link::request_body::{Bounds, RequestBody, Upload};
use crate::net::proxy_protocol;
use crate::pool::wire::NoTls;

/// A request that may have to be sent more than once.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its fields are away while an attempt is under way, and come back when it fails.
    pub(super) parts: Parts,
    pub(super) body: RequestBody,
    upload: Option<Rc<Upload>>,
    /// Whether it is a call of gRPC, and what it says of itself.
    pub(super) call: Option<grpc::Call>,
    /// Whether it asks for another protocol.
    wants_upgrade: bool,
    /// Whether fields and body are all here, so that another attempt can be made.
    pub(super) whole: bool,
}

impl Outgoing {
    /// As it came from the client.
    pub(super) fn new(request: Request<Incoming>, bounds: Bounds, seen: Seen, wants_upgrade: bool) -> Self {
        let (parts, incoming) = request.into_parts();
        let body = RequestBody::new(incoming, parts.version == Version::HTTP_2, bounds);
        let upload = body.upload().cloned();
        let call = if seen.content_type { grpc::Call::of(&parts.headers) } else { None };
        Self { parts, body, upload, call, wants_upgrade, whole: true }
    }

    /// What the client sends besides the head, if anything.
    pub(super) fn upload(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref()
    }

    /// Whether an answer with this status may be the last one. `Upgrade` is passed on only for who wants it.
    fn may_get(&self, status: StatusCode) -> bool {
        self.wants_upgrade && status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// The request for one attempt.
    fn take(&mut self) -> Request<RequestBody> {
        self.whole = false;
        let mut request = Request::new(std::mem::take(&mut self.body));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = std::mem::take(&mut self.parts.headers);
        request
    }

    /// The request for one attempt over HTTP/2, which names scheme and host before the fields (RFC 9113 section 8.3.1). The
    /// fields stay here: nobody can read back what was compressed.
    ///
    /// `None` if there is no way to say it.
    fn take_h2(&mut self, scheme: Scheme) -> Option<Request<RequestBody>> {
        let host = self.parts.headers.get(HOST)?;
        let target = self.parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build().ok()?;
        let mut request = Request::new(std::mem::take(&mut self.body));
        self.whole = false;
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.parts.headers.clone();
        headers::to_h2(request.headers_mut());
        Some(request)
    }

    /// Takes back the body, as far as it was kept, of a request whose fields stayed here.
    fn take_back_body(&mut self) {
        self.whole = self.upload.as_ref().is_none_or(|upload| upload.can_replay());
        self.body = self.upload.as_ref().filter(|_| self.whole).map(RequestBody::again).unwrap_or_default();
    }

    /// Takes back a request of which nothing was used.
    fn put_back(&mut self, request: Request<RequestBody>) {
        let (parts, body) = request.into_parts();
        self.parts.headers = parts.headers;
        self.body = body;
        self.whole = true;
    }

    /// Takes back what can be read from the record of a request that was used, and what was kept of its body.
    fn read_back(&mut self, record: &Record) {
        let Some(fields) = record.header_fields() else { return };
        // An answer of ours wants them too.
        self.parts.headers = fields;
        self.take_back_body();
    }

    /// Takes the request back although it was answered, unless the client is still sending it.
    pub(super) fn take_back(&mut self, answer: &Answer) {
        match &answer.link {
            _ if answer.rest.is_some() => {}
            Link::Own(connection) => self.read_back(connection.record()),
            Link::Multiplexed(_) => self.take_back_body(),
        }
    }
}

/// An endpoint's answer, its body still to come, and what it comes over.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) link: Link,
    /// The request body, if the client is still sending it.
    pub(super) rest: Option<Rc<Upload>>,
}

/// A reused connection that ends this soon after the request was sent was being closed already; later, the replica died.
const STALE_AFTER_SENDING: Duration = Duration::from_millis(100);

/// How long an attempt may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits<'a> {
    pub(super) deadlines: &'a Deadlines,
    pub(super) timeouts: &'a Timeouts,
    /// When the attempt must have been answered, if there is such a time.
    pub(super) until: Option<Instant>,
}

impl Waits<'_> {
    /// Bounds one phase of the attempt.
    fn arm(&self, phase_ends: Instant) {
        self.deadlines.arm(Wait::Upstream, self.until.map_or(phase_ends, |until| until.min(phase_ends)));
    }

    /// Bounds the same phase anew, unless the attempt as a whole has had its time.
    fn arm_again(&self, timeout: Duration) {
        let now = Instant::now();
        if self.until.is_none_or(|until| now < until) {
            self.arm(now + timeout);
        }
    }

    /// Whether the wait for the endpoint, or the request as a whole, has run out.
    fn are_over(&self) -> bool {
        self.deadlines.expired(Wait::Upstream) || self.deadlines.expired(Wait::Request)
    }
}

/// Tries `request` on `endpoint`. With `fresh`, not over a connection that served before.
pub(super) async fn attempt(
    endpoint: &Rc<WorkerEndpoint>,
    request: &mut Outgoing,
    fresh: bool,
    client: &Client,
    waits: Waits<'_>,
    now: Instant,
) -> Result<Answer, Failure> {
    let wishes = Wishes::of(request, endpoint, client);
    let reusable = if fresh { None } else { reusable(endpoint, &wishes, waits.timeouts.upstream_idle, now) };
    let link = match reusable {
        Some(link) => link,
        None => connect(endpoint, wishes, waits, now).await?,
    };
    let connection = match link {
        Link::Own(connection) => connection,
        // Boxed: what most requests do not need must not make the future of every request larger.
        Link::Multiplexed(lease) => return Box::pin(multiplexed(lease, request, waits, now)).await,
    };
    let idle_for = connection.idle_for(now);
    let sending = Sending {
        reused: connection.is_reused(),
        written_before: connection.bytes_written(),
        upload: request.body.upload().cloned(),
        waits,
    };
    let result = sending.run(connection, request, now).await;
    let is_prompt = || now.elapsed() < STALE_AFTER_SENDING;
    if let Err(Failure { cause: Cause::UpstreamClosed, reused: true, .. }) = result
        && is_prompt()
    {
        endpoint.endpoint.idle_limit().observed(idle_for, now);
    }
    result
}

/// What a connection must be.
struct Wishes {
    /// One that can be upgraded.
    only_h1: bool,
    /// One that serves this client only, and begins with saying so.
    is_exclusive: bool,
    preamble: Option<Box<Preamble>>,
}

impl Wishes {
    fn of(request: &Outgoing, endpoint: &WorkerEndpoint, client: &Client) -> Self {
        let version = endpoint.proxy_protocol();
        let preamble = version.map(|version| {
            let (client, addresses) = client.connection.addresses();
            Box::new(Preamble { header: proxy_protocol::header(version, addresses), client })
        });
        Self { only_h1: request.wants_upgrade, is_exclusive: version.is_some(), preamble }
    }
}

/// A connection that is there already.
fn reusable(endpoint: &WorkerEndpoint, wishes: &Wishes, idle_timeout: Duration, now: Instant) -> Option<Link> {
    if wishes.is_exclusive {
        let preamble = wishes.preamble.as_ref()?;
        return endpoint.checkout_of(preamble.client, idle_timeout, now).map(Link::Own);
    }
    let lease = if wishes.only_h1 { None } else { endpoint.lease() };
    lease.map(Link::Multiplexed).or_else(|| endpoint.checkout(idle_timeout, now).map(Link::Own))
}

async fn connect(
    endpoint: &Rc<WorkerEndpoint>,
    wishes: Wishes,
    waits: Waits<'_>,
    now: Instant,
) -> Result<Link, Failure> {
    waits.arm(now + waits.timeouts.connect);
    // Boxed: a handshake takes more room than all the rest of a request.
    let mut connecting = Box::pin(endpoint.connect(wishes.only_h1, waits.timeouts.h2_ping, wishes.preamble));
    let result = poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Pending if waits.deadlines.expired(Wait::Request) => Poll::Ready(Err(Cause::RequestTimeout)),
        Poll::Pending if waits.are_over() => Poll::Ready(Err(Cause::ConnectTimeout)),
        Poll::Pending => Poll::Pending,
        Poll::Ready(connection) => Poll::Ready(connection.map_err(|error| {
            tracing::debug!(endpoint = %endpoint.endpoint.address, %error, "connect failed");
            match error.kind() {
                _ if is_our_own(&error) => Cause::OutOfSockets,
                std::io::ErrorKind::Unsupported => Cause::NoUpgrade,
                _ if error.get_ref().is_some_and(|error| error.is::<NoTls>()) => {
                    if endpoint.is_news(&error.to_string()) {
                        let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
                        tracing::warn!(%pool, endpoint = %address, "no TLS with an endpoint: {error}");
                    }
                    Cause::TlsFailed
                }
                _ => Cause::ConnectFailed,
            }
        })),
    })
    .await;
    waits.deadlines.disarm(Wait::Upstream);
    result.map_err(|cause| Failure { cause, sent: false, reused: false })
}

struct Sending<'a> {
    reused: bool,
    written_before: u64,
    upload: Option<Rc<Upload>>,
    waits: Waits<'a>,
}

impl Sending<'_> {
    async fn run(
        self,
        mut connection: Box<UpstreamConnection>,
        request: &mut Outgoing,
        now: Instant,
    ) -> Result<Answer, Failure> {
        let mut answer = pin!(connection.send(request.take()));
        self.waits.arm(now + self.waits.timeouts.response_head);
        let mut passed = 0;
        let record = Rc::clone(connection.record());
        let mut connection = Some(connection);
        let result = poll_fn(|cx| {
            if let Some(driven) = &mut connection {
                let polled = driven.poll_quietly(cx, |driven, cx| {
                    let is_over = driven.poll_drive(cx);
                    match answer.as_mut().poll(cx) {
                        Poll::Ready(result) => Poll::Ready(Some(result)),
                        Poll::Pending if is_over => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                });
                match polled {
                    Poll::Ready(Some(result)) => return Poll::Ready(Some(result)),
                    // Only dropping a connection that is over makes hyper give back what it has not sent.
                    Poll::Ready(None) => connection = None,
                    Poll::Pending => {}
                }
            }
            if connection.is_none()
                && let Poll::Ready(result) = answer.as_mut().poll(cx)
            {
                return Poll::Ready(Some(result));
            }
            self.poll_deadline(&mut passed)
        })
        .await;
        self.end_waits();
        record.answered();
        let cause = match (result, connection) {
            (Some(Ok(response)), _) if response.status().is_informational() && !request.may_get(response.status()) => {
                Cause::UpstreamInvalid
            }
            (Some(Ok(response)), _) if framing::is_ambiguous(&response) => Cause::UpstreamInvalid,
            (Some(Ok(response)), Some(mut connection)) => {
                if response.version() < Version::HTTP_11 {
                    // hyper would speak HTTP/1.0 from now on, which has no chunks.
                    connection.retire();
                }
                return Ok(Answer { response, link: Link::Own(connection), rest: self.rest() });
            }
            (Some(Ok(_)), None) => Cause::UpstreamClosed,
            (None, _) => Cause::UpstreamTimeout,
            (Some(Err(mut error)), _) => {
                if let Some(unused) = error.take_message() {
                    request.put_back(unused);
                }
                cause_of(&error.into_error())
            }
        };
        if !request.whole {
            request.read_back(&record);
        }
        Err(self.failure(cause, record.bytes_written() > self.written_before))
    }

    /// Ready when the wait has run out.
    fn poll_deadline<T>(&self, passed: &mut u64) -> Poll<Option<T>> {
        if let Some(upload) = &self.upload {
            let bytes = upload.progress().bytes.get();
            let is_client_s = upload.is_awaited() && self.waits.deadlines.expired(Wait::Upstream);
            if bytes != *passed || is_client_s {
                // The time for the answer counts from the last progress of the request body, and not while that is awaited.
                *passed = bytes;
                self.waits.arm_again(self.waits.timeouts.response_head);
            }
            if upload.is_late(self.waits.deadlines) {
                return Poll::Ready(None);
            }
        }
        if self.waits.are_over() { Poll::Ready(None) } else { Poll::Pending }
    }

    fn end_waits(&self) {
        self.waits.deadlines.disarm(Wait::Upstream);
        self.waits.deadlines.disarm(Wait::RequestBody);
    }

    /// What the client is still sending.
    fn rest(self) -> Option<Rc<Upload>> {
        self.upload.filter(|upload| !upload.progress().ended.get())
    }

    fn failure(&self, cause: Cause, sent: bool) -> Failure {
        let by_client = self.upload.as_ref().and_then(|upload| upload.progress().failure.get());
        let cause = by_client.map_or(cause, Cause::from);
        let cause = if self.waits.deadlines.expired(Wait::Request) { Cause::RequestTimeout } else { cause };
        Failure { cause, sent, reused: self.reused }
    }
}

/// One attempt on a connection of HTTP/2, which somebody else drives.
async fn multiplexed(
    mut lease: Box<Lease>,
    request: &mut Outgoing,
    waits: Waits<'_>,
    now: Instant,
) -> Result<Answer, Failure> {
    let upload = request.body.upload().cloned();
    let sending = Sending { reused: lease.is_reused(), written_before: 0, upload, waits };
    let Some(outgoing) = request.take_h2(lease.scheme()) else {
        return Err(sending.failure(Cause::BadRequest("the request's host is not a valid host"), false));
    };
    let mut answer = pin!(lease.send(outgoing));
    waits.arm(now + waits.timeouts.response_head);
    let mut passed = 0;
    let result = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => sending.poll_deadline(&mut passed),
    })
    .await;
    sending.end_waits();
    let (cause, sent) = match result {
        Some(Ok(response)) if response.status().is_informational() || framing::is_ambiguous(&response) => {
            (Cause::UpstreamInvalid, true)
        }
        Some(Ok(response)) => {
            return Ok(Answer { response, link: Link::Multiplexed(lease), rest: sending.rest() });
        }
        None => {
            lease.suspect();
            (Cause::UpstreamTimeout, true)
        }
        Some(Err(mut error)) => {
            let was_taken = error.take_message().is_none();
            let error = error.into_error();
            (cause_of(&error), was_taken && !was_refused(&error))
        }
    };
    request.take_back_body();
    Err(sending.failure(cause, sent))
}

/// Whether the endpoint says that it has not begun this request: REFUSED_STREAM, or GOAWAY with an earlier last stream (RFC 9113
/// section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Whether it is not the endpoint that failed but this process, which has no descriptor, port or memory left.
fn is_our_own(error: &std::io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| own.iter().any(|errno| errno.raw_os_error() == code))
}

fn cause_of(error: &hyper::Error) -> Cause {
    tracing::debug!(error = %Chain(error), "no answer");
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let is_flood = io.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
    if error.is_parse() || is_flood { Cause::UpstreamInvalid } else { Cause::UpstreamClosed }
}

/// An error with all its sources in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source()).try_for_each(|source| write!(f, ": {source}"))
    }
}
