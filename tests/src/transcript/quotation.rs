//! What a page quotes stands in a file: its paragraphs are found there, line by line.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::clone;
use super::page::Block;

/// Each paragraph of the block stands in one of the files, other than pages, with whatever indentation.
pub(super) fn check(block: &Block, root: &Path) -> Result<()> {
    let files = clone::files(root)?;
    let pages = files.iter().filter(|file| file.extension().is_none_or(|extension| extension != "md"));
    let texts: Vec<String> = pages.filter_map(|file| fs::read_to_string(file).ok()).map(|text| flush(&text)).collect();
    for paragraph in flush(&block.text).split("\n\n").map(str::trim) {
        if !texts.iter().any(|text| text.contains(paragraph)) {
            bail!("no file holds what line {} quotes:\n{paragraph}", block.line);
        }
    }
    Ok(())
}

fn flush(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}
