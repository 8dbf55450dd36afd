//! CPU time of a request through each balancer, by the number of connections, the size of the answers, and whether there is a log.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contenders::{Balancer, LARGE, Log, SMALL};
use crate::plan::Plan;
use crate::record::{Contender, Section};
use crate::report::progress;
use crate::wrk;

const CONNECTIONS: [u32; 2] = [wrk::CONNECTIONS, 1_000];
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    connections: u32,
    path: &'static str,
    log: Log,
}

/// The one that stands for all in the plot.
pub(crate) const FIRST: Case = Case { connections: wrk::CONNECTIONS, path: SMALL, log: Log::Off };
/// What the names of the sections begin with.
pub(crate) const PREFIX: &str = "balancer: ";

impl Case {
    /// What tells it from the others.
    pub(crate) fn says(self) -> String {
        let size = if self.path == LARGE { "64 KiB" } else { "small" };
        format!("{} connections, {size} answers, log {}", self.connections, self.log.word())
    }

    pub(crate) fn section(self) -> String {
        format!("{PREFIX}{}", self.says())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [Log::Off, Log::On].into_iter().flat_map(cases_with).collect()
}

fn cases_with(log: Log) -> impl Iterator<Item = Case> {
    let sizes = move |path| CONNECTIONS.map(|connections| Case { connections, path, log });
    [SMALL, LARGE].into_iter().flat_map(sizes)
}

/// All cases with this log, a section each.
pub(super) async fn run(plan: &Plan, balancers: &[Balancer], log: Log) -> Result<Vec<Section>> {
    let mut sections: Vec<_> = cases_with(log).map(|case| (case, nothing_yet(balancers))).collect();
    for round in 0..=plan.balancer_rounds {
        for (case, contenders) in &mut sections {
            for (balancer, contender) in balancers.iter().zip(contenders) {
                // The first one warms up.
                let length = if round == 0 { WARM_UP } else { plan.balancer_length };
                let run = wrk::measure(&balancer.meter, balancer.address, case.path, case.connections, length).await;
                let run = run.with_context(|| format!("{}, {}", contender.name, case.says()))?;
                balancer.empty_log()?;
                if round > 0 {
                    progress(&case.section(), &contender.name, &run);
                    contender.runs.push(run);
                }
            }
        }
    }
    let section = |(case, contenders): (Case, Vec<Contender>)| Section { name: case.section(), contenders };
    Ok(sections.into_iter().map(section).collect())
}

fn nothing_yet(balancers: &[Balancer]) -> Vec<Contender> {
    balancers.iter().map(|balancer| balancer.contender.clone()).collect()
}
