//! `longshore doctor`: each fault of a set-up made for real, and what is said about it.

use std::path::Path;
use std::process::Output;

use chassis::testing::postgres::ScratchCluster;
use chassis::testing::rabbit::free_port;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::{LocalSet, spawn_blocking};

use crate::program::{FREE_PORTS, Up, run};

/// What a look with these variables found, and its exit status.
async fn look(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = ["doctor", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let ended = run(folder, variables, &all).await;
    let report = serde_json::from_str(&ended.out);
    assert!(report.is_ok(), "no report: {ended:?}");
    (ended.status, report.expect("checked above"))
}

fn said<'r>(report: &'r Value, level: &str) -> Vec<&'r str> {
    let checks = report["checks"].as_array().expect("checks");
    let of_level = checks.iter().filter(|check| check["level"] == level);
    of_level.map(|check| check["found"].as_str().expect("what was found")).collect()
}

/// There is a fault that says this, what to do about it, and the exit status that goes with it.
fn fault((status, report): &(i32, Value), words: &str) {
    assert_eq!(*status, 1, "{report:#}");
    let faults = said(report, "fault");
    assert!(faults.iter().any(|found| found.contains(words)), "{words}: {report:#}");
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["level"] == "ok" || check["advice"].is_string()), "{report:#}");
}

fn with<'v>(more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    FREE_PORTS.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more).copied().collect()
}

#[tokio::test]
async fn a_set_up_that_was_never_started_is_well_and_stays_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = look(folder.path(), &FREE_PORTS, &[]).await;
    assert_eq!(found.0, 0, "{:#}", found.1);
    let well = said(&found.1, "ok");
    for words in ["longshore up: 2 gateways, 8 slots", "var is made at the first start", "nothing runs yet", "embedded"]
    {
        assert!(well.iter().any(|found| found.contains(words)), "{words}: {:#}", found.1);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    let ended = run(folder.path(), &FREE_PORTS, &["doctor"]).await;
    assert!(ended.status == 0 && ended.out.contains("ok       configuration    longshore up"), "{ended:?}");
}

#[tokio::test]
async fn a_running_system_is_asked_how_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports: Vec<String> = (0..7).map(|_| format!("127.0.0.1:{}", free_port().expect("a port"))).collect();
    let gateways = format!("{},{}", ports[1], ports[2]);
    let variables = [
        ("LONGSHORE_LB_LISTEN", ports[0].as_str()),
        ("LONGSHORE_GATEWAY_LISTEN", gateways.as_str()),
        ("LONGSHORE_STORE_LISTEN", ports[3].as_str()),
        ("LONGSHORE_CACHE_LISTEN", ports[4].as_str()),
        ("LONGSHORE_WORKER_LISTEN", ports[5].as_str()),
        ("LONGSHORE_ADMIN_LISTEN", ports[6].as_str()),
    ];
    let test = async {
        let up = Up::start_with(folder.path(), &variables).await;
        let found = look(folder.path(), &variables, &[]).await;
        assert_eq!(found.0, 0, "{:#}", found.1);
        let well = said(&found.1, "ok");
        for words in
            ["is held by lb, process", "is held by store-svc, process", "is in use by process", "was answered in"]
        {
            assert!(well.iter().any(|found| found.contains(words)), "{words}: {:#}", found.1);
        }
        // Another set-up on the same data, and one whose ports are those of others.
        let found = look(folder.path(), &FREE_PORTS, &[]).await;
        assert!(said(&found.1, "warning").iter().any(|found| found.contains("is in use by process")), "{:#}", found.1);
        let crossed = with(&[("LONGSHORE_WORKER_LISTEN", ports[3].as_str())]);
        fault(&look(folder.path(), &crossed, &[]).await, "which is our store-svc");
        // A program of its own, and the one that it calls.
        let alone = [
            ("AMQP_URL", "amqp://worker:x@127.0.0.1:1/longshore"),
            ("LONGSHORE_STORE_URL", ports[3].as_str()),
            ("LONGSHORE_LISTEN", "127.0.0.1:0"),
        ];
        let found = look(folder.path(), &alone, &["--program", "worker"]).await;
        fault(&found, "no RabbitMQ answers at 127.0.0.1:1");
        assert!(said(&found.1, "ok").iter().any(|found| found.contains("store-svc at")), "{:#}", found.1);
        assert_eq!(up.stop().await, Some(0));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let holder = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = holder.local_addr().expect("bound").to_string();
    let found = look(folder.path(), &with(&[("LONGSHORE_LB_LISTEN", &taken)]), &[]).await;
    fault(&found, &format!("{taken}, meant for lb, is held by process {} (", std::process::id()));
}

#[tokio::test]
async fn bad_settings_are_faults_and_the_machine_is_looked_at_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = look(folder.path(), &with(&[("LONGSHORE_SLOTZ", "1"), ("LONGSHORE_GATEWAYS", "0")]), &[]).await;
    fault(&found, "did you mean LONGSHORE_SLOTS?");
    fault(&found, "LONGSHORE_GATEWAYS");
    assert!(said(&found.1, "ok").iter().any(|found| found.contains("leases count on")), "{:#}", found.1);
    fault(&look(folder.path(), &[], &["--program", "gateway"]).await, "AMQP_URL is not set");
    fault(&look(folder.path(), &with(&[("LONGSHORE_URL", "127.0.0.1:1")]), &[]).await, "nothing answers at");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.db"), "These are notes, not tables.").expect("written");
    fault(&look(folder.path(), &with(&[("DATABASE_URL", "sqlite:notes.db")]), &[]).await, "is no SQLite database");
}

/// Runs a shell script, with the program as `$0`, in namespaces of its own.
async fn script(folder: &Path, script: &str) -> (i32, Value) {
    let mut command = Command::new("unshare");
    let isolated: &[&str] =
        if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--map-root-user", "--mount"] };
    command.args(isolated).args(["sh", "-c", script, env!("CARGO_BIN_EXE_longshore")]);
    command.current_dir(folder).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(FREE_PORTS);
    let Output { status, stdout, stderr } = command.output().await.expect("it runs");
    let report = serde_json::from_slice(&stdout);
    assert!(report.is_ok(), "no report: {}", String::from_utf8_lossy(&stderr));
    (status.code().expect("no signal"), report.expect("checked above"))
}

#[tokio::test]
async fn what_the_machine_lacks_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("var")).expect("a folder");
    let found = script(folder.path(), "ulimit -n 256; exec $0 doctor --json").await;
    fault(&found, "a process may open 256");
    let read_only = "mount --bind var var && mount -o remount,ro,bind var && exec $0 doctor --json";
    fault(&script(folder.path(), read_only).await, "var cannot be written: Read-only file system");
    let inside = "mount --bind var var && mount -o remount,ro,bind var && exec $0 doctor --json --data-dir var/data";
    fault(&script(folder.path(), inside).await, "var/data cannot be made in var: Read-only file system");
    let full = "mount -t tmpfs -o size=1m tmpfs var && exec $0 doctor --json";
    let found = script(folder.path(), full).await;
    fault(&found, "a full disk answers 503");
    assert!(said(&found.1, "warning").iter().any(|found| found.contains("tmpfs keeps nothing")), "{:#}", found.1);
}

#[tokio::test]
async fn a_postgresql_is_looked_at() {
    let cluster = spawn_blocking(ScratchCluster::start).await.expect("no panic").expect("a cluster");
    let folder = tempfile::tempdir().expect("a folder");
    let url = cluster.fresh_database().expect("a database");
    let (status, report) = look(folder.path(), &with(&[("DATABASE_URL", &url)]), &[]).await;
    assert_eq!(status, 0, "{report:#}");
    assert!(said(&report, "ok").iter().any(|found| found.contains("PostgreSQL 1")), "{report:#}");
    let wrong = url.replace(chassis::testing::postgres::PASSWORD, "sesame");
    let found = look(folder.path(), &with(&[("DATABASE_URL", &wrong)]), &[]).await;
    fault(&found, "cannot be used");
    assert!(!found.1.to_string().contains("sesame"), "{:#}", found.1);
    cluster.sql("postgres", "ALTER SYSTEM SET fsync = off").expect("a superuser");
    cluster.sql("postgres", "SELECT pg_reload_conf()").expect("a superuser");
    chassis::testing::wait_until(std::time::Duration::from_secs(10), "fsync is off", async || {
        cluster.sql("postgres", "SHOW fsync").is_ok_and(|said| said.contains("off"))
    })
    .await;
    fault(&look(folder.path(), &with(&[("DATABASE_URL", &url)]), &[]).await, "fsync = off");
}
