//! An endpoint's response: its head, its body still to come, and the connection that both come over.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::{JoinHandle, spawn_local};

use super::error::Back;
use super::h1::UpstreamConnection;
use super::h2::Lease;
use super::record::UpstreamIo;
use super::request_body::{BodyFailure, RequestBody, Upload};

/// See the module.
#[derive(Debug)]
pub struct LinkResponse {
    /// Head and body.
    pub response: Response<EndpointBody>,
    pub(super) stub: Stub,
}

impl LinkResponse {
    /// Takes the request back although it was answered; it is lost if the client is still sending it.
    pub fn take_back(&mut self) -> Back {
        let fields = match &self.response.body().over {
            _ if self.response.body().rest.is_some() => None,
            Over::Inline(connection) => connection.record().header_fields(),
            Over::Stream(_) => self.stub.headers.take().map(|fields| *fields),
            Over::Task(_) | Over::Nothing => None,
        };
        self.stub.back(fields, true)
    }
}

/// What stays here of a request while it is being sent.
#[derive(Debug)]
pub(super) struct Stub {
    method: Method,
    uri: Uri,
    /// Of a request over HTTP/2: nobody can read back what was compressed.
    headers: Option<Box<http::HeaderMap>>,
    pub(super) upload: Option<Rc<Upload>>,
}

impl Stub {
    /// For a request whose fields can be read back from what was written.
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        let upload = request.body().upload().cloned();
        Self { method: request.method().clone(), uri: request.uri().clone(), headers: None, upload }
    }

    /// With a copy of the fields.
    pub(super) fn with_headers(request: &Request<RequestBody>) -> Self {
        Self { headers: Some(Box::new(request.headers().clone())), ..Self::of(request) }
    }

    /// The kept copy of the fields, if there is one.
    pub(super) fn take_headers(&mut self) -> Option<http::HeaderMap> {
        self.headers.take().map(|headers| *headers)
    }

    /// Puts the request together again from these fields and what was kept of its body; `sent` says whether the endpoint may have
    /// seen it.
    pub(super) fn back(&mut self, fields: Option<http::HeaderMap>, sent: bool) -> Back {
        let body = match &self.upload {
            Some(upload) if !upload.can_replay() => None,
            upload => Some(upload.as_ref().map(RequestBody::again).unwrap_or_default()),
        };
        let is_whole = fields.is_some();
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = std::mem::take(&mut self.method);
        *request.uri_mut() = std::mem::take(&mut self.uri);
        *request.headers_mut() = fields.unwrap_or_default();
        match body {
            Some(body) if is_whole => {
                *request.body_mut() = body;
                if sent { Back::Sent(request) } else { Back::Unsent(request) }
            }
            _ => Back::Lost(Box::new(request.into_parts().0)),
        }
    }

    /// What the client is still sending.
    pub(super) fn rest(&self) -> Option<Rc<Upload>> {
        self.upload.clone().filter(|upload| !upload.progress().ended.get())
    }
}

/// The body of an endpoint's response. While it is read, it drives the connection that it comes over, unless others do; dropping it
/// before its end closes that connection, or resets its stream.
#[derive(Debug)]
pub struct EndpointBody {
    incoming: Incoming,
    over: Over,
    /// What the client is still sending.
    rest: Option<Rc<Upload>>,
}

/// Who drives the connection that a response comes over.
#[derive(Debug)]
pub(super) enum Over {
    /// Whoever reads the response.
    Inline(Box<UpstreamConnection>),
    /// A task of its own: the response began before the request body had ended, and neither may wait for the other.
    #[expect(dead_code, reason = "held to be dropped")]
    Task(Driver),
    /// The connection's own task: it serves others too.
    #[expect(dead_code, reason = "held to be dropped")]
    Stream(Box<Lease>),
    /// Nobody any more.
    Nothing,
}

impl Over {
    /// A connection of HTTP/1.1; with a `rest` of the request still to come, in a task of its own.
    pub(super) fn connection(connection: Box<UpstreamConnection>, rest: Option<&Rc<Upload>>) -> Self {
        match rest {
            Some(_) => Self::Task(Driver(spawn_local(connection.into_driver()))),
            None => Self::Inline(connection),
        }
    }
}

/// A task that drives a connection; dropping this ends it.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenBody {
    /// The client's request did, so the endpoint had nothing to respond to.
    #[error(transparent)]
    Request(BodyFailure),
    /// The endpoint closed the connection, or broke the framing.
    #[error("the endpoint broke off its response: {0}")]
    Endpoint(#[source] hyper::Error),
    /// The endpoint reset the stream. hyper takes a reset with NO_ERROR for the end, whether the endpoint had come to it or not.
    #[error("the endpoint reset its stream before the end")]
    Reset,
}

impl EndpointBody {
    pub(super) fn new(incoming: Incoming, over: Over, rest: Option<Rc<Upload>>) -> Self {
        Self { incoming, over, rest }
    }

    /// The next part.
    #[inline]
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let incoming = &mut self.incoming;
        let polled = match &mut self.over {
            Over::Inline(connection) => connection.poll_quietly(cx, |connection, cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                connection.poll_drive(cx);
                Pin::new(&mut *incoming).poll_frame(cx)
            }),
            Over::Task(_) | Over::Stream(_) | Over::Nothing => Pin::new(incoming).poll_frame(cx),
        };
        polled.map(|frame| match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            None if matches!(self.over, Over::Stream(_)) && !self.incoming.is_end_stream() => {
                Some(Err(BrokenBody::Reset))
            }
            None => None,
            Some(Err(error)) => Some(Err(match self.rest.as_ref().and_then(|rest| rest.progress().failure.get()) {
                Some(failure) => BrokenBody::Request(failure),
                None => BrokenBody::Endpoint(error),
            })),
        })
    }

    /// What the client is still sending.
    pub fn rest(&self) -> Option<&Rc<Upload>> {
        self.rest.as_ref()
    }

    /// The body is over, one way or the other; the connection can serve another request only if it was read to its end.
    pub fn finish(&mut self) -> Option<Box<UpstreamConnection>> {
        self.rest = None;
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Inline(connection) => Some(connection),
            Over::Task(_) | Over::Stream(_) | Over::Nothing => None,
        }
    }

    /// The bare connection and what was read of it, after the endpoint has agreed to another protocol; `None` if it is not to be
    /// had.
    pub fn into_raw(mut self) -> Option<(UpstreamIo, Bytes)> {
        self.finish().and_then(|connection| connection.into_raw())
    }

    /// See [`http_body::Body::is_end_stream`].
    pub fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// See [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
