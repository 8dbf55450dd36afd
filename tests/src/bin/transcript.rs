//! Runs the commands of pages and holds what they print to what the pages say. The system starts at its default addresses, so this is to be
//! started in a network namespace or a container of its own, as `tests/run` and `tests/tour/run` do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::transcript::{Means, clone, run};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    /// The working copy.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Run there, after a build there, instead of in a copy with the programs of this build.
    #[arg(long)]
    in_place: bool,
    /// A RabbitMQ may be started at its usual port.
    #[arg(long)]
    broker: bool,
    /// A variable for the shell, NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Pages, relative to the working copy.
    #[arg(required = true)]
    pages: Vec<PathBuf>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "these lines are the program's result")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut status = ExitCode::SUCCESS;
    for page in &arguments.pages {
        match transcript(&arguments, page).await {
            Ok(report) => println!("transcript: ok: {}: {report}", page.display()),
            Err(error) => {
                println!("transcript: FAILED: {}: {error:#}", page.display());
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}

async fn transcript(arguments: &Arguments, page: &Path) -> Result<String> {
    let root = std::fs::canonicalize(&arguments.root).context("the working copy")?;
    let text = std::fs::read_to_string(root.join(page))?;
    let means = Means { cargo: arguments.in_place, broker: arguments.broker, patience: PATIENCE };
    let report = if arguments.in_place {
        run(&text, &root, means, &arguments.env).await?
    } else {
        let folder = clone::make(&root)?;
        run(&text, folder.path(), means, &arguments.env).await?
    };
    ensure!(report.pasted + report.quoted + report.elsewhere.len() > 0, "the page has no commands");
    let elsewhere = report.elsewhere.iter().map(|(line, holder)| format!("; line {line} is held by {holder}"));
    let held: String = elsewhere.collect();
    Ok(format!("{} blocks run, {} quotations found{held}", report.pasted, report.quoted))
}
