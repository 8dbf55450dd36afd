//! What processes use: the reading that the programs show of themselves, and sums over several.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

pub use chassis::usage::Usage;

/// User and system time of a process and of all its living descendants: of a program that works in several processes.
pub fn cpu_of_tree(root: u32) -> Result<Duration> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since it was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(parent) = number(&stat, PARENT) {
            children.entry(u32::try_from(parent)?).or_default().push(pid);
        }
    }
    let mut total = Usage::of(root).with_context(|| format!("process {root}"))?.cpu;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            total += Usage::of(child).map_or(Duration::ZERO, |usage| usage.cpu);
            waiting.push(child);
        }
    }
    Ok(total)
}

/// User and system time of this process and of the children that have ended and been waited for.
pub fn cpu_of_self_and_ended_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = number(&stat, CHILDREN_USER).zip(number(&stat, CHILDREN_USER + 1)).map(|(user, system)| user + system);
    let ended = ticks.context("no children's times in stat")? * 1_000 / rustix::param::clock_ticks_per_second().max(1);
    Ok(Usage::own()?.cpu + Duration::from_millis(ended))
}

/// Places of fields in `stat`, counted from behind the program's name: fields 4 and 16.
const PARENT: usize = 1;
const CHILDREN_USER: usize = 13;

fn number(stat: &str, place: usize) -> Option<u64> {
    // The name may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 30 20 20 0 4 0 5 6 7";
        assert_eq!((number(stat, PARENT), number(stat, CHILDREN_USER)), (Some(1), Some(30)));
        assert_eq!(number("7 (cut", PARENT), None);
    }

    #[test]
    fn descendants_count_with_their_ancestor() {
        let mut shell = std::process::Command::new("sh");
        // The subshell works for as long as it takes, says so by ending its output, and stays: what runs in the background has no standard
        // input, so it reads another one.
        shell.args([
            "-c",
            "exec 3<&0; (n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done; echo done; exec cat <&3) & wait",
        ]);
        let mut shell = shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let (own, tree) = (Usage::of(shell.id()).unwrap().cpu, cpu_of_tree(shell.id()).unwrap());
        drop(shell.stdin.take());
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(tree >= own + Duration::from_millis(50), "{tree:?} of the tree, {own:?} of the shell");
    }
}
