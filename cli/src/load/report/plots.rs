//! Which plots a report has, and what is drawn in each. Pure.

use super::plot::{Across, Plot, Series, Style};
use super::scale::Scale;
use crate::load::numbers::real;
use crate::load::summary::{Middle, Moment, Summary};

/// Colours that do not stand for a kind of request.
const OFFERED: usize = 6;
const ACHIEVED: usize = 2;
const FAILED: usize = 4;
const IN_FLIGHT: usize = 5;
const BACKLOG: usize = 1;
const COLOURS: usize = 8;

pub(super) fn all(summary: &Summary) -> Vec<Plot> {
    let mut plots = vec![rates(summary), open(summary)];
    plots.extend(latencies(summary));
    plots.extend(curves(summary));
    if summary.jobs.is_some() {
        plots.extend([jobs_open(summary), jobs_ended(summary)]);
    }
    if summary.processes.iter().any(|process| !process.over_time.is_empty()) {
        plots.extend([cpu(summary), memory(summary)]);
    }
    plots
}

/// A plot over the requests' time.
fn over_time(summary: &Summary, title: &'static str, unit: &'static str, style: Style, series: Vec<Series>) -> Plot {
    let end = summary.timeline.last().map_or(summary.length_s, |moment| summary.length_s.max(moment.at_s));
    let most = match style {
        Style::Lines => series.iter().map(highest).fold(0.0, f64::max),
        Style::Stacked => highest_sum(&series),
    };
    let (x, y) = (Scale::until(end), Scale::linear(most.max(1.0)));
    Plot { title, unit, style, across: Across::Seconds, x, y, series, marks: marks(summary) }
}

fn highest(series: &Series) -> f64 {
    series.points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max)
}

fn highest_sum(series: &[Series]) -> f64 {
    let places = series.iter().map(|series| series.points.len()).max().unwrap_or(0);
    let at = |place: usize| series.iter().filter_map(|series| series.points.get(place)?.1).sum::<f64>();
    (0..places).map(at).fold(0.0, f64::max)
}

/// The ends of all stages but the last.
fn marks(summary: &Summary) -> Vec<f64> {
    let mut end = 0.0;
    let ends = summary.stages.iter().map(|stage| {
        end += stage.length_s;
        end
    });
    ends.take(summary.stages.len().saturating_sub(1)).collect()
}

fn series(summary: &Summary, name: &str, colour: usize, value: impl Fn(&Moment) -> Option<f64>) -> Series {
    let points = summary.timeline.iter().map(|moment| (moment.at_s, value(moment))).collect();
    Series { name: name.to_owned(), colour, points }
}

fn rates(summary: &Summary) -> Plot {
    let mut lines = vec![
        series(summary, "offered", OFFERED, |moment| Some(moment.offered_per_s)),
        series(summary, "achieved", ACHIEVED, |moment| Some(moment.achieved_per_s)),
    ];
    if summary.requests.failed > 0 {
        lines.push(series(summary, "failed", FAILED, |moment| Some(moment.failed_per_s)));
    }
    over_time(summary, "Requests", "per second", Style::Lines, lines)
}

fn open(summary: &Summary) -> Plot {
    let areas = vec![
        series(summary, "in flight", IN_FLIGHT, |moment| Some(real(moment.in_flight))),
        series(summary, "backlog", BACKLOG, |moment| Some(real(moment.backlog))),
    ];
    over_time(summary, "Requests without an answer", "at most, per second", Style::Stacked, areas)
}

/// p50 and p99 by kind, on one scale.
fn latencies(summary: &Summary) -> [Plot; 2] {
    let all = summary.timeline.iter().flat_map(|moment| moment.latency_ms.values());
    let y = Scale::log(all.flat_map(|times| [times.p50, times.p99]));
    let plot = |title, of: fn(&Middle) -> f64| {
        let lines = summary.kinds.iter().map(|kind| {
            let value = |moment: &Moment| moment.latency_ms.get(&kind.kind).map(of);
            series(summary, kind.kind.name(), kind.kind.place(), value)
        });
        Plot { y, ..over_time(summary, title, "ms, by intended start", Style::Lines, lines.collect()) }
    };
    [plot("Latency p50", |times| times.p50), plot("Latency p99", |times| times.p99)]
}

fn curves(summary: &Summary) -> Vec<Plot> {
    let requests = summary.kinds.iter().map(|kind| curve(kind.kind.name(), kind.kind.place(), &kind.curve)).collect();
    let mut plots = vec![over_quantiles("Latency by percentile", requests)];
    if let Some(jobs) = &summary.jobs {
        let lines = jobs.curves.iter().zip([IN_FLIGHT, ACHIEVED]);
        let lines = lines.map(|((name, points), colour)| curve(name, colour, points)).collect();
        plots.push(over_quantiles("Jobs by percentile", lines));
    }
    plots
}

fn curve(name: &str, colour: usize, points: &[(f64, f64)]) -> Series {
    let points = points.iter().map(|(quantile, ms)| (*quantile, Some(*ms))).collect();
    Series { name: name.to_owned(), colour, points }
}

fn over_quantiles(title: &'static str, series: Vec<Series>) -> Plot {
    let y = Scale::log(series.iter().flat_map(|series| series.points.iter().filter_map(|(_, value)| *value)));
    let (style, across, x) = (Style::Lines, Across::Quantiles, Scale::Nines { nines: 4 });
    Plot { title, unit: "ms from the intended start", style, across, x, y, series, marks: Vec::new() }
}

fn jobs_open(summary: &Summary) -> Plot {
    let areas = vec![
        series(summary, "running", ACHIEVED, |moment| Some(real(moment.jobs?.running as u64))),
        series(summary, "waiting", BACKLOG, |moment| Some(real(moment.jobs?.waiting as u64))),
    ];
    over_time(summary, "Jobs that have not ended", "at each instant", Style::Stacked, areas)
}

fn jobs_ended(summary: &Summary) -> Plot {
    let accepted = |moment: &Moment| moment.jobs.map(|jobs| real((jobs.waiting + jobs.running + jobs.ended) as u64));
    let lines = vec![
        series(summary, "accepted", OFFERED, accepted),
        series(summary, "ended", ACHIEVED, |moment| Some(real(moment.jobs?.ended as u64))),
    ];
    over_time(summary, "Jobs in all", "since the start", Style::Lines, lines)
}

fn cpu(summary: &Summary) -> Plot {
    over_time(summary, "CPU", "% of a core", Style::Lines, of_processes(summary, |(_, share, _)| share * 100.0))
}

fn memory(summary: &Summary) -> Plot {
    over_time(summary, "Resident memory", "MiB", Style::Lines, of_processes(summary, |(_, _, mib)| mib))
}

fn of_processes(summary: &Summary, value: fn((f64, f64, f64)) -> f64) -> Vec<Series> {
    // The generator comes first and is the grey one.
    let lines = summary.processes.iter().enumerate().map(|(place, process)| Series {
        name: process.name.clone(),
        colour: if place == 0 { OFFERED } else { [0, 1, 2, 3, 4, 5, 7][(place - 1) % (COLOURS - 1)] },
        points: process.over_time.iter().map(|reading| (reading.0, Some(value(*reading)))).collect(),
    });
    lines.collect()
}
