//! Answer times at one rate for all: a request is due at its instant, whatever became of those before, and its time counts from then.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::open_loop::at_rate;

use super::contenders::{Balancer, SMALL};
use crate::jobs::percentile_ms;
use crate::kept::Clients;
use crate::meter::Meter;
use crate::plan::Plan;
use crate::record::{Run, Section};
use crate::report::{progress, say};
use crate::wrk;

pub(crate) const OPEN_LOOP: &str = "balancer, open loop";
const WARM_UP: Duration = Duration::from_secs(1);

/// Half of what the slowest of all can do at most, in requests per second.
async fn rate(plan: &Plan, balancers: &[Balancer]) -> Result<u32> {
    let mut slowest = f64::INFINITY;
    for balancer in balancers {
        for length in [WARM_UP, plan.balancer_length] {
            let run = wrk::measure(&balancer.meter, balancer.address, SMALL, wrk::CONNECTIONS, length).await?;
            if length == plan.balancer_length {
                slowest = slowest.min(run.per_second());
            }
        }
    }
    ensure!(slowest.is_finite() && slowest >= 2.0, "nobody answered");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ten thousands")]
    Ok((slowest / 2.0) as u32)
}

pub(super) async fn run(plan: &Plan, balancers: &mut [Balancer]) -> Result<Section> {
    let rate = rate(plan, balancers).await?;
    say(&format!("{OPEN_LOOP}: {rate} requests per second, half of what the slowest can do"));
    for round in 0..=plan.open_loop_rounds {
        for balancer in &mut *balancers {
            let clients = Clients::new(balancer.address, SMALL);
            // Opens the connections.
            let warm_up = at(&balancer.meter, &clients, rate, WARM_UP).await;
            warm_up.with_context(|| balancer.contender.name.clone())?;
            if round > 0 {
                let run = at(&balancer.meter, &clients, rate, plan.balancer_length).await?;
                progress(OPEN_LOOP, &balancer.contender.name, &run);
                balancer.contender.runs.push(run);
            }
        }
    }
    let contenders = balancers.iter().map(|balancer| balancer.contender.clone()).collect();
    Ok(Section { name: OPEN_LOOP.to_owned(), contenders })
}

/// One measurement of these parts under so many requests per second.
pub(super) async fn at(parts: &Meter, clients: &Clients, rate: u32, length: Duration) -> Result<Run> {
    let before = parts.read()?;
    let took = at_rate(rate, length, |_| clients.ask()).await?;
    let run = Run {
        operations: u64::try_from(took.len())?,
        seconds: length.as_secs_f64(),
        p50_ms: percentile_ms(&took, 50),
        p99_ms: percentile_ms(&took, 99),
        ..Run::default()
    };
    parts.charge(&before, run)
}
