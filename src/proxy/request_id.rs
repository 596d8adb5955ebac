//! By what a request can be found again in logs: `X-Request-Id`.

use http::{HeaderMap, HeaderValue};

use crate::fields::X_REQUEST_ID;
use crate::link::added::{Added, RequestId};

/// The identifier of a request, wherever it came from.
#[derive(Debug, Clone, Default)]
pub(super) enum Identifier {
    /// It has none.
    #[default]
    None,
    /// One of ours.
    Own(RequestId),
    /// That of a trusted proxy, or one of ours that is among the fields of the client.
    Given(HeaderValue),
}

impl Identifier {
    /// That of a request with these fields, to which the others are added.
    #[inline]
    pub(super) fn of(headers: &HeaderMap, added: &Added) -> Self {
        match added.request_id {
            Some(id) => Self::Own(id),
            None => headers.get(X_REQUEST_ID).cloned().map_or(Self::None, Self::Given),
        }
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Own(id) => id.as_str().to_owned(),
            Self::Given(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }
    }
}
