//! Whether a failed attempt is followed by another one: a pure decision over what is known of the failure.
//!
//! The rule (RFC 9110 section 9.2.2): a request of which provably nothing was written may always be sent again; one that may
//! have reached a replica only if doing it twice does no harm. Never after the answer began: such failures do not come here.

use http::Method;

use super::error::Cause;

/// An attempt that ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What went wrong, as the client would hear it.
    pub(crate) cause: Cause,
    /// Whether bytes of the request were written to the endpoint.
    pub(crate) sent: bool,
    /// Whether the connection had served another exchange before.
    pub(crate) reused: bool,
}

/// What is known of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeatable<'a> {
    /// Its method.
    pub(crate) method: &'a Method,
    /// Whether the whole of it is still at hand.
    pub(crate) whole: bool,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try again.
    Again {
        /// Not over a connection that served before: another one may be just as stale.
        fresh: bool,
    },
    /// Answer with the failure's cause.
    GiveUp,
}

/// Decides after `attempts` attempts of at most `attempts_max`.
pub(crate) fn decide(failure: Failure, request: Repeatable<'_>, attempts: usize, attempts_max: usize) -> Decision {
    let permitted = !failure.sent || is_harmless_twice(request.method);
    let by_upstream = match failure.cause {
        Cause::ConnectFailed
        | Cause::ConnectTimeout
        | Cause::UpstreamClosed
        | Cause::UpstreamInvalid
        | Cause::UpstreamTimeout => true,
        Cause::BadRequest(_)
        | Cause::MethodNotAllowed
        | Cause::NoRoute
        | Cause::BodyTooLarge
        | Cause::BodyTimeout
        | Cause::NoEndpoint
        | Cause::RequestTimeout => false,
    };
    if permitted && by_upstream && request.whole && attempts < attempts_max {
        Decision::Again { fresh: failure.reused }
    } else {
        Decision::GiveUp
    }
}

/// Safe methods. (The other idempotent ones need a body that can be sent again.)
fn is_harmless_twice(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        use Cause::{BodyTimeout, ConnectFailed, UpstreamClosed, UpstreamTimeout};
        let again = Some(false);
        let again_fresh = Some(true);
        for (method, cause, sent, reused, whole, attempts, expected) in [
            (Method::GET, ConnectFailed, false, false, true, 1, again),
            (Method::POST, ConnectFailed, false, false, true, 1, again),
            (Method::POST, ConnectFailed, false, false, true, 2, again),
            (Method::POST, ConnectFailed, false, false, true, 3, None),
            (Method::GET, UpstreamClosed, true, false, true, 1, again),
            (Method::GET, UpstreamClosed, true, true, true, 1, again_fresh),
            (Method::HEAD, UpstreamTimeout, true, false, true, 1, again),
            (Method::POST, UpstreamClosed, true, true, true, 1, None),
            (Method::POST, UpstreamClosed, false, true, true, 1, again_fresh),
            (Method::POST, UpstreamClosed, false, true, false, 1, None),
            (Method::GET, BodyTimeout, false, false, true, 1, None),
        ] {
            let decision = decide(Failure { cause, sent, reused }, Repeatable { method: &method, whole }, attempts, 3);
            let expected = expected.map_or(Decision::GiveUp, |fresh| Decision::Again { fresh });
            assert_eq!(decision, expected, "{method} {cause:?} sent={sent} reused={reused} whole={whole} {attempts}");
        }
    }
}
