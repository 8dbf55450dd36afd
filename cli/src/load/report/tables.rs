//! The tables of the page. Pure.

use super::plot::escape;
use crate::load::numbers::{count, plain};
use crate::load::summary::{JobLine, Quantiles, Summary};

pub(super) fn all(summary: &Summary) -> String {
    let mut parts = vec![stages(summary), kinds(summary)];
    parts.extend(errors(summary));
    parts.extend(summary.jobs.as_ref().map(jobs));
    parts.push(processes(summary));
    parts.concat()
}

fn stages(summary: &Summary) -> String {
    let rows = summary.stages.iter().map(|stage| {
        let rates = [plain(stage.offered_per_s), plain(stage.achieved_per_s)];
        let levels = [count(stage.open_at_end), count(stage.backlog_at_end)];
        std::iter::once(stage.stage.clone()).chain(rates).chain(levels).collect()
    });
    table("Stages", &["stage", "offered/s", "achieved/s", "open at end", "backlog at end"], rows.collect())
}

fn kinds(summary: &Summary) -> String {
    let heads = ["ms from the intended start", "due", "done", "failed", "p50", "p90", "p99", "p99.9", "max"];
    let rows = summary.kinds.iter().map(|kind| {
        let counts = [kind.due, kind.done, kind.failed].map(count);
        std::iter::once(kind.kind.name().to_owned()).chain(counts).chain(quantiles(kind.latency_ms)).collect()
    });
    table("Requests", &heads, rows.collect())
}

fn quantiles(times: Quantiles) -> [String; 5] {
    if times.count == 0 {
        return ["–"; 5].map(str::to_owned);
    }
    [times.p50, times.p90, times.p99, times.p99_9, times.max].map(plain)
}

fn errors(summary: &Summary) -> Option<String> {
    let rows = summary.kinds.iter().flat_map(|kind| {
        let row = |(what, times): (&String, &u64)| vec![kind.kind.name().to_owned(), what.clone(), count(*times)];
        kind.errors.iter().map(row)
    });
    let rows: Vec<Vec<String>> = rows.collect();
    (!rows.is_empty()).then(|| table("Failed", &["kind", "what", "times"], rows))
}

fn jobs(jobs: &JobLine) -> String {
    let counts = &jobs.counts;
    let numbers =
        [counts.accepted, counts.succeeded, counts.failed, counts.cancelled, counts.open, counts.lost, counts.unknown];
    let heads = ["", "accepted", "succeeded", "failed", "cancelled", "open", "lost", "not looked up"];
    let counted = std::iter::once("jobs".to_owned()).chain(numbers.map(count)).collect();
    let heads_of_times = ["ms from the intended start", "p50", "p90", "p99", "p99.9", "max"];
    let times = [("submit → start", jobs.submit_to_start_ms), ("submit → done", jobs.submit_to_done_ms)];
    let times = times.map(|(name, times)| std::iter::once(name.to_owned()).chain(quantiles(times)).collect());
    table("Jobs", &heads, vec![counted]) + &table("Latency of jobs", &heads_of_times, times.to_vec())
}

fn processes(summary: &Summary) -> String {
    let heads = ["process", "ports", "CPU mean", "CPU max", "CPU µs per request", "MiB at first", "MiB at most"];
    let rows = summary.processes.iter().map(|process| {
        let ports: Vec<&str> = process.addresses.iter().filter_map(|address| address.rsplit(':').next()).collect();
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        vec![
            process.name.clone(),
            ports.join(" "),
            percent(process.cpu_mean),
            percent(process.cpu_max),
            plain(process.cpu_us_per_request),
            plain(process.resident_mib_first),
            plain(process.resident_mib_max),
        ]
    });
    let late = summary.generator.lateness_ms;
    table("Processes", &heads, rows.collect())
        + &format!(
            "<p class=\"note\">The generator took requests up {} ms late at p99, {} ms at most; that is part of every latency.</p>\n",
            plain(late.p99),
            plain(late.max),
        )
}

fn table(title: &str, heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let cells = |row: Vec<String>| row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect::<String>();
    let rows: Vec<String> = rows.into_iter().map(|row| format!("<tr>{}</tr>\n", cells(row))).collect();
    format!(
        "<h2>{}</h2>\n<div class=\"table\"><table>\n<tr>{}</tr>\n{}</table></div>\n",
        escape(title),
        head.concat(),
        rows.concat(),
    )
}
