//! Tenants with real processes: what belongs to one is not there for another, a backlog leaves others their turn, limits hold.
//!
//! A client's tenant is the gateway's business; here the store is asked for a tenant by the header that a gateway would send, and the public API,
//! which calls for `default`, is the stranger.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use protocol::ids::JobId;
use protocol::tenant::HEADER;
use serde_json::{Value, json};
use tests::cluster::TASKS;
use tests::rabbit::Vhost;
use tests::{Answer, Cluster, Setup, among_strangers, eventually, wait_until};

use crate::SOON;

const ACME: &str = "acme";
const SLOTS: usize = 8;

fn create(task: &str, payload: &Value) -> (JobId, Value) {
    let job_id = JobId::generate();
    let create = json!({"create": {
        "job_id": job_id, "task": task, "payload": payload, "queue": "default", "priority": "normal", "run_at": null,
        "max_attempts": 5, "timeout_ms": null, "invalidates": [], "idempotency_key": null, "fingerprint": "f", "trace": null,
        "wants_bell": false,
    }});
    (job_id, create)
}

async fn ask(cluster: &Cluster, tenant: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
    cluster.http("store-svc")?.send(method, path, &[(HEADER, tenant)], body).await
}

async fn apply(cluster: &Cluster, tenant: &str, items: Vec<Value>) -> Result<Vec<Value>> {
    let applied = ask(cluster, tenant, Method::POST, "/apply", Some(&json!({"items": items}))).await?.expect(200)?;
    applied["items"].as_array().cloned().context("answers")
}

async fn submit(cluster: &Cluster, tenant: &str, task: &str, payload: &Value, count: usize) -> Result<Vec<JobId>> {
    let (ids, items): (Vec<JobId>, Vec<Value>) = (0..count).map(|_| create(task, payload)).unzip();
    for chunk in items.chunks(1_000) {
        let answers = apply(cluster, tenant, chunk.to_vec()).await?;
        ensure!(answers.iter().all(|answer| answer.get("ok").is_some()), "{answers:?}");
    }
    Ok(ids)
}

async fn job(cluster: &Cluster, tenant: &str, job_id: JobId) -> Result<Value> {
    ask(cluster, tenant, Method::GET, &format!("/jobs/{job_id}"), None).await?.expect(200)
}

async fn ended(cluster: &Cluster, tenant: &str, job_id: JobId) -> Result<Value> {
    eventually(SOON, "the job has ended", async || {
        let job = job(cluster, tenant, job_id).await?;
        Ok((job["status"] == "succeeded").then_some(job))
    })
    .await
}

/// Prints whose job it is.
fn setup(setup: Setup) -> Setup {
    let whose =
        "[task.whose]\nkind = \"command\"\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"echo $LONGSHORE_TENANT\"]\n";
    setup.slots(SLOTS.to_string()).tasks(format!("{TASKS}\n{whose}"))
}

async fn a_stranger_finds_nothing(cluster: &mut Cluster) -> Result<()> {
    let mine = submit(cluster, ACME, "whose", &Value::Null, 1).await?[0];
    let done = ended(cluster, ACME, mine).await?;
    ensure!(done["result"] == ACME, "the worker is told whose job it is: {done}");
    let http = cluster.client().http();
    for part in ["", "/events", "/result", "/payload", "/logs", "/explain"] {
        let path = format!("/jobs/{mine}{part}");
        ensure!(http.get(&path).await?.status == 404, "{path} is there for another tenant");
    }
    for part in ["/cancel", "/retry"] {
        let path = format!("/jobs/{mine}{part}");
        ensure!(http.send(Method::POST, &path, &[], None).await?.status == 404, "{path} is there for another tenant");
    }
    ensure!(http.delete(&format!("/jobs/{mine}")).await?.status == 404);
    let listed = http.get("/jobs").await?.expect(200)?;
    ensure!(listed["jobs"] == json!([]), "{listed}");
    let taken = http.put(&format!("/jobs/{mine}"), &json!({"task": "whose"})).await?;
    ensure!(taken.status == 409, "an id is taken, and no more is said: {taken}");
    ensure!(!taken.to_string().contains(ACME), "{taken}");
    ensure!(job(cluster, ACME, mine).await? == done, "nothing has changed");
    // Both have a key of this name.
    let keyed = |task: &str| {
        let (job_id, mut item) = create(task, &Value::Null);
        item["create"]["idempotency_key"] = json!("k");
        (job_id, item)
    };
    for tenant in [ACME, "default"] {
        let (job_id, item) = keyed("noop");
        let answers = apply(cluster, tenant, vec![item]).await?;
        ensure!(answers[0]["ok"]["created"]["job_id"] == json!(job_id), "{answers:?}");
        ended(cluster, tenant, job_id).await?;
    }
    let tenants = http.get("/tenants").await?.expect(200)?;
    let names: Vec<&Value> = tenants["tenants"].as_array().into_iter().flatten().map(|one| &one["tenant"]).collect();
    ensure!(names == [&json!(ACME), &json!("default")], "{tenants}");
    Ok(())
}

/// How many jobs of others began between the instants that the job tells of itself.
async fn overtaken_by(cluster: &Cluster, tenant: &str, job: &Value) -> Result<usize> {
    let mut begun = 0;
    for status in ["running", "succeeded"] {
        let path = format!("/jobs?status={status}&limit=500");
        let page = ask(cluster, tenant, Method::GET, &path, None).await?.expect(200)?;
        // RFC 3339 in UTC with milliseconds: text order is time order.
        let within = |other: &&Value| {
            let began = other["started_at"].as_str();
            began > job["created_at"].as_str() && began < job["started_at"].as_str()
        };
        begun += page["jobs"].as_array().into_iter().flatten().filter(within).count();
    }
    Ok(begun)
}

async fn a_newcomer_does_not_wait_behind_a_backlog(cluster: &mut Cluster) -> Result<()> {
    submit(cluster, ACME, "work", &json!({"duration_ms": 100}), 3_000).await?;
    wait_until(SOON, "the slots are busy", async || {
        let page = ask(cluster, ACME, Method::GET, "/jobs?status=running&limit=500", None).await?.expect(200)?;
        Ok(page["jobs"].as_array().is_some_and(|jobs| jobs.len() >= SLOTS))
    })
    .await?;
    for _ in 0..10 {
        let newcomer = submit(cluster, "globex", "noop", &Value::Null, 1).await?[0];
        let job = ended(cluster, "globex", newcomer).await?;
        let before = overtaken_by(cluster, ACME, &job).await?;
        // What was claimed while it was on its way, and no window of bells: a turn of each slot at most.
        ensure!(before <= 2 * SLOTS, "{before} jobs of the backlog began between {job}");
    }
    // Of the next starts the backlog's tenant and another with as much get the same.
    submit(cluster, "globex", "work", &json!({"duration_ms": 100}), 1_000).await?;
    let open = async |tenant: &str| -> Result<u64> {
        let tenants = cluster.http("store-svc")?.get("/tenants").await?.expect(200)?;
        let all = tenants["tenants"].as_array().context("a list")?;
        let one = all.iter().find(|one| one["tenant"] == tenant).context("it is there")?;
        Ok(["queued", "running"].iter().filter_map(|state| one["depth"][state].as_u64()).sum())
    };
    let (acme, globex) = (open(ACME).await?, open("globex").await?);
    let done = async || Ok::<_, anyhow::Error>((acme - open(ACME).await?, globex - open("globex").await?));
    wait_until(Duration::from_secs(60), "a hundred more are done", async || {
        let (of_acme, of_globex) = done().await?;
        Ok(of_acme + of_globex >= 200)
    })
    .await?;
    let (of_acme, of_globex) = done().await?;
    let (least, most) = (of_acme.min(of_globex), of_acme.max(of_globex));
    ensure!(most - least <= 4 * SLOTS as u64, "{of_acme} and {of_globex} ended");
    Ok(())
}

async fn no_more_run_than_may(cluster: &mut Cluster) -> Result<()> {
    let http = cluster.client().http().clone();
    let limits = json!({"running_max": 2, "queued_max": 10});
    let set = http.put(&format!("/tenants/{ACME}"), &limits).await?.expect(201)?;
    ensure!(set["limits"] == json!({"share": 1, "running_max": 2, "queued_max": 10}), "{set}");
    ensure!(http.put("/tenants/Acme!", &limits).await?.status == 422);
    ensure!(http.put(&format!("/tenants/{ACME}"), &json!({"share": 0})).await?.status == 422);
    let ids = submit(cluster, ACME, "work", &json!({"duration_ms": 300}), 8).await?;
    let explained = eventually(SOON, "the last one waits for its tenant", async || {
        let path = format!("/jobs/{}/explain", ids[7]);
        let explained = ask(cluster, ACME, Method::GET, &path, None).await?.expect(200)?;
        Ok((explained["waiting_for"] == "tenant_limit").then_some(explained))
    })
    .await?;
    ensure!(
        explained["reason"].as_str().is_some_and(|reason| reason.contains("2 jobs running at once")),
        "{explained}"
    );
    let many = (0..11).map(|_| create("noop", &Value::Null).1).collect();
    let answers = apply(cluster, ACME, many).await?;
    let refused = answers.last().context("an answer")?;
    ensure!(refused["error"]["type"] == "urn:longshore:problem:tenant-full", "{refused}");
    let mut most = 0;
    wait_until(SOON, "all are done", async || {
        let tenants = http.get("/tenants").await?.expect(200)?;
        let depth = &tenants["tenants"][0]["depth"];
        most = most.max(depth["running"].as_u64().context("a number")?);
        Ok(depth["queued"] == 0 && depth["running"] == 0)
    })
    .await?;
    ensure!(most == 2, "{most} ran at once");
    for id in ids {
        ended(cluster, ACME, id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_not_there_embedded() -> Result<()> {
    among_strangers(setup(Setup::embedded()), a_stranger_finds_nothing).await
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_not_there_on_rabbitmq_and_postgresql() -> Result<()> {
    let database = tests::postgres::fresh_database().await?;
    let on_both = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(database, 2);
    among_strangers(setup(on_both), a_stranger_finds_nothing).await
}

#[tokio::test]
async fn newcomer_does_not_wait_behind_a_backlog_embedded() -> Result<()> {
    among_strangers(setup(Setup::embedded()), a_newcomer_does_not_wait_behind_a_backlog).await
}

#[tokio::test]
async fn newcomer_does_not_wait_behind_a_backlog_on_rabbitmq() -> Result<()> {
    let on_rabbitmq = Setup::rabbitmq(Vhost::fresh().await?.urls()).workers(1);
    among_strangers(setup(on_rabbitmq), a_newcomer_does_not_wait_behind_a_backlog).await
}

#[tokio::test]
async fn no_more_jobs_of_a_tenant_run_than_may() -> Result<()> {
    among_strangers(setup(Setup::embedded()), no_more_run_than_may).await
}
