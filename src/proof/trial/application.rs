//! The application under trial, as its users see it: how a step becomes a request, and what a response means.
//!
//! The rest of the trial knows no path, no cookie and no field of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use super::history::{Action, SessionId, StepOutcome};

/// What a user is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The session it belongs to.
    pub session: SessionId,
    /// Which step of the session it is. The request must say so.
    pub number: u32,
    /// What the user does.
    pub action: Action,
    /// What the client keeps of the session, if anything.
    pub token: Option<&'a str>,
}

/// What a response said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What came of the step.
    pub outcome: StepOutcome,
    /// The replica that responded, if it said so.
    pub replica: Option<Arc<str>>,
    /// Round trips that the replica made to a store.
    pub store_trips: u32,
    /// Whether the response is not what the replica has sent, as far as the application can tell.
    pub is_altered: bool,
    /// What the client keeps of the session from now on, if that changed; empty: nothing.
    pub token: Option<String>,
}

impl Reply {
    /// The reply of a step that got no usable response.
    pub fn failed(why: String) -> Self {
        Self { outcome: StepOutcome::Failed(why), replica: None, store_trips: 0, is_altered: false, token: None }
    }
}

/// An application whose users play journeys.
pub trait Application {
    /// The request of a step, without `Host`. It may be sent more than once, its method or its
    /// key must allow that, unless the action is bare.
    fn request(&self, ask: &Ask<'_>) -> Request<Bytes>;
    /// What a response to such a request means.
    fn reply(&self, ask: &Ask<'_>, response: &Response<Bytes>) -> Reply;
}
