//! The report as text for a terminal. Pure.

use super::mix::Kind;
use super::numbers::{count, plain};
use super::summary::{JobLine, KindLine, Quantiles, Summary};
use super::verdict::Rate;

/// The name of a row stands left, its numbers right.
type Row = Vec<String>;

pub(crate) fn report(summary: &Summary) -> String {
    let mut parts = vec![head(summary), stages(summary), kinds(summary)];
    parts.extend(errors(summary));
    parts.extend(summary.jobs.as_ref().map(jobs));
    parts.push(processes(summary));
    parts.push(verdict(summary));
    parts.join("\n\n")
}

fn head(summary: &Summary) -> String {
    format!(
        "{}: {} requests in {} s ({}; task {}, seed {}){}",
        summary.url,
        count(summary.requests.due),
        plain(summary.length_s),
        summary.mix,
        summary.task,
        summary.seed,
        if summary.interrupted { "; ended early" } else { "" },
    )
}

fn stages(summary: &Summary) -> String {
    let mut rows = vec![row("stage", ["offered/s", "achieved/s", "open at end", "backlog at end"])];
    for stage in &summary.stages {
        let rates = [plain(stage.offered_per_s), plain(stage.achieved_per_s)];
        let [offered, achieved] = rates;
        rows.push(row(&stage.stage, [offered, achieved, count(stage.open_at_end), count(stage.backlog_at_end)]));
    }
    let requests = &summary.requests;
    let mut text = table(&rows);
    text.push_str(&format!(
        "\nat most {} in flight and {} in the backlog; the last answer came {} s after the last request was due",
        count(requests.in_flight_max),
        count(requests.backlog_max),
        plain(requests.cleared_after_s),
    ));
    text
}

const QUANTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

fn kinds(summary: &Summary) -> String {
    let heads = ["due", "done", "failed"].into_iter().chain(QUANTILES);
    let mut rows = vec![row("ms from the intended start", heads)];
    for kind in &summary.kinds {
        let counts = [kind.due, kind.done, kind.failed].map(count);
        rows.push(row(kind.kind.name(), counts.into_iter().chain(quantiles(kind.latency_ms))));
    }
    let held = summary.kinds.iter().any(|kind| kind.kind == Kind::Wait);
    let note = if held { "\n(wait is a submit that is answered when its job has ended)" } else { "" };
    table(&rows) + note
}

fn quantiles(times: Quantiles) -> [String; 5] {
    if times.count == 0 {
        return ["-"; 5].map(str::to_owned);
    }
    [times.p50, times.p90, times.p99, times.p99_9, times.max].map(plain)
}

fn errors(summary: &Summary) -> Option<String> {
    let of_kind = |kind: &KindLine| {
        let name = kind.kind.name();
        kind.errors.iter().map(|(what, times)| row(name, [count(*times), what.clone()])).collect::<Vec<_>>()
    };
    let rows: Vec<Row> = summary.kinds.iter().flat_map(of_kind).collect();
    if rows.is_empty() {
        return None;
    }
    let lines: Vec<String> = rows.iter().map(|row| format!("  {:<10} {:>9}  {}", row[0], row[1], row[2])).collect();
    Some(format!("failed\n{}", lines.join("\n")))
}

fn jobs(jobs: &JobLine) -> String {
    let counts = &jobs.counts;
    let mut text = format!(
        "jobs: {} accepted, {} done ({} failed, {} cancelled), {} open, {} lost; {} done per second",
        count(counts.accepted),
        count(counts.succeeded + counts.failed + counts.cancelled),
        count(counts.failed),
        count(counts.cancelled),
        count(counts.open),
        count(counts.lost),
        plain(jobs.done_per_s),
    );
    if counts.unknown > 0 {
        text.push_str(&format!("\n{} jobs could not be looked up: the service did not answer", count(counts.unknown)));
    }
    for id in &counts.lost_ids {
        text.push_str(&format!("\nLOST {id}: accepted, and now unknown to the service"));
    }
    let heads = ["", "", ""].into_iter().chain(QUANTILES);
    let mut rows = vec![row("ms from the intended start", heads)];
    for (name, times) in [("submit → start", jobs.submit_to_start_ms), ("submit → done", jobs.submit_to_done_ms)] {
        let none = ["", "", ""].map(str::to_owned);
        rows.push(row(name, none.into_iter().chain(quantiles(times))));
    }
    text.push('\n');
    text.push_str(&table(&rows));
    if jobs.clock.offset_ms != 0.0 {
        text.push_str(&format!(
            "\nthe service's clock differs by {:.0} ms, within {:.0} ms; its times were corrected",
            -jobs.clock.offset_ms, jobs.clock.within_ms,
        ));
    }
    text
}

fn processes(summary: &Summary) -> String {
    let mut rows = vec![row("process", ["CPU mean", "CPU max", "CPU µs/request", "MiB at first", "MiB at most"])];
    for process in &summary.processes {
        let ports: Vec<&str> = process.addresses.iter().filter_map(|address| address.rsplit(':').next()).collect();
        let name = match ports.as_slice() {
            [] | [_] => process.name.clone(),
            _ => format!("{} ({})", process.name, ports.join(" ")),
        };
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let numbers = [
            percent(process.cpu_mean),
            percent(process.cpu_max),
            plain(process.cpu_us_per_request),
            plain(process.resident_mib_first),
            plain(process.resident_mib_max),
        ];
        rows.push(row(&name, numbers));
    }
    let late = summary.generator.lateness_ms;
    table(&rows)
        + &format!(
            "\nthe generator took requests up {} ms late at p99, {} ms at most",
            plain(late.p99),
            plain(late.max)
        )
}

fn verdict(summary: &Summary) -> String {
    let requests = &summary.requests;
    let rates = format!(
        "{}/s offered, {}/s achieved, {} open at the end, backlog of at most {}",
        plain(requests.offered_per_s),
        plain(requests.achieved_per_s),
        count(requests.open_at_end),
        count(requests.backlog_max),
    );
    let said = match summary.verdict.rate {
        Rate::Held => "The rate was held",
        Rate::NotHeld => "THE RATE WAS NOT HELD",
        Rate::GeneratorTooSlow => "THE GENERATOR COULD NOT SEND AS PLANNED",
    };
    let reasons: Vec<String> = summary.verdict.reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
    let lost = match summary.lost() {
        0 => String::new(),
        lost => format!("\n{} ACCEPTED JOBS WERE LOST.", count(lost)),
    };
    format!("{said}: {rates}.{}{lost}", reasons.concat())
}

fn row(name: &str, cells: impl IntoIterator<Item = impl Into<String>>) -> Row {
    std::iter::once(name.to_owned()).chain(cells.into_iter().map(Into::into)).collect()
}

/// Columns two blanks apart, numbers right under their heads.
fn table(rows: &[Row]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or_default()
    };
    // A common width for the first column lets the tables of a report line up.
    let widths: Vec<usize> =
        (0..columns).map(|column| if column == 0 { width(0).max(26) } else { width(column).max(8) }).collect();
    let line = |row: &Row| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(console::measure_text_width(cell)));
            match column {
                0 => line.push_str(&format!("{cell}{padding}")),
                _ => line.push_str(&format!("  {padding}{cell}")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_under_their_heads() {
        let rows = [row("stage", ["offered/s", "x"]), row("ramp 0..200/30s and more than that", ["100", "12,345,678"])];
        let text = table(&rows);
        let ends: Vec<usize> = text.lines().map(console::measure_text_width).collect();
        assert_eq!(ends[0], ends[1], "{text}");
        assert!(text.lines().next().is_some_and(|line| line.starts_with("stage ") && line.ends_with(" x")), "{text}");
    }
}
