//! The guards that promise 4 stands on, each named, so that a model can take one out and show the stale read that it prevents.
//!
//! The cores ask `guards.keeps(…)`. Product code has [`Full`] only, where the answer is a constant; what lacks a guard is another
//! type, which a test defines, so no setting can turn a guard off.

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

/// Says which guards are kept.
pub trait Guards: Copy + Debug + Eq + Hash {
    fn keeps(&self, guard: Guard) -> bool;
}

/// All of them: the only one that product code can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Full;

impl Guards for Full {
    #[inline]
    fn keeps(&self, _guard: Guard) -> bool {
        true
    }
}
