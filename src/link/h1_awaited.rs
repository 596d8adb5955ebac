//! What an endpoint is to send over HTTP/1.1: the head of a response, then its body.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::error::Http1Error;
use super::h1_response;
use super::interim::Interims;
use super::record::{BUFFER_BYTES_MAX, UpstreamIo};
use crate::net::h1_decode::{Decoder, Next};
use crate::net::h1_read::{HEAD_READ, ReadBuffer, may_be_whole};

/// Bytes that are read at once, and at most, behind a response whose request still goes on.
const SURPLUS_READ: usize = 1024;
const SURPLUS_MAX: usize = 64 * 1024;

/// What is awaited; see the module.
#[derive(Debug)]
pub(super) struct Awaited {
    stage: Stage,
    /// What was read and not used.
    read: ReadBuffer,
}

/// What the endpoint sends next.
#[derive(Debug)]
enum Stage {
    /// Nothing: no exchange is under way, or its response is over.
    Nothing,
    /// The head of a response.
    Head { is_to_head: bool, interims: Interims },
    /// The body of a response.
    Body(Decoder),
    /// What another protocol says.
    Tunnel,
    /// Nothing more: the endpoint has ended the connection, or broken the framing.
    End,
    /// Nothing more, because the request has broken off. The reader of the response is still to be told.
    BrokenOff,
}

impl Default for Awaited {
    fn default() -> Self {
        Self { stage: Stage::Nothing, read: ReadBuffer::new(BUFFER_BYTES_MAX) }
    }
}

impl Awaited {
    /// A response is awaited, which may be one to HEAD.
    pub(super) fn begin(&mut self, is_to_head: bool) {
        self.stage = Stage::Head { is_to_head, interims: Interims::default() };
        self.read.begin_message();
    }

    /// Whether the response is over, and nothing has come behind it: bytes there belong to nothing that was asked for.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Nothing) && self.read.bytes.is_empty()
    }

    /// Frees memory that the next response is as well off without.
    pub(super) fn forget(&mut self) {
        self.read.bytes = BytesMut::new();
    }

    /// Whether the body is known to be over.
    pub(super) fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Nothing | Stage::Tunnel | Stage::End)
    }

    /// The bytes of the body that are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.stage {
            Stage::Body(decoder) => decoder.left(),
            Stage::Head { .. } | Stage::BrokenOff => None,
            Stage::Nothing | Stage::Tunnel | Stage::End => Some(0),
        }
    }

    /// The request has broken off, so the response does.
    pub(super) fn break_off(&mut self) {
        if !self.is_end_stream() {
            self.stage = Stage::BrokenOff;
        }
    }

    /// What has come behind the head, if the endpoint has agreed to another protocol.
    pub(super) fn into_tunnel(self) -> Option<Bytes> {
        matches!(self.stage, Stage::Tunnel).then(|| self.read.bytes.freeze())
    }

    /// Reads the head of the response, and whether no other follows it. What comes before it is given to
    /// `pass_interim`.
    ///
    /// # Errors
    /// The connection has failed or ended, or what came is not valid.
    pub(super) fn poll_head(
        &mut self,
        io: &mut UpstreamIo,
        cx: &mut Context<'_>,
        pass_interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<(Response<()>, bool), Http1Error>> {
        loop {
            let read = match self.read.bytes.is_empty() {
                true => ready!(self.poll_whole_head(io, cx, pass_interim)),
                false => ready!(self.poll_rest_of_head(io, cx, pass_interim)),
            };
            let begun = read.and_then(|head| head.map(|head| self.begin_body(head)).transpose());
            if begun.is_err() {
                self.stage = Stage::End;
            }
            if let Some(head) = begun? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads into memory that all connections share, and keeps what is behind the head.
    fn poll_whole_head(
        &mut self,
        io: &mut UpstreamIo,
        cx: &mut Context<'_>,
        pass_interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<Option<Response<()>>, Http1Error>> {
        let Stage::Head { interims, .. } = &mut self.stage else { return Poll::Ready(Err(Http1Error::Incomplete)) };
        let mut space = [MaybeUninit::uninit(); HEAD_READ];
        let mut new = ReadBuf::uninit(&mut space);
        ready!(Pin::new(io).poll_read(cx, &mut new))?;
        if new.filled().is_empty() {
            return Poll::Ready(Err(Http1Error::Incomplete));
        }
        let (head, used) = interims.read_over(new.filled(), pass_interim)?;
        self.read.bytes.extend_from_slice(new.filled().get(used..).unwrap_or_default());
        Poll::Ready(Ok(head))
    }

    /// Reads behind what was read before.
    fn poll_rest_of_head(
        &mut self,
        io: &mut UpstreamIo,
        cx: &mut Context<'_>,
        pass_interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<Option<Response<()>>, Http1Error>> {
        let known = self.read.bytes.len();
        if ready!(self.read.poll_more(io, cx, usize::MAX))? == 0 {
            return Poll::Ready(Err(Http1Error::Incomplete));
        }
        let Stage::Head { interims, .. } = &mut self.stage else { return Poll::Ready(Err(Http1Error::Incomplete)) };
        if !may_be_whole(&self.read.bytes, known) && self.read.bytes.len() <= BUFFER_BYTES_MAX {
            return Poll::Ready(Ok(None));
        }
        let (head, used) = interims.read_over(&self.read.bytes, pass_interim)?;
        self.read.bytes.advance(used);
        Poll::Ready(Ok(head))
    }

    fn begin_body(&mut self, mut response: Response<()>) -> Result<(Response<()>, bool), Http1Error> {
        let is_to_head = matches!(self.stage, Stage::Head { is_to_head: true, .. });
        let decoder = h1_response::decoder(is_to_head, &mut response)?;
        let is_last = h1_response::is_last(&response) || matches!(decoder, Decoder::UntilClose);
        self.stage = match decoder {
            _ if response.status() == StatusCode::SWITCHING_PROTOCOLS => Stage::Tunnel,
            decoder if decoder.is_over() => Stage::Nothing,
            decoder => Stage::Body(decoder),
        };
        Ok((response, is_last))
    }

    /// The next part of the body.
    pub(super) fn poll_body(
        &mut self,
        io: &mut UpstreamIo,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let polled = loop {
            let decoder = match &mut self.stage {
                Stage::Body(decoder) => decoder,
                Stage::BrokenOff => break Err(Http1Error::RequestBody),
                Stage::Nothing | Stage::Head { .. } | Stage::Tunnel | Stage::End => return Poll::Ready(None),
            };
            let next = match decoder.next(&mut self.read.bytes) {
                Ok(next) => next,
                Err(error) => break Err(error.into()),
            };
            let is_until_close = matches!(decoder, Decoder::UntilClose);
            let most = decoder.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
            if decoder.is_over() {
                self.stage = Stage::Nothing;
            }
            match next {
                Next::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Next::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Next::End => return Poll::Ready(None),
                Next::Unread => match ready!(self.read.poll_more(io, cx, most)) {
                    Ok(0) if is_until_close => break Ok(()),
                    Ok(0) => break Err(Http1Error::Incomplete),
                    Ok(_) => {}
                    Err(error) => break Err(error.into()),
                },
            }
        };
        self.stage = Stage::End;
        Poll::Ready(polled.err().map(Err))
    }

    /// Ready when the endpoint has closed the connection, while it still gets a request whose response is over. What it
    /// says besides is none of a response, and spoils the connection for another exchange.
    pub(super) fn poll_closed(&mut self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<()> {
        while !matches!(self.stage, Stage::End) {
            let mut space = [MaybeUninit::uninit(); SURPLUS_READ];
            let mut new = ReadBuf::uninit(&mut space);
            let is_open = ready!(Pin::new(&mut *io).poll_read(cx, &mut new)).is_ok() && !new.filled().is_empty();
            self.read.bytes.extend_from_slice(new.filled());
            if !is_open || self.read.bytes.len() > SURPLUS_MAX {
                self.stage = Stage::End;
            }
        }
        Poll::Ready(())
    }

    /// Ready when the connection is over although nothing is awaited: the endpoint has closed it, or has sent more than
    /// it was asked for.
    pub(super) fn poll_end(&mut self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.stage, Stage::End) {
            let mut space = [MaybeUninit::uninit(); 1];
            let mut read = ReadBuf::uninit(&mut space);
            _ = ready!(Pin::new(io).poll_read(cx, &mut read));
            self.stage = Stage::End;
        }
        Poll::Ready(())
    }
}
