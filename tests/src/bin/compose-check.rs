//! Runs `docker compose up` of a folder (a fresh clone, as `tests/compose/run` makes it) under a project name of its own, holds it to what
//! it promises, and removes it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tests::compose::check::{Check, Scripts};
use tests::compose::{PORTS, Project};
use tests::ports::free_address;
use tests::unless_interrupted;

#[derive(Parser)]
struct Arguments {
    /// The folder that holds `docker-compose.yml`.
    #[arg(long)]
    folder: PathBuf,
    /// Which RabbitMQ.
    #[arg(long)]
    rabbitmq_image: String,
    /// The build's link-time optimization: thin, as shipped, or off, which builds in about half of the time.
    #[arg(long, default_value = "thin")]
    lto: String,
    /// Publish on free ports instead of the documented ones. The client scripts call those, so they are not run then.
    #[arg(long, conflicts_with = "scripts")]
    free_ports: bool,
    /// The folder that holds `test.py` and `test_cache_invalidation.py`.
    #[arg(long)]
    scripts: Option<PathBuf>,
    /// A Python that has `requests`.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// How often the invalidation script runs.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Leave the project as it is at the end, to look at it.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match check(&arguments).await {
        Ok(()) => {
            say(&format!("ok: all of it on {}", arguments.rabbitmq_image));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("FAILED on {}: {error:#}", arguments.rabbitmq_image));
            ExitCode::FAILURE
        }
    }
}

async fn check(arguments: &Arguments) -> Result<()> {
    let mut variables = BTreeMap::new();
    for (variable, port) in PORTS {
        let port = if arguments.free_ports { free_address()?.port() } else { port };
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port} is in use; free it, or use --free-ports"))?;
        variables.insert(variable.to_owned(), port.to_string());
    }
    variables.insert("RABBITMQ_IMAGE".to_owned(), arguments.rabbitmq_image.clone());
    variables.insert("LTO".to_owned(), arguments.lto.clone());
    let name = format!("longshore-check-{}", std::process::id());
    let project = Project { name, folder: arguments.folder.clone(), variables };
    let scripts = arguments.scripts.clone().map(|folder| Scripts {
        folder,
        python: arguments.python.clone(),
        rounds: arguments.rounds,
    });
    let check = Check::new(&project, say)?;
    let outcome = unless_interrupted(check.run(scripts.as_ref())).await;
    if let Err(error) = &outcome {
        say(&format!("{error:#}"));
        say(&project.compose(&["logs", "--no-color", "--tail", "20"], std::time::Duration::from_secs(60)).await?);
    }
    if arguments.keep {
        say(&format!("kept: docker compose -p {} ps", project.name));
        return outcome;
    }
    outcome.and(project.remove().await)
}

#[expect(clippy::print_stdout, reason = "these lines are the program's result")]
fn say(line: &str) {
    println!("compose-check: {line}");
}
