//! From the command line to the command.

mod completions;

use std::process::ExitCode;

use anyhow::Context;
use chassis::config::Source;

use crate::arguments::{Arguments, Command};
use crate::data::inspect;
use crate::jobs::{batch, show};
use crate::operate::{backends, keys, queues, schedules, tenants, top, webhooks, workers};
use crate::{
    backup, chaos, control, data, definitions, doctor, explain, health, jobs, load, logs, retry, submit, up, watch,
};

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let source = Source::from_process();
    match arguments.command.unwrap_or_else(|| Command::Up(Default::default())) {
        Command::Up(arguments) => up::run(&arguments, &source),
        Command::Backup(arguments) => backup::back_up(&arguments, &source),
        Command::Restore(arguments) => backup::restore(&arguments, &source),
        Command::Migrate(arguments) => backup::migrate(&arguments, &source),
        Command::Definitions(arguments) => definitions::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, &source),
        Command::Completions(arguments) => completions::run(&arguments),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("starting the runtime")?.block_on(client_command(command, &source))
        }
    }
}

async fn client_command(command: Command, source: &Source) -> anyhow::Result<ExitCode> {
    match command {
        Command::Submit(arguments) => submit::run(*arguments, source).await,
        Command::Batch(arguments) => batch::run(&arguments, source).await,
        Command::Show(arguments) => show::run(&arguments, source).await,
        Command::Result(arguments) => show::part(&arguments, "/result", source).await,
        Command::Payload(arguments) => show::part(&arguments, "/payload", source).await,
        Command::Watch(arguments) => watch::run(arguments, source).await,
        Command::Explain(arguments) => explain::run(&arguments, source).await,
        Command::Jobs(arguments) => jobs::run(&arguments, source).await,
        Command::Logs(arguments) => logs::run(&arguments, source).await,
        Command::Cancel(arguments) => control::cancel(&arguments, source).await,
        Command::Purge(arguments) => control::purge(&arguments, source).await,
        Command::Retry(arguments) => retry::run(*arguments, source).await,
        Command::Retries(arguments) => retry::list(&arguments, source).await,
        Command::Schedules(arguments) => schedules::run(arguments, source).await,
        Command::Webhooks(arguments) => webhooks::run(arguments, source).await,
        Command::Keys(arguments) => keys::run(arguments, source).await,
        Command::Audit(arguments) => keys::audit(&arguments, source).await,
        Command::Tenants(arguments) => tenants::run(arguments, source).await,
        Command::Queues(arguments) => queues::list(&arguments, source).await,
        Command::Pause(arguments) => queues::pause(&arguments, source).await,
        Command::Resume(arguments) => queues::resume(&arguments, source).await,
        Command::Workers(arguments) => workers::run(&arguments, source).await,
        Command::Backends(arguments) => backends::run(&arguments, source).await,
        Command::Top(arguments) => top::run(&arguments, source).await,
        Command::Data(arguments) => data::run(arguments, source).await,
        Command::Invalidate(arguments) => data::invalidate(&arguments, source).await,
        Command::Inspect(arguments) => inspect::run(&arguments, source).await,
        Command::Load(arguments) => load::run(*arguments, source).await,
        Command::Chaos(arguments) => chaos::run(&arguments).await,
        Command::ChaosHandler(arguments) => chaos::handler::run(&arguments, source).await,
        Command::Health(arguments) => health::run(&arguments).await,
        Command::Up(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Migrate(_)
        | Command::Definitions(_)
        | Command::Doctor(_)
        | Command::Completions(_) => Ok(ExitCode::SUCCESS),
    }
}
