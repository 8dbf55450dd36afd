//! `longshore doctor`: looks at this machine and at a set-up, as the environment says it, and says what is wrong and what to do about it.
//! It changes nothing; only at RabbitMQ it leaves a canary in each job queue for a second.

mod clock;
mod database;
mod disk;
mod machine;
mod ports;
mod running;
mod setup;

use std::process::ExitCode;

use anyhow::Context;
use chassis::broker;
use chassis::config::{ConfigError, Source};
use chassis::finding::{Finding, Level};
use console::Style;
use serde::Serialize;
use store_svc::Database;
use store_svc::storage::postgres::examine as postgres;

use crate::arguments::Doctor;
use crate::output;
use ports::Port;
use setup::Setup;

const CONFIGURATION: &str = "configuration";
/// A fault was found.
const FAULT: u8 = 1;
/// Checks stand in a column as wide as the longest.
const CHECK_WIDTH: usize = 15;

/// Everything that was found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    faults: usize,
    warnings: usize,
    checks: &'a [Finding],
}

pub(crate) fn run(arguments: &Doctor, source: &Source) -> anyhow::Result<ExitCode> {
    let findings = match Setup::read(arguments, source) {
        Ok(setup) => of_setup(&setup, arguments, source)?,
        Err(error) => of_bad_settings(&error),
    };
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let report = Report { faults: count(Level::Fault), warnings: count(Level::Warning), checks: &findings };
    if arguments.json {
        output::line(serde_json::to_string(&report)?)?;
    } else {
        output::lines(findings.iter().flat_map(lines).chain([summary(&report)]))?;
    }
    Ok(if report.faults == 0 { ExitCode::SUCCESS } else { FAULT.into() })
}

fn of_setup(setup: &Setup, arguments: &Doctor, source: &Source) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![Finding::ok(CONFIGURATION, setup.summary.clone())];
    findings.extend([machine::open_files(setup.connections), machine::backlog(), clock::look()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let ports = runtime.block_on(ports::look(&setup.listens));
    let store_runs = ports.iter().any(|port| port.is_ours && port.program == "store-svc");
    match &setup.database {
        Some(Database::Sqlite(file)) => findings.extend(database::sqlite(file, store_runs)),
        // It drives its connection by itself.
        Some(Database::Postgres(url)) => findings.extend(postgres::examine(url)),
        None => {}
    }
    findings.extend(runtime.block_on(broker_of(setup)));
    let runs = ports.iter().any(|port| port.is_ours);
    findings.extend(ports.into_iter().map(Port::finding));
    findings.extend(runtime.block_on(running::look(setup, &arguments.service, source, runs))?);
    Ok(findings)
}

/// The rest depends on what is wrong, but for the machine.
fn of_bad_settings(error: &ConfigError) -> Vec<Finding> {
    let advice = "correct it; what depends on the settings is looked at then";
    let wrong = error.faults.iter().map(|fault| Finding::fault(CONFIGURATION, fault.to_string(), advice));
    wrong.chain([machine::open_files(0), machine::backlog(), clock::look()]).collect()
}

async fn broker_of(setup: &Setup) -> Vec<Finding> {
    match (&setup.broker, setup.at_broker) {
        (Some(broker::Source::Url(url)), Some(program)) => broker::examine(url, program, &setup.queues).await,
        (Some(broker::Source::Embedded(_)), _) => {
            vec![Finding::ok("broker", "embedded, in memory (set AMQP_URL to use RabbitMQ)")]
        }
        _ => Vec::new(),
    }
}

/// What was found, and what to do below it.
fn lines(finding: &Finding) -> Vec<String> {
    let (word, style) = match finding.level {
        Level::Ok => ("ok", Style::new().green()),
        Level::Warning => ("warning", Style::new().yellow()),
        Level::Fault => ("FAULT", Style::new().red().bold()),
    };
    let word = style.apply_to(format!("{word:7}"));
    let found = format!("{word}  {:CHECK_WIDTH$}  {}", finding.check, finding.found);
    let advice = finding.advice.as_ref().map(|advice| format!("{:7}  {:CHECK_WIDTH$}  → {advice}", "", ""));
    std::iter::once(found).chain(advice).collect()
}

fn summary(report: &Report<'_>) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    match (report.faults, report.warnings) {
        (0, 0) => "All is well.".to_owned(),
        (faults, warnings) => format!("{}, {}.", counted(faults, "fault"), counted(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_was_found() {
        let finding = Finding::fault("disk", "it is full", "make room");
        assert_eq!(lines(&finding), ["FAULT    disk             it is full", "                          → make room"]);
        assert_eq!(lines(&Finding::ok("disk", "it has room")).len(), 1);
    }

    #[test]
    fn faults_and_warnings_are_counted() {
        let check = |faults, warnings, expected: &str| {
            assert_eq!(summary(&Report { faults, warnings, checks: &[] }), expected);
        };
        check(0, 0, "All is well.");
        check(1, 0, "1 fault, 0 warnings.");
        check(0, 2, "0 faults, 2 warnings.");
    }
}
