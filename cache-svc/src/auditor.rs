//! Looks, while the system works, whether promise 4 holds: takes samples of the invalidations, and when the fence of one has closed asks each
//! gateway what it would serve. What is older than the invalidation is a violation, counted and logged. It fills and refreshes nothing.

use std::sync::Arc;
use std::time::Duration;

use chassis::shutdown::Shutdown;
use protocol::cache_api::FENCE_WAIT_MS_MAX;
use protocol::ids::Seq;
use protocol::inspection::{NearView, stale_since};
use protocol::invalidation::Term;
use tokio::sync::mpsc;

use crate::inspections::Inspections;
use crate::seat::{Issued, Seat};

/// Takes samples: an invalidation is looked at if no other one is at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    samples: Option<mpsc::Sender<Sample>>,
}

#[derive(Clone, Debug)]
struct Sample {
    term: Term,
    seq: Seq,
    key: String,
}

pub(crate) struct Auditor {
    pub(crate) seat: Arc<Seat>,
    pub(crate) inspections: Arc<Inspections>,
    /// Between two audits.
    pub(crate) pause: Duration,
    samples: mpsc::Receiver<Sample>,
}

/// A sampler, and the auditor that it works for; none when nothing is to be looked at.
pub(crate) fn auditor(seat: &Arc<Seat>, inspections: &Arc<Inspections>, per_second: u32) -> (Sampler, Option<Auditor>) {
    let Some(pause) = Duration::from_secs(1).checked_div(per_second) else {
        return (Sampler { samples: None }, None);
    };
    let (sender, samples) = mpsc::channel(1);
    let auditor = Auditor { seat: seat.clone(), inspections: inspections.clone(), pause, samples };
    (Sampler { samples: Some(sender) }, Some(auditor))
}

impl Sampler {
    /// Of an invalidation that names keys, the first one is looked at.
    pub(crate) fn offer(&self, issued: &Issued) {
        if let (Some(samples), Some(key)) = (&self.samples, issued.entry.covered.keys.first())
            && samples.capacity() > 0
        {
            // One that came in between is as good a sample.
            drop(samples.try_send(Sample { term: issued.term, seq: issued.entry.seq, key: key.clone() }));
        }
    }
}

impl Auditor {
    /// Runs until the shutdown drains.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        violations().increment(0);
        let auditing = async {
            while let Some(sample) = self.samples.recv().await {
                let outcome = self.audit(&sample).await;
                metrics::counter!("longshore_coherence_audits_total", "program" => "cache-svc", "outcome" => outcome)
                    .increment(1);
                tokio::time::sleep(self.pause).await;
            }
        };
        tokio::select! {
            () = auditing => {}
            () = shutdown.draining() => {}
        }
    }

    /// Returns what came of it, in a word.
    async fn audit(&self, sample: &Sample) -> &'static str {
        let Sample { term, seq, key } = sample;
        if !self.is_fenced(*term, *seq).await {
            return "unfenced";
        }
        let Ok(answers) = self.inspections.ask(key, self.seat.holders()).await else { return "busy" };
        let mut found = answers.views.iter().filter_map(|view| stale_view(view, *term, *seq)).collect::<Vec<_>>();
        if let Some(entry) = self.seat.shared.peek(key)
            && entry.mark.term == *term
            && entry.mark.seq < *seq
        {
            found.push(format!("the shared cache holds what was loaded under {}", entry.mark.seq));
        }
        for violation in &found {
            tracing::error!(key, seq = seq.0, %violation, "an acknowledged invalidation is not kept");
        }
        violations().increment(u64::try_from(found.len()).unwrap_or(u64::MAX));
        match (found.is_empty(), answers.silent) {
            (false, _) => "violated",
            (true, 0) => "held",
            (true, _) => "incomplete",
        }
    }

    /// Waits for the fence, for as long as anybody would.
    async fn is_fenced(&self, term: Term, seq: Seq) -> bool {
        let within = Duration::from_millis(FENCE_WAIT_MS_MAX);
        tokio::time::timeout(within, self.seat.until_fenced(term, seq)).await.unwrap_or(false)
    }
}

fn stale_view(view: &NearView, term: Term, seq: Seq) -> Option<String> {
    let why = stale_since(view.held.as_ref()?, view.lease, term, seq)?;
    Some(format!("{} would serve what was {why}", view.gateway))
}

fn violations() -> metrics::Counter {
    metrics::counter!("longshore_coherence_violations_total", "program" => "cache-svc")
}
