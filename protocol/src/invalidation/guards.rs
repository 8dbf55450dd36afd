//! The guards that promise 4 stands on, each named, so that a model can take one out and show the stale read that it prevents.
//!
//! The cores ask `guards.keeps(…)`. Product code has [`Full`] only, where the answer is a constant; what lacks a guard is another
//! type, which a test defines, so no setting can turn a guard off. Only a feature of this crate can, and no release has one.

use std::fmt::Debug;
use std::hash::Hash;

/// One guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// A near lease is counted from the instant at which the renewal was sent, not from when its answer came.
    SendInstant,
    /// After a predecessor no fence closes before start + lease + margin.
    RestartWait,
    /// A fence waits for every holder known at its issue.
    FenceWait,
    /// A hit compares generations with those of before its load.
    GenerationCompare,
    /// Without the sequencer's lease, counted from send instants, nothing is granted, fenced or served.
    SequencerLease,
    /// A request joins only a flight of the present generation.
    FlightKey,
    /// A request that finds no valid lease joins no flight begun before it.
    LeaselessJoin,
    /// A load is kept only if no invalidation of its key has a larger seq than was read before it.
    FillSequence,
    /// `applied` changes by the answer to a renewal only, never by an event.
    AppliedByRenewal,
    /// The first answer and one of another term drop everything before the lease is taken.
    FlushOnNewTerm,
}

impl Guard {
    pub const ALL: [Self; 10] = [
        Self::SendInstant,
        Self::RestartWait,
        Self::FenceWait,
        Self::GenerationCompare,
        Self::SequencerLease,
        Self::FlightKey,
        Self::LeaselessJoin,
        Self::FillSequence,
        Self::AppliedByRenewal,
        Self::FlushOnNewTerm,
    ];

    /// As the feature that takes it out is called, after `unguarded-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SendInstant => "send-instant",
            Self::RestartWait => "restart-wait",
            Self::FenceWait => "fence-wait",
            Self::GenerationCompare => "generation-compare",
            Self::SequencerLease => "sequencer-lease",
            Self::FlightKey => "flight-key",
            Self::LeaselessJoin => "leaseless-join",
            Self::FillSequence => "fill-sequence",
            Self::AppliedByRenewal => "applied-by-renewal",
            Self::FlushOnNewTerm => "flush-on-new-term",
        }
    }
}

/// Says which guards are kept.
pub trait Guards: Copy + Debug + Eq + Hash {
    fn keeps(&self, guard: Guard) -> bool;
}

/// All of them: the only one that product code can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Full;

impl Guards for Full {
    #[inline]
    fn keeps(&self, guard: Guard) -> bool {
        is_kept(guard)
    }
}

const fn is_kept(guard: Guard) -> bool {
    match guard {
        Guard::SendInstant => cfg!(not(feature = "unguarded-send-instant")),
        Guard::RestartWait => cfg!(not(feature = "unguarded-restart-wait")),
        Guard::FenceWait => cfg!(not(feature = "unguarded-fence-wait")),
        Guard::GenerationCompare => cfg!(not(feature = "unguarded-generation-compare")),
        Guard::SequencerLease => cfg!(not(feature = "unguarded-sequencer-lease")),
        Guard::FlightKey => cfg!(not(feature = "unguarded-flight-key")),
        Guard::LeaselessJoin => cfg!(not(feature = "unguarded-leaseless-join")),
        Guard::FillSequence => cfg!(not(feature = "unguarded-fill-sequence")),
        Guard::AppliedByRenewal => cfg!(not(feature = "unguarded-applied-by-renewal")),
        Guard::FlushOnNewTerm => cfg!(not(feature = "unguarded-flush-on-new-term")),
    }
}

/// A release that lacks a guard does not compile.
const _: () = {
    let mut number = 0;
    while number < Guard::ALL.len() {
        let allowed = cfg!(debug_assertions) || is_kept(Guard::ALL[number]);
        assert!(allowed, "a feature unguarded-… lets the caches answer with old values: it is for debug builds only");
        number += 1;
    }
};

/// The guards that this build lacks; none, unless a feature says otherwise.
#[must_use]
pub fn unguarded() -> Vec<&'static str> {
    Guard::ALL.into_iter().filter(|guard| !is_kept(*guard)).map(Guard::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_keeps_every_guard() {
        assert_eq!(unguarded(), [""; 0]);
        let names: std::collections::BTreeSet<_> = Guard::ALL.into_iter().map(Guard::name).collect();
        assert_eq!(names.len(), Guard::ALL.len());
    }
}
