//! Whether a failed attempt is made again, and where.
//!
//! A request that may have been acted on is sent again only if that does no harm: GET, HEAD, and requests that their
//! client made repeatable with an `Idempotency-Key`. Nothing is sent again after a byte of an answer.

use http::Method;

/// How an attempt failed before the head of its answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no connection, so nothing was sent.
    Connect,
    /// A kept connection turned out closed before anything was sent on it.
    Stale,
    /// The connection ended without an answer.
    Unanswered {
        /// It had served other requests before, so it may have been closing already.
        kept: bool,
    },
    /// What came is no whole head, or none that can be passed on.
    Garbled,
    /// The head of the answer did not come in time.
    Overdue,
    /// The client stopped sending the body.
    Stalled,
    /// The client's side failed, so nobody waits for an answer.
    Abandoned,
    /// No backend had room for it in time.
    NoRoom,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same backend again, on a new connection: the old one was at fault.
    FreshConnection,
    OtherBackend,
    GiveUp,
}

/// Decides on a failed attempt. `repeatable` is what [`is_repeatable`] says of the request; `whole` whether its body, if it has
/// one, can still be sent from its first byte.
pub(crate) fn next(failure: Failure, repeatable: bool, whole: bool) -> Next {
    match failure {
        _ if !whole => Next::GiveUp,
        Failure::Connect => Next::OtherBackend,
        Failure::Stale => Next::FreshConnection,
        Failure::Unanswered { kept: true } if repeatable => Next::FreshConnection,
        Failure::Unanswered { kept: false } if repeatable => Next::OtherBackend,
        Failure::Unanswered { .. }
        | Failure::Garbled
        | Failure::Overdue
        | Failure::Stalled
        | Failure::Abandoned
        | Failure::NoRoom => Next::GiveUp,
    }
}

/// Whether a request may reach a backend twice.
pub(crate) fn is_repeatable(method: &Method, has_idempotency_key: bool) -> bool {
    has_idempotency_key || matches!(*method, Method::GET | Method::HEAD)
}

impl Failure {
    /// The name in the access log and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Stale => "stale",
            Failure::Unanswered { .. } => "unanswered",
            Failure::Garbled => "garbled",
            Failure::Overdue => "overdue",
            Failure::Stalled => "stalled",
            Failure::Abandoned => "abandoned",
            Failure::NoRoom => "no-room",
        }
    }

    /// Whether the backend is to blame.
    pub(crate) fn is_backends(self) -> bool {
        match self {
            Failure::Connect | Failure::Unanswered { .. } | Failure::Garbled | Failure::Overdue => true,
            Failure::Stale | Failure::Stalled | Failure::Abandoned | Failure::NoRoom => false,
        }
    }

    /// Whether a backend was asked, so that asking another one adds to the load.
    pub(crate) fn is_of_an_asked_one(self) -> bool {
        self != Failure::Connect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Failure, repeatable: bool, whole: bool, expected: Next) {
        assert_eq!(next(failure, repeatable, whole), expected, "{failure:?} {repeatable} {whole}");
    }

    #[test]
    fn what_was_not_sent_is_sent_whatever_it_is() {
        for repeatable in [true, false] {
            check(Failure::Connect, repeatable, true, Next::OtherBackend);
            check(Failure::Stale, repeatable, true, Next::FreshConnection);
        }
    }

    #[test]
    fn what_was_sent_is_sent_again_only_if_that_does_no_harm() {
        check(Failure::Unanswered { kept: true }, true, true, Next::FreshConnection);
        check(Failure::Unanswered { kept: false }, true, true, Next::OtherBackend);
        check(Failure::Unanswered { kept: true }, false, true, Next::GiveUp);
        check(Failure::Unanswered { kept: false }, false, true, Next::GiveUp);
    }

    #[test]
    fn nothing_is_sent_again_without_its_whole_body_or_after_the_time_is_up() {
        for failure in [Failure::Connect, Failure::Unanswered { kept: true }, Failure::Unanswered { kept: false }] {
            check(failure, true, false, Next::GiveUp);
        }
        for failure in [Failure::Garbled, Failure::Overdue, Failure::Stalled, Failure::Abandoned] {
            check(failure, true, true, Next::GiveUp);
        }
    }

    #[test]
    fn get_and_head_and_keyed_requests_are_repeatable() {
        for (method, has_key, expected) in [
            (Method::GET, false, true),
            (Method::HEAD, false, true),
            (Method::POST, false, false),
            (Method::POST, true, true),
            (Method::PUT, false, false),
            (Method::DELETE, false, false),
            (Method::OPTIONS, false, false),
        ] {
            assert_eq!(is_repeatable(&method, has_key), expected, "{method} {has_key}");
        }
    }
}
