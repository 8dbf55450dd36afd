//! What was read after what was acknowledged, and by whom who had written it. Pure.

mod book;
#[cfg(test)]
mod tests;

use super::{Promise, Verdict};
use crate::chaos::history::{Entry, Event};
use book::{Book, Showed};

pub(super) fn judge(history: &[Entry], verdict: &mut Verdict) {
    let book = Book::of(history);
    for entry in history {
        let Event::Read { key, value, began_us, told_us, at, near, stale, owed } = &entry.event else { continue };
        let counts = &mut verdict.counts;
        counts.reads += 1;
        counts.near_hits += u64::from(*near);
        counts.labelled_stale += u64::from(*stale);
        counts.reads_with_token += u64::from(owed.is_some());
        let what = value.map_or_else(|| "nothing".to_owned(), |value| format!("write {value}"));
        let from = if *near { " (its own cache)" } else { "" };
        let version = match book.showed(key, *value, *told_us) {
            Showed::Version(version) => version,
            Showed::AnyVersion => continue,
            Showed::Never => {
                counts.stale_reads += 1;
                let detail = format!("{key} at {at}{from}: {what} was read, which was never written there");
                verdict.break_promise(Promise::NoStaleRead, detail);
                continue;
            }
        };
        if let Some(acknowledged) = book.acknowledged(key, *began_us)
            && version < acknowledged.version
            && !stale
        {
            verdict.counts.stale_reads += 1;
            let detail = format!(
                "{key} at {at}{from}: {what} (version {version}) was read by a request that began at {began_us} us, {} us after version {} had \
                 been acknowledged",
                began_us - acknowledged.told_us,
                acknowledged.version
            );
            verdict.break_promise(Promise::NoStaleRead, detail);
        }
        if let Some(owed) = owed.filter(|owed| version < *owed) {
            let detail = format!(
                "{key} at {at}{from}: {what} (version {version}) was read at {began_us} us with the token of version {owed}"
            );
            verdict.break_promise(Promise::ReadYourWrites, detail);
        }
    }
}
