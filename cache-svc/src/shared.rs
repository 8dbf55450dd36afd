//! The shared cache: what an invalidation covers is taken out exactly; other keys stay.

use std::sync::Arc;

use chassis::bounded_cache::BoundedCache;
use protocol::envelope::Covered;

use crate::entry::Entry;

#[derive(Debug)]
pub(crate) struct Shared {
    entries: BoundedCache<Entry>,
}

impl Shared {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { entries: BoundedCache::new(bytes_max) }
    }

    /// The entry, unless it has expired.
    pub(crate) fn get(&self, key: &str, now_ms: u64) -> Option<Arc<Entry>> {
        self.entries.get(key).filter(|entry| now_ms < entry.expires_ms)
    }

    /// What is there, also when it has expired; without counting as a use.
    pub(crate) fn peek(&self, key: &str) -> Option<Arc<Entry>> {
        self.entries.peek(key)
    }

    pub(crate) fn put(&self, key: Arc<str>, entry: Arc<Entry>) {
        self.entries.put(key, entry);
    }

    /// Takes out what is covered. A prefix or a tag has every entry looked at.
    pub(crate) fn void(&self, covered: &Covered) {
        if covered.all {
            self.entries.clear();
            return;
        }
        for key in &covered.keys {
            self.entries.remove(key.as_str());
        }
        if covered.prefix.is_some() || !covered.tags.is_empty() {
            self.entries.retain(|key, entry| !covered.covers(key, &entry.tags));
        }
    }

    pub(crate) fn clear(&self) {
        self.entries.clear();
    }

    /// Bytes held, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.bytes()
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::{Epoch, Incarnation, Seq};
    use protocol::invalidation::Term;
    use protocol::invalidation::sequencer::LoadMark;

    use super::*;

    /// Each entry is tagged with its first letter.
    fn holding(keys: &[&str]) -> Shared {
        let shared = Shared::new(1 << 20);
        let term = Term { incarnation: Incarnation(uuid::Uuid::nil()), epoch: Epoch(1) };
        for key in keys {
            let entry = Entry {
                value: None,
                tags: key.chars().take(1).map(String::from).collect(),
                media_type: None,
                version: None,
                read_at: None,
                mark: LoadMark { term, seq: Seq(0) },
                loaded_ms: 0,
                expires_ms: 1_000,
            };
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
        check(Covered { tags: vec!["a".to_owned()], ..Covered::default() }, &["b"]);
    }

    #[test]
    fn expired_entry_is_not_served() {
        let shared = holding(&["a"]);
        assert!(shared.get("a", 999).is_some());
        assert!(shared.get("a", 1_000).is_none());
    }
}
