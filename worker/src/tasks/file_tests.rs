//! Task files: what is read from them, and what is said about a bad one.

use super::*;
use crate::tasks::{TaskDefinition, built_in};

fn parsed(text: &str) -> Vec<TaskDefinition> {
    parse("tasks.toml", text, &Around::folder(Path::new("/etc/longshore"))).expect("a valid file")
}

#[test]
fn command_task_is_read_with_its_defaults() {
    let text =
        "[task.checksum]\nkind = \"command\"\nprogram = \"bin/sum.sh\"\nargs = [\"-x\"]\nenv = { LANG = \"C\" }\n";
    let [task] = &parsed(text)[..] else { panic!("one task") };
    assert_eq!(task.pattern, TaskPattern::Exact("checksum".to_owned()));
    assert_eq!(task.settings, TaskSettings::default());
    let TaskKind::Command(command) = &task.kind else { panic!("a command") };
    assert_eq!(command.program, Path::new("/etc/longshore/bin/sum.sh"));
    assert_eq!(command.directory, Path::new("/etc/longshore/."));
    assert_eq!((command.stdout_bytes, command.stderr_bytes), (262_144, 4_096));
    assert_eq!(command.args, ["-x"]);
    assert_eq!(command.env.get("LANG").map(String::as_str), Some("C"));
}

#[test]
fn program_without_a_slash_is_found_in_path() {
    let text = "[task.a]\nkind = \"command\"\nprogram = \"python3\"\ndirectory = \"/srv\"\n";
    let TaskKind::Command(command) = &parsed(text)[0].kind else { panic!("a command") };
    assert_eq!((command.program.as_path(), command.directory.as_path()), (Path::new("python3"), Path::new("/srv")));
}

#[test]
fn simulated_task_is_read() {
    let text =
        "[task.\"r_*\"]\nkind = \"simulate\"\nduration_ms = 5_000\nsteps = 0x10\nfailure_rate = 1\nlease_ms = 2000\n";
    let [task] = &parsed(text)[..] else { panic!("one task") };
    assert_eq!(task.pattern, TaskPattern::Prefix("r_".to_owned()));
    assert_eq!(task.settings.lease_ms, 2_000);
    let expected = SimulateTask { duration_ms: 5_000, jitter_ms: 0, steps: 16, failure_rate: 1.0 };
    assert_eq!(task.kind, TaskKind::Simulate(expected));
}

#[test]
fn errors_name_task_key_line_and_what_is_accepted() {
    let check = |text: &str, expected: &str| {
        let error = parse("tasks.toml", text, &Around::folder(Path::new("/"))).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    };
    check("", "tasks.toml:1: names no task");
    check("[task.a]\nkind = \"comand\"\n", "tasks.toml:2: task `a`, key `kind` is \"comand\"; accepted: \"command\", ");
    check("\n[task.a]\n", "tasks.toml:2: task `a`, key `kind` is missing; it is \"command\", \"http\" or \"simulate\"");
    check("[task.a]\nkind = 3\n", "tasks.toml:2: task `a`, key `kind` is of type integer; accepted: a string");
    check("[task.a]\nkind = \"command\"\n", "tasks.toml:1: task `a`, key `program` is missing; it is the path of");
    check(
        "[task.a]\nkind = \"simulate\"\nprogram = \"x\"\n",
        "tasks.toml:3: task `a`, key `program` is not a key of a `simulate` task; accepted: kind, lease_ms, timeout_ms,",
    );
    check(
        "[task.a]\nkind = \"simulate\"\nlease_ms = 100\n",
        "tasks.toml:3: task `a`, key `lease_ms` is 100; accepted: an integer from 1000 to 3600000",
    );
    check(
        "[task.a]\nkind = \"simulate\"\nsteps = -1\n",
        "tasks.toml:3: task `a`, key `steps` is -1; accepted: an integer",
    );
    check(
        "[task.a]\nkind = \"simulate\"\nfailure_rate = 1.5\n",
        "tasks.toml:3: task `a`, key `failure_rate` is 1.5; accepted: a number from 0.0 to 1.0",
    );
    check(
        "[task.a]\nkind = \"simulate\"\nfailure_rate = nan\n",
        "tasks.toml:3: task `a`, key `failure_rate` is nan; accepted: a number from 0.0 to 1.0",
    );
    check(
        "[task.a]\nkind = \"command\"\nprogram = \"x\"\nargs = [\"a\", 1]\n",
        "tasks.toml:4: task `a`, key `args` is of type integer; accepted: an array of strings",
    );
    check(
        "[task.a]\nkind = \"command\"\nprogram = \"x\"\nenv = { \"A=B\" = \"\" }\n",
        "tasks.toml:4: task `a`, key `env` has the variable `A=B`, which no program can be given",
    );
    check("[task.\"a b\"]\nkind = \"simulate\"\n", "tasks.toml:1: task name `a b` may contain letters");
    check("[tasks.a]\n", "tasks.toml:1: `tasks` is not accepted here; a task is written `[task.NAME]`");
    check("[task]\na = 1\n", "tasks.toml:2: task `a` must be a table: `[task.a]`");
    check("task = 1\n", "tasks.toml:1: `task` must hold tables");
    check("[task.a]\nkind = \n", "tasks.toml:2: not TOML: ");
    check("[task.a*]\n", "tasks.toml:1: not TOML: ");
    check("[task.a]\nkind = \"simulate\"\n[task.a]\n", "tasks.toml:3: not TOML: duplicate key");
}

#[test]
fn missing_file_is_named() {
    let error =
        load(Path::new("/nowhere/tasks.toml"), &chassis::config::Source::default()).expect_err("not there").to_string();
    assert!(error.starts_with("/nowhere/tasks.toml: cannot be read: No such file"), "{error}");
}

#[test]
fn shipped_files_are_valid() {
    assert!(built_in().iter().any(|task| task.pattern.matches("report_19")));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let shipped = load(&examples.join("tasks.toml"), &chassis::config::Source::default()).expect("valid");
    for name in ["checksum", "report_0", "noop", "flaky", "slow"] {
        assert!(shipped.iter().any(|task| task.pattern.matches(name)), "{name}");
    }
}
