//! The caches' coherence, as pure decisions: the sequencer, what a gateway keeps, and the store's grant of the sequencer's lease.
//!
//! Time is an argument in ms of the caller's own monotonic clock; nobody's clock is compared with anybody else's.

pub mod grant;
pub mod guards;
pub mod near;
pub mod sequencer;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::envelope::Covered;
use crate::ids::{Epoch, Incarnation, Seq};

/// One holding of the sequencer's lease. Compared for equality only: after a restore epochs may come again, under another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Term {
    pub incarnation: Incarnation,
    pub epoch: Epoch,
}

/// A sequenced invalidation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    pub seq: Seq,
    #[serde(flatten)]
    pub covered: Arc<Covered>,
}

/// What the side that acts on another's end of a lease waits on top: 2 %, rounded up, for clocks whose rates differ by 1 % each.
#[must_use]
pub fn margin_ms(lease_ms: u64) -> u64 {
    lease_ms.div_ceil(50)
}
