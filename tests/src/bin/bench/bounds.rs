//! The ratios that Longshore is held to. Ratios, because two contenders of one run share the machine and its noise; seconds do not travel.

use crate::record::{Contender, Record, Run};

/// What the medians of two contenders are compared by.
type Measure = fn(&Run) -> f64;

pub(crate) struct Bound {
    pub(crate) says: &'static str,
    pub(crate) section: &'static str,
    ours: &'static str,
    theirs: &'static str,
    measure: Measure,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

const CELERY_ALWAYS: &str = "FastAPI + Celery on Redis, AOF always";
const CELERY_EVERY_SECOND: &str = "FastAPI + Celery on Redis, AOF everysec";
const CELERY_RABBITMQ: &str = "FastAPI + Celery on RabbitMQ";
const SIX: &str = "Longshore on RabbitMQ";
const ONE: &str = "Longshore in one process, on RabbitMQ";

/// Jobs per second, ours by theirs.
const fn jobs(says: &'static str, ours: &'static str, theirs: &'static str, least: f64) -> Bound {
    Bound { says, section: "jobs", ours, theirs, measure: Run::per_second, limit: Limit::AtLeast(least) }
}

pub(crate) const BOUNDS: [Bound; 8] = [
    jobs("jobs per second, of the bare AMQP loop's messages per second", SIX, "bare AMQP loop", 0.25),
    jobs("the same, everything but RabbitMQ in one process", ONE, "bare AMQP loop", 0.25),
    jobs("jobs per second, of FastAPI + Celery on Redis that keeps as much (AOF always)", SIX, CELERY_ALWAYS, 8.0),
    jobs("of FastAPI + Celery on Redis that may lose two seconds (AOF everysec)", SIX, CELERY_EVERY_SECOND, 8.0),
    jobs("of FastAPI + Celery on RabbitMQ", SIX, CELERY_RABBITMQ, 8.0),
    jobs("the same, everything but RabbitMQ in one process", ONE, CELERY_RABBITMQ, 8.0),
    Bound {
        says: "CPU time of a near hit, of a bare axum handler",
        section: "reads",
        ours: "Longshore gateway",
        theirs: "bare axum handler",
        measure: Run::total_us,
        limit: Limit::AtMost(1.7),
    },
    Bound {
        says: "CPU time of a request through lb, of HAProxy",
        section: "balancer",
        ours: "lb",
        theirs: "HAProxy",
        measure: Run::total_us,
        limit: Limit::AtMost(1.3),
    },
];

impl Bound {
    /// The ratio in this record, if both were measured.
    pub(crate) fn ratio(&self, record: &Record) -> Option<f64> {
        let median = |name| record.contender(self.section, name).map(|found: &Contender| found.median(self.measure));
        let (ours, theirs) = (median(self.ours)?, median(self.theirs)?);
        (theirs > 0.0).then(|| ours / theirs)
    }

    pub(crate) fn is_met(&self, ratio: f64) -> bool {
        match self.limit {
            Limit::AtLeast(least) => ratio >= least,
            Limit::AtMost(most) => ratio <= most,
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
    use super::*;

    #[test]
    fn a_bound_is_met_up_to_its_limit() {
        let check = |bound: &Bound, ratio, met| assert_eq!(bound.is_met(ratio), met, "{} at {ratio}", bound.says);
        let [of_the_loop, .., of_axum, _] = &BOUNDS;
        check(of_the_loop, 0.25, true);
        check(of_the_loop, 0.24, false);
        check(of_axum, 1.7, true);
        check(of_axum, 1.71, false);
    }
}
