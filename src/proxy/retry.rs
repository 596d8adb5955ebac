//! Whether a failed attempt is followed by another one: a pure decision over what is known of the failure.
//!
//! The rule (RFC 9110 section 9.2.2): a request of which provably nothing was written may always be sent again; one that may
//! have reached a replica only if doing it twice does no harm, by its method or because the application knows its
//! `Idempotency-Key` again. Never after the answer was passed on: such failures do not come here.

use http::{Method, StatusCode};

use super::cause::Cause;

/// Why an attempt did not settle the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There was no answer.
    Unanswered(Failure),
    /// There was one whose status the pool takes for a failure.
    Answered(StatusCode),
}

impl Trouble {
    /// Whether there was nobody to connect to: that costs neither time nor anybody's work, so it counts as an attempt only when
    /// there is no other endpoint to go to.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Unanswered(Failure { cause: Cause::ConnectFailed, .. }))
    }

    /// Whether a replica may have seen the request.
    pub(crate) fn was_sent(self) -> bool {
        match self {
            Self::Unanswered(failure) => failure.sent,
            Self::Answered(_) => true,
        }
    }
}

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

impl Failure {
    /// Whether there was not even a connection.
    pub(crate) fn is_connect(self) -> bool {
        matches!(self.cause, Cause::ConnectFailed | Cause::TlsFailed | Cause::ConnectTimeout)
    }
}

/// What is known of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeatable<'a> {
    /// Its method.
    pub(crate) method: &'a Method,
    /// Whether it bears an `Idempotency-Key`.
    pub(crate) has_key: bool,
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

/// Decides after `attempts` attempts (that count, see [`Trouble::is_refusal`]) of at most `attempts_max`.
pub(crate) fn decide(trouble: Trouble, request: Repeatable<'_>, attempts: usize, attempts_max: usize) -> Decision {
    let permitted = !trouble.was_sent() || request.method.is_idempotent() || request.has_key;
    let (by_upstream, fresh) = match trouble {
        Trouble::Unanswered(failure) => (is_upstream_s(failure.cause), failure.reused),
        Trouble::Answered(_) => (true, false),
    };
    if permitted && by_upstream && request.whole && attempts < attempts_max {
        Decision::Again { fresh }
    } else {
        Decision::GiveUp
    }
}

/// Whether another endpoint may do better.
pub(super) fn is_upstream_s(cause: Cause) -> bool {
    match cause {
        Cause::ConnectFailed
        | Cause::TlsFailed
        | Cause::ConnectTimeout
        | Cause::UpstreamClosed
        | Cause::UpstreamInvalid
        | Cause::UpstreamTimeout => true,
        Cause::BadRequest(_)
        | Cause::UnknownCoding
        | Cause::MethodNotAllowed
        | Cause::HeadTooLarge
        | Cause::UnknownProtocol
        | Cause::NoUpgrade
        | Cause::NoRoute
        | Cause::BodyTooLarge
        | Cause::BodyTimeout
        | Cause::NoEndpoint
        | Cause::Overloaded
        | Cause::OutOfSockets
        | Cause::RequestTimeout => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decisions() {
        use Cause::{BodyTimeout, ConnectFailed, UpstreamClosed, UpstreamTimeout};
        let again = Some(false);
        let again_fresh = Some(true);
        for (method, cause, sent, reused, whole, attempts, expected) in [
            (Method::PUT, UpstreamClosed, true, false, true, 1, again),
            (Method::DELETE, UpstreamTimeout, true, true, true, 2, again_fresh),
            (Method::PUT, UpstreamClosed, true, false, false, 1, None),
            (Method::PATCH, UpstreamClosed, true, false, true, 1, None),
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
            let trouble = Trouble::Unanswered(Failure { cause, sent, reused });
            let decision = decide(trouble, Repeatable { method: &method, has_key: false, whole }, attempts, 3);
            let expected = expected.map_or(Decision::GiveUp, |fresh| Decision::Again { fresh });
            assert_eq!(decision, expected, "{method} {cause:?} sent={sent} reused={reused} whole={whole} {attempts}");
        }
    }

    #[test]
    fn a_key_makes_any_method_repeatable() {
        let failure = Failure { cause: Cause::UpstreamClosed, sent: true, reused: false };
        for (trouble, has_key, whole, is_repeated) in [
            (Trouble::Unanswered(failure), true, true, true),
            (Trouble::Unanswered(failure), true, false, false),
            (Trouble::Unanswered(failure), false, true, false),
            (Trouble::Answered(StatusCode::SERVICE_UNAVAILABLE), true, true, true),
            (Trouble::Answered(StatusCode::SERVICE_UNAVAILABLE), false, true, false),
        ] {
            let decision = decide(trouble, Repeatable { method: &Method::POST, has_key, whole }, 1, 3);
            assert_eq!(decision != Decision::GiveUp, is_repeated, "{trouble:?} key={has_key} whole={whole}");
        }
    }

    const CAUSES: [Cause; 11] = [
        Cause::ConnectFailed,
        Cause::TlsFailed,
        Cause::ConnectTimeout,
        Cause::UpstreamClosed,
        Cause::UpstreamInvalid,
        Cause::UpstreamTimeout,
        Cause::BodyTooLarge,
        Cause::BodyTimeout,
        Cause::NoEndpoint,
        Cause::Overloaded,
        Cause::RequestTimeout,
    ];

    fn any_trouble() -> impl Strategy<Value = Trouble> {
        let failure = (prop::sample::select(&CAUSES[..]), any::<bool>(), any::<bool>());
        prop_oneof![
            failure.prop_map(|(cause, sent, reused)| Trouble::Unanswered(Failure { cause, sent, reused })),
            prop::sample::select(vec![502, 503, 504])
                .prop_map(|code| Trouble::Answered(StatusCode::from_u16(code).unwrap_or_default())),
        ]
    }

    proptest! {
        /// What must not be done twice is not, whatever happened; and nothing is tried for ever.
        #[test]
        fn no_repetition_does_harm(
            trouble in any_trouble(),
            method in "GET|HEAD|PUT|DELETE|OPTIONS|POST|PATCH|PURGE|get",
            has_key: bool,
            whole: bool,
            attempts in 1usize..6,
            attempts_max in 1usize..6,
        ) {
            let safe = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].contains(&method.as_str());
            let method = Method::from_bytes(method.as_bytes())?;
            let decision = decide(trouble, Repeatable { method: &method, has_key, whole }, attempts, attempts_max);
            if let Decision::Again { fresh } = decision {
                prop_assert!(whole && attempts < attempts_max);
                prop_assert!(!trouble.was_sent() || safe || has_key);
                prop_assert_eq!(fresh, matches!(trouble, Trouble::Unanswered(Failure { reused: true, .. })));
            }
            if attempts_max == 1 {
                prop_assert_eq!(decision, Decision::GiveUp);
            }
        }
    }
}
