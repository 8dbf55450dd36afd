//! The SQLite file: whether it is one, and who has it open.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use chassis::finding::{Finding, Level};
use store_svc::storage::sqlite::lock::holder;

use super::disk;

const CHECK: &str = "database";
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Everything about the file. `store_runs`: a store of this set-up has it open, which is as it should be.
pub(super) fn sqlite(file: &Path, store_runs: bool) -> Vec<Finding> {
    let mut findings = disk::look(file.parent().unwrap_or(Path::new("")));
    if findings.iter().all(|finding| finding.level < Level::Fault) {
        findings.push(opens(file, store_runs));
    }
    findings
}

fn opens(file: &Path, store_runs: bool) -> Finding {
    let name = file.display();
    match (begins_like_one(file), holder(file)) {
        (Err(error), _) if error.kind() == ErrorKind::NotFound => {
            Finding::ok(CHECK, format!("{name} is made at the first start"))
        }
        (Err(error), _) | (_, Err(error)) => {
            let advice = "give the user that runs Longshore the right to read and write it";
            Finding::fault(CHECK, format!("{name} cannot be read: {error}"), advice)
        }
        (Ok(false), _) => {
            let advice = "name another file in DATABASE_URL, or put a backup in its place: `longshore restore`";
            Finding::fault(CHECK, format!("{name} is no SQLite database"), advice)
        }
        (Ok(true), Ok(None)) => Finding::ok(CHECK, format!("{name} is there, and nobody has it open")),
        (Ok(true), Ok(Some(holder))) if store_runs => Finding::ok(CHECK, format!("{name} is in use by {holder}")),
        (Ok(true), Ok(Some(holder))) => {
            let advice = "a second store on it will not start: stop that one, or name another file in DATABASE_URL";
            Finding::warning(CHECK, format!("{name} is in use by {holder}"), advice)
        }
    }
}

/// An empty file is one that SQLite has not written to yet.
fn begins_like_one(file: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(file)?.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == MAGIC)
}
