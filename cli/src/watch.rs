//! `longshore watch`: follows a job to its end, with a bar where there is a terminal. The result goes to standard output.

use std::process::ExitCode;
use std::time::Duration;

use chassis::client::Call;
use chassis::config::{ExitWith, Source};
use console::Term;
use http::HeaderValue;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::api::{JobView, Status, WaitingFor};
use protocol::ids::JobId;
use tokio::time::Instant;

use crate::arguments::Watch;
use crate::client::{Client, job_path};
use crate::{durations, output};

const FAILED: u8 = 1;
const CANCELLED: u8 = 3;

/// How long the service holds an answer when nobody looks at progress, in s.
const HOLD_S: u64 = 30;
/// Beyond the hold.
const GRACE: Duration = Duration::from_secs(10);
/// How often progress is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the service may be away while we watch.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between tries meanwhile.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn run(arguments: Watch, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    until_ended(&client, arguments.job_id).await
}

/// Follows the job and says how it ended.
pub(crate) async fn until_ended(client: &Client, job_id: JobId) -> anyhow::Result<ExitCode> {
    let display = Display::new(job_id);
    let mut last_answer: Option<Instant> = None;
    let job = loop {
        match look(client, job_id, display.is_bar()).await {
            Ok(job) if job.status.is_terminal() => break job,
            Ok(job) => {
                last_answer = Some(Instant::now());
                if display.is_bar() {
                    display.show(&job);
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            // What has been seen once may be away for a while; an id that nobody knows stays unknown.
            Err(error) if last_answer.is_some_and(|at| at.elapsed() < PATIENCE) && is_passing(&error) => {
                display.away();
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                display.end();
                return Err(error.into());
            }
        }
    };
    display.end();
    Ok(tell(&job)?)
}

async fn look(client: &Client, job_id: JobId, at_once: bool) -> Result<JobView, ExitWith> {
    let mut call = Call::get(job_path(job_id, "")).within(GRACE);
    if !at_once {
        let prefer = HeaderValue::try_from(format!("wait={HOLD_S}")).expect("digits are a header value");
        call = call.header("prefer", prefer).within(Duration::from_secs(HOLD_S) + GRACE);
    }
    let answer = client.call_job(job_id, &call).await?;
    client.read(&answer.body)
}

fn is_passing(error: &ExitWith) -> bool {
    error.status == crate::client::UNAVAILABLE
}

/// The result on standard output, the rest beside it.
fn tell(job: &JobView) -> std::io::Result<ExitCode> {
    match job.status {
        Status::Succeeded => {
            if let Some(result) = &job.result {
                output::line(result.get())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Status::Cancelled => {
            output::note(format!("longshore: the job {} was cancelled.", job.job_id));
            Ok(CANCELLED.into())
        }
        _ => {
            let error = job.error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message));
            let attempts = if job.attempt == 1 { "1 attempt".to_owned() } else { format!("{} attempts", job.attempt) };
            output::note(format!("longshore: the job {} failed after {attempts}{error}", job.job_id));
            Ok(FAILED.into())
        }
    }
}

/// A bar on a terminal; else silence until the end.
struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    fn new(job_id: JobId) -> Self {
        if !Term::stderr().is_term() {
            return Self { bar: None };
        }
        let bar = ProgressBar::new(1_000);
        let style = ProgressStyle::with_template("{spinner} {prefix} {wide_bar} {percent:>3} % {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(job_id.to_string());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar) }
    }

    fn is_bar(&self) -> bool {
        self.bar.is_some()
    }

    fn show(&self, job: &JobView) {
        let Some(bar) = &self.bar else { return };
        let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
        bar.set_position(per_mille(fraction));
        bar.set_message(state(job, chassis::clock::wall_ms()));
    }

    fn away(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("Longshore does not answer, trying again");
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn per_mille(fraction: Option<f64>) -> u64 {
    let steps = (1..=1_000_u32).filter(|step| fraction.is_some_and(|fraction| fraction * 1_000.0 >= f64::from(*step)));
    steps.count().try_into().unwrap_or(1_000)
}

/// What the job does, in a few words.
pub(crate) fn state(job: &JobView, now_ms: i64) -> String {
    let progress = job.progress.as_ref().and_then(|progress| progress.message.clone());
    match (job.status, job.waiting_for) {
        (Status::Running, _) => progress.unwrap_or_else(|| "running".to_owned()),
        (Status::Scheduled, _) => match job.run_at {
            Some(run_at) => {
                let left_ms = run_at.unix_ms().saturating_sub(now_ms);
                format!("due in {}", durations::show_ms(u64::try_from(left_ms).unwrap_or(0)))
            }
            None => "scheduled".to_owned(),
        },
        (_, Some(WaitingFor::Worker)) => "waiting for a worker that knows its task".to_owned(),
        (_, Some(WaitingFor::Slot)) => "waiting for a free slot".to_owned(),
        (_, Some(WaitingFor::QueuePaused)) => "its queue is paused".to_owned(),
        (_, Some(WaitingFor::TenantLimit)) => "waiting for a limit of its tenant".to_owned(),
        (_, Some(WaitingFor::KeyLimit)) => "waiting for a limit of its API key".to_owned(),
        (_, Some(WaitingFor::Broker)) => "waiting for the broker".to_owned(),
        (_, Some(WaitingFor::DueTime) | None) => "queued".to_owned(),
    }
}
