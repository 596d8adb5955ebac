//! `Expect: 100-continue`: a client holds its request body back until it is told to continue, or gets a response
//! instead (RFC 9110 section 10.1.1). Which of both is the endpoint's decision: the field is passed on, and the body is
//! held until the endpoint has spoken, see [`RequestBody::hold`].

use http::Version;
use http::header::{EXPECT, HeaderValue};
use http::request::Parts;
use tokio::task::yield_now;

use super::client::Client;
use crate::fields;
use crate::link::request_body::{RequestBody, Upload};

/// Whether the endpoint is to be asked if it wants the body, which then is held. Otherwise the field ends here: without
/// a body it means nothing, and from a client of HTTP/1.0 it is to be ignored.
#[cold]
pub(super) fn is_asked(parts: &mut Parts, body: &RequestBody) -> bool {
    let is_asked = !body.is_empty() && parts.version >= Version::HTTP_11 && fields::expects_continue(&parts.headers);
    match is_asked {
        true => {
            body.hold();
            // One is enough.
            parts.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        }
        false => _ = parts.headers.remove(EXPECT),
    }
    is_asked
}

impl Client {
    /// Whether this body may come or not: its client waits to be told, and may not have been.
    pub(super) fn leaves_open(&self, upload: &Upload) -> bool {
        self.awaits_continue.get() && !upload.was_asked_for()
    }

    /// Lets 100 (Continue) out, if it is due, before the response begins. It is sent when somebody asks for the body.
    /// So whoever is to ask gets a turn here; when this is over, [`Self::leaves_open`] is right: what is asked for was
    /// also told.
    pub(super) async fn let_continue_out(&self) {
        let is_due = |upload: &std::rc::Rc<Upload>| !upload.is_held() && upload.progress().bytes.get() == 0;
        if self.awaits_continue.get() && self.body.borrow().as_ref().is_some_and(is_due) {
            yield_now().await;
        }
    }
}
