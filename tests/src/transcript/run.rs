//! From the first block of a page to its last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use chassis::testing::rabbit::ScratchNode;

use super::matching::compare;
use super::page::{Step, steps};
use super::quotation;
use super::shell::Shell;
use super::special::{Way, way};
use crate::proxy::TcpProxy;
use crate::wait::eventually;

/// For what a reader would wait for, several times over; and for a build.
const BLOCK_WITHIN: Duration = Duration::from_secs(120);
const BUILD_WITHIN: Duration = Duration::from_secs(3_600);
/// Ends what never ends by itself.
const END: &str = "kill $! && wait $!\n";
const AMQP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5672);

/// What there is besides a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// The folder can be built, and may be for as long as that takes.
    pub cargo: bool,
    /// RabbitMQ is installed, and its usual port is free.
    pub broker: bool,
    /// For what runs in the background to print the rest of what a block prints.
    pub patience: Duration,
}

/// What was done with a page's blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub pasted: usize,
    pub quoted: usize,
    /// The blocks that were not pasted: line, and what holds them.
    pub elsewhere: Vec<(usize, &'static str)>,
}

/// Runs the page `text` in `folder`, and says what was done.
///
/// # Errors
/// With the line of the first block that does not do what the page says.
pub async fn run(text: &str, folder: &Path, means: Means, environment: &[(String, String)]) -> Result<Report> {
    let steps = steps(text)?;
    let ways = |step: &Step| match step {
        Step::Paste { commands, .. } => way(commands, means),
        Step::Quote(_) => Way::Elsewhere(""),
    };
    let scripts: Vec<String> = steps.iter().flat_map(|step| scripts(step, ways(step))).collect();
    let mut shell = Shell::start(folder, &scripts, environment)?;
    let mut broker = None;
    let mut report = Report::default();
    for step in &steps {
        match (step, ways(step)) {
            (Step::Quote(block), _) => {
                quotation::check(block, folder)?;
                report.quoted += 1;
            }
            (Step::Paste { line, .. }, Way::Elsewhere(holder)) => report.elsewhere.push((*line, holder)),
            (Step::Paste { .. }, Way::Broker) => broker = Some(start_broker().await?),
            (Step::Paste { line, commands, prints }, way) => {
                let done = paste(&mut shell, prints, way, means).await;
                done.with_context(|| format!("line {line}:\n{commands}"))?;
                report.pasted += 1;
            }
        }
    }
    drop(broker);
    Ok(report)
}

/// What the shell is given for a step.
fn scripts(step: &Step, way: Way) -> Vec<String> {
    match (step, way) {
        (Step::Paste { commands, .. }, Way::Paste) => vec![commands.clone()],
        (Step::Paste { commands, .. }, Way::UntilPrinted) => {
            vec![format!("{} &\n", commands.trim_end()), END.to_owned()]
        }
        _ => Vec::new(),
    }
}

async fn paste(shell: &mut Shell, prints: &str, way: Way, means: Means) -> Result<()> {
    let status = shell.next(BLOCK_WITHIN).await?;
    ensure!(status == 0 || !prints.is_empty(), "it failed with {status}, and the page shows no output");
    let within = if way == Way::UntilPrinted { BUILD_WITHIN } else { means.patience };
    let compared = eventually(within, "it prints what the page says", async || {
        compare(prints, &shell.printed()).map(Some).map_err(|why| anyhow!(why))
    });
    compared.await.with_context(|| format!("it printed\n{}", shell.printed()))?;
    if way == Way::UntilPrinted {
        ensure!(shell.next(BLOCK_WITHIN).await? == 0, "it did not end well:\n{}", shell.printed());
    }
    Ok(())
}

/// A node at RabbitMQ's usual port.
async fn start_broker() -> Result<(ScratchNode, TcpProxy)> {
    let node = ScratchNode::start().await?;
    let proxy = TcpProxy::start_at(AMQP, node.amqp_address()).await?;
    Ok((node, proxy))
}
