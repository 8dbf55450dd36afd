//! The disk below the data folder: what it is, whether it can be written, how much room it has, and how long it takes to keep something.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chassis::finding::Finding;
use rustix::fs::{Access, access, statfs, statvfs};
use tokio::time::Instant;

const FOLDER: &str = "data folder";
const DISK: &str = "disk";
const FSYNC: &str = "fsync";
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Less is soon used up, or is already too little for SQLite to write its log.
const ROOM_WARNING: u64 = GIB;
const ROOM_FAULT: u64 = 64 * MIB;
const WRITES: usize = 20;
const PAGE: [u8; 4_096] = [0x5a; 4_096];
/// A group commit is one of them: at this each submit takes longer than people wait for.
const SLOW: Duration = Duration::from_millis(50);

/// What lies on it is lost, or cannot be locked as SQLite needs it.
enum Keeping {
    Durable,
    /// It is gone when the machine stops, or the container.
    Passing(&'static str),
    /// Locks and the shared memory of the log do not work over it.
    Remote,
}

/// Everything about the folder of a database that may not be there yet.
pub(super) fn look(folder: &Path) -> Vec<Finding> {
    let Some(there) = folder.ancestors().find(|path| path_of(path).is_dir()).map(path_of) else {
        return vec![Finding::fault(
            FOLDER,
            format!("{} is nowhere", folder.display()),
            "name another with --data-dir",
        )];
    };
    let advice = || {
        format!(
            "give the user that runs Longshore the right to write there, or name another folder: --data-dir, DATABASE_URL=sqlite:PATH ({})",
            there.display()
        )
    };
    let mut findings = Vec::new();
    if there != path_of(folder) {
        match access(&there, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => findings.push(Finding::ok(FOLDER, format!("{} is made at the first start", folder.display()))),
            Err(errno) => {
                let found = format!("{} cannot be made in {}: {errno}", folder.display(), there.display());
                return vec![Finding::fault(FOLDER, found, advice())];
            }
        }
    } else if let Err(error) = tempfile::tempfile_in(&there) {
        return vec![Finding::fault(FOLDER, format!("{} cannot be written: {error}", there.display()), advice())];
    } else {
        findings.push(Finding::ok(FOLDER, format!("{} can be written", there.display())));
    }
    findings.extend(room(&there));
    findings.extend(kind(&there));
    findings.push(fsync(&there));
    findings
}

/// The folder of `x.db` is the present one.
fn path_of(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

fn room(folder: &Path) -> Option<Finding> {
    let space = statvfs(folder).ok()?;
    let (free, files) = (space.f_bavail.saturating_mul(space.f_frsize), space.f_favail);
    if space.f_files > 0 && files == 0 {
        return Some(Finding::fault(
            DISK,
            "it has no room for another file (inodes)",
            "remove files, or take another disk",
        ));
    }
    Some(judge_room(free))
}

fn judge_room(free: u64) -> Finding {
    let found = format!("{} free", size(free));
    let advice = "make room, or take a larger disk; LONGSHORE_RETENTION_MS and LONGSHORE_RETENTION_JOBS say how many ended jobs are kept";
    match free {
        0..ROOM_FAULT => Finding::fault(DISK, format!("{found}: a full disk answers 503 to every submit"), advice),
        ROOM_FAULT..ROOM_WARNING => Finding::warning(DISK, found, advice),
        _ => Finding::ok(DISK, found),
    }
}

fn size(bytes: u64) -> String {
    if bytes >= GIB { format!("{:.1} GiB", bytes as f64 / GIB as f64) } else { format!("{} MiB", bytes / MIB) }
}

fn kind(folder: &Path) -> Option<Finding> {
    let magic = statfs(folder).ok()?.f_type;
    let (name, keeping) = known(u64::try_from(magic).unwrap_or(0) & 0xffff_ffff)?;
    Some(match keeping {
        Keeping::Durable => Finding::ok(DISK, format!("{name} keeps what is written")),
        Keeping::Passing(until) => {
            let found = format!("{name} keeps nothing beyond {until}: accepted jobs are lost with it");
            Finding::warning(DISK, found, "put the data on a disk: --data-dir, a volume of the container")
        }
        Keeping::Remote => {
            let found =
                format!("{name} is a file system over the network, on which SQLite's log and locks do not work");
            Finding::fault(
                DISK,
                found,
                "put the data on a disk of this machine, or use PostgreSQL: DATABASE_URL=postgres://…",
            )
        }
    })
}

/// By the numbers of statfs(2).
fn known(magic: u64) -> Option<(&'static str, Keeping)> {
    let (machine, container) = ("a restart of the machine", "the container");
    Some(match magic {
        0xef53 => ("ext4", Keeping::Durable),
        0x5846_5342 => ("xfs", Keeping::Durable),
        0x9123_683e => ("btrfs", Keeping::Durable),
        0x2fc1_2fc1 => ("zfs", Keeping::Durable),
        0xf2f5_2010 => ("f2fs", Keeping::Durable),
        0x0102_1994 => ("tmpfs", Keeping::Passing(machine)),
        0x8584_58f6 => ("ramfs", Keeping::Passing(machine)),
        0x794c_7630 => ("overlayfs", Keeping::Passing(container)),
        0x6969 => ("nfs", Keeping::Remote),
        0xff53_4d42 | 0xfe53_4d42 => ("smb", Keeping::Remote),
        0x0102_1997 => ("9p", Keeping::Remote),
        _ => return None,
    })
}

/// The middle of a few writes as the store makes them.
fn fsync(folder: &Path) -> Finding {
    match measured(folder) {
        Ok(times) => judge_fsync(&times),
        Err(error) => {
            Finding::fault(FSYNC, format!("nothing can be kept in {}: {error}", folder.display()), "look at the disk")
        }
    }
}

fn measured(folder: &Path) -> io::Result<Vec<Duration>> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        file.write_all(&PAGE)?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn judge_fsync(sorted: &[Duration]) -> Finding {
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    let middle = sorted.get(sorted.len() / 2);
    let found = format!("{:.1} ms in the middle of {}, {:.1} ms at most", ms(middle), sorted.len(), ms(sorted.last()));
    if middle.is_some_and(|middle| *middle > SLOW) {
        return Finding::warning(
            FSYNC,
            found,
            "each submit waits for it: take a faster disk, or one that nothing else writes to",
        );
    }
    Finding::ok(FSYNC, found)
}

#[cfg(test)]
mod tests {
    use chassis::finding::Level;

    use super::*;

    #[test]
    fn little_room_is_told() {
        let check = |free, expected| assert_eq!(judge_room(free).level, expected, "{free}");
        check(GIB, Level::Ok);
        check(GIB - 1, Level::Warning);
        check(MIB, Level::Fault);
        assert_eq!((size(3 * GIB / 2), size(5 * MIB)), ("1.5 GiB".to_owned(), "5 MiB".to_owned()));
    }

    #[test]
    fn a_slow_disk_is_told() {
        let check = |ms, expected| assert_eq!(judge_fsync(&[Duration::from_millis(ms); 3]).level, expected, "{ms}");
        check(1, Level::Ok);
        check(60, Level::Warning);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_made_where_one_may_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = look(&folder.path().join("a/b"));
        assert!(found.len() >= 3 && found[0].found.ends_with("is made at the first start"), "{found:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "nothing is left");
        assert!(look(Path::new(""))[0].found.starts_with(". can be"), "the present folder");
    }
}
