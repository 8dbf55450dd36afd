//! What near caches would answer for a key: the sequencer asks, for its auditor and for operators, and each gateway answers without filling
//! or refreshing anything.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cache_api::Source;
use crate::ids::{HolderId, Place, Seq, Version};
use crate::invalidation::Term;
use crate::invalidation::sequencer::LoadMark;

/// Longest that a gateway's question for questions is held open, in ms.
pub const INSPECTION_WAIT_MS_MAX: u64 = 2_000;

/// `POST /inspections` at the sequencer: a gateway answers what it was asked before, and asks what else it is to look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InspectionRequest {
    pub holder: HolderId,
    pub answers: Vec<Inspected>,
    /// How long the answer may wait for a question, in ms, at most [`INSPECTION_WAIT_MS_MAX`].
    pub wait_ms: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InspectionAnswer {
    pub questions: Vec<Question>,
}

/// What would be answered for this key?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub id: Uuid,
    pub key: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inspected {
    pub id: Uuid,
    pub view: NearView,
}

/// What one near cache knows of a key at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NearView {
    pub gateway: String,
    pub lease: LeaseView,
    /// `None`: it holds nothing under the key.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub held: Option<NearHeld>,
}

/// The near lease of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseView {
    pub valid: bool,
    pub remaining_ms: u64,
    /// Of the last answer to a renewal; none before the first.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub term: Option<Term>,
    /// Every invalidation up to here is applied.
    pub applied: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NearHeld {
    /// A request that came now would be answered with it.
    pub would_serve: bool,
    /// Nothing that was applied since its load began covers it.
    pub current: bool,
    pub expired: bool,
    /// What is held is that there is no such key.
    pub absent: bool,
    /// `None`: absent, or an operator's override.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub version: Option<Version>,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub read_at: Option<Place>,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub mark: Option<LoadMark>,
    pub loaded_from: Source,
    pub tags: usize,
    /// Since it was read from the store, in ms.
    pub age_ms: u64,
    pub generations: GenerationsView,
}

/// Ticks of a near cache's clock of applied invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationsView {
    pub now: u64,
    /// Before the load began.
    pub loaded: u64,
    /// The last one that touched the key's stripe, and the last one of everything.
    pub key: u64,
    pub all: u64,
}

/// What cache-svc holds under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedHeld {
    pub absent: bool,
    /// An operator's, held until the next invalidation or its TTL.
    pub is_override: bool,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub version: Option<Version>,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub read_at: Option<Place>,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub mark: Option<LoadMark>,
    pub tags: Vec<String>,
    pub age_ms: u64,
    pub ttl_ms: u64,
}

/// `GET /cache/debug/{key}`: what each gateway would serve, and what the shared cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheDebug {
    pub key: String,
    pub term: Term,
    /// The last invalidation that was issued, and the last that is fenced.
    pub seq: Seq,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub fenced: Option<Seq>,
    #[cfg_attr(feature = "openapi", schema(required))]
    pub shared: Option<SharedHeld>,
    pub gateways: Vec<NearView>,
    /// Gateways that hold a lease and did not answer in time.
    pub silent: usize,
}

/// Why what is held is older than an acknowledged invalidation of its key, issued as `seq` in `term`; `None`: it is not, or would not be served.
#[must_use]
pub fn stale_since(held: &NearHeld, lease: LeaseView, term: Term, seq: Seq) -> Option<String> {
    let mark = held.mark.filter(|_| held.would_serve)?;
    if mark.term == term {
        let older = mark.seq < seq;
        return older.then(|| format!("loaded before invalidation {seq}, under {}", mark.seq));
    }
    // Terms are compared for equality only: what is served under this one must have been loaded under it.
    (lease.term == Some(term)).then(|| format!("loaded in epoch {}, served in {}", mark.term.epoch, term.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Incarnation};

    const fn term(epoch: u64) -> Term {
        Term { incarnation: Incarnation(Uuid::nil()), epoch: Epoch(epoch) }
    }

    #[test]
    fn only_what_would_be_served_and_is_older_is_stale() {
        let check = |would_serve: bool, (epoch, seq): (u64, u64), lease_epoch: u64, stale: bool| {
            let held = NearHeld {
                would_serve,
                current: true,
                expired: false,
                absent: false,
                version: None,
                read_at: None,
                mark: Some(LoadMark { term: term(epoch), seq: Seq(seq) }),
                loaded_from: Source::Store,
                tags: 0,
                age_ms: 0,
                generations: GenerationsView { now: 0, loaded: 0, key: 0, all: 0 },
            };
            let lease = LeaseView { valid: true, remaining_ms: 1, term: Some(term(lease_epoch)), applied: Seq(0) };
            assert_eq!(stale_since(&held, lease, term(2), Seq(7)).is_some(), stale, "{held:?}");
        };
        check(true, (2, 6), 2, true);
        check(false, (2, 6), 2, false);
        check(true, (2, 7), 2, false);
        check(true, (1, 9), 2, true);
        check(true, (1, 9), 1, false);
        check(true, (3, 0), 3, false);
    }
}
