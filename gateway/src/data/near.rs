//! The near cache: entries bounded in bytes, evicted by S3-FIFO (Yang et al., SOSP 2023) through `quick_cache`. It knows nothing of leases or
//! generations: whoever takes an entry compares it.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::entry::{Entry, Value};

/// What an entry costs beyond its bytes: the map, the queues, the counters.
const OVERHEAD_BYTES: usize = 256;
/// For the first size of the map only.
const TYPICAL_ENTRY_BYTES: u64 = 1_024;

#[derive(Debug)]
pub(super) struct Near {
    entries: Cache<Arc<str>, Arc<Entry>, Bytes>,
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<Arc<str>, Arc<Entry>> for Bytes {
    fn weight(&self, key: &Arc<str>, entry: &Arc<Entry>) -> u64 {
        weight(key, entry)
    }
}

fn weight(key: &str, entry: &Entry) -> u64 {
    let bytes = OVERHEAD_BYTES + key.len() + entry.value.as_ref().map_or(0, Value::bytes);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Near {
    pub(super) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX).clamp(64, 16_384);
        Self { entries: Cache::with_weighter(items, bytes_max, Bytes), bytes_max }
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// Keeps an entry, unless it alone would push out a good part of everything else.
    pub(super) fn put(&self, key: Arc<str>, entry: Arc<Entry>) {
        if weight(&key, &entry) <= self.bytes_max / 8 {
            self.entries.insert(key, entry);
        }
    }

    /// Bytes held, about.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}
