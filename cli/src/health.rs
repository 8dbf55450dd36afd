//! `longshore health`: asks a program whether it lives, for container checks, where there is no curl.

use std::process::ExitCode;
use std::time::Duration;

use chassis::client::{Call, Http};
use chassis::config::ExitWith;

use crate::arguments::Health;
use crate::output;

const DEADLINE: Duration = Duration::from_secs(3);

pub(crate) async fn run(arguments: &Health) -> anyhow::Result<ExitCode> {
    let path = if arguments.ready { "/ready" } else { "/live" };
    let answer = Http::new().send(&arguments.address, &Call::get(path).within(DEADLINE)).await;
    let sick = |sentence| ExitWith { status: 1, sentence };
    let answer = answer.map_err(|error| sick(error.to_string()))?;
    let body = String::from_utf8_lossy(&answer.body);
    if !answer.status.is_success() {
        return Err(sick(format!("{}{path} answered {}: {body}", arguments.address, answer.status)).into());
    }
    output::line(body.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
