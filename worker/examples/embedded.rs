//! A worker with handlers written in Rust. Start the rest of the system, then:
//!
//!     AMQP_URL=amqp://worker:worker-dev@127.0.0.1:5672/longshore cargo run -p worker --example embedded
//!     longshore submit resize_small --wait --payload '{"pixels": 1000000}'
//!     longshore submit greet --wait --payload '{"name": "Ada"}'

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::program::Program;
use serde::Deserialize;
use serde_json::json;
use worker::config::{Config, DEFAULTS};
use worker::registry::RegistryError;
use worker::{Failure, JobContext, Registry, TaskSettings};

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

#[derive(Deserialize)]
struct Image {
    pixels: u64,
}

/// A payload that does not fit fails the job at once; any other error is tried again.
async fn greet(job: JobContext) -> Result<String, Failure> {
    let greeting: Greeting = job.payload()?;
    Ok(format!("Hello, {}!", greeting.name))
}

/// Long work reports how far it is and stops when it is asked to: the job was cancelled, or its lease is lost.
async fn resize(job: JobContext) -> Result<serde_json::Value, Failure> {
    let image: Image = job.payload()?;
    let steps = u32::try_from(image.pixels / 100_000).context("the image is too large")?.max(1);
    for step in 1..=steps {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = job.cancelled() => return Err(Failure::new("stopped half way")),
        }
        job.progress(f64::from(step) / f64::from(steps), "resizing");
    }
    Ok(json!({ "task": job.task(), "attempt": job.attempt(), "pixels": image.pixels }))
}

fn registry() -> Result<Registry, RegistryError> {
    let slow = TaskSettings { lease_ms: 60_000, timeout_ms: 600_000, ..TaskSettings::default() };
    Registry::new().handler("greet", greet)?.handler_with("resize_*", slow, resize)
}

fn main() -> ExitCode {
    let program =
        Program { name: "embedded", defaults: DEFAULTS, load: Config::load, listen: |config: &Config| config.listen };
    program.main(async |listener, config, shutdown| worker::run_with(listener, config, registry()?, shutdown).await)
}
