//! What the balancer costs beside HAProxy, nginx and Pingora, and what it withstands: many connections, a slow gateway, slow clients.

mod contenders;
mod idle_connections;
pub(crate) mod matrix;
mod open_loop;
mod slow_clients;
mod slow_gateway;

use anyhow::Result;
use chassis::program::raise_file_limit;

pub(crate) use idle_connections::{IDLE_CONNECTIONS, IDLE_SECTION};
pub(crate) use open_loop::OPEN_LOOP;
pub(crate) use slow_clients::{ALONE, BESIDE, ELSEWHERE, SLOW_CLIENTS};
pub(crate) use slow_gateway::{SLOW_GATEWAY, title};

use crate::plan::Plan;
use crate::record::Section;
use contenders::{Log, Origin};

/// What a request costs.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Section>> {
    let mut origin = Origin::start().await?;
    let mut sections = Vec::new();
    for log in [Log::Off, Log::On] {
        let balancers = contenders::start(plan, &mut origin, log).await?;
        sections.extend(matrix::run(plan, &balancers, log).await?);
    }
    Ok(sections)
}

/// How long requests take that come at a rate which all can bear.
pub(crate) async fn open_loop(plan: &Plan) -> Result<Vec<Section>> {
    let mut origin = Origin::start().await?;
    let mut balancers = contenders::start(plan, &mut origin, Log::Off).await?;
    Ok(vec![open_loop::run(plan, &mut balancers).await?])
}

/// Many connections, a slow gateway, slow clients.
pub(crate) async fn withstand(plan: &Plan) -> Result<Vec<Section>> {
    // For ten thousand connections; the programs that are started inherit it.
    raise_file_limit();
    let mut origin = Origin::start().await?;
    Ok(vec![
        idle_connections::run(&mut origin).await?,
        slow_clients::run(plan, &mut origin).await?,
        slow_gateway::run(plan).await?,
    ])
}
