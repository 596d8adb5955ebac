//! A request body as the client's connection brings it.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::request_body::BodyFailure;
use crate::net::h2::ReceivedBody;

/// The body as the client's connection brings it, in the version that the client speaks.
#[derive(Debug, Default)]
pub enum ClientBody {
    /// There is none.
    #[default]
    Empty,
    /// From a connection of HTTP/1.1.
    Http1(Box<dyn Http1Body>),
    /// From a stream of HTTP/2.
    Http2(ReceivedBody),
}

/// A body that is read from a connection of HTTP/1.1. Dropping it says that nobody wants the rest.
pub trait Http1Body: Debug {
    /// See [`Body::poll_frame`].
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>>;

    /// Whether it has ended.
    fn is_end_stream(&self) -> bool;

    /// See [`Body::size_hint`].
    fn size_hint(&self) -> SizeHint;
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll_frame(cx),
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
