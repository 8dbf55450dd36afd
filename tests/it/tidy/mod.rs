//! Rules without a check decay. These hold for the source tree itself; each failure says what to do instead.

mod arrows;
mod book;
pub(crate) mod metrics;
mod pages;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The workspace's root folder.
fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is above this crate")?.to_owned())
}

/// Fails with all offences at once, and with what to do about them.
fn none(offences: &[String], advice: &str) -> Result<()> {
    ensure!(offences.is_empty(), "{advice}\n{}", offences.join("\n"));
    Ok(())
}

/// What of the source tree the builder of an image is given: by `.dockerignore` nothing but some paths, without some folders below them.
struct Given {
    paths: Vec<String>,
    without: Vec<String>,
}

impl Given {
    fn read() -> Result<Given> {
        let text = fs::read_to_string(root()?.join(".dockerignore"))?;
        let paths = text.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
        let without =
            text.lines().filter_map(|line| line.strip_prefix("**")).map(|folder| format!("{folder}/")).collect();
        Ok(Given { paths, without })
    }

    /// Of a path below the root.
    fn has(&self, path: &str) -> bool {
        let is_given = self.paths.iter().any(|given| Path::new(path).starts_with(given));
        is_given && !self.without.iter().any(|folder| path.contains(folder))
    }
}
