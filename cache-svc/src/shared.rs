//! The shared cache: entries bounded in bytes, evicted by S3-FIFO (Yang et al., SOSP 2023) through `quick_cache`. What an invalidation covers
//! is taken out exactly; other keys stay.

use std::sync::Arc;

use protocol::envelope::Covered;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::entry::Entry;

/// What an entry costs beyond its bytes: the map, the queues, the counters.
const OVERHEAD_BYTES: usize = 192;
/// For the first size of the map only.
const TYPICAL_ENTRY_BYTES: u64 = 1_024;

#[derive(Debug)]
pub(crate) struct Shared {
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
    u64::try_from(OVERHEAD_BYTES + key.len() + entry.bytes()).unwrap_or(u64::MAX)
}

impl Shared {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX).clamp(64, 65_536);
        Self { entries: Cache::with_weighter(items, bytes_max, Bytes), bytes_max }
    }

    /// The entry, unless it has expired.
    pub(crate) fn get(&self, key: &str, now_ms: u64) -> Option<Arc<Entry>> {
        self.entries.get(key).filter(|entry| now_ms < entry.expires_ms)
    }

    /// Keeps an entry, unless it alone would push out a good part of everything else.
    pub(crate) fn put(&self, key: Arc<str>, entry: Arc<Entry>) {
        if weight(&key, &entry) <= self.bytes_max / 8 {
            self.entries.insert(key, entry);
        } else {
            self.entries.remove(&*key);
        }
    }

    /// Takes out what is covered. Nothing has tags yet.
    pub(crate) fn void(&self, covered: &Covered) {
        if covered.all {
            self.entries.clear();
            return;
        }
        for key in &covered.keys {
            self.entries.remove(key.as_str());
        }
        if let Some(prefix) = &covered.prefix {
            self.entries.retain(|key, _| !key.starts_with(prefix.as_str()));
        }
    }

    pub(crate) fn clear(&self) {
        self.entries.clear();
    }

    /// Bytes held, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(keys: &[&str]) -> Shared {
        let shared = Shared::new(1 << 20);
        for key in keys {
            let entry = Entry { value: None, version: None, loaded_ms: 0, expires_ms: 1_000 };
            shared.put(Arc::from(*key), Arc::new(entry));
        }
        shared
    }

    #[test]
    fn invalidation_voids_exactly_what_it_covers() {
        let check = |covered: Covered, left: &[&str]| {
            let keys = ["a", "ab", "b"];
            let shared = holding(&keys);
            shared.void(&covered);
            let held: Vec<_> = keys.into_iter().filter(|key| shared.get(key, 0).is_some()).collect();
            assert_eq!(held, left, "{covered:?}");
        };
        check(Covered::key("a"), &["ab", "b"]);
        check(Covered { prefix: Some("a".to_owned()), ..Covered::default() }, &["b"]);
        check(Covered { all: true, ..Covered::default() }, &[]);
        check(Covered { tags: vec!["t".to_owned()], ..Covered::default() }, &["a", "ab", "b"]);
    }

    #[test]
    fn expired_entry_is_not_served() {
        let shared = holding(&["a"]);
        assert!(shared.get("a", 999).is_some());
        assert!(shared.get("a", 1_000).is_none());
    }
}
