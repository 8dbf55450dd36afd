//! The live sessions: which queues are consumed, by how many slots, and which tasks are known there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use protocol::ids::SessionId;
use protocol::key::TaskPattern;

/// A worker's session. One that pulls names its queues with no slots: it consumes no bells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub worker: String,
    /// Live slots by queue.
    pub queues: BTreeMap<String, u64>,
    pub tasks: BTreeSet<TaskPattern>,
    /// Unix time of its first heartbeat, ms.
    pub since_ms: i64,
}

impl Session {
    #[must_use]
    pub fn knows(&self, task: &str) -> bool {
        self.tasks.iter().any(|pattern| pattern.matches(task))
    }
}

/// All live sessions at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    sessions: HashMap<SessionId, Session>,
    queues: HashMap<String, LiveQueue>,
    /// What the sessions that pull know.
    pulled: HashMap<String, LiveQueue>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LiveQueue {
    slots: u64,
    exact: HashSet<String>,
    prefixes: BTreeSet<String>,
}

impl LiveQueue {
    fn knows(&self, task: &str) -> bool {
        self.exact.contains(task) || self.prefixes.iter().any(|prefix| task.starts_with(prefix.as_str()))
    }
}

impl Live {
    #[must_use]
    pub fn of(sessions: impl IntoIterator<Item = Session>) -> Self {
        let mut live = Self::default();
        for session in sessions {
            live.add(&session);
            live.sessions.insert(session.id, session);
        }
        live
    }

    fn add(&mut self, session: &Session) {
        for (name, slots) in &session.queues {
            let queues = if *slots > 0 { &mut self.queues } else { &mut self.pulled };
            let queue = queues.entry(name.clone()).or_default();
            queue.slots += slots;
            for pattern in &session.tasks {
                match pattern {
                    TaskPattern::Exact(task) => queue.exact.insert(task.clone()),
                    TaskPattern::Prefix(prefix) => queue.prefixes.insert(prefix.clone()),
                };
            }
        }
    }

    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The same sessions with this one as it is now, or without it.
    #[must_use]
    pub fn with(&self, id: SessionId, session: Option<Session>) -> Self {
        let others = self.sessions.values().filter(|other| other.id != id).cloned();
        Self::of(others.chain(session))
    }

    /// The queues that somebody consumes.
    pub fn queues(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    #[must_use]
    pub fn slots(&self, queue: &str) -> u64 {
        self.queues.get(queue).map_or(0, |queue| queue.slots)
    }

    /// The sessions with slots for the queue.
    pub fn consumers(&self, queue: &str) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.queues.get(queue).is_some_and(|slots| *slots > 0))
    }

    /// Whether anybody consumes the queue.
    #[must_use]
    pub fn consumes(&self, queue: &str) -> bool {
        self.queues.contains_key(queue)
    }

    /// Whether a live session consumes the queue and knows the task.
    #[must_use]
    pub fn matches(&self, queue: &str, task: &str) -> bool {
        self.queues.get(queue).is_some_and(|queue| queue.knows(task))
    }

    /// Whether a live session pulls from the queue and knows the task.
    #[must_use]
    pub fn pulls(&self, queue: &str, task: &str) -> bool {
        self.pulled.get(queue).is_some_and(|queue| queue.knows(task))
    }

    /// Whether anybody pulls from the queue.
    #[must_use]
    pub fn is_pulled_from(&self, queue: &str) -> bool {
        self.pulled.contains_key(queue)
    }

    /// The queues in which tasks are known now that were not known `before`.
    #[must_use]
    pub fn widened_since(&self, before: &Self) -> Vec<String> {
        let widened = |(name, queue): &(&String, &LiveQueue)| {
            before.queues.get(*name).is_none_or(|before| {
                !queue.exact.is_subset(&before.exact) || !queue.prefixes.is_subset(&before.prefixes)
            })
        };
        self.queues.iter().filter(widened).map(|(name, _)| name.clone()).collect()
    }

    /// The queues with more slots than `before`.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> Vec<String> {
        let grown = |(name, queue): &(&String, &LiveQueue)| queue.slots > before.slots(name);
        self.queues.iter().filter(grown).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(queues: &[(&str, u64)], tasks: &[&str]) -> Session {
        Session {
            id: SessionId::generate(),
            worker: "w".to_owned(),
            queues: queues.iter().map(|(name, slots)| ((*name).to_owned(), *slots)).collect(),
            tasks: tasks.iter().map(|task| TaskPattern::try_from((*task).to_owned()).expect("pattern")).collect(),
            since_ms: 0,
        }
    }

    #[test]
    fn a_task_is_known_only_in_the_queues_of_who_knows_it() {
        let live = Live::of([session(&[("a", 2)], &["noop", "report_*"]), session(&[("b", 1), ("c", 0)], &["*"])]);
        let check = |queue: &str, task: &str, expected: bool| assert_eq!(live.matches(queue, task), expected);
        check("a", "noop", true);
        check("a", "report_7", true);
        check("a", "other", false);
        check("b", "other", true);
        check("c", "other", false);
        assert_eq!((live.slots("a"), live.slots("c")), (2, 0));
        let check = |queue: &str, task: &str, expected: bool| assert_eq!(live.pulls(queue, task), expected);
        check("c", "other", true);
        check("a", "noop", false);
    }

    #[test]
    fn a_queue_widens_when_a_pattern_appears_in_it() {
        let first = session(&[("a", 2)], &["noop"]);
        let before = Live::of([first.clone()]);
        let check = |added: Session, expected: &[&str]| {
            let mut widened = before.with(added.id, Some(added)).widened_since(&before);
            widened.sort();
            assert_eq!(widened, expected);
        };
        check(session(&[("a", 2)], &["noop"]), &[]);
        check(session(&[("a", 2)], &["noop", "x"]), &["a"]);
        check(session(&[("b", 2)], &["noop"]), &["b"]);
        assert!(before.with(first.id, None).widened_since(&before).is_empty());
    }
}
