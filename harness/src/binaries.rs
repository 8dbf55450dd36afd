//! Finds the programs that the tests start: they lie beside the running test's own executable, in the same target folder and profile.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The path of the program `name`, from the target folder that this test was built into.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("the path of the running test")?;
    // A test lies in `target/<profile>/deps`, a program of this crate in `target/<profile>`.
    let folder = test.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name != "deps"));
    let path = folder.context("the target folder of the running test")?.join(name);
    ensure!(path.exists(), "{} is missing: build it with `cargo build --workspace --bins`", path.display());
    Ok(path)
}
