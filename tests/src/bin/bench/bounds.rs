//! What Longshore is held to: ratios, because two contenders of one run share the machine and its noise, and seconds do not travel; and sizes.

use std::borrow::Cow;

use crate::backlog::{DRAIN, STATUS, STATUS_BESIDE, SUBMIT, SUBMIT_BESIDE};
use crate::balancer::{
    ALONE, BESIDE, ELSEWHERE, IDLE_CONNECTIONS, IDLE_SECTION, OPEN_LOOP, SLOW_CLIENTS, SLOW_GATEWAY, matrix, title,
};
use crate::record::{Contender, Record, Run};
use crate::tenants::{ALONE as NO_TENANT, BEHIND as BEHIND_TENANT, BUSY as BUSY_TENANT, LIMITED as LIMITED_TENANT};

/// What the medians of two contenders are compared by.
type Measure = fn(&Run) -> f64;

pub(crate) struct Bound {
    pub(crate) says: Cow<'static, str>,
    section: Cow<'static, str>,
    ours: Cow<'static, str>,
    /// `None`: ours is held to the limit by itself.
    theirs: Option<Cow<'static, str>>,
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
    fixed(says, "jobs", ours, Some(theirs), Run::per_second, Limit::AtLeast(least))
}

/// The p99 of requests beside a backlog, by that of the same requests where nothing waits.
const fn beside_a_backlog(says: &'static str, ours: &'static str, theirs: &'static str) -> Bound {
    fixed(says, "backlog", ours, Some(theirs), P99, Limit::AtMost(1.5))
}

const P99: Measure = |run| run.p99_ms;

/// One whose names are known when this is built.
const fn fixed(
    says: &'static str,
    section: &'static str,
    ours: &'static str,
    theirs: Option<&'static str>,
    measure: Measure,
    limit: Limit,
) -> Bound {
    let theirs = match theirs {
        Some(theirs) => Some(Cow::Borrowed(theirs)),
        None => None,
    };
    let (says, section, ours) = (Cow::Borrowed(says), Cow::Borrowed(section), Cow::Borrowed(ours));
    Bound { says, section, ours, theirs, measure, limit }
}

/// In the order in which they are shown.
pub(crate) fn all() -> Vec<Bound> {
    BOUNDS.into_iter().chain(of_the_matrix()).chain(of_the_slow_gateway()).collect()
}

/// CPU time per request, in each case, by what the others take.
fn of_the_matrix() -> impl Iterator<Item = Bound> {
    [("HAProxy", 1.1), ("Pingora", 0.6)].into_iter().flat_map(|(theirs, most)| {
        matrix::cases().into_iter().map(move |case| Bound {
            says: format!("CPU time of a request through lb, of {theirs}: {}", case.says()).into(),
            section: case.section().into(),
            ours: LB.into(),
            theirs: Some(theirs.into()),
            measure: Run::total_us,
            limit: Limit::AtMost(most),
        })
    })
}

fn of_the_slow_gateway() -> Option<Bound> {
    Some(Bound {
        says: "p99 by peak-ewma with one of three gateways ten times slower, of three that are alike".into(),
        section: SLOW_GATEWAY.into(),
        ours: title("peak-ewma", true).into(),
        theirs: Some(title("peak-ewma", false).into()),
        measure: P99,
        limit: Limit::AtMost(1.3),
    })
}

const LB: &str = "lb";

const BOUNDS: [Bound; 22] = [
    jobs("jobs per second, of the bare AMQP loop's messages per second", SIX, "bare AMQP loop", 0.3),
    jobs("the same, everything but RabbitMQ in one process", ONE, "bare AMQP loop", 0.3),
    jobs("jobs per second, of Fastify + BullMQ on Redis that keeps as much (AOF always)", SIX, BULLMQ_ALWAYS, 1.0),
    jobs("jobs per second, of FastAPI + Celery on Redis that keeps as much (AOF always)", SIX, CELERY_ALWAYS, 8.0),
    jobs("of FastAPI + Celery on Redis that may lose two seconds (AOF everysec)", SIX, CELERY_EVERY_SECOND, 8.0),
    jobs("of FastAPI + Celery on RabbitMQ", SIX, CELERY_RABBITMQ, 8.0),
    jobs("the same, everything but RabbitMQ in one process", ONE, CELERY_RABBITMQ, 8.0),
    fixed(
        "CPU time of a near hit, of a bare axum handler",
        "reads",
        "Longshore gateway",
        Some("bare axum handler"),
        Run::total_us,
        Limit::AtMost(1.3),
    ),
    fixed(
        "CPU time of a near hit, of nginx's proxy_cache",
        "reads",
        "Longshore gateway",
        Some("nginx proxy_cache"),
        Run::total_us,
        Limit::AtMost(1.2),
    ),
    fixed(
        "loads from the store for each invalidation of a hot key",
        "storm",
        "Longshore",
        None,
        Run::loads_each,
        Limit::AtMost(1.0),
    ),
    beside_a_backlog("p99 of a submit beside the backlog, of one where nothing waits", SUBMIT_BESIDE, SUBMIT),
    beside_a_backlog("p99 of a status beside the backlog, of one where nothing waits", STATUS_BESIDE, STATUS),
    fixed(
        "MiB by which the backlog and its drain made a program grow, RabbitMQ included",
        "backlog",
        DRAIN,
        None,
        Run::largest_mib,
        Limit::AtMost(300.0),
    ),
    fixed(
        "p50 from submit to start behind a backlog of another tenant, of one where nobody else is",
        "tenants",
        BEHIND_TENANT,
        Some(NO_TENANT),
        |run| run.p50_ms,
        Limit::AtMost(1.5),
    ),
    fixed(
        "p99 from submit to start behind a backlog of another tenant, of one where nobody else is",
        "tenants",
        BEHIND_TENANT,
        Some(NO_TENANT),
        P99,
        Limit::AtMost(1.5),
    ),
    fixed(
        // Slots that hold somebody's jobs are free when one of those ends, backlog or not.
        "p99 from submit to start behind a backlog of a tenant that keeps the slots busy, of one without the backlog",
        "tenants",
        BEHIND_TENANT,
        Some(BUSY_TENANT),
        P99,
        Limit::AtMost(1.5),
    ),
    fixed(
        "p99 from submit to start behind a backlog of a tenant that may run one job less than there are slots, of one where nobody else is",
        "tenants",
        LIMITED_TENANT,
        Some(NO_TENANT),
        P99,
        Limit::AtMost(1.5),
    ),
    fixed("p99 through lb in an open loop, of HAProxy", OPEN_LOOP, LB, Some("HAProxy"), P99, Limit::AtMost(1.2)),
    fixed(
        "MiB by which 10,000 idle connections made lb grow",
        IDLE_SECTION,
        IDLE_CONNECTIONS,
        None,
        Run::largest_mib,
        Limit::AtMost(150.0),
    ),
    fixed(
        "p99 beside 5,000 slow heads and 5,000 slow reads of slowhttptest, of one without them",
        SLOW_CLIENTS,
        BESIDE,
        Some(ALONE),
        P99,
        Limit::AtMost(1.5),
    ),
    fixed(
        // These cores are slowhttptest's too.
        "p99 beside the same, of one while they are at another lb",
        SLOW_CLIENTS,
        BESIDE,
        Some(ELSEWHERE),
        P99,
        Limit::AtMost(1.5),
    ),
    fixed(
        // A buffer of 64 KiB for each answer that is not taken, and 16 KiB for each head.
        "MiB by which the slow clients made lb grow",
        SLOW_CLIENTS,
        BESIDE,
        None,
        Run::largest_mib,
        Limit::AtMost(391.0),
    ),
];

impl Bound {
    /// The ratio in this record, or our own median if there is nothing to compare it with; `None`: it was not measured.
    pub(crate) fn measured(&self, record: &Record) -> Option<f64> {
        let median = |name| record.contender(&self.section, name).map(|found: &Contender| found.median(self.measure));
        let ours = median(&self.ours)?;
        let Some(theirs) = &self.theirs else { return Some(ours) };
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
    use crate::record::Section;

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
        let record =
            Record { recorded: Vec::new(), sections: vec![Section { name: "backlog".to_owned(), contenders }] };
        let bounds = all();
        let growth = bounds.iter().find(|bound| bound.section == "backlog" && bound.theirs.is_none()).unwrap();
        let of_a_submit = bounds.iter().find(|bound| bound.section == "backlog" && bound.theirs.is_some()).unwrap();
        assert_eq!(growth.measured(&record), Some(299.5));
        assert_eq!(of_a_submit.measured(&record), None, "nothing was submitted");
        assert!(growth.is_met(300.0) && !growth.is_met(300.1));
    }
}
