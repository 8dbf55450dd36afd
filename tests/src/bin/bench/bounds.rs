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

pub(crate) const BOUNDS: [Bound; 4] = [
    Bound {
        says: "jobs per second, of the bare AMQP loop's messages per second",
        section: "jobs",
        ours: "Longshore on RabbitMQ",
        theirs: "bare AMQP loop",
        measure: Run::per_second,
        limit: Limit::AtLeast(0.25),
    },
    Bound {
        says: "jobs per second, of FastAPI + Celery on RabbitMQ",
        section: "jobs",
        ours: "Longshore on RabbitMQ",
        theirs: "FastAPI + Celery on RabbitMQ",
        measure: Run::per_second,
        limit: Limit::AtLeast(8.0),
    },
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
        let [of_the_loop, _, of_axum, _] = &BOUNDS;
        check(of_the_loop, 0.25, true);
        check(of_the_loop, 0.24, false);
        check(of_axum, 1.7, true);
        check(of_axum, 1.71, false);
    }
}
