//! What Longshore is held to: ratios, because two contenders of one run share the machine and its noise, and seconds do not travel; and sizes.

use crate::backlog::{DRAIN, STATUS, STATUS_BESIDE, SUBMIT, SUBMIT_BESIDE};
use crate::record::{Contender, Record, Run};

/// What the medians of two contenders are compared by.
type Measure = fn(&Run) -> f64;

pub(crate) struct Bound {
    pub(crate) says: &'static str,
    pub(crate) section: &'static str,
    ours: &'static str,
    /// `None`: ours is held to the limit by itself.
    theirs: Option<&'static str>,
    measure: Measure,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

const CELERY_ALWAYS: &str = "FastAPI + Celery on Redis, AOF always";
const BULLMQ_ALWAYS: &str = "Fastify + BullMQ, AOF always";
const CELERY_EVERY_SECOND: &str = "FastAPI + Celery on Redis, AOF everysec";
const CELERY_RABBITMQ: &str = "FastAPI + Celery on RabbitMQ";
const SIX: &str = "Longshore on RabbitMQ";
const ONE: &str = "Longshore in one process, on RabbitMQ";

/// Jobs per second, ours by theirs.
const fn jobs(says: &'static str, ours: &'static str, theirs: &'static str, least: f64) -> Bound {
    Bound { says, section: "jobs", ours, theirs: Some(theirs), measure: Run::per_second, limit: Limit::AtLeast(least) }
}

/// The p99 of requests beside a backlog, by that of the same requests where nothing waits.
const fn beside_a_backlog(says: &'static str, ours: &'static str, theirs: &'static str) -> Bound {
    let measure: Measure = |run| run.p99_ms;
    Bound { says, section: "backlog", ours, theirs: Some(theirs), measure, limit: Limit::AtMost(1.5) }
}

pub(crate) const BOUNDS: [Bound; 14] = [
    jobs("jobs per second, of the bare AMQP loop's messages per second", SIX, "bare AMQP loop", 0.3),
    jobs("the same, everything but RabbitMQ in one process", ONE, "bare AMQP loop", 0.3),
    jobs("jobs per second, of Fastify + BullMQ on Redis that keeps as much (AOF always)", SIX, BULLMQ_ALWAYS, 1.0),
    jobs("jobs per second, of FastAPI + Celery on Redis that keeps as much (AOF always)", SIX, CELERY_ALWAYS, 8.0),
    jobs("of FastAPI + Celery on Redis that may lose two seconds (AOF everysec)", SIX, CELERY_EVERY_SECOND, 8.0),
    jobs("of FastAPI + Celery on RabbitMQ", SIX, CELERY_RABBITMQ, 8.0),
    jobs("the same, everything but RabbitMQ in one process", ONE, CELERY_RABBITMQ, 8.0),
    Bound {
        says: "CPU time of a near hit, of a bare axum handler",
        section: "reads",
        ours: "Longshore gateway",
        theirs: Some("bare axum handler"),
        measure: Run::total_us,
        limit: Limit::AtMost(1.3),
    },
    Bound {
        says: "CPU time of a near hit, of nginx's proxy_cache",
        section: "reads",
        ours: "Longshore gateway",
        theirs: Some("nginx proxy_cache"),
        measure: Run::total_us,
        limit: Limit::AtMost(1.2),
    },
    Bound {
        says: "loads from the store for each invalidation of a hot key",
        section: "storm",
        ours: "Longshore",
        theirs: None,
        measure: Run::loads_each,
        limit: Limit::AtMost(1.0),
    },
    Bound {
        says: "CPU time of a request through lb, of HAProxy",
        section: "balancer",
        ours: "lb",
        theirs: Some("HAProxy"),
        measure: Run::total_us,
        limit: Limit::AtMost(1.3),
    },
    beside_a_backlog("p99 of a submit beside the backlog, of one where nothing waits", SUBMIT_BESIDE, SUBMIT),
    beside_a_backlog("p99 of a status beside the backlog, of one where nothing waits", STATUS_BESIDE, STATUS),
    Bound {
        says: "MiB by which the backlog and its drain made a program grow, RabbitMQ included",
        section: "backlog",
        ours: DRAIN,
        theirs: None,
        measure: Run::largest_mib,
        limit: Limit::AtMost(300.0),
    },
];

impl Bound {
    /// The ratio in this record, or our own median if there is nothing to compare it with; `None`: it was not measured.
    pub(crate) fn measured(&self, record: &Record) -> Option<f64> {
        let median = |name| record.contender(self.section, name).map(|found: &Contender| found.median(self.measure));
        let ours = median(self.ours)?;
        let Some(theirs) = self.theirs else { return Some(ours) };
        median(theirs).filter(|theirs| *theirs > 0.0).map(|theirs| ours / theirs)
    }

    pub(crate) fn is_met(&self, measured: f64) -> bool {
        match self.limit {
            Limit::AtLeast(least) => measured >= least,
            Limit::AtMost(most) => measured <= most,
        }
    }

    pub(crate) fn limit(&self) -> String {
        match self.limit {
            Limit::AtLeast(least) => format!("≥ {least}"),
            Limit::AtMost(most) => format!("≤ {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::{Machine, Section};

    #[test]
    fn a_bound_is_met_up_to_its_limit() {
        let check = |bound: &Bound, ratio, met| assert_eq!(bound.is_met(ratio), met, "{} at {ratio}", bound.says);
        let [of_the_loop, _, _, _, _, _, _, of_axum, ..] = &BOUNDS;
        check(of_the_loop, 0.3, true);
        check(of_the_loop, 0.29, false);
        check(of_axum, 1.3, true);
        check(of_axum, 1.31, false);
    }

    #[test]
    fn a_size_is_held_to_its_limit_by_itself() {
        let resident_mib = BTreeMap::from([("lb".to_owned(), 1.5), ("store-svc".to_owned(), 299.5)]);
        let runs = vec![Run { resident_mib, ..Run::default() }];
        let contenders = vec![Contender { name: DRAIN.to_owned(), what: String::new(), runs }];
        let record = Record {
            recorded_at: String::new(),
            command: String::new(),
            machine: Machine::default(),
            sections: vec![Section { name: "backlog".to_owned(), contenders }],
        };
        let [.., of_a_submit, _, growth] = &BOUNDS;
        assert_eq!(growth.measured(&record), Some(299.5));
        assert_eq!(of_a_submit.measured(&record), None, "nothing was submitted");
        assert!(growth.is_met(300.0) && !growth.is_met(300.1));
    }
}
