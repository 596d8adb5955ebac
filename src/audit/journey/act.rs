//! What a step does, in a few words.

use std::fmt;

use http::Method;

use super::{Act, Content, Request};

impl Request {
    /// A request for a target, without fields or content.
    pub fn get(target: String) -> Self {
        Self { method: Method::GET, target, fields: Vec::new(), content: Content::None, follow: false }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => write!(f, "{} {}", request.method, request.target),
            Self::WebSocket(request, _) => write!(f, "WebSocket {}", request.target),
            Self::EventStream(request, _) => write!(f, "events {}", request.target),
            Self::Talk(_, talk) if talk.send.is_empty() => f.write_str("receive"),
            Self::Talk(..) => f.write_str("send"),
        }
    }
}
