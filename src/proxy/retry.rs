//! Whether a failed attempt is followed by another one: a pure decision from what is known about the failure.
//!
//! The rule (RFC 9110 section 9.2.2): a request of which provably nothing was written may always be sent again. One
//! that may have reached a replica may be sent again only if doing it twice does no harm: its method is idempotent, or
//! the application recognises its `Idempotency-Key`. A response that was passed on is never repeated: such failures do
//! not come here.

use http::Method;

use super::cause::Cause;
use crate::link::error::Back;
use crate::metrics::RETRY_CAUSES;

/// The word for [`Failure::Unwell`] among [`RETRY_CAUSES`].
const UNWELL: &str = "status";

/// Why an attempt did not settle the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no response.
    Unanswered(Cause),
    /// There was a response whose status the pool takes for a failure.
    Unwell,
}

impl Failure {
    /// Whether the endpoint accepted no connection. That costs little time and no replica any work, so it counts as an
    /// attempt only when no other endpoint is left.
    pub(crate) fn is_refusal(self) -> bool {
        self == Self::Unanswered(Cause::ConnectFailed)
    }

    /// Whether another attempt may do better.
    fn may_pass(self) -> bool {
        self.blames_endpoint() || self == Self::Unanswered(Cause::ConnectionCurbed)
    }

    /// Its place in [`RETRY_CAUSES`].
    pub(super) fn index(self) -> usize {
        let name = match self {
            Self::Unanswered(cause) => cause.name(),
            Self::Unwell => UNWELL,
        };
        RETRY_CAUSES.iter().position(|known| *known == name).unwrap_or_default()
    }

    /// Whether the endpoint is to blame.
    pub(crate) fn blames_endpoint(self) -> bool {
        match self {
            Self::Unanswered(cause) => blames_endpoint(cause),
            Self::Unwell => true,
        }
    }
}

/// What is left of the request: [`Back`] without the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// All of it, and no endpoint has seen any of it.
    Unsent,
    /// All of it, but an endpoint may have seen it.
    Sent,
    /// Not all of it.
    Lost,
}

impl Left {
    /// The word in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Sent => "sent",
            Self::Lost => "lost",
        }
    }
}

impl From<&Back> for Left {
    fn from(back: &Back) -> Self {
        match back {
            Back::Unsent(_) => Self::Unsent,
            Back::Sent(_) => Self::Sent,
            Back::Lost(_) => Self::Lost,
        }
    }
}

/// Whether the application can recognise a repetition of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The request bears an `Idempotency-Key`.
    Borne,
    /// The request bears none.
    None,
}

/// How often a request was tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    /// The attempts that count, see [`Failure::is_refusal`].
    pub(crate) made: usize,
    /// The most attempts that a request may have.
    pub(crate) most: usize,
}

/// What to do after an attempt that has settled nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try again.
    Again,
    /// Give up, and respond with the cause of the failure.
    GiveUp,
}

/// Why a failed attempt is followed by another one, or by none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Another endpoint may do better, and no harm is done.
    Again,
    /// The endpoint was not to blame, so no other one would do better.
    NotTheEndpoint,
    /// An endpoint may have executed it, and doing it twice may do harm.
    MayHaveBeenExecuted,
    /// A part of its body, or its fields, are gone.
    NotKept,
    /// It has had as many attempts as it may have.
    AttemptsUsedUp,
    /// The retry budget of the pool is used up.
    BudgetUsedUp,
}

impl Reason {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::NotTheEndpoint => "not-the-endpoint",
            Self::MayHaveBeenExecuted => "may-have-been-executed",
            Self::NotKept => "not-kept",
            Self::AttemptsUsedUp => "attempts-used-up",
            Self::BudgetUsedUp => "budget-used-up",
        }
    }
}

impl From<Reason> for Decision {
    fn from(reason: Reason) -> Self {
        if reason == Reason::Again { Self::Again } else { Self::GiveUp }
    }
}

/// Decides what follows an attempt, and says why. The retry budget is checked by the caller.
pub(crate) fn reason(failure: Failure, left: Left, method: &Method, key: Key, count: Count) -> Reason {
    match left {
        _ if !failure.may_pass() => Reason::NotTheEndpoint,
        Left::Lost => Reason::NotKept,
        Left::Sent if !method.is_idempotent() && key == Key::None => Reason::MayHaveBeenExecuted,
        _ if count.made >= count.most => Reason::AttemptsUsedUp,
        Left::Sent | Left::Unsent => Reason::Again,
    }
}

/// Whether the endpoint is to blame for this cause.
fn blames_endpoint(cause: Cause) -> bool {
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
        | Cause::Forbidden
        | Cause::RateLimited
        | Cause::UriTooLong
        | Cause::Maintenance
        | Cause::BodyTooLarge
        | Cause::BodyTimeout
        | Cause::NoEndpoint
        | Cause::Overloaded
        | Cause::OutOfSockets
        | Cause::ConnectionCurbed
        | Cause::RequestTimeout => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::malformed::Malformed;

    fn decide(failure: Failure, left: Left, method: &Method, key: Key, count: Count) -> Decision {
        reason(failure, left, method, key, count).into()
    }

    #[test]
    fn whatever_is_repeated_is_counted_by_its_cause() {
        let all = Cause::all().map(Failure::Unanswered).chain([Failure::Unwell]);
        let places: Vec<usize> = all.filter(|failure| failure.may_pass()).map(Failure::index).collect();
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..RETRY_CAUSES.len()).collect::<Vec<_>>(), "{places:?}");
    }

    #[test]
    fn what_is_not_repeated_has_a_reason() {
        let closed = Failure::Unanswered(Cause::UpstreamClosed);
        for (failure, left, made, expected) in [
            (closed, Left::Unsent, 1, "again"),
            (closed, Left::Unsent, 3, "attempts-used-up"),
            (closed, Left::Sent, 1, "may-have-been-executed"),
            (closed, Left::Sent, 3, "may-have-been-executed"),
            (closed, Left::Lost, 1, "not-kept"),
            (Failure::Unwell, Left::Lost, 1, "not-kept"),
            (Failure::Unanswered(Cause::BodyTimeout), Left::Unsent, 1, "not-the-endpoint"),
        ] {
            let found = reason(failure, left, &Method::POST, Key::None, Count { made, most: 3 });
            assert_eq!(found.name(), expected, "{failure:?} {left:?} {made}");
        }
    }

    #[test]
    fn decisions() {
        use Cause::{BodyTimeout, ConnectFailed, ConnectionCurbed, UpstreamClosed, UpstreamTimeout};
        use Decision::{Again, GiveUp};
        use Left::{Lost, Sent, Unsent};
        for (method, cause, left, made, expected) in [
            (Method::PUT, UpstreamClosed, Sent, 1, Again),
            (Method::DELETE, UpstreamTimeout, Sent, 2, Again),
            (Method::PUT, UpstreamClosed, Lost, 1, GiveUp),
            (Method::PATCH, UpstreamClosed, Sent, 1, GiveUp),
            (Method::GET, ConnectFailed, Unsent, 1, Again),
            (Method::POST, ConnectFailed, Unsent, 1, Again),
            (Method::POST, ConnectFailed, Unsent, 2, Again),
            (Method::POST, ConnectFailed, Unsent, 3, GiveUp),
            (Method::GET, UpstreamClosed, Sent, 1, Again),
            (Method::HEAD, UpstreamTimeout, Sent, 1, Again),
            (Method::POST, UpstreamClosed, Sent, 1, GiveUp),
            (Method::POST, UpstreamClosed, Unsent, 1, Again),
            (Method::POST, UpstreamClosed, Lost, 1, GiveUp),
            (Method::GET, BodyTimeout, Unsent, 1, GiveUp),
            (Method::GET, ConnectionCurbed, Sent, 1, Again),
            (Method::POST, ConnectionCurbed, Sent, 1, GiveUp),
        ] {
            let decision = decide(Failure::Unanswered(cause), left, &method, Key::None, Count { made, most: 3 });
            assert_eq!(decision, expected, "{method} {cause:?} {left:?} {made}");
        }
    }

    #[test]
    fn a_key_makes_any_method_repeatable() {
        let closed = Failure::Unanswered(Cause::UpstreamClosed);
        for (failure, left, key, expected) in [
            (closed, Left::Sent, Key::Borne, Decision::Again),
            (closed, Left::Lost, Key::Borne, Decision::GiveUp),
            (closed, Left::Sent, Key::None, Decision::GiveUp),
            (Failure::Unwell, Left::Sent, Key::Borne, Decision::Again),
            (Failure::Unwell, Left::Sent, Key::None, Decision::GiveUp),
            (Failure::Unwell, Left::Lost, Key::Borne, Decision::GiveUp),
        ] {
            let decision = decide(failure, left, &Method::POST, key, Count { made: 1, most: 3 });
            assert_eq!(decision, expected, "{failure:?} {left:?} {key:?}");
        }
    }

    /// Only what an endpoint did counts towards its ejection, and only that is worth an attempt on another.
    #[test]
    fn who_is_to_blame() {
        for (cause, expected) in [
            (Cause::ConnectFailed, true),
            (Cause::TlsFailed, true),
            (Cause::ConnectTimeout, true),
            (Cause::UpstreamClosed, true),
            (Cause::UpstreamInvalid, true),
            (Cause::UpstreamTimeout, true),
            (Cause::BadRequest(Malformed::HostMissing), false),
            (Cause::NoUpgrade, false),
            (Cause::BodyTooLarge, false),
            (Cause::BodyTimeout, false),
            (Cause::NoEndpoint, false),
            (Cause::Overloaded, false),
            (Cause::OutOfSockets, false),
            (Cause::ConnectionCurbed, false),
            (Cause::RequestTimeout, false),
        ] {
            assert_eq!(Failure::Unanswered(cause).blames_endpoint(), expected, "{cause:?}");
        }
        assert!(Failure::Unwell.blames_endpoint());
    }

    #[test]
    fn only_a_refused_connection_is_no_attempt() {
        assert!(Failure::Unanswered(Cause::ConnectFailed).is_refusal());
        for failure in
            [Failure::Unwell, Failure::Unanswered(Cause::ConnectTimeout), Failure::Unanswered(Cause::TlsFailed)]
        {
            assert!(!failure.is_refusal(), "{failure:?}");
        }
    }

    #[test]
    fn what_is_left_has_a_word_in_logs() {
        assert_eq!([Left::Unsent, Left::Sent, Left::Lost].map(Left::name), ["unsent", "sent", "lost"]);
    }

    const CAUSES: [Cause; 12] = [
        Cause::ConnectionCurbed,
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

    fn any_trouble() -> impl Strategy<Value = Failure> {
        prop_oneof![prop::sample::select(&CAUSES[..]).prop_map(Failure::Unanswered), Just(Failure::Unwell)]
    }

    proptest! {
        /// Whatever happened, a request that must not be done twice is not repeated, and no request is tried for ever.
        #[test]
        fn no_repetition_does_harm(
            failure in any_trouble(),
            left in prop::sample::select(&[Left::Unsent, Left::Sent, Left::Lost][..]),
            method in "GET|HEAD|PUT|DELETE|OPTIONS|POST|PATCH|PURGE|get",
            key in prop::sample::select(&[Key::Borne, Key::None][..]),
            made in 1usize..6,
            most in 1usize..6,
        ) {
            let safe = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].contains(&method.as_str());
            let method = Method::from_bytes(method.as_bytes())?;
            let decision = decide(failure, left, &method, key, Count { made, most });
            if decision == Decision::Again {
                prop_assert!(left != Left::Lost && made < most);
                prop_assert!(left == Left::Unsent || safe || key == Key::Borne);
            }
            if most == 1 {
                prop_assert_eq!(decision, Decision::GiveUp);
            }
        }
    }
}
