//! The identifiers and counters that cross a wire: newtypes, so that a fence is never passed where a log position is meant.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id that nobody else has; ids made later sort later (UUID version 7).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A job, for as long as it exists; chosen by the gateway or, with `PUT /jobs/{id}`, by the client.
    JobId
);
uuid_id!(
    /// One try to claim: the same id may be sent again and gets the same fence.
    ClaimId
);
uuid_id!(
    /// One retry of many jobs.
    RetryId
);
uuid_id!(
    /// One event at one webhook, however often it is sent.
    DeliveryId
);
uuid_id!(
    /// A worker's session at the store: new at each start of a worker.
    SessionId
);
uuid_id!(
    /// A gateway as a holder of a near-cache lease: new at each start, so that a paused gateway and its
    /// replacement never overwrite each other.
    HolderId
);
uuid_id!(
    /// One start of a cache-svc, as the store sees it when it grants the sequencer's lease.
    InstanceId
);
uuid_id!(
    /// The identity of a store's history: new at creation and at restore. Cursors of another incarnation are void.
    Incarnation
);

impl JobId {
    /// When it was made, Unix ms. Only ids of version 7 tell; clients may choose others.
    #[must_use]
    pub fn made_ms(self) -> Option<i64> {
        let made = (self.0.get_version_num() == 7).then(|| self.0.get_timestamp()).flatten()?;
        let (seconds, nanos) = made.to_unix();
        i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))
    }
}

counter!(
    /// The number of a claim of a job. It grows with every claim of every run, so a larger one is always the later owner.
    Fence
);
counter!(
    /// The number of a job's bell, set by each transition that makes the job queued.
    Dispatch
);
counter!(
    /// A place in the store's log, in commit order, without gaps that could be filled later.
    Position
);
counter!(
    /// A place in the sequencer's order of invalidations, within one epoch.
    Seq
);
counter!(
    /// One grant of the sequencer's lease.
    Epoch
);
counter!(
    /// The store-wide version of a data write.
    Version
);

/// A place in one history of the store. As text, `{position}-{incarnation}`, it is the id of an event and what a write tells a later
/// read (`Longshore-Token`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    pub incarnation: Incarnation,
    pub position: Position,
}

impl Place {
    /// Whether what was read here is at least as new as what was written there. Places of different histories cannot be compared.
    #[must_use]
    pub fn reaches(self, written: Self) -> bool {
        self.incarnation == written.incarnation && self.position >= written.position
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.position, self.incarnation)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

/// The text is none of a place.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is not written {{position}}-{{incarnation}}")]
pub struct NoPlace;

impl std::str::FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (position, incarnation) = text.split_once('-').ok_or(NoPlace)?;
        let position = position.parse().map(Position).map_err(|_| NoPlace)?;
        Ok(Self { incarnation: incarnation.parse().map_err(|_| NoPlace)?, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_position_in_one_history() {
        let place = Place { incarnation: Incarnation(Uuid::from_u128(7)), position: Position(42) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for other in ["", "42", "42-", "-7", "x-00000000-0000-0000-0000-000000000007", "42-7"] {
            assert_eq!(other.parse::<Place>(), Err(NoPlace), "{other}");
        }
        let later = Place { position: Position(43), ..place };
        assert!(place.reaches(place) && later.reaches(place) && !place.reaches(later));
        assert!(!Place { incarnation: Incarnation(Uuid::from_u128(8)), ..later }.reaches(place), "another history");
    }

    #[test]
    fn an_id_tells_when_it_was_made_if_its_version_does() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(text.parse::<JobId>().expect("an id").made_ms(), expected, "{text}");
        };
        check("018bcfe5-6800-7000-8000-000000000000", Some(1_700_000_000_000));
        check("018bcfe5-6800-4000-8000-000000000000", None);
        check("00000000-0000-0000-0000-000000000000", None);
        check("00000000-0000-7000-8000-000000000000", Some(0));
    }
}
