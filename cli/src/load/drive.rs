//! Sends each request when it is due, whatever became of those before it: an open loop. One that finds no place in flight waits in a bounded
//! backlog, and its time counts from when it was due.

use std::collections::{HashMap, VecDeque};
use std::iter::Peekable;
use std::time::Duration;

use anyhow::Context;
use chassis::client::Call;
use chassis::shutdown::Shutdown;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use harness::pacer::Pacer;
use tokio::time::{Instant, MissedTickBehavior};

use super::mix::Draw;
use super::plan::Plan;
use super::progress::Progress;
use super::requests::{Outcome, Requests, judge};
use super::schedule::Schedule;
use super::tally::{Arrival, Counts, Tally};
use crate::client::Client;

/// Answers that are taken before others get a turn.
const AT_ONCE: usize = 64;
/// After an interruption nobody wants to wait for long.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(5);

/// What came of it. Instants count from the start.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) tally: Tally,
    /// At the end of each stage that was reached.
    pub(crate) stage_ends: Vec<Counts>,
    /// When the last request was due, and when the last answer was in.
    pub(crate) scheduled: Duration,
    pub(crate) took: Duration,
    pub(crate) interrupted: bool,
}

struct Ended {
    number: u64,
    sent: Duration,
    ended: Duration,
    outcome: Outcome,
}

struct Drive<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    client: &'a Client,
    start: Instant,
    schedule: Peekable<Schedule<'a>>,
    /// Ends of the stages that are not over.
    stages: VecDeque<Duration>,
    draw: Draw,
    tally: Tally,
    stage_ends: Vec<Counts>,
    backlog: VecDeque<Arrival>,
    in_flight: FuturesUnordered<LocalBoxFuture<'a, Ended>>,
    /// What is in flight, by its number.
    arrivals: HashMap<u64, Arrival>,
    held: usize,
    sent: u64,
}

/// Runs the load to its end, or until the shutdown.
///
/// # Errors
/// When the timer cannot be made.
pub(crate) async fn drive(
    plan: &Plan,
    requests: &Requests,
    client: &Client,
    start: Instant,
    progress: &mut Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<Driven> {
    let mut pacer = Pacer::new().context("making a timer")?;
    let mut drive = Drive::new(plan, requests, client, start);
    let mut looks = tokio::time::interval_at(start + progress.every(), progress.every());
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (interrupted, given_up) = (shutdown.draining(), shutdown.ended());
    tokio::pin!(interrupted, given_up);
    let mut stopped_at = None;
    let mut deadline = None;
    loop {
        let next = drive.next_event();
        tokio::select! {
            result = pacer.until(next.unwrap_or(start)), if next.is_some() => {
                result.context("waiting for the next request")?;
                drive.release();
                // Behind its schedule it would never wait, and nobody else would run.
                tokio::task::yield_now().await;
            }
            Some(ended) = drive.in_flight.next() => drive.take(ended),
            _ = looks.tick() => progress.show(&mut drive.tally, start.elapsed()),
            () = &mut interrupted, if stopped_at.is_none() => {
                stopped_at = Some(start.elapsed());
                deadline = None;
                drive.stop();
            }
            () = &mut given_up => break,
            () = tokio::time::sleep_until(deadline.unwrap_or(start)), if deadline.is_some() => break,
        }
        if drive.next_event().is_none() {
            let wait = if stopped_at.is_some() { plan.drain.min(INTERRUPTED_WAIT) } else { plan.drain };
            deadline = deadline.or_else(|| Some(Instant::now() + wait));
            if drive.in_flight.is_empty() {
                break;
            }
        }
    }
    progress.show(&mut drive.tally, start.elapsed());
    Ok(drive.close(stopped_at))
}

impl<'a> Drive<'a> {
    fn new(plan: &'a Plan, requests: &'a Requests, client: &'a Client, start: Instant) -> Self {
        let mut end = Duration::ZERO;
        let stages = plan.stages.as_slice().iter().map(|stage| {
            end += stage.length;
            end
        });
        Self {
            plan,
            requests,
            client,
            start,
            schedule: Schedule::new(&plan.stages).peekable(),
            stages: stages.collect(),
            draw: Draw::new(plan.mix.clone(), plan.keys, plan.seed),
            tally: Tally::new(plan.stages.length()),
            stage_ends: Vec::new(),
            backlog: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            arrivals: HashMap::new(),
            held: 0,
            sent: 0,
        }
    }

    /// The next request, or the end of a stage; none when all stages are over.
    fn next_event(&mut self) -> Option<Instant> {
        let (due, end) = (self.schedule.peek().copied(), self.stages.front().copied());
        let next = match (due, end) {
            (Some(due), Some(end)) => due.min(end),
            (due, end) => due.or(end)?,
        };
        Some(self.start + next)
    }

    /// Takes up everything that is due by now.
    fn release(&mut self) {
        let now = self.start.elapsed();
        loop {
            let due = self.schedule.peek().copied().filter(|due| *due <= now);
            if self.stages.front().is_some_and(|end| *end <= due.unwrap_or(now)) {
                self.stages.pop_front();
                self.level(now);
                self.stage_ends.push(self.tally.counts);
                continue;
            }
            let Some(due) = due else { break };
            self.schedule.next();
            self.take_up(due, now);
        }
        self.level(now);
    }

    fn take_up(&mut self, due: Duration, now: Duration) {
        let (kind, key) = self.draw.next();
        let arrival = Arrival { kind, key, due };
        self.tally.due(&arrival, now.saturating_sub(due));
        if self.in_flight.len() < self.plan.max_in_flight && self.backlog.is_empty() {
            self.send(arrival);
        } else if self.backlog.len() < self.plan.max_backlog {
            self.backlog.push_back(arrival);
        } else {
            self.tally.not_sent(&arrival);
        }
    }

    fn send(&mut self, arrival: Arrival) {
        let number = self.sent;
        self.sent += 1;
        if arrival.kind.is_held() {
            self.held += 1;
        }
        self.arrivals.insert(number, arrival);
        let call = self.requests.call(arrival.kind, arrival.key);
        self.in_flight.push(exchange(self.client, call, arrival, number, self.start).boxed_local());
    }

    /// Takes an answer, and others that are there already; their places go to those that wait longest.
    fn take(&mut self, first: Ended) {
        self.ended(first);
        for _ in 1..AT_ONCE {
            let Some(Some(ended)) = self.in_flight.next().now_or_never() else { break };
            self.ended(ended);
        }
        self.level(self.start.elapsed());
    }

    fn ended(&mut self, ended: Ended) {
        if let Some(arrival) = self.arrivals.remove(&ended.number) {
            self.held -= usize::from(arrival.kind.is_held());
            self.tally.ended(&arrival, ended.sent, ended.ended, ended.outcome);
        }
        if let Some(next) = self.backlog.pop_front() {
            self.send(next);
        }
    }

    fn level(&mut self, now: Duration) {
        self.tally.level(now, self.backlog.len(), self.in_flight.len(), self.held);
    }

    /// No further request becomes due.
    fn stop(&mut self) {
        self.schedule = Schedule::ended().peekable();
        if self.stages.pop_front().is_some() {
            self.level(self.start.elapsed());
            self.stage_ends.push(self.tally.counts);
        }
        self.stages.clear();
    }

    /// Counts what has no answer with the waiting that it had.
    fn close(mut self, stopped_at: Option<Duration>) -> Driven {
        let took = self.start.elapsed();
        for arrival in self.arrivals.into_values() {
            self.tally.ended(&arrival, took, took, Outcome::Unanswered("no answer by the end".to_owned()));
        }
        for arrival in self.backlog {
            self.tally.ended(&arrival, took, took, Outcome::Unanswered("not sent by the end".to_owned()));
            self.tally.counts.not_sent += 1;
        }
        self.tally.close(took);
        Driven {
            tally: self.tally,
            stage_ends: self.stage_ends,
            scheduled: self.plan.stages.length().min(stopped_at.unwrap_or(Duration::MAX)),
            took,
            interrupted: stopped_at.is_some(),
        }
    }
}

async fn exchange(client: &Client, call: &Call, arrival: Arrival, number: u64, start: Instant) -> Ended {
    let sent = start.elapsed();
    let answer = client.send(call).await;
    let ended = start.elapsed();
    Ended { number, sent, ended, outcome: judge(arrival.kind, &answer) }
}
