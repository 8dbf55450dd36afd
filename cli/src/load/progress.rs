//! What people see while the load runs, on standard error: a panel on a terminal, else a line per second.

use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::numbers::{count, ms, plain, rate};
use super::plan::Plan;
use super::programs::{Process, Watched};
use super::stages::Stage;
use super::tally::{Counts, Tally};
use crate::output;

/// As often as one can read.
const ON_TERMINAL: Duration = Duration::from_millis(250);
const IN_LINES: Duration = Duration::from_secs(1);
/// Rates of the panel are those of the last second or so.
const LOOKS_BACK: usize = 4;

/// Shows the load.
#[derive(Debug)]
pub(crate) struct Progress {
    stages: Vec<Stage>,
    length: Duration,
    watched: Watched,
    bar: Option<ProgressBar>,
    /// The last looks, the oldest first.
    looks: Vec<(Duration, Counts)>,
    jobs_open: Option<usize>,
}

impl Progress {
    pub(crate) fn new(plan: &Plan, watched: Watched) -> Self {
        let length = plan.stages.length();
        let bar = Term::stderr().is_term().then(|| panel(length));
        Self {
            stages: plan.stages.as_slice().to_vec(),
            length,
            watched,
            bar,
            looks: vec![Default::default()],
            jobs_open: None,
        }
    }

    pub(crate) fn every(&self) -> Duration {
        if self.bar.is_some() { ON_TERMINAL } else { IN_LINES }
    }

    /// Shows where the load is, and forgets the recent times.
    pub(crate) fn show(&mut self, tally: &mut Tally, now: Duration) {
        let (since, before) = self.looks[0];
        let (counts, between) = (tally.counts, now.saturating_sub(since));
        if between.is_zero() {
            return;
        }
        let keeps = if self.bar.is_some() { LOOKS_BACK } else { 1 };
        self.looks.push((now, counts));
        self.looks.drain(..self.looks.len().saturating_sub(keeps));
        let figures = figures(counts, before, between, tally);
        match &self.bar {
            Some(bar) => {
                bar.set_position(whole_ms(now.min(self.length)));
                bar.set_prefix(self.stage(now));
                let usage = self.watched.with(|processes| processes.iter().map(usage).collect::<Vec<_>>());
                bar.set_message(format!("{figures}\n  {}", usage.join("   ")));
                // All three at once; the bar itself skips what comes too quickly.
                bar.force_draw();
            }
            None => output::note(format!("{:>5.0} s  {}  {figures}", now.as_secs_f64(), self.stage(now))),
        }
        tally.recent.reset();
    }

    /// While the jobs are looked up.
    pub(crate) fn jobs(&mut self, open: usize) {
        if open == 0 || self.jobs_open.replace(open) == Some(open) {
            return;
        }
        let text = format!("the requests are over; {} jobs have not ended, as far as is known", count(open as u64));
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => output::note(text),
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The stage of this instant, in words.
    fn stage(&self, now: Duration) -> String {
        let mut begin = Duration::ZERO;
        for (place, stage) in self.stages.iter().enumerate() {
            begin += stage.length;
            if now < begin {
                return format!("[{}/{}] {stage}", place + 1, self.stages.len());
            }
        }
        "waiting for the last answers".to_owned()
    }
}

fn panel(length: Duration) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(whole_ms(length)), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix:.bold}\n{wide_bar:.cyan/dim} {percent:>3} %\n  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
    bar
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn figures(now: Counts, before: Counts, between: Duration, tally: &Tally) -> String {
    let ended = (now.done + now.failed).saturating_sub(before.done + before.failed);
    let recent = &tally.recent;
    let mut text = format!(
        "offered {}  answered {}  open {}  backlog {}  p50 {} ms  p99 {} ms",
        rate(now.due - before.due, between),
        rate(ended, between),
        count(now.waiting + now.in_flight),
        count(now.waiting),
        plain(ms(recent.value_at_quantile(0.5))),
        plain(ms(recent.value_at_quantile(0.99))),
    );
    if now.failed > 0 {
        text.push_str(&format!("  FAILED {}", count(now.failed)));
    }
    if now.not_sent > 0 {
        text.push_str(&format!("  NOT SENT {}, the backlog is full", count(now.not_sent)));
    }
    text
}

fn usage(process: &Process) -> String {
    let share = process.spans().last().map_or(0.0, |span| span.cpu_share);
    format!("{} {:.0} %", process.name, share * 100.0)
}
