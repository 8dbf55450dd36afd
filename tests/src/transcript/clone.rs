//! A folder that holds what a clone holds after `cargo build --release`, to paste a page's commands in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::binaries::binary;

/// What a build or a run leaves in a working copy.
const NOT_CLONED: [&str; 2] = ["target", "var"];
const BINARIES: [&str; 6] = ["longshore", "lb", "gateway", "store-svc", "cache-svc", "worker"];
/// Where `cargo build --release` puts programs.
const PROGRAMS: &str = "target/release";

/// The files of the working copy at `root`, and the programs of this build, wherever and in whichever profile it lies.
pub fn make(root: &Path) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("longshore-page-").tempdir()?;
    for file in files(root)? {
        let to = folder.path().join(file.strip_prefix(root)?);
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::copy(&file, &to).with_context(|| format!("copying {}", file.display()))?;
    }
    let programs = folder.path().join(PROGRAMS);
    fs::create_dir_all(&programs)?;
    for program in BINARIES {
        let (from, to) = (binary(program)?, programs.join(program));
        // They are large: a second name will do, where it can.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
    }
    Ok(folder)
}

/// Every file of a working copy but what is built, left by a run, or hidden.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            let name = name.to_string_lossy();
            if name.starts_with('.') || NOT_CLONED.contains(&name.as_ref()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    Ok(found)
}
