//! One request: route it, prepare it, make attempts until it is settled, respond.
//!
//! This room knows nothing of TOML, listening sockets or threads. [`admit()`] and [`respond`] are called for each
//! request.

mod access;
mod admit;
mod attempts;
#[cfg(feature = "bench")]
pub mod bench;
pub mod body;
mod busy;
pub(crate) mod cause;
pub mod client;
mod client_address;
mod closing;
pub mod connection;
mod credentials;
mod edits;
mod error;
pub(crate) mod exchange;
mod expect;
pub mod explain;
mod forwarding;
mod grpc;
mod headers;
mod identity;
mod interim;
mod local;
mod malformed;
mod planned;
mod queue;
mod redirect;
pub mod refusal;
mod request_id;
mod rest;
mod retry;
pub mod rules;
pub(crate) mod story;
mod target;
mod trace;
pub mod tunnel;
mod upgrade;
mod websocket;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode, Version};

use crate::deadlines::Wait;
use crate::link::response::EndpointBody;
use admit::Admitted;
pub use admit::{Admission, admit};
use attempts::{GivenUp, settle};
use body::{BodyWaits, Content, ResponseBody};
use busy::Busy;
use exchange::Exchange;
pub use identity::{Identity, Proof};

/// Responds to what was admitted. It never fails: what goes wrong becomes a response, see `error`.
///
/// # Cancel safety
/// Dropping the future means that the client left: the attempt is cancelled, and the books are closed.
pub async fn respond(admission: Admission) -> Response<ResponseBody> {
    match admission {
        Ok(admitted) => ask(admitted).await,
        Err(early) => early.await,
    }
}

/// Has a request answered by an endpoint. What is held across a wait has a place in the future of each request, so that
/// is little: the rest is behind `admitted`.
async fn ask(mut admitted: Box<Admitted>) -> Response<ResponseBody> {
    let Admitted { exchange, request, call, needs, .. } = &mut *admitted;
    let settled = settle(exchange, request, *call, *needs).await;
    admitted.begin_time_of_response();
    match settled {
        Ok(settled) if admitted.expects => {
            let settled = Box::new(settled);
            Box::pin(admitted.exchange.client().let_continue_out()).await;
            admitted.answered(settled.response)
        }
        Ok(settled) => admitted.answered(settled.response),
        Err(given_up) => {
            Box::pin(admitted.exchange.client().look_through_body()).await;
            admitted.given_up(*given_up)
        }
    }
}

impl Admitted {
    /// The deadline of a call covers its response too; that of other requests is over.
    fn begin_time_of_response(&self) {
        let deadlines = &self.exchange.client().deadlines;
        deadlines.disarm(Wait::Request);
        if let Some(timeout) = self.call.and_then(|call| call.timeout) {
            deadlines.arm(Wait::Request, self.exchange.started + timeout);
        }
    }

    /// The response for the client, of that of the endpoint.
    fn answered(self: Box<Self>, response: Response<EndpointBody>) -> Response<ResponseBody> {
        let Self { exchange, request, wanted, call, busy, .. } = *self;
        let status = response.status();
        let content = Content::of(request.method() == Method::HEAD, status);
        match wanted {
            Some(wanted) if status == StatusCode::SWITCHING_PROTOCOLS => {
                upgrade::accept(exchange, response, *wanted, busy)
            }
            Some(wanted) if wanted.is_misled_by(status) => upgrade::refuse(exchange, busy),
            _ => pass_on(exchange, response, call, content, busy),
        }
    }

    /// The response for the client if no endpoint has given one.
    fn given_up(mut self: Box<Self>, given_up: GivenUp) -> Response<ResponseBody> {
        let GivenUp { cause, error, headers } = given_up;
        refusal::fail(&mut self.exchange, cause, error, &headers, self.busy)
    }
}

/// Turns an endpoint's response into the client's. A call is a conversation: either side may be silent for long.
fn pass_on(
    mut exchange: Exchange,
    mut response: Response<EndpointBody>,
    call: Option<grpc::Call>,
    content: Content,
    busy: Busy,
) -> Response<ResponseBody> {
    exchange.answered(response.status());
    let is_last = closing::is_last_of(exchange.client(), &response);
    let told = match response.status() {
        StatusCode::UPGRADE_REQUIRED if !exchange.client().is_stream() => {
            headers::prepare_upgrade_required(response.headers_mut())
        }
        _ => headers::prepare_response(response.headers_mut()),
    };
    if let Some(planned) = exchange.planned() {
        planned.edit_response(response.headers_mut());
    }
    if is_last {
        closing::close(response.headers_mut());
    }
    response.body_mut().set_idle_limit(told.idle_limit);
    if told.is_challenge && credentials::of_response(response.status(), response.headers()) {
        response.body_mut().set_private();
    }
    let is_conversation = call.is_some();
    if is_conversation || is_stream_of_events(&response) {
        exchange.note_lasting();
    }
    let timeouts = exchange.timeouts();
    let read_timeout = if is_conversation { timeouts.tunnel_idle } else { timeouts.response_body };
    let waits = BodyWaits { read_timeout, is_conversation };
    let mut response = response.map(|incoming| ResponseBody::upstream(incoming, exchange, waits, content, busy));
    // The client hears the version that it speaks, whatever the endpoint spoke.
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Whether a response goes on for as long as there is news. Its length is not known then, and few others are looked at.
fn is_stream_of_events(response: &Response<EndpointBody>) -> bool {
    let kind = || response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    response.body().size_hint().exact().is_none() && kind().starts_with(b"text/event-stream")
}
