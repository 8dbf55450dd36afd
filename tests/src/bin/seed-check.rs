//! Runs the two client scripts unchanged against a freshly started system at its default addresses, and judges what they print. To be
//! started in a network namespace of its own, as `tests/run` does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tests::seed::{Broker, run};

#[derive(Parser)]
struct Arguments {
    /// The folder that holds `test.py` and `test_cache_invalidation.py`.
    #[arg(long)]
    scripts: PathBuf,
    /// A Python that has `requests`.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    #[arg(long, value_enum)]
    broker: Broker,
    /// How often the invalidation script runs.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this line is the program's result")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = run(&arguments.scripts, &arguments.python, arguments.broker, arguments.rounds).await;
    match outcome {
        Ok(report) => {
            println!("seed-check: ok: {report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("seed-check: FAILED on {:?}: {error:#}", arguments.broker);
            ExitCode::FAILURE
        }
    }
}
