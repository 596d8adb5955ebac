//! An endpoint's response: its head, its body that is still to come, and the connection that carries both.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::driver::Driver;
use super::error::{Back, WireError, is_curb};
use super::h1::UpstreamConnection;
use super::h1_split::Split;
use super::h2::Lease;
use super::h2_end::wait_for_end;
use super::record::UpstreamIo;
use super::request_body::{BodyFailure, RequestBody, Upload};
use crate::net::h2::ReceivedBody;

/// The response of an endpoint; see the module.
#[derive(Debug)]
pub struct LinkResponse {
    /// The head, and the body to be read.
    pub response: Response<EndpointBody>,
    /// When its connection was opened, if it was opened for this request.
    pub(super) connected_at: Option<Instant>,
}

impl LinkResponse {
    /// When the whole request had been sent, so that the endpoint alone was waited for. The request was begun at
    /// `began`. It is `None` if the response came before the end of the request.
    pub fn waited_since(&self, began: Instant) -> Option<Instant> {
        let connected = self.connected_at.map_or(began, |at| at.max(began));
        match self.response.body().upload() {
            Some(upload) => upload.progress().ended_at.get().map(|at| at.max(connected)),
            None => Some(connected),
        }
    }

    /// Takes back `request` although there is a response to it. It is lost if the client is still sending it.
    pub fn take_back(&self, request: &mut Request<RequestBody>) -> Back {
        let body = self.response.body();
        let fields = match &body.over {
            _ if body.upload().is_some_and(|upload| upload.is_coming()) => None,
            // They never left.
            Over::Inline(_) | Over::Stream(..) => Some(std::mem::take(request.headers_mut())),
            Over::Task(_) | Over::Nothing => None,
        };
        put_back(request, body.upload(), fields, Written::Something)
    }
}

/// Whether any of a request was written to its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Provably nothing was.
    Nothing,
    /// Something was, so the endpoint may have seen the request.
    Something,
}

/// Puts `request` together again, of which method and target have stayed, from these fields and from what was kept of
/// its body.
pub(super) fn put_back(
    request: &mut Request<RequestBody>,
    upload: Option<&Rc<Upload>>,
    fields: Option<HeaderMap>,
    written: Written,
) -> Back {
    let is_whole = fields.is_some() && upload.is_none_or(|upload| upload.can_replay());
    let mut request = std::mem::take(request);
    *request.headers_mut() = fields.unwrap_or_default();
    if !is_whole {
        return Back::Lost(Box::new(request.into_parts().0));
    }
    *request.body_mut() = upload.map(RequestBody::again).unwrap_or_default();
    match written {
        Written::Nothing => Back::Unsent(request),
        Written::Something => Back::Sent(request),
    }
}

/// The body of an endpoint's response. Reading it also drives its connection, unless a task does. Dropping it before
/// its end closes that connection, or resets its stream.
#[derive(Debug)]
pub struct EndpointBody {
    source: Source,
    over: Over,
    /// The request body, if there is one.
    upload: Option<Rc<Upload>>,
}

/// Where the parts of a response come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The connection of HTTP/1.1 that the body is over.
    Http1,
    /// A stream of HTTP/2.
    Http2(ReceivedBody),
    /// Nothing more is read.
    Ended,
}

/// What drives the connection that carries a response.
#[derive(Debug)]
pub(super) enum Over {
    /// The reader of the response.
    Inline(Box<UpstreamConnection>),
    /// A task of its own. The response began before the request body had ended, and neither may wait for the other.
    Task(Split),
    /// The connection's own task, which serves other requests too. If the client is still sending its request body, a
    /// task sends that.
    Stream(Box<Lease>, Option<Driver>),
    /// Nothing: the response is over.
    Nothing,
}

impl Over {
    /// For an HTTP/1.1 connection. If a `rest` of the request is still to come, a task is started for it.
    pub(super) fn connection(connection: Box<UpstreamConnection>, rest: Option<&Rc<Upload>>) -> Self {
        match rest {
            Some(_) => Self::Task(Split::begin(connection)),
            None => Self::Inline(connection),
        }
    }
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenBody {
    /// The client's request broke off, so the endpoint had nothing to respond to.
    #[error(transparent)]
    Request(BodyFailure),
    /// The endpoint closed the connection, or broke the framing.
    #[error("the endpoint broke off its response: {}", root(.0))]
    Endpoint(#[source] WireError),
    /// This proxy ended the connection: what passed over it exceeded a limit of its own.
    #[error("the connection was ended by this proxy: {0}")]
    Curbed(#[source] h2::Error),
}

/// What lies at the bottom of an error: the library says only that a body could not be read.
fn root(error: &WireError) -> String {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |error| error.source()).last().unwrap_or(first).to_string()
}

impl EndpointBody {
    pub(super) fn new(source: Source, over: Over, upload: Option<Rc<Upload>>) -> Self {
        Self { source, over, upload }
    }

    /// The next part of the body.
    #[inline]
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let polled = match (&mut self.source, &mut self.over) {
            (Source::Http1, Over::Inline(connection)) => connection.poll_frame(cx).map_err(WireError::from),
            (Source::Http1, Over::Task(split)) => split.poll_body(cx).map_err(WireError::from),
            (Source::Http2(body), _) => body.poll_frame(cx).map_err(WireError::from),
            (Source::Http1 | Source::Ended, _) => Poll::Ready(None),
        };
        polled.map(|frame| match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            None => None,
            Some(Err(error)) => {
                Some(Err(match self.upload.as_ref().and_then(|upload| upload.progress().failure.get()) {
                    Some(failure) => BrokenBody::Request(failure),
                    None => match error {
                        WireError::Http2(error) if self.is_curbed(&error) => BrokenBody::Curbed(error),
                        error => BrokenBody::Endpoint(error),
                    },
                }))
            }
        })
    }

    /// Whether this proxy has ended the connection, for something that is not the fault of this response.
    #[cold]
    fn is_curbed(&self, error: &h2::Error) -> bool {
        let is_for_another = match (&self.source, &self.over) {
            (Source::Http2(body), Over::Stream(lease, _)) => {
                lease.shared.seen.is_ended_for_another(body.stream(), error)
            }
            _ => false,
        };
        is_curb(error) || is_for_another
    }

    /// The request body, if there is one.
    pub fn upload(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref()
    }

    /// Notes how long the endpoint keeps the connection when it is unused, if it says so.
    pub fn set_idle_limit(&mut self, announced: Option<Duration>) {
        if let Over::Inline(connection) = &mut self.over {
            connection.set_idle_limit(announced);
        }
    }

    /// The connection serves the client of this response only, from now on. One that is not handed back by
    /// [`Self::finish`] is not used again, and over HTTP/2 no response to an ordinary request authenticates anybody.
    pub fn set_private(&mut self) {
        if let Over::Inline(connection) = &mut self.over {
            connection.set_private();
        }
    }

    /// Whether the endpoint can go on reading the request after its response.
    #[inline]
    pub fn can_read_on(&self) -> bool {
        match &self.over {
            Over::Task(_) | Over::Stream(_, Some(_)) => true,
            Over::Inline(_) => self.upload.as_ref().is_some_and(|upload| upload.progress().ended.get()),
            Over::Stream(_, None) | Over::Nothing => false,
        }
    }

    /// Whether the request is not over: the client has not sent all of its body, or the endpoint was not.
    #[inline]
    pub fn has_rest(&self) -> bool {
        let Some(upload) = &self.upload else { return false };
        match &self.over {
            Over::Task(_) | Over::Stream(_, Some(_)) => true,
            Over::Inline(connection) => !upload.progress().ended.get() || connection.has_unsent(),
            Over::Stream(_, None) | Over::Nothing => !upload.progress().ended.get(),
        }
    }

    /// The response is over, but not the request: its body, and what still passes it on, if anything does.
    pub fn take_rest(&mut self) -> Option<(Rc<Upload>, Option<Driver>)> {
        let upload = self.upload.take()?;
        let driver = match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Task(split) => Some(split.into_driver()),
            Over::Stream(lease, Some(driver)) => Some(driver.with(lease)),
            Over::Inline(connection) if upload.progress().ended.get() => {
                Some(Driver::spawn(connection.finish_request()))
            }
            Over::Inline(_) | Over::Stream(_, None) | Over::Nothing => None,
        };
        Some((upload, driver))
    }

    /// The client has got all that it can get of the response, although the endpoint may not have ended it yet.
    #[inline]
    pub fn was_passed_on(&mut self) {
        if matches!(&self.source, Source::Http2(body) if !body.is_end_stream()) {
            self.leave_end();
        }
    }

    #[cold]
    fn leave_end(&mut self) {
        let Source::Http2(body) = std::mem::replace(&mut self.source, Source::Ended) else { return };
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Stream(lease, Some(mut driver)) => {
                driver.keep_end(body);
                self.over = Over::Stream(lease, Some(driver));
            }
            Over::Stream(lease, None) => wait_for_end(body, lease),
            over @ (Over::Inline(_) | Over::Task(_) | Over::Nothing) => self.over = over,
        }
    }

    /// The body is over, one way or the other. It returns the connection if that could carry another request: the
    /// caller must have read the body to its end.
    pub fn finish(&mut self) -> Option<Box<UpstreamConnection>> {
        self.upload = None;
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Inline(connection) => Some(connection),
            Over::Task(_) | Over::Stream(..) | Over::Nothing => None,
        }
    }

    /// The bare connection, and the bytes already read from it, after the endpoint has agreed to another protocol. It
    /// is `None` if the connection is shared, or more of the request may be to come.
    pub fn into_raw(mut self) -> Option<(UpstreamIo, Bytes)> {
        self.finish().and_then(|connection| connection.into_raw())
    }

    /// See [`http_body::Body::is_end_stream`].
    pub fn is_end_stream(&self) -> bool {
        match (&self.source, &self.over) {
            (Source::Http1, Over::Inline(connection)) => connection.is_end_stream(),
            (Source::Http1, Over::Task(split)) => split.is_end_stream(),
            (Source::Http2(body), _) => body.is_end_stream(),
            (Source::Http1 | Source::Ended, _) => true,
        }
    }

    /// See [`http_body::Body::size_hint`].
    pub fn size_hint(&self) -> SizeHint {
        let left = match (&self.source, &self.over) {
            (Source::Http1, Over::Inline(connection)) => connection.body_left(),
            (Source::Http1, Over::Task(split)) => split.body_left(),
            (Source::Http2(body), _) => return body.size_hint(),
            (Source::Http1 | Source::Ended, _) => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
