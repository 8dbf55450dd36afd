//! Between the gateways and the sequencer (cache-svc): renewals of near-cache leases, reads, invalidations; and the public forms
//! that both answer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::envelope::{Covered, Rejection};
use crate::ids::{HolderId, Place, Seq, Version};
use crate::invalidation::sequencer::LoadMark;
use crate::invalidation::{Entry, Term};
use crate::key::{DataKey, MediaType, Tag};
use crate::problem::Problem;

/// Longest that a renewal is held open when there is no news, in ms.
pub const RENEWAL_WAIT_MS_MAX: u64 = 500;
/// Most tags of one data entry.
pub const TAGS_MAX: usize = 32;
/// Header of the answer to a data write: the [`Place`] of the write. A read that carries it is answered with that write or a later one.
pub const TOKEN_HEADER: &str = "longshore-token";
/// Longest that a fence is waited for before the answer is `fence-timeout`, in ms.
pub const FENCE_WAIT_MS_MAX: u64 = 5_000;

/// `POST /renewals`: a gateway reports what it has applied and asks for what came after, and for its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RenewalRequest {
    pub holder: HolderId,
    /// The term whose entries it applied; none before its first answer.
    pub term: Option<Term>,
    /// Every entry up to here is applied.
    pub applied: Seq,
    /// How long the answer may wait for news, in ms, at most [`RENEWAL_WAIT_MS_MAX`].
    pub wait_ms: u64,
    /// It serves nothing more from its near cache and gives its lease back.
    #[serde(default)]
    pub leaving: bool,
}

/// The answer to a renewal. Its entries are applied before its lease is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RenewalAnswer {
    pub term: Term,
    /// Counted from the instant at which the gateway sent the renewal.
    pub lease_ms: u64,
    /// After `entries` (or the flush), everything up to here is applied.
    pub through: Seq,
    pub entries: Vec<Entry>,
    /// The entries after `applied` cannot all be named: drop everything.
    pub flush: bool,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It was held.
    Shared,
    /// A load from the store, its own or one it joined.
    Store,
}

/// `GET /read/{key}` at the sequencer. An absent key is an answer too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadAnswer {
    pub source: Source,
    pub found: bool,
    /// `null` when the key is absent.
    pub data: Box<RawValue>,
    /// `None`: the key is absent, or it is an operator's override.
    pub version: Option<Version>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Of bytes, which `data` has as a string in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// Where in the store's history it was read; `None`: it is an operator's override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Place>,
    /// What was issued before its load began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<LoadMark>,
    /// How long ago it was loaded, in ms.
    pub age_ms: u64,
    /// How long it may be kept, in ms.
    pub ttl_ms: u64,
}

/// `POST /invalidations` at the sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidationRequest {
    pub covered: Covered,
    /// Answer when the fence has closed, not as soon as it is sequenced.
    pub wait: bool,
    /// For how long, in ms, if not [`FENCE_WAIT_MS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
}

/// The query of writes and invalidations: `?wait=0` answers as soon as it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct FenceQuery {
    /// `0`: do not wait until nobody is answered with an older value any more.
    #[cfg_attr(feature = "openapi", param(nullable = false, minimum = 0, maximum = 0))]
    wait: Option<u64>,
}

impl FenceQuery {
    /// Whether the answer waits for the fence.
    ///
    /// # Errors
    /// 422 for any value but 0.
    pub fn waits(self) -> Result<bool, Problem> {
        match self.wait {
            None => Ok(true),
            Some(0) => Ok(false),
            Some(_) => Err(Problem::invalid("/wait", "The only value is 0: do not wait for the fence.")),
        }
    }
}

/// A data key from a path.
///
/// # Errors
/// 422 with the rule that it breaks.
pub fn key_of_path(segment: String) -> Result<DataKey, Problem> {
    DataKey::try_from(segment).map_err(|error| Problem::invalid("/key", format!("The key {error}.")))
}

/// The word in the answer to an invalidation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Deleted {
    #[default]
    Deleted,
}

/// The answer to an invalidation, to the gateway and to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvalidationAnswer {
    pub status: Deleted,
    pub seq: Seq,
    /// Nobody is answered with an older value any more.
    pub fenced: bool,
}

/// `POST /cache:invalidate`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Invalidate {
    pub keys: Vec<String>,
    pub tags: Vec<String>,
    pub prefix: Option<String>,
    pub all: bool,
}

impl TryFrom<Invalidate> for Covered {
    type Error = Rejection;

    fn try_from(form: Invalidate) -> Result<Self, Rejection> {
        let Invalidate { keys, tags, prefix, all } = form;
        let covered = Self { keys, tags, prefix, all };
        covered.check()?;
        Ok(covered)
    }
}

/// What a reader shows who must be answered with a write or a later one: its token; none: any present value will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtLeast(pub Option<Place>);

impl AtLeast {
    /// Whether what was read there answers it, whenever it was loaded.
    #[must_use]
    pub fn is_met(self, read_at: Option<Place>) -> bool {
        self.0.is_none_or(|written| read_at.is_some_and(|read_at| read_at.reaches(written)))
    }

    /// Whether what was loaded for it, after it was shown, is not good enough after all. Of another history nothing better can be had.
    #[must_use]
    pub fn is_missed(self, read_at: Option<Place>) -> bool {
        let comparable = |written: Place| read_at.is_none_or(|read_at| read_at.incarnation == written.incarnation);
        !self.is_met(read_at) && self.0.is_some_and(comparable)
    }
}

/// `GET /read/{key}?at_least=` at the sequencer: what is held is good enough only if it was read there or later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    pub at_least: Option<Place>,
}

/// `PUT /data/{key}`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DataPut {
    /// Any JSON.
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub data: Box<RawValue>,
    /// What it can be invalidated by together with others.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 32))]
    pub tags: Vec<Tag>,
}

/// The answer to a data write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DataWritten {
    pub version: Version,
    pub fenced: bool,
}

/// `GET /cache/{key}` at cache-svc: `null` when it is not held.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CacheHeld {
    pub value: Option<Box<RawValue>>,
}

/// `POST /cache/{key}` at cache-svc: an explicit override.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheOverride {
    pub value: Box<RawValue>,
}

/// The word in [`CacheOverridden`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Okay {
    #[default]
    Ok,
}

/// The answer to an override, when it is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheOverridden {
    pub status: Okay,
    pub seq: Seq,
    pub fenced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, Position};

    #[test]
    fn a_token_is_answered_by_what_was_read_at_its_write_or_later() {
        let place = |history: u128, position: u64| Place {
            incarnation: Incarnation(uuid::Uuid::from_u128(history)),
            position: Position(position),
        };
        let check = |read_at: Option<Place>, is_met: bool, is_missed: bool| {
            let token = AtLeast(Some(place(1, 5)));
            assert_eq!((token.is_met(read_at), token.is_missed(read_at)), (is_met, is_missed), "{read_at:?}");
            assert!(AtLeast(None).is_met(read_at) && !AtLeast(None).is_missed(read_at), "no token, no demand");
        };
        check(Some(place(1, 5)), true, false);
        check(Some(place(1, 6)), true, false);
        check(Some(place(1, 4)), false, true);
        check(Some(place(2, 9)), false, false);
        check(None, false, true);
    }
}
