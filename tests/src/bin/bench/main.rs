//! Measures Longshore beside what people use today and beside the least that is possible, in one run, and writes it into the documentation.
//! To be started by `tests/bench/run`, which installs and builds what it needs.

mod backlog;
mod balancer;
mod bounds;
mod idle;
mod jobs;
mod kept;
mod machine;
mod meter;
mod plan;
mod programs;
mod reads;
mod record;
mod redis;
mod render;
mod report;
mod storm;
mod tenants;
mod wrk;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use chassis::testing::rabbit::{NodeConfig, ScratchNode};
use clap::{Parser, Subcommand, ValueEnum};
use protocol::time::Timestamp;

use plan::Plan;
use programs::Installed;
use record::{Record, Recording};
use report::say;

#[derive(Parser)]
#[command(name = "tests/bench/run", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// Three rounds of two seconds instead of five of six, of the balancers one of one instead of seven of three: about nine minutes in all.
    #[arg(long)]
    quick: bool,
    /// Jobs that wait in `backlog`: a million, or a tenth of them with --quick, unless something else is said.
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    backlog: Option<u32>,
    /// Writes the record here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures nothing: renders this record, or several of parts, into docs/performance.md and docs/performance.svg.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    render: Vec<PathBuf>,
    /// Where the programs of others are installed.
    #[arg(long, default_value = "target/bench", hide = true)]
    installed: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    All,
    /// No-op jobs from submit to done.
    Jobs,
    /// A read that a cache answers.
    Reads,
    /// A hot key that is invalidated all the time.
    Storm,
    /// A request through the balancer.
    Balancer,
    /// How long requests through the balancer take at one rate.
    OpenLoop,
    /// The balancer under many connections, before a slow gateway, and under slow clients.
    Withstand,
    /// Memory and CPU of the programs when they do nothing, and the latency of submits at a fixed rate.
    Idle,
    /// What a million waiting jobs change in latency and memory, and that they are all done in the end.
    Backlog,
    /// What a backlog of one tenant changes in how long a job of another waits for its start.
    Tenants,
}

#[derive(Subcommand)]
enum Part {
    /// The bare broker loop, in a process of its own.
    #[command(hide = true)]
    BareLoop { url: String, queue: String, messages: u64 },
}

#[global_allocator]
static ALLOCATOR: chassis::Allocator = chassis::Allocator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::BareLoop { url, queue, messages }) = &arguments.part {
        say(&jobs::bare_loop(url, queue, *messages).await?.to_string());
        return Ok(());
    }
    if !arguments.render.is_empty() {
        let records = arguments.render.iter().map(|file| read(file)).collect::<Result<_>>()?;
        let record = Record::joined(records).context("a part is in two of the records")?;
        return render::into_docs(&record, Path::new("docs"));
    }
    tests::unless_interrupted(measure(&arguments)).await
}

fn read(file: &Path) -> Result<Record> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no record", file.display()))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let plan = plan(arguments)?;
    let machine = machine::describe(&plan.installed).await?;
    let mut sections = Vec::new();
    let wants = |what| arguments.what == What::All || arguments.what == what;
    if wants(What::Idle) {
        idle::run(&plan).await?;
    }
    if wants(What::Balancer) {
        sections.extend(balancer::run(&plan).await?);
    }
    if wants(What::OpenLoop) {
        sections.extend(balancer::open_loop(&plan).await?);
    }
    if wants(What::Withstand) {
        sections.extend(balancer::withstand(&plan).await?);
    }
    if wants(What::Reads) {
        sections.push(reads::run(&plan, &node().await?).await?);
    }
    if wants(What::Storm) {
        sections.push(storm::run(&plan, &node().await?).await?);
    }
    if wants(What::Jobs) {
        sections.insert(0, jobs::run(&plan, &node().await?).await?);
    }
    if wants(What::Backlog) {
        sections.push(backlog::run(&plan, &node().await?).await?);
    }
    if wants(What::Tenants) {
        sections.push(tenants::run(&plan, &node().await?).await?);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let at = Timestamp::from_unix_ms(i64::try_from(now.as_millis())?).to_string();
    let record = Record { recorded: vec![Recording { at, command: command(arguments), machine }], sections };
    if !record.sections.is_empty() {
        say(&format!("\n{}", render::bounds_table(&record)));
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&record)? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        say(&format!("recorded in {}", file.display()));
    }
    Ok(())
}

/// With statistics as often as RabbitMQ makes them by default; tests make them more often.
async fn node() -> Result<ScratchNode> {
    let settings = vec!["collect_statistics_interval = 5000".to_owned()];
    ScratchNode::start_with(NodeConfig { settings, ..NodeConfig::default() }).await
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let installed = arguments.installed.canonicalize();
    let installed =
        installed.with_context(|| format!("{}: start this by tests/bench/run", arguments.installed.display()))?;
    let quick = arguments.quick;
    let (rounds, seconds, backlog) = if quick { (3, 2, 100_000) } else { (5, 6, 1_000_000) };
    let (balancer_rounds, balancer_seconds, withstand_rounds) = if quick { (1, 1, 1) } else { (7, 3, 3) };
    Ok(Plan {
        installed: Installed(installed),
        rounds,
        length: Duration::from_secs(seconds),
        balancer_rounds,
        balancer_length: Duration::from_secs(balancer_seconds),
        // The few slowest of a second are the machine's as much as the balancer's: many rounds, or the medians are chance.
        open_loop_rounds: 3 * balancer_rounds,
        withstand_rounds,
        backlog: usize::try_from(arguments.backlog.unwrap_or(backlog))?,
    })
}

fn command(arguments: &Arguments) -> String {
    let what = arguments.what.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let quick = if arguments.quick { " --quick" } else { "" };
    let backlog = arguments.backlog.map_or_else(String::new, |jobs| format!(" --backlog {jobs}"));
    format!("tests/bench/run {what}{quick}{backlog}")
}
