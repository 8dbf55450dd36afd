//! Commits as steps of the traces of the jobs that they are about. Commands of many requests come together, so each names its trace itself;
//! that of a claim is the job's, and known when it is won.

use chassis::trace::{self, Kind, Span, TraceParent};
use protocol::ids::JobId;
use protocol::store_api::{Answer, Claimed, Command, PulledJob, Reply};
use tokio::time::Instant;

use crate::PROGRAM;

/// What is under way.
pub(super) struct Commits {
    begun: Instant,
    /// By their places among the commands.
    about: Vec<(usize, About)>,
}

enum About {
    Create(JobId, TraceParent),
    Claim(JobId),
}

impl Commits {
    /// `None`: no steps are recorded.
    pub(super) fn begin(commands: &[Command]) -> Option<Self> {
        if !trace::is_on() {
            return None;
        }
        let about = |command: &Command| match command {
            Command::Create(create) => {
                TraceParent::recorded(create.trace.as_deref()).map(|trace| About::Create(create.job_id, trace))
            }
            Command::Claim(claim) => Some(About::Claim(claim.job_id)),
            _ => None,
        };
        let about = commands.iter().enumerate().filter_map(|(place, command)| Some((place, about(command)?)));
        Some(Self { begun: Instant::now(), about: about.collect() })
    }

    /// They are on disk, with these answers.
    pub(super) fn written(self, answers: &[Answer]) {
        for (place, about) in &self.about {
            match (about, answers.get(*place)) {
                (About::Create(job_id, trace), Some(answer)) => {
                    let Some(mut span) = self.span(*trace, "commit create", *job_id) else { continue };
                    if let Answer::Error(problem) = answer {
                        span.failed(problem.kind().map_or("refused", |kind| kind.name()));
                    }
                }
                (About::Claim(job_id), Some(Answer::Ok(reply))) => {
                    if let Reply::Claimed(claimed) = &**reply {
                        // It may have been given another job, which was due first.
                        self.claimed(claimed.job_id.unwrap_or(*job_id), claimed);
                    }
                }
                _ => {}
            }
        }
        // Those that were taken along with the outcome of another.
        for answer in answers {
            if let Answer::Ok(reply) = answer
                && let Reply::Settled { next: Some(next), .. } = &**reply
            {
                let PulledJob { job_id, claimed } = &**next;
                self.claimed(*job_id, claimed);
            }
        }
    }

    /// None of them is.
    pub(super) fn lost(self) {
        for (_, about) in &self.about {
            if let About::Create(job_id, trace) = about
                && let Some(mut span) = self.span(*trace, "commit create", *job_id)
            {
                span.failed("not-written");
            }
        }
    }

    fn claimed(&self, job_id: JobId, claimed: &Claimed) {
        let Some(trace) = TraceParent::recorded(claimed.trace.as_deref()) else { return };
        if let Some(mut span) = self.span(trace, "commit claim", job_id) {
            span.number("longshore.run", claimed.run);
            span.number("longshore.attempt", claimed.attempt);
        }
    }

    fn span(&self, trace: TraceParent, name: &str, job_id: JobId) -> Option<Span> {
        let mut span = Span::below(trace, PROGRAM, Kind::Server, name)?.since(self.begun);
        span.text("longshore.job_id", job_id.to_string());
        Some(span)
    }
}
