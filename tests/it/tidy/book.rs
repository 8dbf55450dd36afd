//! The pages as a book: its contents name every page, no link leads nowhere, and the commands of every page are run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::source::files;
use super::{none, root};

const CONTENTS: &str = "docs/SUMMARY.md";

/// Where links lead, and in which line they stand.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_block = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_block = !is_block;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(targets.filter(|_| !is_block).map(|target| (number + 1, target)));
    }
    found
}

/// The pages that the contents name, in their order.
fn chapters() -> Result<Vec<String>> {
    let text = fs::read_to_string(root()?.join(CONTENTS))?;
    Ok(links(&text).into_iter().map(|(_, page)| page.to_owned()).collect())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_block = false;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_block) else { continue };
        let anchor = anchor(heading.trim_start_matches('#'));
        // The second heading of a name gets a number.
        let times = seen.entry(anchor.clone()).or_default();
        found.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    found
}

#[test]
fn the_contents_name_every_page_once() -> Result<()> {
    let mut named = chapters()?;
    named.sort();
    let mut pages = Vec::new();
    for entry in fs::read_dir(root()?.join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "SUMMARY.md" {
            pages.push(name);
        }
    }
    pages.sort();
    ensure!(named == pages, "{CONTENTS} names {named:?}, and the pages are {pages:?}");
    Ok(())
}

#[test]
fn no_link_leads_nowhere() -> Result<()> {
    let root = root()?.canonicalize()?;
    let mut offences = Vec::new();
    for page in files()?.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root.join(&page.path).parent().context("a folder")?.to_owned();
        for (line, target) in links(&page.text) {
            if ["http://", "https://"].iter().any(|scheme| target.starts_with(scheme)) {
                continue;
            }
            if let Err(error) = leads_somewhere(&root.join(&page.path), &folder, target) {
                offences.push(format!("{}:{line}: {target}: {error}", page.path));
            }
        }
    }
    none(&offences, "These links lead nowhere:")
}

fn leads_somewhere(page: &Path, folder: &Path, target: &str) -> Result<()> {
    let (path, wanted) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path: PathBuf = if path.is_empty() { page.to_owned() } else { folder.join(path) };
    ensure!(path.exists(), "there is no such file");
    if let Some(wanted) = wanted.filter(|_| path.extension().is_some_and(|extension| extension == "md")) {
        let known = anchors(&fs::read_to_string(&path)?);
        ensure!(known.contains(wanted), "no heading has this name");
    }
    Ok(())
}

/// `tests/run` takes the pages from the contents; one that has commands and says nothing of how they are run would be found there, and this holds it to
/// doing so.
#[test]
fn the_commands_of_every_chapter_are_run() -> Result<()> {
    let script = fs::read_to_string(root()?.join("tests/run"))?;
    ensure!(script.contains(CONTENTS), "tests/run does not take its pages from {CONTENTS}");
    let mut offences = Vec::new();
    for page in chapters()? {
        let text = fs::read_to_string(root()?.join("docs").join(&page))?;
        let unmarked = text.lines().filter(|line| line.starts_with("```")).step_by(2).filter(|line| *line == "```");
        if unmarked.count() > 0 {
            offences.push(format!("docs/{page}"));
        }
    }
    none(
        &offences,
        "These have blocks that are not marked as sh, text or another language, so nothing says whether they are commands:",
    )
}
