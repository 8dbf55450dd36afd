//! The last invalidations, in order: for the answers to renewals, and to decide whether a load is overtaken. Bounded by names, with a
//! floor: what is older is answered with the cautious word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::envelope::Covered;
use crate::ids::Seq;
use crate::invalidation::Entry;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    names: usize,
    /// The last entry that was dropped.
    floor: Seq,
    last: Seq,
    /// The last seq of each key and tag that the ring names, so that a fill needs no scan.
    keys: BTreeMap<String, Seq>,
    tags: BTreeMap<String, Seq>,
    /// The last one that names a tag, whichever.
    any_tag: Seq,
    prefixes: VecDeque<(Seq, Arc<Covered>)>,
    all: Seq,
}

impl Ring {
    pub(super) fn last(&self) -> Seq {
        self.last
    }

    pub(super) fn push(&mut self, covered: Arc<Covered>, names_max: usize) -> Entry {
        let seq = self.last.next();
        self.last = seq;
        for key in &covered.keys {
            self.keys.insert(key.clone(), seq);
        }
        for tag in &covered.tags {
            self.tags.insert(tag.clone(), seq);
            self.any_tag = seq;
        }
        if covered.prefix.is_some() {
            self.prefixes.push_back((seq, Arc::clone(&covered)));
        }
        if covered.all {
            self.all = seq;
        }
        let entry = Entry { seq, covered };
        self.names += entry.covered.names();
        self.entries.push_back(entry.clone());
        while self.names > names_max {
            self.drop_oldest();
        }
        entry
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.names -= oldest.covered.names();
        self.floor = oldest.seq;
        for key in &oldest.covered.keys {
            if self.keys.get(key) == Some(&oldest.seq) {
                self.keys.remove(key);
            }
        }
        for tag in &oldest.covered.tags {
            if self.tags.get(tag) == Some(&oldest.seq) {
                self.tags.remove(tag);
            }
        }
        if self.prefixes.front().is_some_and(|(seq, _)| *seq == oldest.seq) {
            self.prefixes.pop_front();
        }
    }

    /// Every entry after `seq`; `None` when the ring does not reach back so far, or they have more names than `names_max`.
    pub(super) fn after(&self, seq: Seq, names_max: usize) -> Option<Vec<Entry>> {
        if seq < self.floor || seq > self.last {
            return None;
        }
        let mut names = 0;
        let mut entries = VecDeque::new();
        for entry in self.entries.iter().rev().take_while(|entry| entry.seq > seq) {
            names += entry.covered.names();
            if names > names_max {
                return None;
            }
            entries.push_front(entry.clone());
        }
        Some(entries.into())
    }

    /// Whether anything after `seq` covers this; also said when the ring does not reach back so far. `None`: tags not known yet.
    pub(super) fn covers_after(&self, seq: Seq, key: &str, tags: Option<&[String]>) -> bool {
        let is_after = |found: Option<&Seq>| found.is_some_and(|found| *found > seq);
        seq < self.floor
            || self.all > seq
            || is_after(self.keys.get(key))
            || tags.map_or(self.any_tag > seq, |tags| tags.iter().any(|tag| is_after(self.tags.get(tag))))
            || self.prefixes.iter().rev().take_while(|(at, _)| *at > seq).any(|(_, prefix)| prefix.covers(key, &[]))
    }
}
