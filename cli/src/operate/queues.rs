//! `longshore queues`, `pause` and `resume`.

use std::process::ExitCode;

use chassis::client::Call;
use chassis::clock;
use chassis::config::Source;
use http::Method;
use protocol::key::QueueName;
use protocol::queue::{QueueView, Queues};

use crate::arguments::{List, OneQueue};
use crate::client::{Client, get, request};
use crate::durations;
use crate::output;
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};

const COLUMNS: [(&str, Kind); 8] = [
    ("QUEUE", Kind::Long),
    ("QUEUED", Kind::Number),
    ("SCHEDULED", Kind::Number),
    ("RUNNING", Kind::Number),
    ("SLOTS", Kind::Number),
    ("IN/MIN", Kind::Number),
    ("OUT/MIN", Kind::Number),
    ("OLDEST", Kind::Long),
];

pub(crate) async fn list(arguments: &List, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let page = |body: &[u8], width: usize| {
        let Queues { queues } = client.read(body)?;
        Ok(Page { lines: table(&queues, clock::wall_ms()).lines(width), notes: Vec::new() })
    };
    listing::show(&client, &get("/queues"), &arguments.shown, page).await
}

pub(crate) async fn pause(arguments: &OneQueue, source: &Source) -> anyhow::Result<ExitCode> {
    let queue = &arguments.queue;
    let done = format!("The queue {queue} is paused: what runs goes on, nothing new is begun. See `longshore resume`.");
    set(arguments, source, "pause", done).await
}

pub(crate) async fn resume(arguments: &OneQueue, source: &Source) -> anyhow::Result<ExitCode> {
    set(arguments, source, "resume", format!("The queue {} goes on.", arguments.queue)).await
}

async fn set(arguments: &OneQueue, source: &Source, what: &str, done: String) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call(&pausing(&arguments.queue, what)).await?;
    if arguments.json {
        output::json(&answer.body)?
    } else {
        output::line(done)?
    }
    Ok(ExitCode::SUCCESS)
}

/// `pause` or `resume`. A queue's name needs no escapes in a path.
pub(crate) fn pausing(queue: &QueueName, what: &str) -> Call {
    request(Method::POST, format!("/queues/{queue}/{what}"))
}

/// A row for each queue.
pub(crate) fn table(queues: &[QueueView], now_ms: i64) -> Table<8> {
    Table::new(COLUMNS, queues.iter().map(|queue| row(queue, now_ms)))
}

fn row(queue: &QueueView, now_ms: i64) -> [String; 8] {
    let lately = queue.last_minute;
    let oldest = queue.oldest.map(|oldest| durations::show_ms(durations::between_ms(oldest.created_at, now_ms)));
    let paused =
        queue.paused_at.map(|since| format!("paused for {}", durations::show_ms(durations::between_ms(since, now_ms))));
    [
        queue.queue.clone(),
        queue.depth.queued.to_string(),
        queue.depth.scheduled.to_string(),
        queue.depth.running.to_string(),
        queue.slots.to_string(),
        lately.arrived.to_string(),
        (lately.succeeded + lately.failed + lately.cancelled).to_string(),
        [oldest, paused].into_iter().flatten().collect::<Vec<_>>().join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use protocol::queue::{Depth, Flow, Oldest};
    use protocol::time::Timestamp;

    use super::*;

    #[test]
    fn numbers_stand_under_their_heads() {
        let at = Timestamp::from_unix_ms;
        let busy = QueueView {
            queue: "reports".to_owned(),
            paused_at: Some(at(0)),
            depth: Depth { queued: 1_000_000, running: 8, ..Depth::default() },
            oldest: Some(Oldest { job_id: protocol::ids::JobId::generate(), created_at: at(5_000) }),
            last_minute: Flow { arrived: 7, succeeded: 1, failed: 2, cancelled: 3, ..Flow::default() },
            ..QueueView::default()
        };
        let idle = QueueView { queue: "default".to_owned(), ..QueueView::default() };
        let lines = table(&[idle, busy], 60_000).lines(usize::MAX);
        let expected = [
            "QUEUE     QUEUED  SCHEDULED  RUNNING  SLOTS  IN/MIN  OUT/MIN  OLDEST",
            "default        0          0        0      0       0        0",
            "reports  1000000          0        8      0       7        6  55 s, paused for 60 s",
        ];
        assert_eq!(lines, expected);
    }
}
