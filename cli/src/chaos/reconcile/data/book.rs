//! What is known of all writes: their order, as far as their clients were told it, and when which of them was acknowledged. A write of unknown
//! fate may happen at any later time, so what it wrote may be read at any later time. Pure.

use std::collections::BTreeMap;

use protocol::api::Status;
use protocol::envelope::Covered;

use crate::chaos::errands::Work;
use crate::chaos::history::{Entry, Event, Fate};

#[derive(Clone, Copy, Debug)]
struct Write<'a> {
    key: &'a str,
    removes: bool,
    began_us: u64,
    /// When its client was told, and what; nothing: never.
    told: Option<(u64, Fate)>,
}

impl Write<'_> {
    fn version(&self) -> Option<u64> {
        self.told.and_then(|(_, fate)| fate.version())
    }

    fn is_unknown(&self) -> bool {
        self.told.is_none_or(|(_, fate)| fate == Fate::Unknown)
    }
}

/// From `told_us` on no reader may see less than `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) told_us: u64,
    pub(super) version: u64,
}

/// What an answer tells of the state that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Showed {
    /// That of this version, or, of several that look alike, the latest.
    Version(u64),
    /// It may be that of any version.
    AnyVersion,
    /// No state that there can have been.
    Never,
}

#[derive(Debug, Default)]
pub(super) struct Book<'a> {
    writes: BTreeMap<u64, Write<'a>>,
    /// By key, in the order of their being told; the versions grow with it.
    acknowledged: BTreeMap<&'a str, Vec<Acknowledged>>,
}

impl<'a> Book<'a> {
    pub(super) fn of(history: &'a [Entry]) -> Self {
        let mut book = Self::default();
        for Entry { event, .. } in history {
            match event {
                Event::Writes { number, key, removes, began_us } => {
                    let write = Write { key, removes: *removes, began_us: *began_us, told: None };
                    book.writes.insert(*number, write);
                }
                Event::Wrote { number, told_us, fate, .. } => {
                    if let Some(write) = book.writes.get_mut(number) {
                        write.told = Some((*told_us, *fate));
                    }
                }
                _ => {}
            }
        }
        book.acknowledge(history);
        book
    }

    fn acknowledge(&mut self, history: &'a [Entry]) {
        let known = Known::of(&self.writes);
        let mut jobs = Jobs::default();
        for Entry { at_ms, event } in history {
            match event {
                Event::Wrote { number, told_us, fate: Fate::Acknowledged { version }, .. } => {
                    if let Some(write) = self.writes.get(number) {
                        raise(&mut self.acknowledged, write.key, *told_us, *version);
                    }
                }
                Event::Invalidated { covered, began_us, told_us, status: 200, fenced: true, .. } => {
                    known.cover(covered, *began_us, |key, version| {
                        raise(&mut self.acknowledged, key, *told_us, version);
                    });
                }
                Event::Submits { number } => drop(jobs.submitted.entry(*number).or_insert(at_ms * 1_000)),
                Event::Declares { number, keys } => drop(jobs.declared.insert(*number, keys)),
                Event::Seen { job, .. } if job.status == Status::Succeeded => {
                    if let Some((keys, began_us)) = jobs.voided(&job.task) {
                        let covered = Covered { keys: keys.to_vec(), ..Covered::default() };
                        known.cover(&covered, began_us, |key, version| {
                            raise(&mut self.acknowledged, key, at_ms * 1_000 + 999, version);
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// The latest that had been acknowledged under the key before this instant.
    pub(super) fn acknowledged(&self, key: &str, before_us: u64) -> Option<Acknowledged> {
        let all = self.acknowledged.get(key)?;
        let count = all.partition_point(|acknowledged| acknowledged.told_us < before_us);
        all[..count].last().copied()
    }

    /// What this value under this key (nothing: there is none), in an answer at this instant, tells.
    pub(super) fn showed(&self, key: &str, value: Option<u64>, at_us: u64) -> Showed {
        let Some(number) = value else { return self.showed_nothing(key, at_us) };
        let Some(write) = self.writes.get(&number) else { return Showed::Never };
        if write.key != key || write.removes || write.began_us > at_us {
            return Showed::Never;
        }
        match write.version() {
            Some(version) => Showed::Version(version),
            None if write.is_unknown() => Showed::AnyVersion,
            None => Showed::Never,
        }
    }

    /// It may be the state before all writes, or after any removal.
    fn showed_nothing(&self, key: &str, at_us: u64) -> Showed {
        let may_count = |write: &&Write<'_>| write.key == key && write.removes && write.began_us <= at_us;
        let mut latest = 0;
        for removal in self.writes.values().filter(may_count) {
            if removal.is_unknown() {
                return Showed::AnyVersion;
            }
            latest = latest.max(removal.version().unwrap_or_default());
        }
        Showed::Version(latest)
    }
}

/// By key: the versions that somebody had been told of, in the order of their being told, each with the latest up to then.
struct Known<'a>(BTreeMap<&'a str, Vec<Acknowledged>>);

impl<'a> Known<'a> {
    fn of(writes: &BTreeMap<u64, Write<'a>>) -> Self {
        let told = |write: &Write<'a>| Some((write.told?.0, write.key, write.version()?));
        let mut all: Vec<_> = writes.values().filter_map(told).collect();
        all.sort_unstable();
        let mut known = BTreeMap::new();
        for (told_us, key, version) in all {
            raise(&mut known, key, told_us, version);
        }
        Self(known)
    }

    /// Names each covered key with the latest version that was known before `began_us`: the invalidation began after it was written.
    fn cover(&self, covered: &Covered, began_us: u64, mut name: impl FnMut(&'a str, u64)) {
        for (key, known) in self.0.iter().filter(|(key, _)| covered.covers(key, &[])) {
            let count = known.partition_point(|known| known.told_us < began_us);
            if let Some(latest) = known[..count].last() {
                name(key, latest.version);
            }
        }
    }
}

/// Notes a version, unless a later one was told before. The instants stay in order: a later one binds nobody too early.
fn raise<'a>(all: &mut BTreeMap<&'a str, Vec<Acknowledged>>, key: &'a str, told_us: u64, version: u64) {
    let of_key = all.entry(key).or_default();
    let last = of_key.last().copied();
    if last.is_none_or(|last| last.version < version) {
        let told_us = last.map_or(told_us, |last| last.told_us.max(told_us));
        of_key.push(Acknowledged { told_us, version });
    }
}

/// The jobs that void data.
#[derive(Default)]
struct Jobs<'a> {
    /// By the number of the submit: when it went out for the first time, not later than that.
    submitted: BTreeMap<u64, u64>,
    declared: BTreeMap<u64, &'a Vec<String>>,
}

impl<'a> Jobs<'a> {
    /// What the job of this task voided when it ended, and an instant before its begin.
    fn voided(&self, task: &str) -> Option<(&'a Vec<String>, u64)> {
        let (name, number) = task.rsplit_once('-')?;
        let number = number.parse().ok().filter(|_| name == Work::Invalidating.name())?;
        Some((self.declared.get(&number).copied()?, *self.submitted.get(&number)?))
    }
}
