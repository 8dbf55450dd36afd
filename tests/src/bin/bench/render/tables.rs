//! A record as Markdown: the bounds, then each section with its contenders, their spread, and what they are made of.

use std::fmt::Write as _;

use super::balancer;
use crate::bounds;
use crate::record::{Contender, Record, Recording, Run, Section};

pub(super) fn all(record: &Record) -> String {
    let mut text = facts(record);
    text.push_str("![The contenders side by side](performance.svg)\n\n");
    text.push_str(&bounds(record));
    let sections = || record.sections.iter().filter(|section| !matches!(section.name.as_str(), "backlog" | "tenants"));
    for section in sections().filter(|section| !balancer::shows(section)) {
        text.push_str(&self::section(section));
    }
    text + &balancer::all(record)
}

fn facts(record: &Record) -> String {
    record.recorded.iter().map(facts_of).collect()
}

fn facts_of(recording: &Recording) -> String {
    let Recording { at, command, machine } = recording;
    let versions: Vec<_> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "Recorded {at} by `{command}` on {} cores ({}), {} MiB of memory, Linux {}; load average before the run {:.1}. Versions: {}.\n\n",
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.load_before,
        versions.join(", "),
    )
}

/// A row for each bound that was measured.
pub(crate) fn bounds(record: &Record) -> String {
    let mut text = String::from("| ratio of medians, or median | bound | measured | |\n|---|---|---|---|\n");
    for bound in bounds::all() {
        if let Some(measured) = bound.measured(record) {
            let verdict = if bound.is_met(measured) { "pass" } else { "MISS" };
            row(&mut text, &[&bound.says, &bound.limit(), &format!("{measured:.2}"), verdict]);
        }
    }
    text + "\n"
}

fn section(section: &Section) -> String {
    let title = match section.name.as_str() {
        "jobs" => "Jobs, from submit to done",
        "reads" => "Reads that a cache answers",
        "storm" => "A hot key that is invalidated every 10 ms",
        other => other,
    };
    let rounds = section.contenders.first().map_or(0, |contender| contender.runs.len());
    let mut text =
        format!("### {title}\n\nMedians of {rounds} interleaved runs; in parentheses the least and the most.\n\n");
    text.push_str("| contender | per second | answer p50 ms | p99 ms | CPU µs each | the generator's, beside it |\n|---|---|---|---|---|---|\n");
    for contender in &section.contenders {
        let (least, most) = contender.least_and_most(Run::per_second);
        let median = |value: fn(&Run) -> f64| contender.median(value);
        row(
            &mut text,
            &[
                &contender.name,
                &format!("{:.0} ({least:.0}–{most:.0})", median(Run::per_second)),
                &answered(median(|run| run.p50_ms)),
                &answered(median(|run| run.p99_ms)),
                &format!("{:.0}", median(Run::total_us)),
                &format!("{:.0}", median(|run| run.generator_us)),
            ],
        );
    }
    if section.contenders.iter().flat_map(|contender| &contender.runs).any(|run| run.loads_each.is_some()) {
        text.push_str("\n| contender | loads from the origin for each invalidation |\n|---|---|\n");
        for contender in &section.contenders {
            row(&mut text, &[&contender.name, &format!("{:.2}", contender.median(Run::loads_each))]);
        }
    }
    text.push_str("\n| contender | CPU µs each, by part | what it is |\n|---|---|---|\n");
    for contender in &section.contenders {
        row(&mut text, &[&contender.name, &parts(contender), &contender.what]);
    }
    text + "\n"
}

/// A time, if there is one.
pub(super) fn answered(milliseconds: f64) -> String {
    if milliseconds > 0.0 { format!("{milliseconds:.2}") } else { "–".to_owned() }
}

fn parts(contender: &Contender) -> String {
    let of_part = |part: &str| contender.median(|run| run.cpu_us.get(part).copied().unwrap_or_default());
    let parts: Vec<_> = contender.parts().into_iter().map(|part| format!("{part} {:.0}", of_part(part))).collect();
    parts.join(", ")
}

pub(super) fn row(text: &mut String, cells: &[&str]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
}
