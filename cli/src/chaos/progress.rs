//! What people see while a trial runs, on standard error: one line that changes on a terminal, else a line for each stage.

use std::cell::RefCell;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::history::Recorder;
use crate::output;

const EVERY: Duration = Duration::from_millis(500);
/// Where lines stay, one is written this often while nothing changes.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where the trial is, in words.
#[derive(Debug, Default)]
pub(super) struct Stage(RefCell<String>);

impl Stage {
    pub(super) fn set(&self, words: impl Into<String>) {
        *self.0.borrow_mut() = words.into();
    }

    fn get(&self) -> String {
        self.0.borrow().clone()
    }
}

/// Ends its line, however the trial ends.
struct Line(Option<ProgressBar>);

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Shows the stage and the figures; for ever.
pub(super) async fn show(stage: &Stage, recorder: &Recorder) {
    let line = Line(Term::stderr().is_term().then(bar));
    let start = Instant::now();
    let (mut said, mut said_at) = (String::new(), start);
    loop {
        let figures = recorder.figures();
        let words = stage.get();
        let text = format!(
            "{:>4} s  {words:<36} submitted {}  accepted {}  seen ended {}",
            start.elapsed().as_secs(),
            figures.submitted,
            figures.accepted,
            figures.seen_ended,
        );
        match &line.0 {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None if words != said || said_at.elapsed() >= LINE_EVERY => {
                output::note(text);
                (said, said_at) = (words, Instant::now());
            }
            None => {}
        }
        sleep(EVERY).await;
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}
