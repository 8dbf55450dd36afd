//! Dependencies run one way: protocol ← chassis ← services and harness ← cli, tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand, Package};

use super::{Given, none, root};

const SERVICES: [&str; 5] = ["cache-svc", "gateway", "lb", "store-svc", "worker"];

/// What each package may depend on, dev-dependencies included.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut arrows = BTreeMap::from([("protocol", vec![]), ("chassis", vec!["protocol"])]);
    for service in SERVICES {
        arrows.insert(service, vec!["protocol", "chassis"]);
    }
    arrows.insert("harness", vec!["protocol", "chassis"]);
    let everything: Vec<_> = ["protocol", "chassis", "harness"].into_iter().chain(SERVICES).collect();
    arrows.insert("tests", everything.clone());
    arrows.insert("cli", everything);
    arrows
}

fn workspace() -> Result<Metadata> {
    Ok(MetadataCommand::new().current_dir(root()?).no_deps().other_options(["--offline".to_owned()]).exec()?)
}

#[test]
fn dependencies_run_one_way() -> Result<()> {
    let workspace = workspace()?;
    let allowed = allowed();
    let ours: BTreeSet<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    ensure!(
        ours == allowed.keys().copied().collect(),
        "the packages are {ours:?}: say in allowed() what a new one may depend on"
    );
    let mut offences = Vec::new();
    for package in &workspace.packages {
        let may = allowed.get(package.name.as_str()).context("checked above")?;
        let uses = package.dependencies.iter().map(|dependency| dependency.name.as_str());
        // A crate's tests may name the crate itself, to switch a feature on.
        let wrong = uses.filter(|name| ours.contains(name) && !may.contains(name) && *name != package.name.as_str());
        offences.extend(wrong.map(|name| format!("{} depends on {name}", package.name)));
    }
    none(
        &offences,
        "The arrows are protocol <- chassis <- services and harness <- cli, tests. Move what both need down into chassis or protocol:",
    )
}

#[test]
fn package_folder_and_binary_have_the_same_name() -> Result<()> {
    let mut offences = Vec::new();
    for package in &workspace()?.packages {
        let folder = package.manifest_path.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        if folder != package.name.as_str() {
            offences.push(format!("package {} lies in folder {folder}", package.name));
        }
        if SERVICES.contains(&package.name.as_str()) {
            let programs = programs(package);
            if programs != [package.name.as_str()] {
                offences.push(format!("package {} has the programs {programs:?}", package.name));
            }
        }
        if package.name == "cli" && programs(package) != ["longshore"] {
            offences.push("the cli's program is longshore".to_owned());
        }
    }
    none(&offences, "A newcomer finds a program by its name: package, folder and binary are called the same:")
}

fn programs(package: &Package) -> Vec<&str> {
    package.targets.iter().filter(|target| target.is_bin()).map(|target| target.name.as_str()).collect()
}

#[test]
fn each_crate_has_one_binary_of_integration_tests() -> Result<()> {
    let mut offences = Vec::new();
    for package in workspace()?.packages.iter().filter(|package| package.name != "tests") {
        let tests: Vec<_> =
            package.targets.iter().filter(|target| target.is_test()).map(|target| target.src_path.as_str()).collect();
        if tests.len() > 1 || tests.iter().any(|path| !path.ends_with("tests/it/main.rs")) {
            offences.push(format!("{}: {tests:?}", package.name));
        }
    }
    none(&offences, "Each test binary is linked on its own: put integration tests as modules into tests/it/main.rs:")
}

#[test]
fn all_tests_of_cargo_are_run() -> Result<()> {
    let script = fs::read_to_string(root()?.join("tests/run"))?;
    let workspace = workspace()?;
    let targets = workspace.packages.iter().flat_map(|package| &package.targets);
    let words: Vec<&str> = script.split_whitespace().collect();
    let is_named = |name: &str| words.windows(2).any(|pair| pair == ["--test", name]);
    let left_out = targets.filter(|target| target.is_test() && !is_named(&target.name));
    let left_out: Vec<_> = left_out.map(|target| target.name.clone()).collect();
    none(&left_out, "tests/run names each binary of tests, as it runs some beside others; it does not name:")
}

#[test]
fn balancer_links_no_amqp() -> Result<()> {
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--offline", "-p", "lb", "-e", "normal", "--prefix", "none"]).current_dir(root()?);
    let output = run(&mut tree)?;
    let amqp: Vec<String> =
        output.lines().filter(|line| line.contains("lapin") || line.contains("amq-")).map(str::to_owned).collect();
    none(&amqp, "lb must not link AMQP: keep it behind chassis's `broker` feature and out of lb's features:")
}

#[test]
fn images_are_built_from_a_whole_workspace() -> Result<()> {
    let (root, given, folder) = (root()?, Given::read()?, tempfile::tempdir()?);
    for path in run(Command::new("git").args(["ls-files"]).current_dir(&root))?.lines().filter(|path| given.has(path)) {
        let copy = folder.path().join(path);
        fs::create_dir_all(copy.parent().context("a folder")?)?;
        fs::copy(root.join(path), copy)?;
    }
    let mut look = Command::new("cargo");
    look.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]).current_dir(folder.path());
    run(&mut look).map(drop)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
