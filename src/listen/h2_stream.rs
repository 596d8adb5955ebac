//! One stream of a client's HTTP/2 connection: a request, its response, then its tunnel, if it became one.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::client_io::{LINGER, LINGER_BYTES_MAX};
use super::date;
use super::h2::{SEND_BUFFER, Shared};
use super::h2_tunnel::StreamIo;
use crate::deadlines::{Alarm, Wait};
use crate::fields;
use crate::link::client_body::ClientBody;
use crate::net::h2::{BodySender, ReceivedBody, Unsent};
use crate::net::h2_signals::BodySignals;
use crate::proxy;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::{Client, Received};
use crate::proxy::tunnel::Tunnel;

/// Fields that speak of a connection of HTTP/1.1, and have no place in HTTP/2 (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 3] = [CONNECTION, TRANSFER_ENCODING, UPGRADE];

/// Counts a stream as open until it is dropped.
pub(super) struct Open(Rc<Shared>);

impl Open {
    pub(super) fn begin(shared: Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        shared.client.set_busy(true);
        shared.client.deadlines.disarm(Wait::Client);
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Shared { client, open, .. } = &*self.0;
        open.set(open.get() - 1);
        if open.get() == 0 {
            client.set_busy(false);
            client.begin_idling();
            // The connection waits for its client from now on.
            if let Some(waker) = &*self.0.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

/// Serves one stream: the request within its deadlines, then its tunnel, then what the client still sends.
pub(super) async fn serve(request: Request<RecvStream>, respond: SendResponse<Bytes>, open: Open) {
    let shared = Rc::clone(&open.0);
    let client = Rc::new(Client::of_stream(Rc::clone(&shared.client.connection)));
    let registration = shared.connections.register();
    let tunnel = {
        let (mut exchange, mut alarm) = (pin!(exchange(request, respond, &client, &shared)), Alarm::default());
        poll_fn(|cx| {
            registration.follow(cx);
            alarm.poll_step(&client.deadlines, cx, |cx| exchange.as_mut().poll(cx))
        })
        .await
    };
    if let Some((tunnel, io)) = tunnel {
        // Boxed: most streams never become a tunnel, and their tasks need no room for one.
        Box::pin(tunnel.run(io, Bytes::new(), &client)).await;
    }
    if client.may_still_send() && !client.has_rest() {
        // If another task reads the request body, it stops at the end of the response or goes on reading; one turn lets
        // it decide.
        yield_now().await;
    }
    if client.has_rest() {
        // The endpoint reads on after its response.
        client.pass_rests_on(&mut |cx| registration.follow(cx)).await;
    }
    if let Some(rest) = client.take_rest() {
        // The rest of the body is discarded instead of resetting the stream: some clients forget the response on a
        // reset, even with NO_ERROR.
        let enough = rest.progress().bytes.get().saturating_add(LINGER_BYTES_MAX as u64);
        timeout(LINGER, poll_fn(|cx| rest.poll_discard(cx, enough))).await.ok();
    }
}

/// The request and its response. It returns the tunnel that follows, if one does.
async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: &Rc<Client>,
    shared: &Shared,
) -> Option<(Box<Tunnel>, StreamIo)> {
    let is_head = request.method() == Method::HEAD;
    let (parts, stream) = request.into_parts();
    let signals = Rc::<BodySignals>::default();
    // After CONNECT, what follows the head is no body, but what is tunnelled.
    let (body, tunnelled) = match parts.method {
        Method::CONNECT => (ClientBody::Empty, Some(stream)),
        _ => {
            if fields::expects_continue(&parts.headers) {
                signals.withhold();
            }
            (ClientBody::Http2(ReceivedBody::of_client(stream, &parts.headers, Rc::clone(&signals))), None)
        }
    };
    // A client that resets the stream wants no response, and perhaps has done so before the request was begun.
    if poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await {
        return None;
    }
    let handled = {
        let received = Received::Request(Request::from_parts(parts, body));
        proxy::respond(proxy::admit(Rc::clone(&shared.proxy), Rc::clone(client), received))
    };
    let response = {
        let (mut handled, mut is_begun) = (pin!(handled), false);
        poll_fn(|cx| {
            let was_begun = std::mem::replace(&mut is_begun, true);
            let polled = handled.as_mut().poll(cx);
            if was_begun && polled.is_pending() && respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            if client.has_interims() {
                // As with 100 below. A client that does not read can do without them.
                let waiting = client.take_interims().into_iter().filter(|_| !shared.watch.backlog.is_full());
                for mut head in waiting {
                    shared.values.give(head.headers_mut());
                    respond.send_informational(head).ok();
                }
            }
            if signals.take_wanted() {
                let mut head = Response::new(());
                *head.status_mut() = StatusCode::CONTINUE;
                // It is refused only if the stream is over, and then the stream is woken.
                respond.send_informational(head).ok();
            }
            polled.map(Some)
        })
        .await?
    };
    let tunnel = client.take_tunnel();
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    // Of a response without content (RFC 9110 section 6.4.1) the body has ended before it is sent.
    let is_over = tunnel.is_none() && (is_head || body.is_end_stream());
    complete_head(&mut head, &body);
    shared.values.give(head.headers_mut());
    if !is_over && signals.has_length() && client.owes_body() {
        shared.watch.keep_end(respond.stream_id().as_u32(), &signals);
    }
    let stream = respond.send_response(head, is_over).ok()?;
    match (tunnel, tunnelled) {
        (Some(tunnel), Some(tunnelled)) => return Some((tunnel, StreamIo::new(stream, tunnelled))),
        _ if is_over => drop(body),
        _ => send_body(stream, body, client, shared).await,
    }
    signals.answered();
    if client.was_answered() {
        shared.watch.guard.borrow_mut().answered();
    }
    None
}

/// Turns the head into one of HTTP/2.
fn complete_head(head: &mut Response<()>, body: &ResponseBody) {
    let status = head.status();
    let headers = head.headers_mut();
    let (mut is_of_connection, mut has_length, mut has_date) = (false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" | "transfer-encoding" | "upgrade" => is_of_connection = true,
            "content-length" => has_length = true,
            "date" => has_date = true,
            _ => {}
        }
    }
    if is_of_connection {
        OF_CONNECTIONS.iter().for_each(|name| _ = headers.remove(name));
    }
    match status {
        StatusCode::NO_CONTENT => _ = headers.remove(CONTENT_LENGTH),
        // Of these two it is the length of what the stream brings (RFC 9113 section 8.1.1), and of what is not sent.
        StatusCode::RESET_CONTENT => _ = headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0")),
        StatusCode::NOT_MODIFIED => {}
        _ if has_length => {}
        _ => {
            let length = body.size_hint().exact().filter(|&length| length > 0);
            length.into_iter().for_each(|length| _ = headers.insert(CONTENT_LENGTH, length.into()));
        }
    }
    if !has_date {
        // RFC 9110 section 6.6.1: whoever has a clock adds the time to a response that has none.
        let now = date::with(HeaderValue::from_bytes);
        now.into_iter().for_each(|now| _ = headers.insert(DATE, now));
    }
}

/// What h2 has been given of a stream, and may still be sending when nothing more is let out by the client's windows.
#[derive(Debug, Clone, Copy)]
struct GoingOut {
    /// When it had the latest part.
    since: Instant,
    /// When the socket has taken so many bytes, all of the stream's are out.
    until: u64,
    /// The bytes that the socket had taken when this was last looked at.
    written: u64,
}

impl GoingOut {
    /// For what h2 has now.
    fn now(shared: &Shared) -> Self {
        let written = shared.client.connection.bytes_written();
        Self { since: Instant::now(), until: written + (SEND_BUFFER * shared.open.get()) as u64, written }
    }

    /// When bytes of the stream may last have gone out, if that was after the last look.
    fn look(&mut self, shared: &Shared) -> Option<Instant> {
        let before = std::mem::replace(&mut self.written, shared.client.connection.bytes_written());
        let moved_at = shared.watch.backlog.moved_at().filter(|&at| at > self.since && before < self.until)?;
        self.since = moved_at;
        Some(moved_at)
    }
}

/// Sends a body. A client that does not let out more of it in time has its stream reset, by dropping it.
async fn send_body(stream: SendStream<Bytes>, body: ResponseBody, client: &Client, shared: &Shared) {
    let (mut sender, mut sent, mut going_out) = (BodySender::new(stream, body), 0, None::<GoingOut>);
    let deadlines = &client.deadlines;
    let ended = poll_fn(|cx| {
        let is_late = deadlines.expired(Wait::ClientWrite);
        if is_late && let Some(at) = going_out.as_mut().and_then(|going_out| going_out.look(shared)) {
            deadlines.arm(Wait::ClientWrite, at + shared.client_write());
        } else if is_late {
            tracing::debug!(client = %client.connection.peer, "stream reset: the client does not read it");
            return Poll::Ready(Ok(()));
        }
        let polled = sender.poll(&shared.values, cx);
        let has_moved = std::mem::replace(&mut sent, sender.bytes_sent()) != sender.bytes_sent();
        if has_moved {
            shared.sent_at.set(Some(Instant::now()));
        }
        if polled.is_ready() || !sender.is_blocked() {
            deadlines.disarm(Wait::ClientWrite);
            return polled;
        }
        if has_moved || !deadlines.is_armed(Wait::ClientWrite) {
            deadlines.arm_in(Wait::ClientWrite, shared.client_write());
            going_out = Some(GoingOut::now(shared));
        }
        // Nobody asks for more of the body meanwhile, which may come to the end of its time all the same.
        match sender.body_mut().end_of_time() {
            Some(cut) => Poll::Ready(Err(Unsent::Body(cut))),
            None => Poll::Pending,
        }
    })
    .await;
    match ended {
        Ok(()) => {}
        // The reason was logged where it was found. A response that broke off must not look complete.
        Err(Unsent::Body(_)) => sender.reset(Reason::INTERNAL_ERROR),
        Err(Unsent::Peer(error)) => {
            tracing::debug!(client = %client.connection.peer, %error, "the client wants no more of a response");
        }
    }
}
