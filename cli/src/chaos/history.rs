//! What happened, in order: every request and what the client was told, every fault, every sign of life of a handler, and what the store
//! shows at the end. One JSON line each. The verdict is a function of this alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use chassis::clock::now_ms;
use protocol::api::{JobView, Status};
use protocol::envelope::Covered;
use serde::{Deserialize, Serialize};

use super::faults::Fault;
use super::plan::Focus;

/// `at_ms` is `CLOCK_BOOTTIME`, which all processes of a machine share and nobody steps; so are the microseconds of requests about data, many of
/// which begin within the millisecond in which another is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) at_ms: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// A job as an answer showed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) job_id: String,
    pub(super) task: String,
    pub(super) run: u32,
    pub(super) status: Status,
    pub(super) crashes: u32,
    /// Result and error: what must not change once the run has ended.
    pub(super) outcome: String,
}

impl From<&JobView> for Shown {
    fn from(job: &JobView) -> Self {
        let result = job.result.as_ref().map_or("", |result| result.get());
        let error = job.error.as_ref().map(|error| format!("{:?}: {}", error.kind, error.message));
        Self {
            job_id: job.job_id.to_string(),
            task: job.task.clone(),
            run: job.run,
            status: job.status,
            crashes: job.crashes,
            outcome: format!("{result}{}", error.unwrap_or_default()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    Begins,
    /// It has been done, where that takes a while.
    Lasts,
    /// Its healing begins.
    Heals,
    Healed,
}

/// What a handler says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sign {
    Starts,
    Lives,
    Ends,
}

/// What became of a write of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// Written, and every reader is past what was there before.
    Acknowledged { version: u64 },
    /// Written, but an older value may still be read.
    Durable { version: u64 },
    /// Not written.
    Refused,
    /// It may be written, now or later.
    Unknown,
}

impl Fate {
    /// Its place in the order of all writes.
    pub(super) fn version(self) -> Option<u64> {
        match self {
            Self::Acknowledged { version } | Self::Durable { version } => Some(version),
            Self::Refused | Self::Unknown => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    Trial {
        seed: u64,
        jobs: u64,
        seconds: u64,
        #[serde(default)]
        focus: Focus,
    },
    /// A submit goes out. One that is repeated under its key goes out several times.
    Submits {
        number: u64,
    },
    /// It was accepted, or is known to be.
    Accepted {
        number: u64,
        job_id: String,
    },
    /// It was refused for good: it must not exist.
    Refused {
        number: u64,
        status: u16,
    },
    /// No answer, or one that leaves it open.
    Open {
        number: u64,
        why: String,
    },
    /// A retry was accepted: this run exists.
    Retried {
        job_id: String,
        run: u32,
    },
    /// An answer to a request that began at `began_ms`.
    Seen {
        began_ms: u64,
        #[serde(flatten)]
        job: Shown,
    },
    /// An accepted job is not known any more.
    Missing {
        job_id: String,
        status: u16,
    },
    /// 429 or 503.
    Overload {
        path: String,
        status: u16,
        says_when: bool,
    },
    /// No answer at all for longer than any may take.
    Hung {
        path: String,
        began_ms: u64,
    },
    Fault {
        fault: Fault,
        phase: Phase,
        is_alone: bool,
    },
    /// The service has got over a fault that came alone: everything accepted before has ended, and new work is done.
    Recovered {
        fault: Fault,
        took_ms: u64,
        bound_ms: u64,
    },
    NotRecovered {
        fault: Fault,
        within_ms: u64,
        why: String,
    },
    /// A write of data goes out, or a removal. What it writes is its number.
    Writes {
        number: u64,
        key: String,
        removes: bool,
        began_us: u64,
    },
    /// What the client was told of it.
    Wrote {
        number: u64,
        began_us: u64,
        told_us: u64,
        at: String,
        /// For the fence.
        waited: bool,
        fate: Fate,
    },
    /// An invalidation came to its end, by this answer; 0: by none.
    Invalidated {
        covered: Covered,
        began_us: u64,
        told_us: u64,
        at: String,
        status: u16,
        fenced: bool,
    },
    /// The job of this submit voids these keys when it ends.
    Declares {
        number: u64,
        keys: Vec<String>,
    },
    Read {
        key: String,
        /// The number of a write; nothing: there is nothing under the key.
        value: Option<u64>,
        began_us: u64,
        told_us: u64,
        at: String,
        /// The gateway's own cache answered.
        near: bool,
        /// The answer says so itself.
        stale: bool,
        /// The version of the write whose token the request carried.
        owed: Option<u64>,
    },
    /// A GET through the balancer that began then did not get its answer.
    ReadFailed {
        began_ms: u64,
        why: String,
    },
    Handler {
        job_id: String,
        run: u32,
        fence: u64,
        sign: Sign,
    },
    /// The service has got over a storm.
    Calm {
        took_ms: u64,
    },
    /// It did not within the bound.
    NotCalm {
        why: String,
    },
    /// Everything is healed, and no further job is submitted.
    Healed,
    /// No job is left that has not ended.
    Drained,
    /// As the store lists it at the end.
    Stored(Shown),
    /// What a program uses at a moment of the trial.
    Usage {
        program: String,
        moment: Moment,
        resident_bytes: u64,
        open_files: u64,
        threads: u64,
    },
    /// A cache-svc says that it became sequencer.
    Sequencer {
        program: String,
        line: String,
    },
    /// A program panicked, or ended by itself.
    Panicked {
        program: String,
        line: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moment {
    Before,
    /// In the calm after the first storm.
    FirstStorm,
    LastStorm,
    /// When everything has ended and idle connections are closed.
    After,
}

/// Running figures for people who watch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) submitted: u64,
    pub(super) accepted: u64,
    pub(super) seen_ended: u64,
}

/// Where the parts of a trial write to. They share one thread.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    entries: RefCell<Vec<Entry>>,
    figures: RefCell<Figures>,
    /// Of the submits that were accepted.
    accepted: RefCell<BTreeSet<u64>>,
}

impl Recorder {
    pub(super) fn note(&self, event: Event) {
        self.note_at(now_ms(), event);
    }

    pub(super) fn note_at(&self, at_ms: u64, event: Event) {
        let mut figures = self.figures.borrow_mut();
        match &event {
            Event::Submits { .. } => figures.submitted += 1,
            Event::Accepted { number, .. } => figures.accepted += u64::from(self.accepted.borrow_mut().insert(*number)),
            Event::Seen { job, .. } if job.status.is_terminal() => figures.seen_ended += 1,
            _ => {}
        }
        self.entries.borrow_mut().push(Entry { at_ms, event });
    }

    pub(super) fn figures(&self) -> Figures {
        *self.figures.borrow()
    }

    /// In the order of time: handlers wrote theirs into a file of their own.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        let mut entries = self.entries.into_inner();
        entries.sort_by_key(|entry| entry.at_ms);
        entries
    }
}

/// Writes the history, a line for each entry.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for entry in entries {
        serde_json::to_writer(&mut file, entry)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::faults::{Link, Member};

    #[test]
    fn entries_survive_their_line() {
        let job = Shown {
            job_id: "j".to_owned(),
            task: "noop-1".to_owned(),
            run: 1,
            status: Status::Succeeded,
            crashes: 0,
            outcome: "1".to_owned(),
        };
        let fault = |fault| Event::Fault { fault, phase: Phase::Begins, is_alone: true };
        for event in [
            Event::Seen { began_ms: 3, job: job.clone() },
            Event::Stored(job),
            fault(Fault::Kill(Member::Worker0)),
            fault(Fault::ClockStep(Member::StoreSvc, -15)),
            fault(Fault::Reset(Link::GatewayBroker)),
            fault(Fault::BrokerWiped),
            Event::Handler { job_id: "j".to_owned(), run: 1, fence: 7, sign: Sign::Lives },
            Event::Wrote {
                number: 4,
                began_us: 1,
                told_us: 2,
                at: "lb".to_owned(),
                waited: true,
                fate: Fate::Acknowledged { version: 2 },
            },
            Event::Invalidated {
                covered: Covered::key("k"),
                began_us: 1,
                told_us: 2,
                at: "lb".to_owned(),
                status: 200,
                fenced: true,
            },
            Event::Healed,
        ] {
            let entry = Entry { at_ms: 9, event };
            let line = serde_json::to_string(&entry).expect("JSON");
            assert_eq!(serde_json::from_str::<Entry>(&line).expect("an entry"), entry, "{line}");
        }
    }
}
