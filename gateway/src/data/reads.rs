//! Counts reads by the tier that answered. The series are made once: looking one up costs more than the rest of a hit.

use std::sync::OnceLock;

use metrics::Counter;
use protocol::cache_api::Source;

/// The series of one gateway, made at first use.
#[derive(Default)]
pub(super) struct Reads {
    near: OnceLock<Counter>,
    shared: OnceLock<Counter>,
    store: OnceLock<Counter>,
    stale: OnceLock<Counter>,
}

impl Reads {
    /// The near cache answered.
    pub(super) fn near(&self) {
        count(&self.near, "near");
    }

    /// There was no other answer than a stale one.
    pub(super) fn stale(&self) {
        count(&self.stale, "stale");
    }

    /// A load was answered from there.
    pub(super) fn loaded(&self, source: Source) {
        match source {
            Source::Shared => count(&self.shared, "shared"),
            Source::Store => count(&self.store, "store"),
        }
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

fn count(series: &OnceLock<Counter>, tier: &'static str) {
    let made = || metrics::counter!("longshore_data_reads_total", "program" => "gateway", "tier" => tier);
    series.get_or_init(made).increment(1);
}
