//! The pages for users name what exists: every setting with its default, every route, every kind of problem.

use std::fs;

use anyhow::{Context, Result};
use protocol::problem::Kind;

use super::{none, root};

/// The commented defaults that the programs embed.
const DEFAULTS: [&str; 7] = [
    "chassis/src/config/default.toml",
    "cli/src/up/default.toml",
    "gateway/src/default.toml",
    "store-svc/src/default.toml",
    "cache-svc/src/default.toml",
    "worker/src/default.toml",
    "lb/default.toml",
];

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root()?.join(path)).with_context(|| format!("reading {path}"))
}

/// How a line `key = value` begins as a row of the operator's tables.
fn row(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let name = match key.trim() {
        "amqp_url" => "AMQP_URL".to_owned(),
        "database_url" => "DATABASE_URL".to_owned(),
        other => format!("LONGSHORE_{}", other.to_uppercase()),
    };
    let default = match value.trim().trim_matches('"') {
        "" => "(empty)".to_owned(),
        "true" => "`1`".to_owned(),
        "false" => "`0`".to_owned(),
        other => format!("`{other}`"),
    };
    Some(format!("| `{name}` | {default} |"))
}

#[test]
fn every_setting_is_in_the_operators_page_with_its_default() -> Result<()> {
    let page = read("docs/operations.md")?;
    let mut offences = Vec::new();
    for path in DEFAULTS {
        let rows = read(path)?;
        let missing = rows.lines().filter_map(row).filter(|row| !page.contains(row));
        offences.extend(missing.map(|row| format!("{path}: {row}")));
    }
    none(&offences, "docs/operations.md lacks these settings, or has other defaults:")
}

#[test]
fn every_route_and_kind_of_problem_is_in_the_api_page() -> Result<()> {
    let page = read("docs/api.md")?;
    let router = read("gateway/src/router.rs")?;
    let routes = router.lines().filter_map(|line| line.split(".route(\"").nth(1)?.split('"').next());
    // Between the programs only.
    let inner = [Kind::UnknownSession, Kind::LogTrimmed];
    let kinds = Kind::ALL.iter().filter(|kind| !inner.contains(kind)).map(|kind| kind.name());
    let missing =
        routes.chain(kinds).filter(|text| !page.contains(&format!("{text}`")) && !page.contains(&format!("{text} ")));
    let offences: Vec<String> = missing.map(str::to_owned).collect();
    none(&offences, "docs/api.md does not name these routes or problems:")
}
