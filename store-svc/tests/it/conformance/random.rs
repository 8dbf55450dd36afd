//! Random histories against the definition of ringing: whatever happened before, the free places go to the waiting rows whose task some
//! live session of the queue knows, by priority, then age.

use std::collections::{BTreeMap, BTreeSet};

use protocol::api::Priority;
use protocol::ids::{JobId, SessionId};
use protocol::job::ClaimRefusal;
use protocol::store_api::{BellId, Command, Create, Created, Reply};
use store_svc::storage::{BellSeq, RungBell};

use super::{Fixture, Lab, create, heartbeat, succeeded};

const TASKS: [&str; 4] = ["a", "b", "c1", "c2"];
const PATTERNS: [&[&str]; 5] = [&["a"], &["b"], &["c*"], &["a", "b"], &["c1", "b"]];
const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
const WINDOW: usize = 4;

/// What the definition needs to know.
#[derive(Default)]
struct Expected {
    /// Waiting rows in the order of ringing.
    waiting: BTreeMap<(Priority, usize), (JobId, &'static str)>,
    places: BTreeMap<JobId, (Priority, usize, &'static str)>,
    /// Bells that hold a place.
    out: Vec<BellId>,
    sessions: Vec<(SessionId, &'static [&'static str])>,
    paused: bool,
}

impl Expected {
    fn known(&self, task: &str) -> bool {
        self.sessions.iter().any(|(_, patterns)| known(patterns, task))
    }

    fn ring(&mut self) -> Vec<JobId> {
        let free = if self.paused { 0 } else { WINDOW.saturating_sub(self.out.len()) };
        let due: Vec<_> = self.waiting.iter().filter(|(_, (_, task))| self.known(task)).take(free).collect();
        let due: Vec<_> = due.into_iter().map(|(place, (job, _))| (*place, *job)).collect();
        due.into_iter()
            .map(|(place, job)| {
                self.waiting.remove(&place);
                job
            })
            .collect()
    }

    fn wait_again(&mut self, job: JobId) {
        let (priority, age, task) = self.places[&job];
        self.waiting.insert((priority, age), (job, task));
    }
}

fn known(patterns: &[&str], task: &str) -> bool {
    let matches = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(prefix) => task.starts_with(prefix),
        None => *pattern == task,
    };
    patterns.iter().any(matches)
}

/// A sequence of numbers that looks random (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

pub(crate) fn ringing_agrees_with_its_definition<F: Fixture>() {
    for seed in 0..12 {
        let mut history = History::<F>::new(seed);
        for _ in 0..120 {
            history.step();
            history.count();
        }
    }
}

struct History<F> {
    lab: Lab<F>,
    dice: Dice,
    expected: Expected,
    ended: BTreeSet<JobId>,
    seed: u64,
}

impl<F: Fixture> History<F> {
    fn new(seed: u64) -> Self {
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9));
        Self { lab: Lab::new(), dice, expected: Expected::default(), ended: BTreeSet::new(), seed }
    }

    fn step(&mut self) {
        match self.dice.below(21) {
            0..=6 => self.create(),
            7..=11 => self.claim(),
            12 => self.begin_session(),
            13 => self.end_session(),
            14 => self.lose(),
            15 => self.unring(),
            16 => self.cancel(),
            17 => self.pause(),
            18 => self.pull(),
            _ => self.ring(),
        }
    }

    fn create(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..=self.dice.below(40) {
            let task = TASKS[self.dice.below(TASKS.len())];
            let priority = PRIORITIES[self.dice.below(PRIORITIES.len())];
            let wants_bell = self.dice.below(4) == 0;
            asked.push((task, priority, Create { priority, wants_bell, ..create(task) }));
        }
        let commands: Vec<Command> =
            asked.iter().map(|(_, _, create)| Command::Create(Box::new(create.clone()))).collect();
        for (answer, (task, priority, _)) in self.lab.apply_all(&commands).into_iter().zip(asked) {
            let Ok(Reply::Created(created)) = answer else { panic!("seed {}: {answer:?}", self.seed) };
            self.created(&created, task, priority);
        }
    }

    fn created(&mut self, created: &Created, task: &'static str, priority: Priority) {
        let age = self.expected.places.len();
        self.expected.places.insert(created.job_id, (priority, age, task));
        let Some(dispatch) = created.bell else { return self.expected.wait_again(created.job_id) };
        assert!(!self.expected.paused, "seed {}: granted in a paused queue", self.seed);
        let known = self.expected.known(task) && self.expected.out.len() < WINDOW;
        assert!(known, "seed {}: granted without a place", self.seed);
        let before = |place: &(Priority, usize), task: &str| *place < (priority, age) && self.expected.known(task);
        let overtaken = self.expected.waiting.iter().any(|(place, (_, task))| before(place, task));
        assert!(!overtaken, "seed {}: granted before others", self.seed);
        self.expected.out.push(BellId { job_id: created.job_id, dispatch });
    }

    fn ring(&mut self) {
        let rung = self.lab.ring();
        let jobs: Vec<JobId> = rung.iter().map(|bell| bell.bell.job_id).collect();
        assert_eq!(jobs, self.expected.ring(), "seed {}", self.seed);
        self.expected.out.extend(rung.iter().map(RungBell::id));
    }

    fn pick_out(&mut self) -> Option<BellId> {
        let count = self.expected.out.len();
        (count > 0).then(|| self.dice.below(count)).map(|index| self.expected.out.remove(index))
    }

    /// A session that knows it claims and ends it, or gives it back.
    fn claim(&mut self) {
        let Some((session, _)) = self.expected.sessions.first().copied() else { return };
        let Some(bell) = self.pick_out() else { return };
        let claimed = self.lab.try_claim(session, bell.job_id, bell.dispatch.0, protocol::ids::ClaimId::generate());
        match claimed {
            Ok(claimed) if self.dice.below(3) == 0 => {
                self.lab.release(bell.job_id, claimed.fence);
                self.expected.wait_again(bell.job_id);
            }
            Ok(claimed) => {
                self.lab.complete(bell.job_id, claimed.fence, succeeded());
                self.ended.insert(bell.job_id);
            }
            Err(Ok(ClaimRefusal::UnknownTask)) => {
                // It waits its turn, which is over here; or for a session that knows it.
                self.lab.wall_ms += 15_000;
                self.lab.step(|transitions| transitions.due(1_000));
                self.expected.wait_again(bell.job_id);
            }
            Err(Ok(ClaimRefusal::QueuePaused)) => {
                assert!(self.expected.paused, "seed {}: refused by a pause", self.seed);
                self.expected.wait_again(bell.job_id);
            }
            Err(Ok(_)) => assert!(self.ended.contains(&bell.job_id), "seed {}: refused", self.seed),
            Err(Err(problem)) => panic!("seed {}: {problem}", self.seed),
        }
    }

    fn pause(&mut self) {
        self.expected.paused = !self.expected.paused;
        self.lab.pause(self.expected.paused);
    }

    /// What the queue says of itself is what was created and has not ended.
    fn count(&mut self) {
        let queue = self.lab.queue();
        assert_eq!(
            queue.depth.queued,
            u64::try_from(self.expected.places.len() - self.ended.len()).expect("a few"),
            "seed {}",
            self.seed
        );
        assert_eq!((queue.depth.scheduled, queue.depth.running), (0, 0), "seed {}", self.seed);
        let out = u64::try_from(self.expected.out.len()).expect("a few");
        assert_eq!((queue.paused, queue.bells), (self.expected.paused, out), "seed {}", self.seed);
    }

    /// A worker that pulls takes what comes first for it, whether it was rung or not, and ends it. The bells keep their places.
    fn pull(&mut self) {
        let patterns = PATTERNS[self.dice.below(PATTERNS.len())];
        let limit = 1 + self.dice.below(3);
        let out = self.expected.out.iter().filter(|bell| !self.ended.contains(&bell.job_id));
        let rung = out.map(|bell| (self.expected.places[&bell.job_id], bell.job_id));
        let rung = rung.map(|((priority, age, task), job)| ((priority, age), (job, task)));
        let all: BTreeMap<_, _> = self.expected.waiting.iter().map(|(place, row)| (*place, *row)).chain(rung).collect();
        let known = |task: &str| !self.expected.paused && known(patterns, task);
        let first: Vec<_> = all.into_iter().filter(|(_, (_, task))| known(task)).take(limit).collect();
        let pull = super::pulling::pull(patterns, u32::try_from(limit).expect("small"));
        let session = pull.session;
        let taken = super::pulling::take(&mut self.lab, &pull);
        let ids: Vec<JobId> = taken.iter().map(|job| job.job_id).collect();
        assert_eq!(ids, first.iter().map(|(_, (job, _))| *job).collect::<Vec<_>>(), "seed {}", self.seed);
        for ((place, (job_id, _)), job) in first.into_iter().zip(taken) {
            self.expected.waiting.remove(&place);
            self.lab.complete(job_id, job.claimed.fence, succeeded());
            self.ended.insert(job_id);
        }
        self.lab.apply(Command::EndSession { session }).expect("ended");
    }

    fn begin_session(&mut self) {
        let patterns = PATTERNS[self.dice.below(PATTERNS.len())];
        let session = SessionId::generate();
        self.lab.beat(heartbeat(session, patterns)).expect("registered");
        self.expected.sessions.push((session, patterns));
    }

    fn end_session(&mut self) {
        if self.expected.sessions.len() > 1 {
            let (session, _) = self.expected.sessions.remove(0);
            self.lab.apply(Command::EndSession { session }).expect("ended");
        }
    }

    fn lose(&mut self) {
        self.lab.step(|transitions| transitions.lose_bells("default", BellSeq(u64::MAX >> 1), true));
        for bell in std::mem::take(&mut self.expected.out) {
            if !self.ended.contains(&bell.job_id) {
                self.expected.wait_again(bell.job_id);
            }
        }
    }

    fn unring(&mut self) {
        let Some(bell) = self.pick_out() else { return };
        self.lab.step(|transitions| transitions.unring(&[bell]));
        if !self.ended.contains(&bell.job_id) {
            self.expected.wait_again(bell.job_id);
        }
    }

    /// Its bell keeps its place.
    fn cancel(&mut self) {
        let Some(bell) = self.expected.out.first().copied() else { return };
        self.lab.apply(Command::Cancel { job_id: bell.job_id }).expect("answered");
        self.ended.insert(bell.job_id);
    }
}
