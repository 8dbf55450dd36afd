//! What a look at a RabbitMQ finds: nothing where all is well, and each fault by its name.

use chassis::broker::{AmqpUrl, Program, Source, examine};
use chassis::finding::{Finding, Level};
use http::Method;
use serde_json::json;

use super::bench::{JOBS_QUEUE, faulty_node, fresh_vhost, queues, shared_node};

fn url(text: &str) -> AmqpUrl {
    match Source::url(text).unwrap() {
        Source::Url(url) => url,
        Source::Embedded(_) => panic!("it has a URL"),
    }
}

async fn look(text: &str, program: Program) -> Vec<Finding> {
    examine(&url(text), program, &queues()).await
}

/// The one fault of a look, which says all of these words and what to do.
fn fault(findings: &[Finding], words: &[&str]) {
    let faults: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Fault).collect();
    assert_eq!(faults.len(), 1, "{findings:#?}");
    let text = format!("{} {}", faults[0].found, faults[0].advice.as_deref().expect("what to do"));
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[tokio::test]
async fn each_programs_own_user_is_found_well() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    for program in [Program::Gateway, Program::Worker, Program::StoreSvc, Program::CacheSvc, Program::Up] {
        let findings = look(&node.amqp_url_for(program.as_str(), &vhost), program).await;
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
        assert!(findings.len() >= 4 && findings[0].found.starts_with("RabbitMQ "), "{findings:#?}");
        let seen =
            if program == Program::Up { "with the right arguments" } else { "only to a user that may declare them" };
        assert!(findings[1].found.contains(seen), "{findings:#?}");
    }
    // Of the looks at what users may do nothing is left.
    let bindings = format!("exchanges/{vhost}/jobs/bindings/destination");
    assert_eq!(node.management().request(Method::GET, &bindings, None).await.unwrap(), json!([]));
}

#[tokio::test]
async fn what_longshore_up_declared_is_as_right_as_what_was_imported() {
    let node = shared_node().await;
    let vhost = "declared";
    node.management().make_bare_vhost(vhost).await.unwrap();
    let url = node.amqp_url_for("up", vhost);
    fault(&look(&url, Program::Up).await, &["missing: jobs,", "jobs.work", "longshore definitions"]);
    let mut options = super::bench::options(Program::Up);
    options.declare_missing = true;
    let broker = chassis::broker::connect(&Source::url(&url).unwrap(), options).unwrap();
    super::bench::until_link(&broker, |link| *link == chassis::broker::Link::Up).await;
    let findings = look(&url, Program::Up).await;
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
}

#[tokio::test]
async fn a_queue_that_is_missing_is_named() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    node.management().delete_queue(&vhost, "cache.intake").await.unwrap();
    fault(&look(&node.amqp_url_for("up", &vhost), Program::Up).await, &["missing: cache.intake"]);
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named_with_the_difference() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let path = format!("queues/{vhost}/{JOBS_QUEUE}");
    node.management().delete_queue(&vhost, JOBS_QUEUE).await.unwrap();
    let classic = json!({"durable": true, "arguments": {"x-queue-type": "classic"}});
    node.management().request(Method::PUT, &path, Some(&classic)).await.unwrap();
    let binding = format!("bindings/{vhost}/e/jobs/q/{JOBS_QUEUE}");
    node.management().request(Method::POST, &binding, Some(&json!({"routing_key": "work"}))).await.unwrap();
    let found = look(&node.amqp_url_for("up", &vhost), Program::Up).await;
    fault(&found, &["jobs.work is not as it should be", "x-queue-type", "delete the queue jobs.work"]);

    node.management().delete_queue(&vhost, JOBS_QUEUE).await.unwrap();
    let short = json!({"durable": true, "arguments": {"x-queue-type": "quorum", "x-max-length": 7}});
    node.management().request(Method::PUT, &path, Some(&short)).await.unwrap();
    node.management().request(Method::POST, &binding, Some(&json!({"routing_key": "work"}))).await.unwrap();
    fault(&look(&node.amqp_url_for("up", &vhost), Program::Up).await, &["x-max-length"]);
}

#[tokio::test]
async fn a_queue_that_is_not_bound_is_named() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let binding = format!("bindings/{vhost}/e/jobs/q/{JOBS_QUEUE}/work");
    node.management().request(Method::DELETE, &binding, None).await.unwrap();
    fault(&look(&node.amqp_url_for("gateway", &vhost), Program::Gateway).await, &["jobs.work is not bound"]);
}

#[tokio::test]
async fn rights_that_a_user_lacks_are_named_with_the_command_that_gives_them() {
    let node = shared_node().await;
    let vhost = fresh_vhost(node).await;
    let check = async |user: &str, program: Program, words: &[&str]| {
        fault(&look(&node.amqp_url_for(user, &vhost), program).await, words);
    };
    check("worker", Program::Gateway, &["`worker` may not publish to jobs, nor subscribe to cache.invalidated"]).await;
    check("gateway", Program::Worker, &["publish to rejected", "consume jobs.work", "rabbitmqctl set_permissions"])
        .await;
    check("worker", Program::StoreSvc, &["publish to jobs, nor consume jobs.dead"]).await;
    check("worker", Program::CacheSvc, &["publish to cache.invalidated, nor consume cache.intake"]).await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_without_the_password() {
    let node = shared_node().await;
    let wrong = format!("amqp://up:sesame@{}/longshore", node.amqp_address());
    let findings = look(&wrong, Program::Up).await;
    fault(&findings, &["does not let `up` into", "AMQP_URL"]);
    assert!(!format!("{findings:?}").contains("sesame"), "{findings:?}");
    fault(&look(&node.amqp_url_for("up", "nowhere"), Program::Up).await, &["nowhere", "AMQP_URL"]);
    fault(&look("amqp://up:x@127.0.0.1:1/longshore", Program::Up).await, &["no RabbitMQ answers at 127.0.0.1:1"]);
}

#[tokio::test]
async fn an_alarm_is_told_from_a_queue_without_a_leader() {
    let mut node = faulty_node().await;
    let vhost = fresh_vhost(&node).await;
    node.has_new_queues();
    let url = node.amqp_url_for("store-svc", &vhost);
    node.memory_alarm(true).await.unwrap();
    let findings = look(&url, Program::StoreSvc).await;
    node.memory_alarm(false).await.unwrap();
    fault(&findings, &["it has an alarm", "rabbitmqctl status"]);
}
