//! A cache bounded in bytes, evicted by S3-FIFO (Yang et al., SOSP 2023) through `quick_cache`. It knows nothing of coherence: whoever takes a
//! value decides whether it may be served.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// What an entry costs beyond its bytes: the map, the queues, the counters.
const OVERHEAD_BYTES: usize = 192;
/// For the first size of the map only.
const TYPICAL_ENTRY_BYTES: u64 = 1_024;
/// One value may take this part of the whole.
const SHARE_MAX: u64 = 8;

/// A value that knows its size.
pub trait Weigh {
    /// What it holds in memory beyond its key, about.
    fn bytes(&self) -> usize;
}

/// Values by key.
#[derive(Debug)]
pub struct BoundedCache<V> {
    entries: Cache<Arc<str>, Arc<V>, Bytes>,
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bytes;

impl<V: Weigh> Weighter<Arc<str>, Arc<V>> for Bytes {
    fn weight(&self, key: &Arc<str>, value: &Arc<V>) -> u64 {
        weight(key, &**value)
    }
}

fn weight(key: &str, value: &impl Weigh) -> u64 {
    u64::try_from(OVERHEAD_BYTES + key.len() + value.bytes()).unwrap_or(u64::MAX)
}

impl<V: Weigh> BoundedCache<V> {
    pub fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX).clamp(64, 65_536);
        Self { entries: Cache::with_weighter(items, bytes_max, Bytes), bytes_max }
    }

    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        self.entries.get(key)
    }

    /// Keeps a value in the place of the former one; one that alone would push out a good part of everything else is not kept.
    pub fn put(&self, key: Arc<str>, value: Arc<V>) {
        if weight(&key, &*value) <= self.bytes_max / SHARE_MAX {
            self.entries.insert(key, value);
        } else {
            self.entries.remove(&*key);
        }
    }

    pub fn remove(&self, key: &str) {
        self.entries.remove(key);
    }

    /// As it is, without counting as a use.
    pub fn peek(&self, key: &str) -> Option<Arc<V>> {
        self.entries.peek(key)
    }

    /// Removes the values that do not pass.
    pub fn retain(&self, keeps: impl Fn(&str, &V) -> bool) {
        self.entries.retain(|key, value| keeps(key, value));
    }

    pub fn clear(&self) {
        self.entries.clear();
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for Vec<u8> {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn whatever_is_put_the_bound_holds() {
        let cache = BoundedCache::new(64 << 10);
        for n in 0..10_000 {
            cache.put(Arc::from(format!("key {n}")), Arc::new(vec![0; n % 4_096]));
        }
        assert!((1..=64 << 10).contains(&cache.bytes()), "{} bytes", cache.bytes());
    }

    #[test]
    fn value_too_large_takes_the_place_of_none() {
        let cache = BoundedCache::new(64 << 10);
        cache.put(Arc::from("a"), Arc::new(vec![0]));
        cache.put(Arc::from("a"), Arc::new(vec![0; 32 << 10]));
        assert!(cache.get("a").is_none(), "also the former value is not the present one");
    }
}
