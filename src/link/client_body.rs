//! A request body as the client's connection brings it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::request_body::BodyFailure;
use crate::net::h2::ReceivedBody;

/// The body as the client's connection brings it, in the version that the client speaks.
#[derive(Debug, Default)]
pub enum ClientBody {
    /// There is none.
    #[default]
    Empty,
    /// From a connection of HTTP/1.1.
    Http1(Incoming),
    /// From a stream of HTTP/2.
    Http2(ReceivedBody),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Err(_)) => Poll::Ready(Some(trailers_behind(body, cx).ok_or(BodyFailure::Client))),
                frame => Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFailure::Client))),
            },
            Self::Http2(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|_| BodyFailure::Client)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// The trailers of a body of which hyper has said that it broke off, if they have come: then it is whole. hyper 1.12
/// forgets that if its connection ends while it waits for the next head.
#[cold]
fn trailers_behind(body: &mut Incoming, cx: &mut Context<'_>) -> Option<Frame<Bytes>> {
    match Pin::new(body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Some(frame),
        _ => None,
    }
}
