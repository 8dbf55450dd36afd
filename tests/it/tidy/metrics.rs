//! Metrics are documented by name, all of them and no others, and what watches them asks for nothing else.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::source::{File, files};
use super::{none, root};

const PAGE: &str = "docs/operations.md";
const ALERTS: &str = "observability/alerts.yml";
const DASHBOARD: &str = "observability/grafana/dashboards/longshore.json";
/// How a histogram is shown.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The names in the first cells of the operator's table.
pub(crate) fn documented() -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(root()?.join(PAGE))?;
    let rows = page.lines().filter(|line| line.starts_with("| `longshore_") || line.starts_with("| `process_"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    Ok(cells.flat_map(names).collect())
}

/// The name under which a series is documented: a histogram has one for all of its parts.
pub(crate) fn whole(series: &str) -> &str {
    let histogram = PARTS.iter().find_map(|part| series.strip_suffix(part)).filter(|name| name.ends_with("_seconds"));
    histogram.unwrap_or(series)
}

/// What looks like the name of a metric.
fn names(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let is_name = |word: &&str| word.starts_with("longshore_") || word.starts_with("process_");
    words.filter(is_name).map(str::to_owned).collect()
}

/// The names that the programs give to metrics.
fn given(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in
        files.iter().filter(|file| file.is_rust() && file.path.contains("/src/") && !file.path.starts_with("tests/"))
    {
        let tests: Vec<usize> = file.test_code().map(|(number, _)| number).collect();
        for (_, line) in file.code().filter(|(number, _)| !tests.contains(number)) {
            // A name stands alone in its quotes, or in the line that says its type.
            let alone = line.split('"').skip(1).step_by(2).filter(|text| names(text) == [*text]);
            let typed = line.split("# TYPE ").skip(1).filter_map(|rest| rest.split(' ').next());
            found.extend(alone.chain(typed).filter(|name| !names(name).is_empty()).map(|name| whole(name).to_owned()));
        }
    }
    found
}

#[test]
fn every_metric_is_documented_by_name() -> Result<()> {
    let (given, documented) = (given(&files()?), documented()?);
    ensure!(given.len() > 50, "the names in the source were not found: {given:?}");
    let missing: Vec<String> = given.difference(&documented).cloned().collect();
    none(&missing, "docs/operations.md does not name these metrics:")?;
    let gone: Vec<String> = documented.difference(&given).cloned().collect();
    none(&gone, "docs/operations.md names metrics that nothing counts:")
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_that_are_there() -> Result<()> {
    let documented = documented()?;
    let asked = |path: &str| anyhow::Ok(names(&fs::read_to_string(root()?.join(path))?));
    let mut offences = Vec::new();
    for path in [ALERTS, DASHBOARD] {
        let asked = asked(path)?;
        ensure!(asked.len() > 10, "{path} asks for nothing");
        let unknown = asked.iter().filter(|name| !documented.contains(whole(name)));
        offences.extend(unknown.map(|name| format!("{path}: {name}")));
    }
    none(&offences, "No program has these metrics:")
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do() -> Result<()> {
    let rules = fs::read_to_string(root()?.join(ALERTS))?;
    let page = fs::read_to_string(root()?.join("docs/observability.md"))?;
    let tried = fs::read_to_string(root()?.join("observability/alerts_test.yml"))?;
    let mut offences = Vec::new();
    let mut count = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().context("a name")?.trim();
        let severity = ["page", "ticket"].into_iter().find(|word| rule.contains(&format!("{{ severity: {word} }}")));
        let row = severity.map(|severity| format!("| `{name}` | {severity} |"));
        let is_whole = rule.contains("expr:") && rule.contains("summary:");
        if !is_whole || !row.is_some_and(|row| page.contains(&row)) {
            offences
                .push(format!("{name}: give it an expr, a severity and a summary, and a row in docs/observability.md"));
        }
        if tried.matches(name).count() < 2 {
            offences.push(format!("{name}: say in observability/alerts_test.yml when it is silent and when it speaks"));
        }
        count += 1;
    }
    let rows = page.lines().filter(|line| line.starts_with("| `Longshore")).count();
    if rows != count {
        offences.push(format!("docs/observability.md has {rows} rows for {count} alerts"));
    }
    none(&offences, "Alerts:")
}

#[test]
fn the_dashboard_is_whole() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(root()?.join(DASHBOARD))?)?;
    let sources = fs::read_to_string(root()?.join("observability/grafana/datasources.yml"))?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut ids = BTreeSet::new();
    for panel in panels {
        ensure!(ids.insert(panel["id"].as_u64()), "two panels have the same id: {panel}");
        ensure!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "no title: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        let source = panel["datasource"]["uid"].as_str().context("a data source")?;
        ensure!(sources.contains(&format!("uid: {source}\n")), "nobody provides {source}: {panel}");
        let targets = panel["targets"].as_array().context("targets")?;
        let has_names =
            |target: &Value| target["expr"].as_str().is_some_and(|expression| !names(expression).is_empty());
        ensure!(!targets.is_empty() && targets.iter().all(has_names), "a panel that shows nothing: {panel}");
    }
    Ok(())
}
