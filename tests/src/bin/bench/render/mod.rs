//! Writes a record into the documentation: the tables between two markers of the page, and the plot beside it.

mod balancer;
mod plot;
mod tables;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::record::Record;

const BEGIN: &str = "<!-- bench: what follows is written by `tests/bench/run --render`; change it there -->\n";
const END: &str = "<!-- bench: end -->\n";

pub(crate) use tables::bounds as bounds_table;

/// Replaces the generated part of `docs/performance.md` and the plot next to it.
pub(crate) fn into_docs(record: &Record, docs: &Path) -> Result<()> {
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let text =
        between_markers(&text, &tables::all(record)).with_context(|| format!("the markers of {}", page.display()))?;
    fs::write(&page, text)?;
    fs::write(docs.join("performance.svg"), plot::draw(record)).context("writing the plot")
}

fn between_markers(page: &str, generated: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", generated.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(between_markers(&page, "new\n"), Some(format!("a\n{BEGIN}\nnew\n\n{END}b\n")));
        assert_eq!(between_markers("no markers", "new"), None);
    }
}
