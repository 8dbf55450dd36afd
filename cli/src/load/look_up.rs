//! Asks what became of every job that was accepted: mostly in pages, after the load, so that the asking is no part of it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chassis::client::{Answer, Error};
use chassis::shutdown::Shutdown;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use protocol::api::Status;
use protocol::ids::JobId;
use protocol::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::tally::AcceptedJob;
use crate::client::{Client, get, job_path};

const PAGE: usize = 500;
/// Pages beyond twice what our jobs need: others submit jobs, too.
const PAGES_SPARE: usize = 100;
/// So few are asked for one by one.
const FEW: usize = 200;
const AT_A_TIME: usize = 8;
/// Between two rounds: at least this, and so many times what the last one took.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_SHARE: u32 = 3;
const INTERRUPTED_WAIT: Duration = Duration::from_secs(5);

/// What the service says about one job, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Shown {
    pub(crate) job_id: JobId,
    pub(crate) status: Status,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) finished_at: Option<Timestamp>,
}

/// What became of a job that a 2xx had promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody could be asked.
    Unknown,
    /// The service does not know it: the promise is broken.
    Lost,
    Known(Shown),
}

#[derive(Deserialize)]
struct Page {
    jobs: Vec<Shown>,
    next_cursor: Option<String>,
}

struct Looking<'a> {
    client: &'a Client,
    fates: Vec<Fate>,
    /// The places, among the fates, of those that may still change.
    open: HashMap<JobId, usize>,
}

/// Looks until every job has ended or is lost, but not beyond `within`, nor long after an interruption. The fates come in the order of the jobs.
pub(crate) async fn look_up(
    client: &Client,
    jobs: &[AcceptedJob],
    within: Duration,
    shutdown: &Shutdown,
    mut still_open: impl FnMut(usize),
) -> Vec<Fate> {
    let open = jobs.iter().enumerate().map(|(place, job)| (job.job_id, place)).collect();
    let mut looking = Looking { client, fates: vec![Fate::Unknown; jobs.len()], open };
    let patience = async {
        tokio::select! {
            () = tokio::time::sleep(within) => {}
            () = shutdown.ended() => {}
            () = async {
                shutdown.draining().await;
                tokio::time::sleep(INTERRUPTED_WAIT).await;
            } => {}
        }
    };
    tokio::pin!(patience);
    while !looking.open.is_empty() {
        let begin = Instant::now();
        let round_and_pause = async {
            // A round that fails is made again: the service may be back by then.
            drop(looking.round().await);
            still_open(looking.open.len());
            if !looking.open.is_empty() {
                tokio::time::sleep(PAUSE.max(begin.elapsed() * PAUSE_SHARE)).await;
            }
        };
        tokio::select! {
            () = round_and_pause => {}
            () = &mut patience => break,
        }
    }
    looking.fates
}

impl Looking<'_> {
    async fn round(&mut self) -> Result<(), Error> {
        if self.open.len() > FEW {
            self.by_pages().await?;
        }
        // What no page has shown is asked for by name, and only the answer to that says that it is lost.
        let few = self.open.len() <= FEW;
        let by_name = |place: usize| few || self.fates[place] == Fate::Unknown;
        let ids: Vec<JobId> = self.open.iter().filter(|(_, place)| by_name(**place)).map(|(id, _)| *id).collect();
        let client = self.client;
        let mut answers = stream::iter(ids)
            .map(|job_id| async move { (job_id, client.send(&get(job_path(job_id, ""))).await) })
            .buffer_unordered(AT_A_TIME);
        while let Some((job_id, answer)) = answers.next().await {
            let fate = fate(&answer?);
            self.note(job_id, fate);
        }
        Ok(())
    }

    /// Newest first, until all that are open have been seen.
    async fn by_pages(&mut self) -> Result<(), Error> {
        let mut missing = self.open.len();
        let pages = self.fates.len() / PAGE * 2 + PAGES_SPARE;
        let mut cursor = String::new();
        for _ in 0..pages {
            let answer = self.client.send(&get(format!("/jobs?limit={PAGE}{cursor}"))).await?;
            let Some(page) = read::<Page>(&answer) else { break };
            for job in page.jobs {
                let known = self.open.contains_key(&job.job_id);
                missing -= usize::from(known);
                self.note(job.job_id, Fate::Known(job));
            }
            match page.next_cursor {
                Some(next) if missing > 0 => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        Ok(())
    }

    fn note(&mut self, job_id: JobId, fate: Fate) {
        let Some(place) = self.open.get(&job_id).copied() else { return };
        if fate == Fate::Unknown {
            return;
        }
        self.fates[place] = fate;
        let ended = matches!(fate, Fate::Known(job) if job.status.is_terminal());
        if ended || fate == Fate::Lost {
            self.open.remove(&job_id);
        }
    }
}

fn fate(answer: &Answer<Bytes>) -> Fate {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Fate::Lost,
        _ => read(answer).map_or(Fate::Unknown, Fate::Known),
    }
}

fn read<T: DeserializeOwned>(answer: &Answer<Bytes>) -> Option<T> {
    if !answer.status.is_success() {
        return None;
    }
    serde_json::from_slice(&answer.body).ok()
}
