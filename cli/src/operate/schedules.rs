//! `longshore schedules`: jobs that are made again and again.

use std::process::ExitCode;

use chassis::config::Source;
use clap::{Args, Subcommand, ValueEnum};
use http::{Method, StatusCode};
use protocol::api::{JobView, Submit};
use protocol::key::{DataKey, QueueName, ScheduleName, TaskName, UniqueKey};
use protocol::schedule::{CatchUp, Cron, LastTick, PutSchedule, SchedulePage, ScheduleView, Zone};

use super::named::{All, Name, One, Show};
use crate::arguments::{PriorityName, name};
use crate::client::{input, request};
use crate::output::table::{Kind, Table};
use crate::{durations, output};

const NONE: &str = "There are none: put one with `longshore schedules put nightly report_1 --cron \"30 2 * * *\"`.";
const COLUMNS: [(&str, Kind); 5] =
    [("SCHEDULE", Kind::Long), ("TASK", Kind::Long), ("CRON", Kind::Text), ("NEXT", Kind::Text), ("LAST", Kind::Long)];

impl Name for ScheduleName {
    const PATH: &'static str = "/schedules";
}

#[derive(Debug, Args)]
pub(crate) struct Schedules {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them by name
    List(All),
    /// Show one: what it makes, when, and what became of its last tick
    Show(Show<ScheduleName>),
    /// Create one, or put it in the place of what has its name
    Put(Box<Put>),
    /// Delete one; the jobs that it has made stay
    Delete(One<ScheduleName>),
    /// Let its ticks pass without jobs
    Pause(One<ScheduleName>),
    /// Go on with a paused one, from its next tick
    Resume(One<ScheduleName>),
    /// Make one job of it now, besides those of its ticks, and print its id
    Run(One<ScheduleName>),
}

#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    one: One<ScheduleName>,
    /// When: minute, hour, day of month, month, day of week, such as "30 2 * * MON-FRI", or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long, value_name = "EXPRESSION", value_parser = cron)]
    cron: Cron,
    /// The time zone of these times, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    time_zone: Zone,
    /// What becomes of ticks that came while Longshore was away
    #[arg(long, value_enum, default_value = "latest")]
    catch_up: CatchUpName,
    /// Let its ticks pass without jobs until it is resumed; without this, it stays as it is
    #[arg(long)]
    paused: bool,
    /// What a worker is asked to do
    #[arg(value_parser = name::<TaskName>)]
    task: TaskName,
    /// What it is given: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    payload: Option<String>,
    /// The queue that its jobs wait in [default: `default`]
    #[arg(long, value_parser = name::<QueueName>)]
    queue: Option<QueueName>,
    /// Which of the waiting jobs of a queue is run first
    #[arg(long, value_enum, default_value = "normal")]
    priority: PriorityName,
    /// Failed attempts before a job counts as failed
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long one attempt may take, such as 500ms, 30s or 2h
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms)]
    timeout: Option<u64>,
    /// Let a job fail when it has not started so long after its tick, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms)]
    start_deadline: Option<u64>,
    /// A data key that its jobs change; may be given several times
    #[arg(long, value_name = "KEY", value_parser = name::<DataKey>)]
    invalidates: Vec<DataKey>,
    /// Skip a tick while a job with this key has not ended
    #[arg(long, value_name = "KEY", value_parser = name::<UniqueKey>)]
    unique_key: Option<UniqueKey>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CatchUpName {
    /// The newest is run, late as it is
    Latest,
    /// All are run, at most 1,000
    All,
    /// None is run that is more than a minute late
    None,
}

impl From<CatchUpName> for CatchUp {
    fn from(name: CatchUpName) -> Self {
        match name {
            CatchUpName::Latest => Self::Latest,
            CatchUpName::All => Self::All,
            CatchUpName::None => Self::None,
        }
    }
}

fn cron(text: &str) -> Result<Cron, String> {
    Cron::try_from(text).map_err(|error| format!("it {error}"))
}

fn zone(text: &str) -> Result<Zone, String> {
    Zone::try_from(text).map_err(|error| format!("it {error}"))
}

pub(crate) async fn run(arguments: Schedules, source: &Source) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(asked) => {
            let part = |page: SchedulePage| (page.schedules, page.next_cursor);
            asked.run(ScheduleName::PATH, source, part, table, NONE).await?;
        }
        Command::Show(asked) => asked.run(source, shown).await?,
        Command::Put(asked) => put(*asked, source).await?,
        Command::Delete(one) => {
            one.call(&request(Method::DELETE, one.name.path("")), source).await?;
            output::line(format!("There is no schedule {} any more; the jobs that it has made stay.", one.name))?;
        }
        Command::Pause(one) => {
            one.call(&request(Method::POST, one.name.path("/pause")), source).await?;
            let name = &one.name;
            output::line(format!("The schedule {name} is paused: its ticks pass. See `longshore schedules resume`."))?;
        }
        Command::Resume(one) => {
            let schedule: ScheduleView = one.read(&request(Method::POST, one.name.path("/resume")), source).await?;
            output::line(format!("The schedule {} goes on. {}", one.name, next_of(&schedule)))?;
        }
        Command::Run(one) => {
            let job: JobView = one.read(&request(Method::POST, one.name.path("/run")), source).await?;
            output::line(job.job_id.to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn put(asked: Put, source: &Source) -> anyhow::Result<()> {
    let body = PutSchedule {
        cron: asked.cron,
        time_zone: asked.time_zone,
        catch_up: asked.catch_up.into(),
        paused: asked.paused.then_some(true),
        job: Submit {
            task: asked.task,
            payload: asked.payload.as_deref().map(|payload| input::json("--payload", payload)).transpose()?,
            queue: asked.queue,
            priority: asked.priority.into(),
            delay_ms: None,
            run_at: None,
            max_attempts: asked.max_attempts,
            timeout_ms: asked.timeout,
            start_deadline_ms: asked.start_deadline,
            invalidates: asked.invalidates,
            unique_key: asked.unique_key,
            job_id: None,
            idempotency_key: None,
        },
    };
    let (client, answer) = asked.one.call(&asked.one.put(&body, true)?, source).await?;
    let what = if answer.status == StatusCode::CREATED { "created" } else { "changed" };
    let schedule: ScheduleView = client.read(&answer.body)?;
    output::line(format!("The schedule {} is {what}. {}", schedule.name, next_of(&schedule)))?;
    Ok(())
}

fn next_of(schedule: &ScheduleView) -> String {
    match schedule.next_runs.first() {
        Some(next) => format!("It is due next at {}.", next.local),
        None => "It is paused.".to_owned(),
    }
}

fn last_of(last: &LastTick) -> String {
    match (&last.job_id, &last.skipped) {
        (Some(job_id), _) => format!("job {job_id}"),
        (None, Some(skipped)) => format!("skipped, {}: {}", skipped.reason, skipped.detail),
        (None, None) => String::new(),
    }
}

fn shown(schedule: &ScheduleView) -> Vec<String> {
    let catch_up = match schedule.catch_up {
        CatchUp::Latest => "of missed ticks the newest is run",
        CatchUp::All => "missed ticks are run, all of them",
        CatchUp::None => "missed ticks are not run",
    };
    let mut lines = vec![
        format!("{}  {} ({})", schedule.name, schedule.cron.as_str(), schedule.time_zone.name()),
        format!("makes  {} in the queue {}; {catch_up}", schedule.job.task, schedule.job.queue),
    ];
    if schedule.paused {
        lines.push("next  none, it is paused".to_owned());
    }
    lines.extend(schedule.next_runs.iter().map(|run| format!("next  {}", run.local)));
    if let Some(last) = &schedule.last {
        lines.push(format!("last  {}  {}", schedule.time_zone.local(last.tick), last_of(last)));
    }
    lines
}

fn table(schedules: &[ScheduleView]) -> Table<5> {
    Table::new(COLUMNS, schedules.iter().map(row))
}

fn row(schedule: &ScheduleView) -> [String; 5] {
    let next = schedule.next_runs.first().map_or_else(|| "paused".to_owned(), |next| next.local.clone());
    let last = schedule.last.as_ref().map(|last| match &last.skipped {
        Some(skipped) => format!("{} skipped: {}", schedule.time_zone.local(last.tick), skipped.reason),
        None => schedule.time_zone.local(last.tick),
    });
    let cron = match schedule.time_zone.name() {
        "UTC" => schedule.cron.as_str().to_owned(),
        zone => format!("{} ({zone})", schedule.cron.as_str()),
    };
    [schedule.name.to_string(), schedule.job.task.to_string(), cron, next, last.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schedule(paused: bool) -> ScheduleView {
        let next = if paused {
            json!([])
        } else {
            json!([{"at": "2026-11-30T01:30:00.000Z", "local": "2026-11-30T02:30:00+01:00"}])
        };
        let view = json!({
            "name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "catch_up": "none", "paused": paused,
            "job": {"task": "report_1", "queue": "reports", "priority": "normal", "max_attempts": 5},
            "next_runs": next,
            "last": {
                "tick": "2026-11-29T01:30:00.000Z", "at": "2026-11-29T01:30:00.100Z",
                "skipped": {"reason": "queue-full", "detail": "The queue reports is full."},
            },
            "created_at": "2026-11-01T00:00:00.000Z", "updated_at": "2026-11-01T00:00:00.000Z",
        });
        serde_json::from_str(&view.to_string()).expect("a schedule")
    }

    #[test]
    fn schedules_are_listed_under_their_heads() {
        let expected = [
            "SCHEDULE  TASK      CRON                        NEXT                       LAST",
            "nightly   report_1  30 2 * * * (Europe/Berlin)  2026-11-30T02:30:00+01:00  2026-11-29T02:30:00+01:00 skipped: queue-full",
        ];
        assert_eq!(table(&[schedule(false)]).lines(usize::MAX), expected);
    }

    #[test]
    fn one_is_shown_with_what_became_of_its_last_tick() {
        let expected = [
            "nightly  30 2 * * * (Europe/Berlin)",
            "makes  report_1 in the queue reports; missed ticks are not run",
            "next  none, it is paused",
            "last  2026-11-29T02:30:00+01:00  skipped, queue-full: The queue reports is full.",
        ];
        assert_eq!(shown(&schedule(true)), expected);
        assert_eq!(next_of(&schedule(false)), "It is due next at 2026-11-30T02:30:00+01:00.");
    }
}
