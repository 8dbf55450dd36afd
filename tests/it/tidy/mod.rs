//! Rules without a check decay. These hold for the source tree itself; each failure says what to do instead.

mod arrows;
mod pages;
mod source;

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
