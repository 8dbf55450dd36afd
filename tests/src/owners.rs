//! Who owned a job when, from what the handlers themselves wrote down: a `command` task whose programs, and a grandchild that left their
//! session, append what they do to one file, with the time since the machine's start.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Where the programs of [`task`] write, in the folder of the task file.
const LOG: &str = "owners.log";

/// Says every 20 ms that it is alive, until its time is over or it is killed.
const PROGRAM: &str = r#"
import json, os, subprocess, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
now_ns = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
def note(what):
    entry = {"job_id": os.environ["LONGSHORE_JOB_ID"], "fence": int(os.environ["LONGSHORE_FENCE"]),
             "pid": os.getpid(), "at_ns": now_ns(), "what": what}
    os.write(log, (json.dumps(entry) + "\n").encode())
grandchild = len(sys.argv) > 2
if grandchild:
    seconds = float(sys.argv[2])
else:
    note("start")
    payload = json.load(sys.stdin)
    seconds = payload["seconds"]
    if payload.get("leaves"):
        program = [sys.executable, "-I", "-S", "-c", payload["leaves"], sys.argv[1], str(10 * seconds)]
        subprocess.Popen(program, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, close_fds=True)
end_ns = now_ns() + seconds * 1e9
while now_ns() < end_ns:
    time.sleep(0.02)
    note("grandchild" if grandchild else "alive")
if not grandchild:
    note("end")
"#;

/// The task `owned`: `{"seconds": …}`.
pub fn task(lease_ms: u64) -> String {
    let program = serde_json::Value::from(PROGRAM);
    format!(
        "[task.owned]\nkind = \"command\"\nprogram = \"python3\"\nargs = [\"-I\", \"-S\", \"-c\", {program}, \"{LOG}\"]\n\
         lease_ms = {lease_ms}\ngrace_ms = 200\n"
    )
}

/// A payload for `owned`; `leaves`: its program leaves a process in a session of its own, which lives ten times as long.
pub fn payload(seconds: f64, leaves: bool) -> serde_json::Value {
    serde_json::json!({"seconds": seconds, "leaves": leaves.then_some(PROGRAM)})
}

/// What one process wrote down.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    job_id: String,
    fence: u64,
    pid: u32,
    at_ns: u64,
    what: String,
}

/// From the first to the last sign of life of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub fence: u64,
    pub pid: u32,
    pub from_ns: u64,
    pub to_ns: u64,
    /// Whether it came to its own end.
    pub ended: bool,
}

/// The owners of each job, by fence.
#[derive(Debug, Default)]
pub struct Owners {
    jobs: BTreeMap<String, BTreeMap<u64, Owner>>,
}

impl Owners {
    /// Reads what the programs wrote in a folder; nothing is written yet if none has begun.
    pub fn read(folder: &Path) -> Result<Self> {
        match std::fs::read_to_string(folder.join(LOG)) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(LOG),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut owners = Self::default();
        for line in text.lines() {
            let entry: Entry = serde_json::from_str(line).with_context(|| format!("not an entry: {line}"))?;
            owners.note(entry);
        }
        Ok(owners)
    }

    fn note(&mut self, entry: Entry) {
        let Entry { job_id, fence, pid, at_ns, what } = entry;
        let owner = Owner { fence, pid, from_ns: at_ns, to_ns: at_ns, ended: false };
        let owner = self.jobs.entry(job_id).or_default().entry(fence).or_insert(owner);
        owner.from_ns = owner.from_ns.min(at_ns);
        owner.to_ns = owner.to_ns.max(at_ns);
        owner.ended |= what == "end";
    }

    pub fn of(&self, job_id: &str) -> Vec<&Owner> {
        self.jobs.get(job_id).map(|owners| owners.values().collect()).unwrap_or_default()
    }

    /// Jobs that had more than one owner, one after the other or not.
    pub fn taken_over(&self) -> usize {
        self.jobs.values().filter(|owners| owners.len() > 1).count()
    }

    /// Each pair of owners of a job of which the later one began before the earlier one was gone.
    pub fn overlaps(&self) -> Vec<String> {
        let mut overlaps = Vec::new();
        for (job_id, owners) in &self.jobs {
            let mut gone_ns = 0;
            for owner in owners.values() {
                if owner.from_ns <= gone_ns {
                    let by_ms = (gone_ns - owner.from_ns) / 1_000_000;
                    overlaps.push(format!("job {job_id}: fence {} began {by_ms} ms too early", owner.fence));
                }
                gone_ns = gone_ns.max(owner.to_ns);
            }
        }
        overlaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(job_id: &str, fence: u64, at_ms: u64, what: &str) -> String {
        format!(
            "{{\"job_id\":\"{job_id}\",\"fence\":{fence},\"pid\":7,\"at_ns\":{},\"what\":\"{what}\"}}\n",
            at_ms * 1_000_000
        )
    }

    #[test]
    fn an_overlap_is_a_start_before_the_last_sign_of_life_of_any_predecessor() {
        let check = |entries: &[(u64, u64, &str)], expected: usize| {
            let text: String = entries.iter().map(|(fence, at_ms, what)| entry("a", *fence, *at_ms, what)).collect();
            let owners = Owners::parse(&text).expect("entries");
            assert_eq!(owners.overlaps().len(), expected, "{entries:?}: {:?}", owners.overlaps());
        };
        check(&[(1, 10, "start"), (1, 20, "alive"), (2, 30, "start"), (2, 40, "end")], 0);
        check(&[(1, 10, "start"), (2, 30, "start"), (1, 31, "grandchild")], 1);
        check(&[(1, 10, "start"), (2, 30, "start"), (3, 50, "start"), (1, 60, "alive")], 2);
        check(&[(2, 30, "start"), (1, 10, "start")], 0);
        check(&[], 0);
    }

    #[test]
    fn an_owner_is_known_from_its_first_to_its_last_sign() {
        let text = entry("a", 1, 10, "start") + &entry("a", 1, 30, "end") + &entry("b", 4, 20, "alive");
        let owners = Owners::parse(&text).expect("entries");
        let expected = Owner { fence: 1, pid: 7, from_ns: 10_000_000, to_ns: 30_000_000, ended: true };
        assert_eq!((owners.of("a"), owners.taken_over()), (vec![&expected], 0));
        assert!(!owners.of("b")[0].ended && owners.of("c").is_empty());
    }
}
