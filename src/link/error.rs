//! Why an attempt failed, and what is left of its request.

use std::io;

use h2::Reason;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use rustls::AlertDescription;

use super::record::BUFFER_BYTES_MAX;
use super::request_body::{BodyFailure, RequestBody};
use crate::net::h1_decode::{BadFraming, FIELDS_MAX};
use crate::net::{is_own_lack, trust};

/// An attempt that ended without a response.
#[derive(Debug)]
pub struct Failed {
    /// What went wrong.
    pub why: LinkError,
    /// What is left of the request.
    pub back: Back,
    /// Whether the connection had carried another request before. Other used connections may be just as stale.
    pub reused: bool,
}

/// What is left of a request after an attempt. The type says where the request may go (RFC 9110 section 9.2.2).
#[derive(Debug)]
pub enum Back {
    /// Provably nothing of it reached the endpoint. It may be sent again, whatever its method.
    Unsent(Request<RequestBody>),
    /// The endpoint may have seen it. It may be sent again only if a repetition does no harm.
    Sent(Request<RequestBody>),
    /// Its body, or a part of it, is gone. This is its head, as far as it is known.
    Lost(Box<Parts>),
}

impl Back {
    /// The head: method, target, header fields.
    pub fn head(&self) -> (&Method, &Uri, &HeaderMap) {
        match self {
            Self::Unsent(request) | Self::Sent(request) => (request.method(), request.uri(), request.headers()),
            Self::Lost(head) => (&head.method, &head.uri, &head.headers),
        }
    }

    /// The header fields, for a response of the proxy.
    pub fn into_headers(self) -> HeaderMap {
        match self {
            Self::Unsent(request) | Self::Sent(request) => request.into_parts().0.headers,
            Self::Lost(head) => head.headers,
        }
    }
}

/// What can go wrong between a request and its response's head.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// This process has no descriptor, port or memory left. No endpoint is to blame.
    #[error("this process cannot open another socket")]
    OutOfSockets(#[source] io::Error),
    /// No connection could be opened.
    #[error("no connection")]
    Refused(#[source] io::Error),
    /// The connection is established, but TLS is not: there was no agreement on it, or on who either side is.
    #[error("no TLS")]
    Tls(#[source] rustls::Error),
    /// The endpoint speaks only HTTP/2, over which nothing can be upgraded.
    #[error("the endpoint speaks only HTTP/2")]
    NoUpgrade,
    /// The request's host cannot be an `:authority` of HTTP/2 (RFC 9113 section 8.3.1).
    #[error("the request's host is not a valid host")]
    InvalidHost,
    /// A deadline has passed.
    #[error("{0} took too long")]
    TimedOut(Phase),
    /// The request body broke off or was refused.
    #[error(transparent)]
    Body(#[from] BodyFailure),
    /// The connection ended before a response began.
    #[error("the connection ended before a response")]
    Closed(#[source] Option<WireError>),
    /// This proxy ended the connection: what passed over it exceeded a limit of its own, or another stream brought
    /// something that is not valid.
    #[error("the connection was ended by this proxy")]
    Curbed(#[source] h2::Error),
    /// What the endpoint sent is not valid HTTP.
    #[error("not HTTP")]
    Malformed(#[source] WireError),
    /// The head of the response exceeds [`FIELDS_MAX`] or [`BUFFER_BYTES_MAX`].
    #[error("the head of the response has more than {FIELDS_MAX} fields or {} KiB", BUFFER_BYTES_MAX >> 10)]
    HeadTooLarge,
    /// The endpoint sends interim responses without end (RFC 9110 section 15.2).
    #[error("a flood of interim responses")]
    InterimFlood,
    /// A response that must not be passed on: a switch of protocols that was not asked for, or an end that is open to
    /// doubt.
    #[error("the response {0}")]
    Unacceptable(&'static str),
}

/// What went wrong on a connection, in the words of what reads it.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] Http1Error),
    /// HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

/// What can go wrong on a connection of HTTP/1.1.
#[derive(Debug, thiserror::Error)]
pub enum Http1Error {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection ended in the middle of a message, or before it.
    #[error("the connection ended before the message was complete")]
    Incomplete,
    /// What was read is not valid HTTP/1.1 (RFC 9112).
    #[error("{0}")]
    Malformed(&'static str),
    /// The head says in two ways where the message ends (RFC 9112 section 6.3).
    #[error("the response {AMBIGUOUS}")]
    Ambiguous,
    /// The head exceeds [`FIELDS_MAX`] or [`BUFFER_BYTES_MAX`].
    #[error("the head of the response is too large")]
    HeadTooLarge,
    /// Interim responses come without end.
    #[error("a flood of interim responses")]
    InterimFlood,
    /// The body of the request broke off, or has another length than was announced.
    #[error("the request body ends here")]
    RequestBody,
}

impl Http1Error {
    pub(super) const STATUS: Self = Self::Malformed("the status is none of HTTP");
    pub(super) const FIELD: Self = Self::Malformed(BadFraming::FIELD.0);
    pub(super) const LENGTH: Self = Self::Malformed("the length is not a number");
    pub(super) const CODING: Self = Self::Malformed("a response of HTTP/1.0 has a transfer coding");
}

impl From<BadFraming> for Http1Error {
    fn from(BadFraming(why): BadFraming) -> Self {
        Self::Malformed(why)
    }
}

impl From<httparse::Error> for Http1Error {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::HeadTooLarge,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Self::FIELD,
            httparse::Error::Status => Self::STATUS,
            httparse::Error::NewLine | httparse::Error::Token | httparse::Error::Version => {
                Self::Malformed("the head of the response is malformed")
            }
        }
    }
}

/// What a response does that is [`Http1Error::Ambiguous`].
pub(super) const AMBIGUOUS: &str = "says in two ways where it ends";

/// What a deadline was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `timeouts.connect`.
    Connect,
    /// `timeouts.response_head`, or the pool's `retry.attempt_timeout`.
    Response,
    /// `timeouts.request`, over all attempts.
    Request,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "the connection",
            Self::Response => "the response",
            Self::Request => "the request",
        })
    }
}

impl LinkError {
    /// What lies at the bottom of it: mostly what the system says. What to do, if that says too little.
    pub fn root(&self) -> String {
        let first: &dyn std::error::Error = self;
        let root = std::iter::successors(Some(first), |error| error.source()).last().unwrap_or(first);
        let Self::Tls(error) = self else { return root.to_string() };
        trust::explained(error)
    }

    /// Classifies an error that occurred while a connection was being opened.
    pub(super) fn opening(error: io::Error) -> Self {
        if is_own_lack(&error) {
            return Self::OutOfSockets(error);
        }
        tls_error(&error).map_or_else(|| Self::Refused(error), Self::Tls)
    }

    /// Classifies an error that occurred while a response was awaited. `tls_failure` says why TLS ended, if it did: in
    /// TLS 1.3 a client learns only then that its certificate was refused (RFC 8446 section 4.4.2.4).
    pub(super) fn awaiting(error: WireError, tls_failure: Option<rustls::Error>) -> Self {
        match (tls_failure, error) {
            (Some(error), _) => Self::Tls(error),
            (None, WireError::Http1(error)) => Self::awaiting_h1(error),
            (None, WireError::Http2(error)) => Self::awaiting_h2(error),
        }
    }

    fn awaiting_h1(error: Http1Error) -> Self {
        match error {
            Http1Error::InterimFlood => Self::InterimFlood,
            Http1Error::HeadTooLarge => Self::HeadTooLarge,
            Http1Error::Ambiguous => Self::Unacceptable(AMBIGUOUS),
            Http1Error::Malformed(_) => Self::Malformed(error.into()),
            Http1Error::Io(_) | Http1Error::Incomplete | Http1Error::RequestBody => Self::Closed(Some(error.into())),
        }
    }

    /// Whether the connection goes on: only the request's stream was reset.
    pub fn spares_connection(&self) -> bool {
        matches!(self, Self::Closed(Some(WireError::Http2(error))) if error.is_reset())
    }

    /// Whether the endpoint says that it has not begun the request, because it goes or has enough to do (RFC 9113
    /// section 8.7). That is no failure.
    pub fn is_declined(&self) -> bool {
        let Self::Closed(Some(WireError::Http2(error))) = self else { return false };
        error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
    }

    /// Whether the endpoint has refused our certificate, or the lack of one. It says so before it reads any request: in
    /// TLS 1.3 its alert may come after we have sent one (RFC 8446 section 4.4.2.4).
    pub(super) fn refuses_certificate(&self) -> bool {
        use AlertDescription::{
            AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
            CertificateUnknown, UnknownCA, UnsupportedCertificate,
        };
        let Self::Tls(rustls::Error::AlertReceived(alert)) = self else { return false };
        matches!(
            alert,
            AccessDenied
                | BadCertificate
                | CertificateExpired
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | UnknownCA
                | UnsupportedCertificate
        )
    }

    /// What h2 ends by itself is either not valid HTTP/2, or more than h2 puts up with.
    fn awaiting_h2(error: h2::Error) -> Self {
        match error.reason() {
            Some(_) if is_curb(&error) => Self::Curbed(error),
            Some(_) if error.is_library() => Self::Malformed(error.into()),
            _ => Self::Closed(Some(error.into())),
        }
    }
}

/// Whether h2 has ended a connection because of a limit of its own.
pub(super) fn is_curb(error: &h2::Error) -> bool {
    error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

/// The TLS error within an I/O error, if it was TLS that failed.
pub(super) fn tls_error(error: &io::Error) -> Option<rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}

/// An error with all its sources in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source()).try_for_each(|source| write!(f, ": {source}"))
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_of_opening_by_whose_they_are() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        for (error, expected) in [
            (io::Error::from(Errno::MFILE), "OutOfSockets"),
            (io::Error::from(Errno::ADDRNOTAVAIL), "OutOfSockets"),
            (io::Error::from(Errno::CONNREFUSED), "Refused"),
            (io::Error::new(io::ErrorKind::InvalidData, alert), "Tls"),
            (io::Error::new(io::ErrorKind::InvalidData, "else"), "Refused"),
            (io::ErrorKind::UnexpectedEof.into(), "Refused"),
        ] {
            let text = error.to_string();
            assert!(format!("{:?}", LinkError::opening(error)).starts_with(expected), "{text}");
        }
    }
}
