//! `longshore health`: asks a program whether it lives, or whether it should be sent work.

use std::process::ExitCode;

use chassis::asking::{LIVE, READY, ask};

use crate::arguments::Health;
use crate::output;

pub(crate) async fn run(arguments: &Health) -> anyhow::Result<ExitCode> {
    output::line(&ask(&arguments.address, if arguments.ready { READY } else { LIVE }).await?)?;
    Ok(ExitCode::SUCCESS)
}
