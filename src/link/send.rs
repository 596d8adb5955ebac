//! The door: it sends one request to one endpoint, over an unused connection, a shared one, or a new one.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::error::{Back, Failed, LinkError, Phase};
use super::h1::{Preamble, UpstreamConnection};
use super::h2::Lease;
use super::request_body::{RequestBody, Upload};
use super::response::{EndpointBody, LinkResponse, Over, Stub, Written};
use super::waits::Waits;
use super::{Link, WorkerEndpoint, framing};
use crate::deadlines::Wait;
use crate::net::proxy_protocol;

/// A reused connection that ends this soon after the request was sent was already being closed. If it ends later, the
/// replica has failed.
const STALE_AFTER_SENDING: Duration = Duration::from_millis(100);

/// A client's address, and both ends of its connection where known.
pub type ClientAddresses = (SocketAddr, Option<(SocketAddr, SocketAddr)>);

/// What the connection for a request must be like.
#[derive(Clone, Copy)]
pub struct Wishes<'a> {
    /// Whether it must not have carried another request.
    pub fresh: bool,
    /// Whether it must be one that can be upgraded.
    pub upgrade: Upgrade,
    /// The client that it is for. It is asked only if connections to the endpoint begin with a PROXY header.
    pub client: &'a dyn Fn() -> ClientAddresses,
}

/// Whether a request asks for another protocol in place of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// The request is an ordinary one.
    Unwanted,
    /// The request asks for it. The connection must be HTTP/1.1, and 101 is an acceptable response.
    Wanted,
}

impl WorkerEndpoint {
    /// Sends `request` and waits for the response head: one entry and one return for each attempt.
    ///
    /// # Errors
    /// What went wrong, and what is left of the request.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, or resets its stream.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        wishes: Wishes<'_>,
        waits: Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let preamble = self.preamble(wishes);
        let link = match self.reusable(wishes, preamble.as_deref(), waits) {
            Some(link) => link,
            None => match self.connect_within(wishes, preamble, waits).await {
                Ok(link) => link,
                Err(why) => return Err(self.failed(why, Back::Unsent(request), false)),
            },
        };
        match link {
            Link::Own(connection) => self.send_h1(connection, request, wishes, waits).await,
            // Boxed: what most requests do not need must not make the future of every request larger.
            Link::Multiplexed(lease) => Box::pin(self.send_h2(lease, request, waits)).await,
        }
    }

    fn failed(&self, why: LinkError, back: Back, reused: bool) -> Box<Failed> {
        let (pool, address) = (&self.endpoint.pool, &self.endpoint.address);
        tracing::debug!(%pool, endpoint = %address, error = %Chain(&why), "no response");
        if let LinkError::Tls(error) = &why
            && self.is_news(&error.to_string())
        {
            tracing::warn!(%pool, endpoint = %address, "cannot establish TLS with an endpoint: {error}");
        }
        Box::new(Failed { why, back, reused })
    }

    /// The PROXY header with which a connection must begin, if the pool wants one.
    fn preamble(&self, wishes: Wishes<'_>) -> Option<Box<Preamble>> {
        let version = self.proxy_protocol()?;
        let (client, addresses) = (wishes.client)();
        Some(Box::new(Preamble { header: proxy_protocol::header(version, addresses), client }))
    }

    /// An existing connection that fits, if there is one.
    fn reusable(&self, wishes: Wishes<'_>, preamble: Option<&Preamble>, waits: Waits<'_>) -> Option<Link> {
        if wishes.fresh {
            return None;
        }
        let (idle_timeout, now) = (waits.timeouts.upstream_idle, waits.began);
        if let Some(preamble) = preamble {
            return self.checkout_of(preamble.client, idle_timeout, now).map(Link::Own);
        }
        let lease = if wishes.upgrade == Upgrade::Wanted { None } else { self.lease() };
        lease.map(Link::Multiplexed).or_else(|| self.checkout(idle_timeout, now).map(Link::Own))
    }

    async fn connect_within(
        &self,
        wishes: Wishes<'_>,
        preamble: Option<Box<Preamble>>,
        waits: Waits<'_>,
    ) -> Result<Link, LinkError> {
        waits.arm(waits.began + waits.timeouts.connect);
        // Boxed: the future of a handshake is larger than the rest of a request's.
        let mut connecting = Box::pin(self.connect(wishes.upgrade, waits.timeouts.h2_ping, preamble));
        let result = poll_fn(|cx| match (connecting.as_mut().poll(cx), waits.passed(Phase::Connect)) {
            (Poll::Pending, Some(phase)) => Poll::Ready(Err(LinkError::TimedOut(phase))),
            (polled, _) => polled,
        })
        .await;
        waits.deadlines.disarm(Wait::Upstream);
        result
    }

    async fn send_h1(
        &self,
        mut connection: Box<UpstreamConnection>,
        mut request: Request<RequestBody>,
        wishes: Wishes<'_>,
        waits: Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let (reused, idle_for) = (connection.is_reused(), connection.idle_for(waits.began));
        let record = Rc::clone(connection.record());
        let written_before = record.bytes_written();
        *request.version_mut() = Version::HTTP_11;
        let mut sending = Sending { stub: Stub::of(&request), bytes_passed: 0, waits };
        let mut response = pin!(connection.send(request));
        waits.arm(waits.began + waits.timeouts.response_head);
        let mut connection = Some(connection);
        let result = poll_fn(|cx| {
            if let Some(driven) = &mut connection {
                let polled = driven.poll_quietly(cx, |driven, cx| {
                    let is_over = driven.poll_drive(cx);
                    match response.as_mut().poll(cx) {
                        Poll::Ready(result) => Poll::Ready(Some(result)),
                        Poll::Pending if is_over => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                });
                match polled {
                    Poll::Ready(Some(result)) => return Poll::Ready(Some(result)),
                    // hyper gives back what it has not sent only when a connection that is over is dropped.
                    Poll::Ready(None) => connection = None,
                    Poll::Pending => {}
                }
            }
            if connection.is_none()
                && let Poll::Ready(result) = response.as_mut().poll(cx)
            {
                return Poll::Ready(Some(result));
            }
            sending.poll_deadline()
        })
        .await;
        sending.end_waits();
        record.answered();
        let mut unsent = None;
        let why = match (result, connection) {
            (Some(Ok(response)), connection) => match (refusal_of(&response, wishes.upgrade), connection) {
                (Some(why), _) => LinkError::Unacceptable(why),
                (None, None) => LinkError::Closed(None),
                (None, Some(mut connection)) => {
                    if response.version() < Version::HTTP_11 {
                        // hyper would speak HTTP/1.0 from now on, which has no chunks.
                        connection.set_last();
                    }
                    if !reused {
                        self.clear_tls_error();
                    }
                    let rest = sending.stub.rest();
                    let over = Over::connection(connection, rest.as_ref());
                    return Ok(sending.into_response(response, over, rest));
                }
            },
            (None, _) => LinkError::TimedOut(Phase::Response),
            (Some(Err(mut error)), _) => {
                unsent = error.take_message();
                LinkError::awaiting(error.into_error(), record.tls_failure())
            }
        };
        let why = sending.blame(why);
        if reused && matches!(why, LinkError::Closed(_)) && waits.began.elapsed() < STALE_AFTER_SENDING {
            self.endpoint.idle_limit().observed(idle_for, waits.began);
        }
        let back = match unsent {
            Some(request) => Back::Unsent(request),
            None => {
                let has_written = record.bytes_written() > written_before;
                let written = if has_written { Written::Something } else { Written::Nothing };
                sending.stub.back(record.header_fields(), written)
            }
        };
        Err(self.failed(why, back, reused))
    }

    async fn send_h2(
        &self,
        mut lease: Box<Lease>,
        mut request: Request<RequestBody>,
        waits: Waits<'_>,
    ) -> Result<LinkResponse, Box<Failed>> {
        let reused = lease.is_reused();
        let Some(uri) = h2_uri(&request, lease.scheme()) else {
            return Err(self.failed(LinkError::InvalidHost, Back::Unsent(request), reused));
        };
        let mut sending = Sending { stub: Stub::with_headers(&request), bytes_passed: 0, waits };
        *request.uri_mut() = uri;
        // HTTP/2 has no such fields: it says these things in other ways (RFC 9113 section 8.2.2).
        for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
            request.headers_mut().remove(name);
        }
        let mut response = pin!(lease.send(request));
        waits.arm(waits.began + waits.timeouts.response_head);
        let result = poll_fn(|cx| match response.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => sending.poll_deadline(),
        })
        .await;
        sending.end_waits();
        let (why, written) = match result {
            Some(Ok(response)) => match refusal_of(&response, Upgrade::Unwanted) {
                Some(why) => (LinkError::Unacceptable(why), Written::Something),
                None => {
                    let rest = sending.stub.rest();
                    return Ok(sending.into_response(response, Over::Stream(lease), rest));
                }
            },
            None => {
                lease.suspect();
                (LinkError::TimedOut(Phase::Response), Written::Something)
            }
            Some(Err(mut error)) => {
                let was_taken = error.take_message().is_none();
                let error = error.into_error();
                let is_unsent = !was_taken || was_refused(&error);
                let written = if is_unsent { Written::Nothing } else { Written::Something };
                (LinkError::awaiting(error, lease.record().tls_failure()), written)
            }
        };
        let why = sending.blame(why);
        let fields = sending.stub.take_headers();
        Err(self.failed(why, sending.stub.back(fields, written), reused))
    }
}

/// A request that is being sent, until its response head comes.
struct Sending<'a> {
    stub: Stub,
    /// Bytes of the request body that had come when the deadline of the response was last set.
    bytes_passed: u64,
    waits: Waits<'a>,
}

impl Sending<'_> {
    /// Ready, with `None`, when the wait has run out.
    fn poll_deadline<T>(&mut self) -> Poll<Option<T>> {
        let deadlines = self.waits.deadlines;
        if let Some(upload) = &self.stub.upload {
            let bytes = upload.progress().bytes.get();
            let waits_for_client = upload.is_awaited() && deadlines.expired(Wait::Upstream);
            if bytes != self.bytes_passed || waits_for_client {
                // The time for the response counts from the last progress of the request body, and does not run while
                // the client is awaited.
                self.bytes_passed = bytes;
                self.waits.arm_again();
            }
            if upload.is_late(deadlines) {
                return Poll::Ready(None);
            }
        }
        if self.waits.passed(Phase::Response).is_some() { Poll::Ready(None) } else { Poll::Pending }
    }

    fn end_waits(&self) {
        self.waits.deadlines.disarm(Wait::Upstream);
        self.waits.deadlines.disarm(Wait::RequestBody);
    }

    /// What is to blame for a failure: the client, if its body broke off; the deadline of the whole request, if it is
    /// over; else `why`.
    fn blame(&self, why: LinkError) -> LinkError {
        let by_client = self.stub.upload.as_ref().and_then(|upload| upload.progress().failure.get());
        match by_client {
            _ if self.waits.deadlines.expired(Wait::Request) => LinkError::TimedOut(Phase::Request),
            Some(failure) => LinkError::Body(failure),
            None => why,
        }
    }

    fn into_response(self, response: Response<Incoming>, over: Over, rest: Option<Rc<Upload>>) -> LinkResponse {
        let response = response.map(|incoming| EndpointBody::new(incoming, over, rest));
        LinkResponse { response, stub: self.stub }
    }
}

/// Why this response must not be passed on, if it must not.
fn refusal_of(response: &Response<Incoming>, upgrade: Upgrade) -> Option<&'static str> {
    let status = response.status();
    // `Upgrade` is passed on only if the client wants it.
    let is_agreed = upgrade == Upgrade::Wanted && status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() && !is_agreed {
        return Some("switches to another protocol, which nobody asked for");
    }
    framing::is_ambiguous(response).then_some("says in two ways where it ends")
}

/// The target of a request over HTTP/2, which carries scheme and host before the fields (RFC 9113 section 8.3.1). It is
/// `None` if the host is not a valid authority.
fn h2_uri(request: &Request<RequestBody>, scheme: Scheme) -> Option<Uri> {
    let host = request.headers().get(HOST)?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build().ok()
}

/// Whether the endpoint says that it has not begun this request: by REFUSED_STREAM, or by GOAWAY with an earlier last
/// stream (RFC 9113 section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// An error with all its sources in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source()).try_for_each(|source| write!(f, ": {source}"))
    }
}
