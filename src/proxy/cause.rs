//! Why the proxy responds in place of the application: one list from cause to status, name and sentence.

use http::StatusCode;

use super::malformed::Malformed;
use crate::link::error::{LinkError, Phase};
use crate::link::request_body::BodyFailure;
use crate::metrics::OWN_RESPONSES;
use crate::snapshot::routes::Unroutable;

/// Why the proxy responds in place of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request breaks a rule; the text says which.
    BadRequest(Malformed),
    /// The body has a transfer coding besides `chunked`.
    UnknownCoding,
    /// `CONNECT` or `TRACE`.
    MethodNotAllowed,
    /// The head is larger than `limits.request_head`, or has more fields than `limits.request_fields`.
    HeadTooLarge,
    /// The client asks, by extended CONNECT, for a protocol that the proxy does not tunnel.
    UnknownProtocol,
    /// The replicas speak HTTP/2, which has no `Upgrade`.
    NoUpgrade,
    /// No route fits host and path.
    NoRoute,
    /// The route does not let this client in.
    Forbidden,
    /// The client has used up the rate of the route.
    RateLimited,
    /// The URL of a redirect would be too long.
    UriTooLong,
    /// The route is under maintenance.
    Maintenance,
    /// The request body is larger than `limits.request_body`.
    BodyTooLarge,
    /// The client did not send more of its request body in time.
    BodyTimeout,
    /// The pool has no endpoint that may take requests.
    NoEndpoint,
    /// Every endpoint has as many requests as it may have, and the queue is full or the wait took too long.
    Overloaded,
    /// The proxy itself could not open a connection: it has no descriptor or port left.
    OutOfSockets,
    /// No connection to the endpoint could be opened.
    ConnectFailed,
    /// A connection was established, but no TLS session over it.
    TlsFailed,
    /// No connection was established in time.
    ConnectTimeout,
    /// The endpoint closed the connection without a response.
    UpstreamClosed,
    /// The proxy ended a connection to the endpoint, which other requests shared: a limit of its own was exceeded, or
    /// another response was not valid.
    ConnectionCurbed,
    /// The endpoint sent something that is not valid HTTP.
    UpstreamInvalid,
    /// The endpoint did not respond in time.
    UpstreamTimeout,
    /// `timeouts.request` ran out over all attempts.
    RequestTimeout,
}

impl Cause {
    /// Every cause, in the order of their counters.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Malformed::ALL.into_iter().map(Self::BadRequest).chain(OTHERS)
    }

    /// Its place in [`Self::all`].
    pub(super) fn index(self) -> usize {
        Self::all().position(|cause| cause == self).unwrap_or_default()
    }

    /// The rule that the request breaks, if it is not valid.
    pub(crate) fn rule(self) -> Option<&'static str> {
        if let Self::BadRequest(rule) = self { Some(rule.name()) } else { None }
    }

    /// The status of the response.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownProtocol | Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::NoEndpoint | Self::Overloaded | Self::OutOfSockets | Self::Maintenance => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ConnectFailed
            | Self::TlsFailed
            | Self::UpstreamClosed
            | Self::ConnectionCurbed
            | Self::UpstreamInvalid => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::UpstreamTimeout | Self::RequestTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The value of [`ERROR_FIELD`](super::error::ERROR_FIELD), and the word in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::UnknownCoding => "unknown-transfer-coding",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NoRoute => "no-route",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate-limited",
            Self::UriTooLong => "uri-too-long",
            Self::Maintenance => "maintenance",
            Self::BodyTooLarge => "request-body-too-large",
            Self::UnknownProtocol => "unknown-protocol",
            Self::NoUpgrade => "no-upgrade",
            Self::HeadTooLarge => "request-head-too-large",
            Self::BodyTimeout => "request-body-timeout",
            Self::NoEndpoint => "no-endpoint",
            Self::Overloaded => "overloaded",
            Self::OutOfSockets => "out-of-sockets",
            Self::ConnectFailed => "connect-failed",
            Self::TlsFailed => "tls-failed",
            Self::ConnectTimeout => "connect-timeout",
            Self::UpstreamClosed => "upstream-closed",
            Self::ConnectionCurbed => "connection-curbed",
            Self::UpstreamInvalid => "upstream-invalid",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::RequestTimeout => "request-timeout",
        }
    }

    /// A sentence for the person who made the request.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::BadRequest(rule) => rule.explanation(),
            Self::UnknownCoding => "the only transfer coding that this proxy accepts is a single chunked",
            Self::MethodNotAllowed => "this proxy does not accept CONNECT and TRACE",
            Self::NoRoute => "no route of this proxy fits the host and path of the request",
            Self::Forbidden => "this proxy does not let clients at your address in here",
            Self::RateLimited => "too many requests; try again after the time in Retry-After",
            Self::UriTooLong => "the URL is longer than this proxy redirects to",
            Self::Maintenance => "this part of the site is under maintenance; try again later",
            Self::BodyTooLarge => "the request body is larger than this proxy allows",
            Self::UnknownProtocol => "the only protocol that this proxy accepts in a CONNECT is websocket",
            Self::NoUpgrade => "the replicas speak only HTTP/2, which has no upgrades",
            Self::HeadTooLarge => "the head of the request is larger, or has more fields, than this proxy allows",
            Self::BodyTimeout => "the rest of the request body did not arrive in time",
            Self::NoEndpoint => "no replica is ready to take this request; try again in a moment",
            Self::OutOfSockets => "this proxy has no descriptor or port left for a connection; try again in a moment",
            Self::Overloaded => "all replicas have as many requests as they can take; try again in a moment",
            Self::ConnectFailed => "no replica accepted a connection; try again in a moment",
            Self::TlsFailed => "no TLS connection to a replica could be established; the log of this proxy says why",
            Self::ConnectTimeout => "no replica accepted a connection in time",
            Self::UpstreamClosed => "the replica closed the connection before it responded",
            Self::ConnectionCurbed => {
                "this proxy ended the connection to the replica, not because of this request; try again"
            }
            Self::UpstreamInvalid => "the replica's response is not valid HTTP",
            Self::UpstreamTimeout => "the replica did not respond in time",
            Self::RequestTimeout => "the request took longer than this proxy allows",
        }
    }
}

/// Every cause besides the requests that are not valid.
const OTHERS: [Cause; 23] = [
    Cause::UnknownCoding,
    Cause::MethodNotAllowed,
    Cause::HeadTooLarge,
    Cause::UnknownProtocol,
    Cause::NoUpgrade,
    Cause::NoRoute,
    Cause::Forbidden,
    Cause::RateLimited,
    Cause::UriTooLong,
    Cause::Maintenance,
    Cause::BodyTooLarge,
    Cause::BodyTimeout,
    Cause::NoEndpoint,
    Cause::Overloaded,
    Cause::OutOfSockets,
    Cause::ConnectFailed,
    Cause::TlsFailed,
    Cause::ConnectTimeout,
    Cause::UpstreamClosed,
    Cause::ConnectionCurbed,
    Cause::UpstreamInvalid,
    Cause::UpstreamTimeout,
    Cause::RequestTimeout,
];

const _: () = assert!(Malformed::ALL.len() + OTHERS.len() == OWN_RESPONSES, "each cause has its counter");

impl From<Unroutable> for Cause {
    fn from(why: Unroutable) -> Self {
        match why {
            Unroutable::NoRoute => Self::NoRoute,
            Unroutable::Ambiguous => Self::BadRequest(Malformed::PathAmbiguous),
        }
    }
}

impl From<&LinkError> for Cause {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::OutOfSockets(_) => Self::OutOfSockets,
            LinkError::Refused(_) => Self::ConnectFailed,
            LinkError::Tls(_) => Self::TlsFailed,
            LinkError::NoUpgrade => Self::NoUpgrade,
            LinkError::InvalidHost => Self::BadRequest(Malformed::HostInvalid),
            LinkError::TimedOut(Phase::Connect) => Self::ConnectTimeout,
            LinkError::TimedOut(Phase::Response) => Self::UpstreamTimeout,
            LinkError::TimedOut(Phase::Request) => Self::RequestTimeout,
            LinkError::Body(failure) => Self::from(*failure),
            LinkError::Closed(_) => Self::UpstreamClosed,
            LinkError::Curbed(_) => Self::ConnectionCurbed,
            LinkError::Malformed(_)
            | LinkError::HeadTooLarge
            | LinkError::InterimFlood
            | LinkError::Unacceptable(_) => Self::UpstreamInvalid,
        }
    }
}

impl From<BodyFailure> for Cause {
    fn from(failure: BodyFailure) -> Self {
        match failure {
            BodyFailure::Client => Self::BadRequest(Malformed::Body),
            BodyFailure::Timeout => Self::BodyTimeout,
            BodyFailure::TooLarge => Self::BodyTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_counter_of_its_own() {
        let names: std::collections::BTreeSet<_> = Cause::all().map(|cause| (cause.name(), cause.rule())).collect();
        assert_eq!(names.len(), OWN_RESPONSES);
        for (place, cause) in Cause::all().enumerate() {
            assert_eq!(cause.index(), place, "{cause:?}");
        }
    }
}
