//! The report as one web page that needs nothing else: no script, no font, no picture is fetched. Pure.

mod plot;
mod plots;
mod scale;
mod tables;

use super::numbers::{count, plain};
use super::summary::Summary;
use super::verdict::Rate;
use plot::escape;

const STYLE: &str = include_str!("style.css");

pub(crate) fn page(summary: &Summary) -> String {
    let plots: Vec<String> = plots::all(summary).iter().map(plot::Plot::figure).collect();
    [
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n".to_owned(),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n".to_owned(),
        format!("<title>Load on {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n", escape(&summary.url)),
        head(summary),
        verdict(summary),
        tiles(summary),
        format!("<h2>Over time</h2>\n<div class=\"plots\">\n{}</div>\n", plots.concat()),
        tables::all(summary),
        foot(),
        "</main>\n</body>\n</html>\n".to_owned(),
    ]
    .concat()
}

fn head(summary: &Summary) -> String {
    let early = if summary.interrupted { ", ended early" } else { "" };
    format!(
        "<h1>Load on {}</h1>\n<p class=\"quiet\">{}, {} s{early} · {} requests · {} · task {} · seed {}</p>\n",
        escape(&summary.url),
        summary.started_at,
        plain(summary.length_s),
        count(summary.requests.due),
        escape(&summary.mix.replace(',', ", ")),
        escape(&summary.task),
        summary.seed,
    )
}

fn verdict(summary: &Summary) -> String {
    let (class, said) = match summary.verdict.rate {
        Rate::Held => ("held", "The rate was held."),
        Rate::NotHeld => ("not_held", "The rate was not held."),
        Rate::GeneratorTooSlow => ("generator_too_slow", "The generator could not send as planned."),
    };
    let mut reasons: Vec<String> = summary.verdict.reasons.iter().map(|reason| item(reason)).collect();
    if summary.lost() > 0 {
        reasons.push(item(&format!("{} accepted jobs were lost", count(summary.lost()))));
    }
    let class = if summary.lost() > 0 { "not_held" } else { class };
    let reasons = if reasons.is_empty() { String::new() } else { format!("<ul>{}</ul>", reasons.concat()) };
    format!("<div class=\"verdict {class}\"><b>{said}</b>{reasons}</div>\n")
}

fn item(text: &str) -> String {
    format!("<li>{}</li>", escape(text))
}

fn tiles(summary: &Summary) -> String {
    let requests = &summary.requests;
    let mut tiles = vec![
        tile("offered", &plain(requests.offered_per_s), "/s"),
        tile("achieved", &plain(requests.achieved_per_s), "/s"),
        tile("backlog, at most", &count(requests.backlog_max), ""),
        tile("failed", &count(requests.failed), &format!(" of {}", count(requests.due))),
    ];
    if let Some(first) = summary.kinds.first() {
        tiles.push(tile(&format!("{} p99", first.kind.name()), &plain(first.latency_ms.p99), " ms"));
    }
    if let Some(jobs) = &summary.jobs {
        let done = jobs.counts.succeeded + jobs.counts.failed + jobs.counts.cancelled;
        tiles.push(tile("jobs done", &count(done), &format!(" of {}", count(jobs.counts.accepted))));
        tiles.push(tile("jobs lost", &count(jobs.counts.lost), ""));
        tiles.push(tile("submit → done p99", &plain(jobs.submit_to_done_ms.p99), " ms"));
    }
    format!("<div class=\"tiles\">{}</div>\n", tiles.concat())
}

fn tile(name: &str, value: &str, unit: &str) -> String {
    format!("<div><span>{}</span><strong>{value}</strong><small>{unit}</small></div>", escape(name))
}

fn foot() -> String {
    format!(
        "<p class=\"note\">Open loop: every latency counts from the request's intended start, sent or not, answered or not. \
         longshore {}</p>\n",
        env!("CARGO_PKG_VERSION"),
    )
}
