//! Rules for the files: what they open with, how long they are, what they may name.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Given, none, root};

const FILE_LINES: usize = 600;
const MAIN_LINES: usize = 40;

pub(super) struct File {
    /// Relative to the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines that hold code, numbered from 1, without what follows `//`.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
    }

    /// Integration tests and models, and what stands behind `#[cfg(test)]` elsewhere.
    pub(super) fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = is_test_path(&self.path);
        let starts = self.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
        self.code().filter(move |(number, _)| all || *number > starts)
    }
}

fn is_test_path(path: &str) -> bool {
    let below_tests = path.strip_prefix("tests/").is_some_and(|rest| !rest.starts_with("src/"));
    below_tests || path.contains("/tests/") || path.ends_with("_tests.rs") || path.ends_with("/tests.rs")
}

/// All text files of the repository, without what is built or hidden.
pub(super) fn files() -> Result<Vec<File>> {
    let root = root()?;
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let relative = path.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
            let skipped =
                relative.starts_with('.') && relative != ".ci" || matches!(relative.as_str(), "target" | "var");
            if skipped || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(File { path: relative, text });
            }
        }
    }
    Ok(found)
}

fn rust_files() -> Result<Vec<File>> {
    Ok(files()?.into_iter().filter(File::is_rust).collect())
}

/// Every line of code for which `offends` says so.
fn lines_that(files: &[File], offends: impl Fn(&File, &str) -> bool) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        let lines = file.code().filter(|(_, line)| offends(file, line));
        offences.extend(lines.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())));
    }
    offences
}

/// `word` stands in `line` with no letter, digit or underscore at either side.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        !before.ends_with(is_name) && !rest.trim_start_matches(word).starts_with(is_name)
    })
}

#[test]
fn every_file_opens_with_what_it_is_for() -> Result<()> {
    let files = rust_files()?;
    let silent = files.iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path.clone());
    none(&silent.collect::<Vec<_>>(), "Open the file with one to five lines of `//!` that say what it is for:")
}

#[test]
fn no_file_is_longer_than_one_can_read() -> Result<()> {
    let files = rust_files()?;
    let long = files.iter().map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > FILE_LINES);
    let long: Vec<_> = long.map(|(file, lines)| format!("{}: {lines} lines", file.path)).collect();
    none(&long, "Split files over 600 lines by what they decide or do:")
}

#[test]
fn mains_only_parse_and_run() -> Result<()> {
    let files = rust_files()?;
    let mains = files.iter().filter(|file| file.path.ends_with("src/main.rs"));
    let long = mains.filter(|file| file.text.lines().count() > MAIN_LINES).map(|file| file.path.clone());
    none(
        &long.collect::<Vec<_>>(),
        "A main.rs has at most 40 lines: parse, telemetry, run, exit code. The rest goes to lib.rs:",
    )
}

#[test]
fn nothing_is_left_for_later_in_the_code() -> Result<()> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimpl", "emented!")];
    let mut offences = Vec::new();
    for file in rust_files()? {
        let lines = file.text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        offences.extend(lines.map(|(number, line)| format!("{}:{}: {}", file.path, number + 1, line.trim())));
    }
    none(&offences, "Do it, or write an issue; the code holds no notes to its authors:")
}

#[test]
fn folders_say_what_they_hold() -> Result<()> {
    let files = files()?;
    let vague = |part: &str| {
        matches!(part, "common")
            || matches!(part.trim_end_matches(".rs"), "util" | "utils" | "helper" | "helpers" | "misc")
    };
    let offences = files.iter().filter(|file| file.path.split('/').any(vague)).map(|file| file.path.clone());
    none(&offences.collect::<Vec<_>>(), "Name the folder or file after what it holds:")
}

#[test]
fn no_test_is_switched_off_or_expected_to_panic() -> Result<()> {
    let attributes = [concat!("#[ign", "ore"), concat!("#[should", "_panic")];
    let offences = lines_that(&rust_files()?, |_, line| attributes.iter().any(|attribute| line.contains(attribute)));
    none(
        &offences,
        "A test that is switched off proves nothing, and a panic is no specific answer: assert on the error itself:",
    )
}

#[test]
fn only_the_configuration_reads_the_environment() -> Result<()> {
    let module = concat!("std::", "env");
    let offences = lines_that(&rust_files()?, |file, line| {
        // Where the running test lies, and a program's arguments, are no environment.
        let harmless = line.contains("env::current_exe") || line.contains("env::args_os");
        line.contains(module) && !harmless && !file.path.starts_with("chassis/src/config")
    });
    none(&offences, "Only chassis::config reads the environment; take a Source or a Config as an argument:")
}

#[test]
fn only_the_broker_module_names_lapin() -> Result<()> {
    let mut files = rust_files()?;
    files.retain(|file| !file.path.starts_with("tests/it/tidy/"));
    let mut offences = lines_that(&files, |file, line| {
        let names = has_word(line, "lapin") || has_word(line, "deadpool_lapin");
        names && !file.path.starts_with("chassis/src/broker")
    });
    for manifest in
        self::files()?.iter().filter(|file| file.path.ends_with("/Cargo.toml") && file.path != "chassis/Cargo.toml")
    {
        if manifest.text.contains("lapin") {
            offences.push(format!("{} depends on lapin", manifest.path));
        }
    }
    none(&offences, "Only chassis::broker names lapin; everybody else talks to its Port:")
}

#[test]
fn images_are_built_with_what_their_programs_include() -> Result<()> {
    let (root, given) = (root()?.canonicalize()?, Given::read()?);
    let mut offences = Vec::new();
    for file in rust_files()?.iter().filter(|file| given.has(&file.path)) {
        let tests: Vec<usize> = file.test_code().map(|(number, _)| number).collect();
        for (number, line) in file.code().filter(|(number, _)| !tests.contains(number)) {
            let Some((_, rest)) = line.split_once("include_str!(\"") else { continue };
            let included = rest.split('"').next().unwrap_or_default();
            let path = root.join(&file.path).parent().context("a folder")?.join(included).canonicalize()?;
            if !given.has(&path.strip_prefix(&root)?.to_string_lossy()) {
                offences.push(format!("{}:{number}: {included}", file.path));
            }
        }
    }
    none(&offences, "The builder of images is not given these; name them in .dockerignore:")
}

#[test]
fn the_balancers_core_decides_and_touches_nothing() -> Result<()> {
    const OUTSIDE: [&str; 6] = ["tokio::", "hyper::", "http::", "std::net", "Instant", "SystemTime"];
    let files = rust_files()?;
    let offences = lines_that(&files, |file, line| {
        file.path.starts_with("lb/src/core/") && OUTSIDE.iter().any(|name| line.contains(name))
    });
    none(&offences, "lb/src/core has no sockets, no HTTP, no clock; take what it needs as an argument:")
}

#[test]
fn tests_wait_for_the_thing_itself() -> Result<()> {
    let call = concat!("sle", "ep(");
    let mut offences = Vec::new();
    for file in rust_files()? {
        // Under a paused clock a pause is a step of the clock, not a hope.
        if file.text.contains("start_paused = true") || file.text.contains("time::pause()") {
            continue;
        }
        let lines = file.test_code().filter(|(_, line)| line.contains(call));
        offences.extend(lines.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())));
    }
    none(&offences, "Wait for the condition with a deadline (wait_until), or pause the clock:")
}

#[test]
fn no_path_of_one_machine_is_named() -> Result<()> {
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("/tm", "p/"),
    ];
    let mut offences = Vec::new();
    for file in files()?.iter().filter(|file| file.path != "Cargo.lock") {
        let lines = file.text.lines().enumerate();
        let found = lines.filter(|(_, line)| homes.iter().any(|home| names_path(line, home)));
        offences.extend(found.map(|(number, line)| format!("{}:{}: {}", file.path, number + 1, line.trim())));
    }
    none(&offences, "The project runs from any folder on any machine: make the path relative, or take it as a setting:")
}

/// `home` begins an absolute path here, and is not the middle of a longer one.
fn names_path(line: &str, home: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-' | '}');
    line.match_indices(home).any(|(at, _)| !line.split_at(at).0.ends_with(inside))
}

#[test]
fn scripts_can_be_run() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut offences = Vec::new();
    for file in files()?.iter().filter(|file| file.text.starts_with("#!/")) {
        let mode = fs::metadata(Path::new(&root()?).join(&file.path))?.permissions().mode();
        if mode & 0o111 == 0 {
            offences.push(file.path.clone());
        }
    }
    none(&offences, "Make the script executable (chmod +x):")
}
