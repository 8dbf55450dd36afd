//! What `longshore top` shows, as lines of a terminal. Pure.

use chassis::clock;
use console::{Style, Term, truncate_str};
use protocol::api::JobView;
use protocol::key::QueueName;
use serde_json::Value;

use super::sight::Sight;
use crate::operate::{backends, queues, workers};
use crate::output::table::{Kind, Table};
use crate::{durations, jobs};

const JOBS: [(&str, Kind); 5] =
    [("JOB", Kind::Text), ("TASK", Kind::Long), ("QUEUE", Kind::Long), ("RUNS FOR", Kind::Text), ("", Kind::Long)];
const KEYS: &str = "q quit   ↑ ↓ select a queue   p pause it   r resume it";
/// Before the selected queue, and before the others.
const MARKS: [&str; 2] = ["▸ ", "  "];
/// A section with more lines is cut to so many, where there is not room for all.
const SECTION_LINES: usize = 8;

/// How large the terminal is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Room {
    pub(super) fn of(term: &Term) -> Self {
        let (height, width) = term.size();
        Self { width: usize::from(width), height: usize::from(height) }
    }
}

/// The last look, and what a person does with it.
#[derive(Debug)]
pub(super) struct Frame {
    place: String,
    sight: Sight,
    /// Why the last look failed.
    problem: Option<String>,
    selected: usize,
    said: Option<String>,
}

impl Frame {
    pub(super) fn of(place: String, sight: Sight) -> Self {
        Self { place, sight, problem: None, selected: 0, said: None }
    }

    /// A look that failed leaves what was seen before, and says so.
    pub(super) fn see(&mut self, looked: anyhow::Result<Sight>) {
        match looked {
            Ok(sight) => {
                self.sight = sight;
                self.problem = None;
            }
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    pub(super) fn select(&mut self, step: isize) {
        let last = self.sight.queues.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(step).min(last);
    }

    pub(super) fn selected(&self) -> Option<QueueName> {
        QueueName::try_from(self.sight.queues.get(self.selected)?.queue.as_str()).ok()
    }

    pub(super) fn say(&mut self, said: String) {
        self.said = Some(said);
    }

    /// At most so many lines, each of at most so many columns. What is cut is counted.
    pub(super) fn lines(&self, room: Room) -> Vec<String> {
        let now_ms = clock::wall_ms();
        let is_live = room.height < usize::MAX;
        let mut lines = vec![self.title()];
        lines.extend(self.health());
        lines.extend(section("", self.queues(now_ms, room.width, is_live), room));
        let found = workers::table(&self.sight.workers, now_ms).lines(room.width);
        lines.extend(section("no worker is there", found, room));
        if let Some(found) = &self.sight.backends {
            lines.extend(match found {
                Ok(view) => section("", backends::table(view).lines(room.width), room),
                Err(error) => vec![String::new(), format!("backends: {error}")],
            });
        }
        let running = &self.sight.running;
        let table = Table::new(JOBS, running.jobs.iter().map(|job| row(job, now_ms))).lines(room.width);
        let left = Room { height: room.height.saturating_sub(lines.len() + usize::from(is_live)), ..room };
        lines.extend(rest("no job is running", table, left, running.next_cursor.is_some()));
        if is_live {
            lines.truncate(room.height.saturating_sub(1));
            lines.resize(room.height.saturating_sub(1), String::new());
            lines.push(self.said.clone().map_or_else(|| KEYS.to_owned(), |said| format!("{KEYS}   {said}")));
        }
        lines.iter().map(|line| truncate_str(line, room.width, "…").into_owned()).collect()
    }

    fn title(&self) -> String {
        let name = Style::new().bold().apply_to(format!("Longshore at http://{}", self.place));
        match &self.problem {
            None => name.to_string(),
            Some(problem) => format!("{name}  {}", Style::new().red().apply_to(problem)),
        }
    }

    /// What the programs say of themselves, those that are well in a word.
    fn health(&self) -> Vec<String> {
        let balancer = std::iter::once(("balancer".to_owned(), &self.sight.balancer));
        let gateways = self.sight.gateways.iter().map(|(address, report)| (format!("gateway {address}"), report));
        balancer.chain(gateways).map(|(who, report)| condition(&who, report)).collect()
    }

    fn queues(&self, now_ms: i64, width: usize, is_live: bool) -> Vec<String> {
        let table = queues::table(&self.sight.queues, now_ms);
        if !is_live {
            return table.lines(width);
        }
        let [marked, plain] = MARKS;
        let lines = table.lines(width.saturating_sub(marked.chars().count()));
        let mark = |(place, line): (usize, String)| {
            let mark = if place == self.selected + 1 { marked } else { plain };
            format!("{mark}{line}")
        };
        lines.into_iter().enumerate().map(mark).collect()
    }
}

fn condition(who: &str, report: &Value) -> String {
    let status = report["status"].as_str().unwrap_or("does not answer");
    let reasons = report["reasons"].as_object().into_iter().flatten();
    let reasons = reasons.map(|(part, why)| format!("{part}: {}", why.as_str().unwrap_or_default()));
    let reasons: Vec<String> = reasons.collect();
    let style = if status == "ready" { Style::new().green() } else { Style::new().yellow() };
    format!("{who} {}  {}", style.apply_to(status), reasons.join("; ")).trim_end().to_owned()
}

/// A table below an empty line, cut where the terminal has not room for everything.
fn section(if_empty: &str, table: Vec<String>, room: Room) -> Vec<String> {
    let most = if room.height < usize::MAX { SECTION_LINES.min(room.height / 4).max(2) } else { usize::MAX };
    rest(if_empty, table, Room { height: most.saturating_add(1), ..room }, false)
}

/// The same, with all the room that is left. `is_more`: there are rows beyond those of the table.
fn rest(if_empty: &str, table: Vec<String>, room: Room, is_more: bool) -> Vec<String> {
    if table.len() <= 1 {
        return vec![String::new(), if_empty.to_owned()];
    }
    let most = room.height.saturating_sub(1);
    let (count, mut lines) = (table.len(), vec![String::new()]);
    if count <= most && !is_more {
        lines.extend(table);
        return lines;
    }
    let shown = count.min(most.saturating_sub(1)).max(1);
    lines.extend(table.into_iter().take(shown));
    let plus = if is_more { "+" } else { "" };
    lines.push(format!("… and {}{plus} more", count - shown));
    lines
}

fn row(job: &JobView, now_ms: i64) -> [String; 5] {
    let runs = job.started_at.map(|started| durations::show_ms(durations::between_ms(started, now_ms)));
    let told = jobs::running(job).split_whitespace().collect::<Vec<_>>().join(" ");
    [job.job_id.to_string(), job.task.clone(), job.queue.clone(), runs.unwrap_or_default(), told]
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use protocol::api::{JobPage, WorkerView};
    use protocol::ids::SessionId;
    use protocol::queue::QueueView;
    use protocol::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn frame(queues: usize, workers: usize) -> Frame {
        let queue = |number| QueueView { queue: format!("queue-{number}"), ..QueueView::default() };
        let worker = |number| WorkerView {
            session_id: SessionId::generate(),
            worker: format!("worker-{number}"),
            queues: [("default".to_owned(), 8)].into(),
            tasks: vec!["a".repeat(200)],
            slots: 8,
            busy: 1,
            since: Timestamp::from_unix_ms(0),
        };
        let sight = Sight {
            queues: (0..queues).map(queue).collect(),
            workers: (0..workers).map(worker).collect(),
            running: JobPage { jobs: Vec::new(), next_cursor: None },
            balancer: json!({"status": "degraded", "reasons": {"backends": "one is away"}}),
            backends: Some(Err("it does not answer".to_owned())),
            gateways: Vec::new(),
        };
        Frame::of("127.0.0.1:8000".to_owned(), sight)
    }

    #[test]
    fn a_frame_fills_its_terminal_and_no_more() {
        for (width, height) in [(80, 24), (40, 10), (200, 60), (1, 1), (20, 3)] {
            let lines = frame(30, 30).lines(Room { width, height });
            assert_eq!(lines.len(), height, "{lines:#?}");
            assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{lines:#?}");
        }
        let lines = frame(30, 30).lines(Room { width: 80, height: 24 });
        assert!(lines.iter().any(|line| line.contains("more")), "{lines:#?}");
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let lines = frame(30, 30).lines(Room { width: usize::MAX, height: usize::MAX }).join("\n");
        for said in ["queue-29", "worker-29", "degraded  backends: one is away", "no job is running", "does not answer"]
        {
            assert!(lines.contains(said), "{said}: {lines}");
        }
        assert!(!lines.contains("quit"), "{lines}");
    }

    #[test]
    fn a_look_that_fails_leaves_what_was_seen() {
        let mut frame = frame(2, 0);
        frame.see(Err(anyhow::anyhow!("nothing answers")));
        let lines = frame.lines(Room { width: 100, height: 30 }).join("\n");
        assert!(lines.contains("nothing answers") && lines.contains("queue-1"), "{lines}");
    }

    #[test]
    fn the_selection_stays_on_the_list() {
        let mut frame = frame(2, 0);
        let mut check = |step: isize, expected: &str| {
            frame.select(step);
            assert_eq!(frame.selected().map(|queue| queue.to_string()).as_deref(), Some(expected));
        };
        check(-1, "queue-0");
        check(1, "queue-1");
        check(5, "queue-1");
    }
}
