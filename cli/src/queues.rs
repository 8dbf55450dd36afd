//! `longshore queues`, `pause` and `resume`.

use std::process::ExitCode;

use chassis::clock;
use chassis::config::Source;
use console::measure_text_width;
use http::Method;
use protocol::queue::{QueueView, Queues};

use crate::arguments::{OneQueue, QueueList};
use crate::client::{Client, get, request};
use crate::{durations, output};

const HEAD: [&str; 8] = ["QUEUE", "QUEUED", "SCHEDULED", "RUNNING", "SLOTS", "IN/MIN", "OUT/MIN", "OLDEST"];
/// Columns are two blanks apart.
const GAP: usize = 2;

pub(crate) async fn list(arguments: &QueueList, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call(&get("/queues")).await?;
    if arguments.json {
        output::line(String::from_utf8_lossy(&answer.body).trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Queues { queues } = serde_json::from_slice(&answer.body).map_err(|error| client.misunderstood(&error))?;
    for line in table(&queues, clock::wall_ms()) {
        output::line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn pause(arguments: &OneQueue, source: &Source) -> anyhow::Result<ExitCode> {
    let queue = &arguments.queue;
    set(arguments, source, "pause").await?;
    output::line(format!(
        "The queue {queue} is paused: what runs goes on, nothing new is begun. See `longshore resume`."
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn resume(arguments: &OneQueue, source: &Source) -> anyhow::Result<ExitCode> {
    set(arguments, source, "resume").await?;
    output::line(format!("The queue {} goes on.", arguments.queue))?;
    Ok(ExitCode::SUCCESS)
}

/// Both may be asked twice, so a connection that breaks is no reason to give up; a queue's name needs no escapes in a path.
async fn set(arguments: &OneQueue, source: &Source, what: &str) -> anyhow::Result<()> {
    let client = Client::new(&arguments.service, source)?;
    client.call(&request(Method::POST, format!("/queues/{}/{what}", arguments.queue))).await?;
    Ok(())
}

fn table(queues: &[QueueView], now_ms: i64) -> Vec<String> {
    let rows: Vec<[String; 8]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(queues.iter().map(|queue| row(queue, now_ms))).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// Numbers stand at the right of their columns.
fn line(row: &[String; 8], widths: &[usize; 8]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(measure_text_width(cell)));
        let is_text = column == 0 || column == HEAD.len() - 1;
        let gap = " ".repeat(if column == 0 { 0 } else { GAP });
        line.push_str(&if is_text { format!("{gap}{cell}{padding}") } else { format!("{gap}{padding}{cell}") });
    }
    line.truncate(line.trim_end().len());
    line
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
        let lines = table(&[idle, busy], 60_000);
        let expected = [
            "QUEUE     QUEUED  SCHEDULED  RUNNING  SLOTS  IN/MIN  OUT/MIN  OLDEST",
            "default        0          0        0      0       0        0",
            "reports  1000000          0        8      0       7        6  55 s, paused for 60 s",
        ];
        assert_eq!(lines, expected);
    }
}
