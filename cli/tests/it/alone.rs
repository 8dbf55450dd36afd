//! What the program does when there is no system to talk to.

use crate::program::{FREE_PORTS, run};

async fn check(arguments: &[&str], variables: &[(&str, &str)], status: i32, says: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(folder.path(), variables, arguments).await;
    assert_eq!(ended.status, status, "{arguments:?}: {ended:?}");
    assert!(ended.err.contains(says), "{arguments:?}: {ended:?}");
    assert_eq!(ended.out, "", "{arguments:?}: {ended:?}");
}

#[tokio::test]
async fn wrong_command_lines_are_told_what_was_meant() {
    check(&["sumbit", "noop"], &[], 64, "similar subcommands exist: 'audit', 'submit'").await;
    check(&["submit"], &[], 64, "<TASK>").await;
    check(&["submit", "noop", "--payload", "{"], &[], 65, "is not JSON").await;
    check(&["batch", "jobs.json"], &[], 65, "jobs.json cannot be read").await;
    check(&["data", "put", "k", "{"], &[], 65, "VALUE is not JSON").await;
    check(&["data", "put", "k", "x", "--media-type", "text/plain"], &[], 65, "bytes are given as @FILE").await;
    check(&["data", "put", "k", "1", "--media-type", "text"], &[], 64, "type/subtype").await;
    check(&["backends"], &[], 64, "start it with LONGSHORE_ADMIN_LISTEN=127.0.0.1:8001").await;
    check(&["backends", "--admin", "here"], &[], 64, "--admin is \"here\", but must be host:port").await;
    check(&["jobs", "--url", "nowhere"], &[], 64, "--url is \"nowhere\", but must be host:port").await;
    check(&["load", "--stages", "hold 5"], &[], 64, "which lacks its time after a slash; it must be stages").await;
    check(&["load", "--mix", "sumbit=1"], &[], 64, "the kinds are submit, wait, read, write, invalidate").await;
    check(&["load", "--rate", "1", "--for", "1ms"], &[], 64, "must hold at least one request").await;
    check(&["load", "--report", "/nowhere/x.html"], &[], 73, "cannot be written to /nowhere/x.html").await;
    check(&["jobs"], &[("LONGSHORE_URLL", "x")], 64, "did you mean LONGSHORE_URL?").await;
}

#[tokio::test]
async fn without_a_service_the_next_step_is_said() {
    // A port of the range that is never given out for connections.
    let nobody = ["--url", "127.0.0.1:1"];
    let id = "01890000-0000-7000-8000-000000000001";
    for command in [
        vec!["jobs"],
        vec!["submit", "noop"],
        vec!["watch", id],
        vec!["cancel", id],
        vec!["invalidate", "k"],
        vec!["load"],
        vec!["show", id],
        vec!["show", id, "--watch"],
        vec!["result", id],
        vec!["payload", id],
        vec!["logs", id],
        vec!["purge", id],
        vec!["workers"],
        vec!["queues", "--watch"],
        vec!["data", "get", "k"],
        vec!["data", "put", "k", "1"],
        vec!["inspect", "k"],
        vec!["top", "--once"],
    ] {
        let arguments: Vec<&str> = command.into_iter().chain(nobody).collect();
        check(&arguments, &[], 69, "start Longshore with `longshore up`").await;
    }
    check(&["health", "127.0.0.1:1"], &[], 1, "cannot be reached").await;
}

#[tokio::test]
async fn wrong_settings_are_named_before_anything_is_bound() {
    let with = |name, value| FREE_PORTS.into_iter().chain([(name, value)]).collect::<Vec<_>>();
    check(&["up"], &with("LONGSHORE_SLOTZ", "1"), 64, "did you mean LONGSHORE_SLOTS?").await;
    check(&["up"], &with("AMQP_URL", "http://x"), 64, "AMQP_URL is not an AMQP URL").await;
    check(&["up"], &with("DATABASE_URL", "mysql:x"), 64, "DATABASE_URL is \"mysql:x\"").await;
    check(&["up"], &with("LONGSHORE_STORE_URL", "127.0.0.1:1"), 64, "starts that part itself").await;
    check(&[], &with("LONGSHORE_TASKS", "/nowhere.toml"), 64, "/nowhere.toml").await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_way_out() {
    let holder = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = holder.local_addr().expect("bound").to_string();
    let mut variables = FREE_PORTS;
    variables[0] = ("LONGSHORE_LB_LISTEN", &taken);
    check(&["up"], &variables, 73, &format!("{taken}, where the balancer should listen, is in use")).await;
    check(&["up"], &variables, 73, "such as LONGSHORE_LB_LISTEN=127.0.0.1:").await;
}

#[tokio::test]
async fn definitions_are_the_committed_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(folder.path(), &[], &["definitions"]).await;
    assert_eq!((ended.status, ended.err.as_str()), (0, ""));
    assert_eq!(ended.out, include_str!("../../../rabbitmq/definitions.json"));
}

#[tokio::test]
async fn random_passwords_are_shown_beside_the_file_and_not_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(folder.path(), &[], &["definitions", "--queues", "default,reports", "--random-passwords"]).await;
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.out.contains("\"jobs.reports\""), "{}", ended.out);
    let (_, rest) = ended.err.split_once("amqp://worker:").expect("the worker's URL");
    let password = rest.split('@').next().expect("its password");
    assert_eq!(password.len(), 32);
    assert!(!ended.out.contains(password) && !ended.err.contains("-dev"));
}
