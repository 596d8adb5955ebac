//! One exchange after the other on a client's connection of HTTP/1.1 (RFC 9112 section 9.3): a head is read, its
//! request is served, the response is written; then comes the next head.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{Method, Response};
use http_body::Body as _;

use super::h1_input::{Input, NoHead};
use super::h1_request::{BadHead, Head, HeadLimits};
use super::h1_response::{self, Asked};
use super::interim;
use crate::net::give_way;
use crate::net::h1_encode::Encoder;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::{Client, Proxy, Received};
use crate::proxy::refusal::RefusedHead;
use crate::proxy::{self, Admission};

/// Tells a client to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Exchanges before others have their turn. A client may have sent many requests at once.
const EXCHANGES_AT_ONCE: usize = 16;

/// Parts of a response that are passed on before others have their turn.
const PARTS_AT_ONCE: usize = 16;

/// What serves the requests of one connection. `R` makes the future `F` of a response.
pub(super) struct Server<R, F> {
    input: Input,
    encoder: Encoder,
    proxy: Rc<Proxy>,
    client: Rc<Client>,
    limits: HeadLimits,
    respond: R,
    /// The request that is being served. Its place is kept for the next one.
    serving: Pin<Box<Option<F>>>,
    stage: Stage,
    asked: Asked,
}

/// How far the present exchange is.
enum Stage {
    /// The next head is awaited.
    Head,
    Serving,
    /// The body of the response is passed on.
    Responding(ResponseBody),
    /// The response has been given as a whole. Some of it may have to be written yet, and some of the body of the
    /// request to be read.
    Behind,
    /// Nothing follows.
    Over,
}

/// Why a connection has ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NoHead(#[from] NoHead),
    #[error("the response broke off")]
    Response,
}

impl<R, F> Server<R, F>
where
    R: Fn(Admission) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    pub(super) fn new(input: Input, proxy: Rc<Proxy>, client: Rc<Client>, limits: HeadLimits, respond: R) -> Self {
        let (encoder, serving, stage, asked) = (Encoder::default(), Box::pin(None), Stage::Head, Asked::default());
        Self { input, encoder, proxy, client, limits, respond, serving, stage, asked }
    }

    /// Goes on as far as it can. Ready when nothing follows: the last response is out, or the client has closed its
    /// half in front of a head. A tunnel may begin then.
    ///
    /// # Errors
    /// Why the connection has ended before that.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut exchanges = 0;
        loop {
            match &mut self.stage {
                Stage::Head => {
                    ready!(self.input.borrow().poll_out(&mut self.encoder, cx))?;
                    if exchanges == EXCHANGES_AT_ONCE {
                        give_way(cx);
                        return Poll::Pending;
                    }
                    exchanges += 1;
                    let head = ready!(self.input.borrow().poll_head(cx, self.limits));
                    self.begin(head)?;
                }
                Stage::Serving => {
                    let Some(serving) = self.serving.as_mut().as_pin_mut() else {
                        self.stage = Stage::Over;
                        continue;
                    };
                    let polled = serving.poll(cx);
                    self.say_in_between();
                    match polled {
                        Poll::Ready(response) => self.begin_response(response),
                        Poll::Pending => return self.await_response(cx),
                    }
                }
                Stage::Responding(_) => ready!(self.poll_response(cx))?,
                Stage::Behind => ready!(self.poll_behind(cx))?,
                Stage::Over => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Whether no exchange is under way, and nothing of one waits to be written.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.stage, Stage::Head) && !self.encoder.has_more()
    }

    fn begin(&mut self, head: Result<Option<Head>, NoHead>) -> Result<(), Broken> {
        // A wish for the body before is too late.
        self.input.borrow().take_wanted_continue();
        let received = match head {
            Ok(Some(Head { request, is_last, takes_trailers, .. })) => {
                let is_head = *request.method() == Method::HEAD;
                self.asked = Asked { is_head, version: request.version(), takes_trailers, is_last };
                let body = self.input.body();
                Received::Request(request.map(|()| body))
            }
            Ok(None) => {
                self.stage = Stage::Over;
                return Ok(());
            }
            Err(NoHead::Refused { why, line }) => {
                self.asked = Asked { is_last: true, ..Asked::default() };
                Received::Refused(Box::new(RefusedHead::of(why == BadHead::TooLarge, &line, &why)))
            }
            Err(error) => return Err(error.into()),
        };
        let admission = proxy::admit(Rc::clone(&self.proxy), Rc::clone(&self.client), received);
        self.serving.set(Some((self.respond)(admission)));
        self.stage = Stage::Serving;
        Ok(())
    }

    /// Writes what precedes the response: 100 (Continue) if somebody has asked for the body, and interim responses of
    /// the endpoint.
    #[inline]
    fn say_in_between(&mut self) {
        if self.input.borrow().take_wanted_continue() {
            self.encoder.text().extend_from_slice(CONTINUE);
        }
        if self.client.has_interims() {
            interim::write(self.encoder.text(), &self.client.take_interims());
        }
    }

    fn await_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut input = self.input.borrow();
        if input.is_in_body() {
            input.follow(cx);
        }
        if self.encoder.has_more() || input.has_unsent() {
            // A failure is met again with the response.
            _ = input.poll_out(&mut self.encoder, cx);
        }
        Poll::Pending
    }

    fn begin_response(&mut self, response: Response<ResponseBody>) {
        self.serving.set(None);
        let (framing, is_last) = h1_response::write_head(self.encoder.text(), &response, self.asked);
        self.asked.is_last = is_last;
        let has_body = framing.is_some();
        self.encoder.begin_body(framing);
        self.stage = if has_body { Stage::Responding(response.into_body()) } else { Stage::Behind };
    }

    /// Passes on the body of the response. Ready when all of it has been given; then its client is not busy any more.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        for _ in 0..PARTS_AT_ONCE {
            let Stage::Responding(body) = &mut self.stage else { return Poll::Ready(Ok(())) };
            let filled = fill(&mut self.encoder, body, cx);
            if self.encoder.is_last() {
                self.stage = Stage::Behind;
                return Poll::Ready(Ok(()));
            }
            // What is there is written, whether or not more is awaited.
            let mut input = self.input.borrow();
            let written = input.poll_out(&mut self.encoder, cx)?;
            if input.is_in_body() {
                input.follow(cx);
            }
            drop(input);
            if matches!(filled, Poll::Ready(Err(_))) || written.is_pending() && body.end_of_time().is_some() {
                return Poll::Ready(Err(Broken::Response));
            }
            if filled.is_pending() || written.is_pending() {
                return Poll::Pending;
            }
        }
        give_way(cx);
        Poll::Pending
    }

    /// Ready when the next head is to be read, or nothing follows.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut input = self.input.borrow();
        let out = input.poll_out(&mut self.encoder, cx)?;
        if input.is_in_body() && !input.is_body_wanted() && !self.asked.is_last {
            input.drain(cx);
        }
        if input.is_body_wanted() {
            input.follow(cx);
            return Poll::Pending;
        }
        if !self.asked.is_last && input.is_at_head() {
            self.client.has_read_body();
            self.stage = Stage::Head;
            return Poll::Ready(Ok(()));
        }
        ready!(out);
        self.stage = Stage::Over;
        Poll::Ready(Ok(()))
    }
}

/// Takes what there is of the body, until there is enough for a write. Pending if more of it is awaited.
///
/// # Errors
/// The response has broken off.
fn fill(encoder: &mut Encoder, body: &mut ResponseBody, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
    while encoder.wants_more() {
        let given = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => encoder.add(frame, body.is_end_stream()),
            Some(Err(_)) => return Poll::Ready(Err(Broken::Response)),
            None => encoder.end(None),
        };
        if given.is_err() {
            return Poll::Ready(Err(Broken::Response));
        }
    }
    Poll::Ready(Ok(()))
}
