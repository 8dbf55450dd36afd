//! The balancer's own cost: lb beside HAProxy and nginx with the same work on the same three backends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::Process;
use tests::binaries::binary;
use tests::ports::free_address;

use crate::meter::Meter;
use crate::plan::Plan;
use crate::programs::{self, fill, until_answers};
use crate::reads::start_nginx;
use crate::record::{Contender, Section};
use crate::report::progress;
use crate::wrk;

const BACKENDS: &str = include_str!("../../../bench/balancer/backends.cfg");
const HAPROXY: &str = include_str!("../../../bench/balancer/haproxy.cfg");
const NGINX: &str = include_str!("../../../bench/balancer/nginx.conf");
const BODY: [u8; 100] = [b'x'; 100];

struct Balancer {
    contender: Contender,
    address: SocketAddr,
    process: Process,
}

pub(crate) async fn run(plan: &Plan) -> Result<Section> {
    let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("body"), BODY)?;
    let ports = [free_address()?, free_address()?, free_address()?];
    let backends: Vec<(&str, String)> =
        ["a", "b", "c"].into_iter().zip(ports).map(|(name, port)| (name, port.to_string())).collect();
    let with = |name: &'static str, value: String| [backends.as_slice(), &[(name, value)]].concat();
    let haproxy = |name: &str, text: String| {
        let settings = place(&format!("{name}.cfg"));
        std::fs::write(&settings, text)?;
        programs::start(folder.path(), name, "haproxy", &["-f", &settings], &[])
    };
    let mut origin = haproxy("backends", fill(BACKENDS, &with("body", place("body")))?)?;
    until_answers(&mut origin, ports[0], "/").await?;
    let addresses = [free_address()?, free_address()?, free_address()?];
    let [longshore, proxy, nginx] = addresses.map(|address| address.to_string());
    let list = backends.iter().map(|(_, port)| port.as_str()).collect::<Vec<_>>().join(",");
    let environment = [
        ("LONGSHORE_LISTEN", longshore),
        ("LONGSHORE_BACKENDS", list),
        ("LONGSHORE_ACCESS_LOG", "false".to_owned()),
        ("LONGSHORE_EVENT_LOOPS", std::thread::available_parallelism()?.to_string()),
    ];
    let processes = [
        programs::start(folder.path(), "lb", binary("lb")?, &[], &environment)?,
        haproxy("haproxy", fill(HAPROXY, &with("listen", proxy))?)?,
        start_nginx(folder.path(), "nginx", NGINX, &with("listen", nginx))?,
    ];
    let said = [
        ("lb", "round robin, checks each 250 ms, retries, request ids, forwarding fields, metrics on, a loop per core"),
        ("HAProxy", "the same settings, two threads"),
        ("nginx", "the same without active checks, a worker per core"),
    ];
    let mut balancers = Vec::new();
    for (((name, what), address), process) in said.into_iter().zip(addresses).zip(processes) {
        let contender = Contender { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() };
        balancers.push(Balancer { contender, address, process });
    }
    measure(plan, &mut balancers).await
}

async fn measure(plan: &Plan, balancers: &mut [Balancer]) -> Result<Section> {
    for balancer in &mut *balancers {
        until_answers(&mut balancer.process, balancer.address, "/").await?;
    }
    for round in 0..=plan.rounds {
        for balancer in &mut *balancers {
            let mut meter = Meter::default();
            meter.add("balancer", balancer.process.pid());
            // The first one warms up.
            let length = if round == 0 { Duration::from_secs(1) } else { plan.length };
            let run = wrk::measure(&meter, balancer.address, "/", length).await;
            let run = run.with_context(|| balancer.contender.name.clone())?;
            if round > 0 {
                progress("balancer", &balancer.contender.name, &run);
                balancer.contender.runs.push(run);
            }
        }
    }
    let contenders = balancers.iter().map(|balancer| balancer.contender.clone()).collect();
    Ok(Section { name: "balancer".to_owned(), contenders })
}
