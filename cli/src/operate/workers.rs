//! `longshore workers`: who is there, what it can do, and how busy it is.

use std::process::ExitCode;

use chassis::clock;
use chassis::config::Source;
use protocol::api::{WorkerView, Workers};

use crate::arguments::List;
use crate::client::{Client, get};
use crate::durations;
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};

const COLUMNS: [(&str, Kind); 6] = [
    ("WORKER", Kind::Long),
    ("BUSY", Kind::Number),
    ("SLOTS", Kind::Number),
    ("SINCE", Kind::Text),
    ("QUEUES", Kind::Long),
    ("TASKS", Kind::Long),
];

pub(crate) async fn run(arguments: &List, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let page = |body: &[u8], width: usize| {
        let Workers { workers } = client.read(body)?;
        if workers.is_empty() {
            let hint =
                "No worker is there: jobs wait until one starts (`longshore up` has one, or the program `worker`).";
            return Ok(Page { lines: Vec::new(), notes: vec![hint.to_owned()] });
        }
        Ok(Page { lines: table(&workers, clock::wall_ms()).lines(width), notes: Vec::new() })
    };
    listing::show(&client, &get("/workers"), &arguments.shown, page).await
}

/// A row for each worker.
pub(crate) fn table(workers: &[WorkerView], now_ms: i64) -> Table<6> {
    Table::new(COLUMNS, workers.iter().map(|worker| row(worker, now_ms)))
}

fn row(worker: &WorkerView, now_ms: i64) -> [String; 6] {
    let queues = worker.queues.iter().map(|(queue, slots)| format!("{queue}={slots}")).collect::<Vec<_>>();
    [
        worker.worker.clone(),
        worker.busy.to_string(),
        worker.slots.to_string(),
        durations::show_ms(durations::between_ms(worker.since, now_ms)),
        queues.join(","),
        worker.tasks.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_a_row() {
        let json = r#"{"workers":[{"session_id":"01890000-0000-7000-8000-000000000001","worker":"host-1","queues":{"default":6,"reports":2},
            "tasks":["noop","report_*"],"slots":8,"busy":3,"since":"1970-01-01T00:00:00.000Z"}]}"#;
        let Workers { workers } = serde_json::from_str(json).expect("workers");
        let expected = [
            "WORKER  BUSY  SLOTS  SINCE  QUEUES               TASKS",
            "host-1     3      8  12 s   default=6,reports=2  noop report_*",
        ];
        assert_eq!(table(&workers, 12_000).lines(usize::MAX), expected);
    }
}
