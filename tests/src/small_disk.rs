//! A disk that can be filled: a small file system in memory, mounted where only one program sees it, and gone with it. It takes root.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::process::Spec;

const SCRIPT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
const FILLER: &str = "filler";
const PAGE_BYTES: usize = 4_096;

/// Whether this test run may mount; if not, it says so.
pub fn may_be_had() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        say("skipped: a disk that is full takes root, to mount a small one");
    }
    may
}

/// The same program with a disk of so many bytes at `folder`, empty at each start.
pub fn with_small_disk(spec: Spec, bytes: u64, folder: &Path) -> Spec {
    let program = spec.binary.display().to_string();
    let mut arguments: Vec<String> = ["--mount", "sh", "-c", SCRIPT, "sh"].map(str::to_owned).into();
    arguments.extend([bytes.to_string(), folder.display().to_string(), program]);
    arguments.extend(spec.arguments);
    Spec { binary: PathBuf::from("unshare"), arguments, ..spec }
}

/// Leaves no room; gives how many bytes that took.
pub fn fill(folder: &Path) -> Result<u64> {
    let path = folder.join(FILLER);
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut bytes = 0;
    loop {
        match file.write(&[0; PAGE_BYTES]) {
            Ok(written) => bytes += u64::try_from(written)?,
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(bytes),
            Err(error) => return Err(error).context("filling the disk"),
        }
    }
}

/// Makes room again.
pub fn make_room(folder: &Path) -> Result<()> {
    std::fs::remove_file(folder.join(FILLER)).context("making room")
}

#[expect(clippy::print_stderr, reason = "why a test did nothing, for whoever reads its output")]
fn say(why: &str) {
    eprintln!("{why}");
}
