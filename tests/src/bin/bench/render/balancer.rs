//! The balancers' part of the page: one table of all cases, one of the open loop, one of what `lb` withstands.

use super::tables::{answered, row};
use crate::balancer::{OPEN_LOOP, matrix};
use crate::record::{Contender, Record, Run, Section};

/// What the names of all its sections begin with.
const BALANCER: &str = "balancer";

pub(super) fn shows(section: &Section) -> bool {
    section.name.starts_with(BALANCER)
}

pub(super) fn all(record: &Record) -> String {
    let sections: Vec<_> = record.sections.iter().filter(|section| shows(section)).collect();
    if sections.is_empty() {
        return String::new();
    }
    let (cases, others): (Vec<_>, Vec<_>) =
        sections.into_iter().partition(|section| section.name.starts_with(matrix::PREFIX));
    let (open_loop, withstood): (Vec<_>, Vec<_>) = others.into_iter().partition(|section| section.name == OPEN_LOOP);
    let mut text = format!(
        "### The balancer\n\nMedians of {} interleaved runs; in parentheses the least and the most. All write lines of their log to a file, or none.\n\n",
        rounds(&cases)
    );
    cost(&mut text, &cases);
    text.push_str(&format!(
        "\nAn open loop, medians of {}, at half of what the slowest can do with 64 connections, small answers and no log: ",
        rounds(&open_loop)
    ));
    text.push_str(
        "a request is due at its instant whether or not those before were answered, and its time counts from then.\n\n",
    );
    cost(&mut text, &open_loop);
    what(&mut text, &open_loop);
    text.push_str(&format!("\nWhat `lb` withstands, medians of {}:\n\n", rounds(&withstood)));
    withstands(&mut text, &withstood);
    what(&mut text, &withstood);
    text + "\n"
}

fn rounds(sections: &[&Section]) -> usize {
    let runs = sections.iter().flat_map(|section| &section.contenders).map(|contender| contender.runs.len());
    runs.max().unwrap_or_default()
}

fn cost(text: &mut String, sections: &[&Section]) {
    text.push_str("| case | contender | per second | answer p50 ms | p99 ms | CPU µs each | the generator's, beside it |\n|---|---|---|---|---|---|---|\n");
    for (section, contender) in each(sections) {
        let (least, most) = contender.least_and_most(Run::total_us);
        row(
            text,
            &[
                section.name.strip_prefix(matrix::PREFIX).unwrap_or("open loop"),
                &contender.name,
                &format!("{:.0}", contender.median(Run::per_second)),
                &answered(contender.median(|run| run.p50_ms)),
                &answered(contender.median(|run| run.p99_ms)),
                &format!("{:.1} ({least:.1}–{most:.1})", contender.median(Run::total_us)),
                &format!("{:.1}", contender.median(|run| run.generator_us)),
            ],
        );
    }
}

fn withstands(text: &mut String, sections: &[&Section]) {
    text.push_str("| what | answer p50 ms | p99 ms | MiB, held or grown by |\n|---|---|---|---|\n");
    for (_, contender) in each(sections) {
        row(
            text,
            &[
                &contender.name,
                &answered(contender.median(|run| run.p50_ms)),
                &answered(contender.median(|run| run.p99_ms)),
                &format!("{:.1}", contender.median(Run::largest_mib)),
            ],
        );
    }
}

fn what(text: &mut String, sections: &[&Section]) {
    text.push_str("\n| | what it is |\n|---|---|\n");
    for (_, contender) in each(sections) {
        row(text, &[&contender.name, &contender.what]);
    }
}

fn each<'a>(sections: &[&'a Section]) -> impl Iterator<Item = (&'a Section, &'a Contender)> {
    sections.iter().flat_map(|section| section.contenders.iter().map(move |contender| (*section, contender)))
}
