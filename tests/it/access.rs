//! Who may do what, in the whole system: keys are made, rotated and revoked at one gateway and heeded at all; each tenant has data of its own; what
//! operators do is recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::{try_join, try_join_all};
use http::{Method, header};
use serde_json::{Value, json};
use tests::rabbit::Vhost;
use tests::{Cluster, Setup, among_strangers, eventually, postgres, scenario};

use crate::SOON;

pub(crate) const FIRST_KEY: &str = "the-first-key-0123456789abcdef0123456789abcdef";
/// Within which a revoked key is refused everywhere, with the time that a busy machine takes.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);

/// A key, by which its owner calls any gateway.
pub(crate) struct Key {
    pub(crate) id: String,
    api_key: String,
}

impl Key {
    pub(crate) async fn create(cluster: &Cluster, asked: Value) -> Result<Self> {
        let issued = cluster.client().http().post("/keys", &asked).await?.expect(201)?;
        Self::of(&issued)
    }

    fn of(issued: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text in {issued}"));
        Ok(Self { id: text(&issued["key"]["key_id"])?, api_key: text(&issued["api_key"])? })
    }

    pub(crate) async fn send(
        &self,
        cluster: &Cluster,
        at: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<tests::Answer> {
        let http = cluster.http(at)?.with_key(&self.api_key);
        http.send(method, path, &[], body).await
    }

    async fn status(&self, cluster: &Cluster, at: &str) -> Result<u16> {
        Ok(self.send(cluster, at, Method::GET, "/jobs", None).await?.status.as_u16())
    }
}

fn gateways(cluster: &Cluster) -> Vec<String> {
    let names = (0..).map(|number| format!("gateway-{number}"));
    names.take_while(|name| cluster.address(name).is_ok()).collect()
}

/// At every gateway, soon.
async fn becomes(cluster: &Cluster, key: &Key, status: u16) -> Result<()> {
    for at in gateways(cluster) {
        eventually(REVOKED_WITHIN, &format!("{at} answers {status}"), async || {
            let found = key.status(cluster, &at).await?;
            ensure!(found == status, "{found}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

async fn keys(cluster: &mut Cluster) -> Result<()> {
    let stranger = cluster.http("lb")?;
    let refused = stranger.get("/jobs").await?;
    refused.problem(401)?;
    ensure!(refused.header("www-authenticate").starts_with("Bearer"), "{refused}");

    let key = Key::create(cluster, json!({"name": "a reader", "scopes": ["read"]})).await?;
    becomes(cluster, &key, 200).await?;
    let job = json!({"task": "noop"});
    let lacking = key.send(cluster, "lb", Method::POST, "/longtask", Some(&job)).await?.problem(403)?;
    ensure!(lacking["scope"] == "submit", "{lacking}");

    // Rotated at one gateway: for a while both secrets are good at all of them.
    let path = format!("/keys/{}/rotate", key.id);
    let rotated = cluster.client().http().post(&path, &json!({"overlap_ms": 4_000})).await?.expect(200)?;
    let new = Key::of(&rotated)?;
    ensure!(new.id == key.id && new.api_key != key.api_key, "the same key has another secret");
    for at in gateways(cluster) {
        ensure!(new.status(cluster, &at).await? == 200, "the new secret at {at}");
    }
    ensure!(key.status(cluster, "gateway-0").await? == 200, "the old secret");
    becomes(cluster, &key, 401).await?;
    ensure!(new.status(cluster, "gateway-0").await? == 200, "the new secret stays");

    cluster.client().http().delete(&format!("/keys/{}", new.id)).await?.expect(200)?;
    becomes(cluster, &new, 401).await?;
    cluster.client().http().post(&path, &json!({})).await?.problem(409)?;

    let soon = protocol::time::Timestamp::from_unix_ms(chassis::clock::wall_ms() + 3_000);
    let brief = json!({"name": "brief", "scopes": ["read"], "expires_at": soon.to_string()});
    let brief = Key::create(cluster, brief).await?;
    ensure!(brief.status(cluster, "gateway-1").await? == 200, "before it expires");
    becomes(cluster, &brief, 401).await?;

    let listed = cluster.client().http().get("/keys?limit=1").await?.expect(200)?;
    ensure!(listed["keys"][0]["key_id"] == key.id.as_str() && listed["next_cursor"].is_string(), "{listed}");
    ensure!(!listed.to_string().contains("digest"), "{listed}");
    // Whoever has it may do everything, so a job that it submits is done.
    let done = cluster.client().accepted(&job).await?;
    cluster.client().succeeded(&done, SOON).await?;
    Ok(())
}

#[tokio::test]
async fn keys_are_heeded_at_every_gateway() -> Result<()> {
    scenario(Setup::embedded().api_key(FIRST_KEY), keys).await
}

#[tokio::test]
async fn keys_are_heeded_at_every_gateway_of_several_stores() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    scenario(setup.api_key(FIRST_KEY), keys).await
}

/// What somebody reads of a key at a gateway, and whether a cache had it.
async fn read(cluster: &Cluster, key: &Key, at: &str, path: &str) -> Result<Value> {
    key.send(cluster, at, Method::GET, path, None).await?.expect(200)
}

#[tokio::test]
async fn each_tenant_has_data_of_its_own() -> Result<()> {
    scenario(Setup::rabbitmq(Vhost::fresh().await?.urls()).api_key(FIRST_KEY), async |cluster| {
        let scopes = ["read", "submit", "operate"];
        let mut owners = Vec::new();
        for tenant in ["default", "acme", "beta"] {
            let asked = json!({"name": tenant, "tenant": tenant, "scopes": scopes});
            owners.push(Key::create(cluster, asked).await?);
        }
        let [default, acme, beta] = owners.as_slice() else { unreachable!("there are three") };
        for (owner, price) in [(default, 1), (acme, 2)] {
            let body = json!({"data": price, "tags": ["prices"]});
            owner.send(cluster, "gateway-0", Method::PUT, "/data/price", Some(&body)).await?.expect(200)?;
        }
        for at in ["gateway-0", "gateway-1"] {
            for (owner, price) in [(default, 1), (acme, 2), (default, 1), (acme, 2)] {
                let told = read(cluster, owner, at, "/data/price").await?;
                ensure!(told["data"] == price, "{at}: {told} instead of {price}");
            }
            beta.send(cluster, at, Method::GET, "/data/price", None).await?.problem(404)?;
            for held in [default, acme] {
                eventually(SOON, "the near cache holds it", async || {
                    let told = held.send(cluster, at, Method::GET, "/data/price", None).await?;
                    Ok((told.header("cache-status") == "longshore-near; hit").then_some(()))
                })
                .await?;
            }
        }
        // What one tenant invalidates, all, too, stays in the caches for the others.
        for covered in
            [json!({"tags": ["prices"]}), json!({"all": true}), json!({"prefix": "p"}), json!({"keys": ["price"]})]
        {
            acme.send(cluster, "gateway-0", Method::POST, "/cache:invalidate", Some(&covered)).await?.expect(200)?;
            let told = acme.send(cluster, "gateway-1", Method::GET, "/data/price", None).await?;
            ensure!(told.header("cache-status") != "longshore-near; hit", "{covered}: acme's is gone: {told}");
            let told = default.send(cluster, "gateway-1", Method::GET, "/data/price", None).await?.expect(200)?;
            ensure!(told["data"] == 1, "{told}");
        }
        // A job's invalidations are its tenant's, and shown as they were given.
        let body = json!({"task": "noop", "invalidates": ["price"]});
        let accepted = acme.send(cluster, "lb", Method::POST, "/longtask", Some(&body)).await?.expect(202)?;
        let id = accepted["job_id"].as_str().context("an id")?;
        let path = format!("/jobs/{id}");
        let job = eventually(SOON, "it succeeds", async || {
            let job = acme.send(cluster, "lb", Method::GET, &path, None).await?.expect(200)?;
            Ok((job["status"] == "succeeded").then_some(job))
        })
        .await?;
        ensure!(job["invalidates"] == json!(["price"]), "{job}");
        let told = acme.send(cluster, "gateway-1", Method::GET, "/data/price", None).await?;
        ensure!(told.header("cache-status") != "longshore-near; hit", "{told}");
        default.send(cluster, "lb", Method::GET, &path, None).await?.problem(404)?;
        Ok(())
    })
    .await
}

/// The ids on the first page of what a key's tenant has.
async fn jobs_of(cluster: &Cluster, key: &Key) -> Result<BTreeSet<String>> {
    let page = read(cluster, key, "lb", "/jobs?limit=500").await?;
    let jobs = page["jobs"].as_array().context("a list")?;
    Ok(jobs.iter().filter_map(|job| job["job_id"].as_str().map(str::to_owned)).collect())
}

async fn submitted(cluster: &Cluster, key: &Key, idempotency_key: &str) -> Result<String> {
    let http = cluster.http("gateway-0")?.with_key(&key.api_key);
    let body = json!({"task": "noop"});
    let headers = [("idempotency-key", idempotency_key)];
    let accepted = http.send(Method::POST, "/longtask", &headers, Some(&body)).await?.expect(202)?;
    accepted["job_id"].as_str().map(str::to_owned).context("an id")
}

async fn is_not_there(cluster: &Cluster, stranger: &Key, id: &str) -> Result<()> {
    let ways = [
        (Method::GET, ""),
        (Method::GET, "/events"),
        (Method::GET, "/result"),
        (Method::GET, "/payload"),
        (Method::GET, "/logs"),
        (Method::GET, "/explain"),
        (Method::POST, "/cancel"),
        (Method::POST, "/retry"),
        (Method::DELETE, ""),
    ];
    for (method, part) in ways {
        let path = format!("/jobs/{id}{part}");
        let told = stranger.send(cluster, "gateway-1", method.clone(), &path, None).await?;
        ensure!(told.status == 404, "{method} {part}: {told}");
    }
    let waits = cluster.http("gateway-1")?.with_key(&stranger.api_key);
    waits.send(Method::GET, &format!("/jobs/{id}"), &[("prefer", "wait=30")], None).await?.problem(404)?;
    Ok(())
}

async fn jobs_of_their_own(cluster: &mut Cluster) -> Result<()> {
    let mut owners = Vec::new();
    for tenant in ["default", "acme", "globex"] {
        let asked = json!({"name": tenant, "tenant": tenant, "scopes": ["read", "submit", "operate"]});
        owners.push(Key::create(cluster, asked).await?);
    }
    let [default, acme, globex] = owners.as_slice() else { unreachable!("there are three") };
    // Submitted side by side, under the same idempotency keys: whatever goes to the store together, each gets its own.
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let of_acme = try_join_all(keys.iter().map(|key| submitted(cluster, acme, key)));
    let of_globex = try_join_all(keys.iter().map(|key| submitted(cluster, globex, key)));
    let (of_acme, of_globex) = try_join(of_acme, of_globex).await?;
    ensure!(jobs_of(cluster, acme).await? == of_acme.iter().cloned().collect(), "acme's are {of_acme:?}");
    ensure!(jobs_of(cluster, globex).await? == of_globex.iter().cloned().collect(), "globex's are {of_globex:?}");
    ensure!(jobs_of(cluster, default).await?.is_empty(), "nobody else's");
    let mine = of_acme[0].as_str();
    let path = format!("/jobs/{mine}");
    let done = eventually(SOON, "it succeeds", async || {
        let job = read(cluster, acme, "lb", &path).await?;
        Ok((job["status"] == "succeeded").then_some(job))
    })
    .await?;
    for stranger in [globex, default] {
        is_not_there(cluster, stranger, mine).await?;
        let taken = stranger.send(cluster, "lb", Method::PUT, &path, Some(&json!({"task": "noop"}))).await?;
        let told = taken.problem(409)?;
        ensure!(!told.to_string().contains("acme"), "an id is taken, and no more is said: {told}");
    }
    ensure!(read(cluster, acme, "gateway-1", &path).await? == done, "nothing has changed");

    // Schedules and retries, too.
    let nightly = json!({"cron": "@yearly", "job": {"task": "noop"}});
    for owner in [acme, globex] {
        owner.send(cluster, "lb", Method::PUT, "/schedules/nightly", Some(&nightly)).await?.expect(201)?;
    }
    acme.send(cluster, "lb", Method::DELETE, "/schedules/nightly", None).await?.expect(204)?;
    acme.send(cluster, "lb", Method::POST, "/schedules/nightly/run", None).await?.problem(404)?;
    ensure!(read(cluster, acme, "lb", "/schedules").await?["schedules"] == json!([]));
    let schedules = read(cluster, globex, "lb", "/schedules").await?;
    ensure!(schedules["schedules"].as_array().is_some_and(|schedules| schedules.len() == 1), "{schedules}");
    let run = globex.send(cluster, "lb", Method::POST, "/schedules/nightly/run", None).await?.expect(202)?;
    is_not_there(cluster, acme, run["job_id"].as_str().context("an id")?).await?;
    let body = json!({"task": "noop", "delay_ms": 600_000});
    let waits = globex.send(cluster, "lb", Method::POST, "/longtask", Some(&body)).await?.expect(202)?;
    let path = format!("/jobs/{}/cancel", waits["job_id"].as_str().context("an id")?);
    globex.send(cluster, "lb", Method::POST, &path, None).await?.expect(200)?;
    for (owner, matching) in [(acme, 0), (globex, 1), (default, 0)] {
        let retry = json!({"status": "cancelled", "dry_run": true});
        let preview = owner.send(cluster, "lb", Method::POST, "/jobs:retry", Some(&retry)).await?.expect(200)?;
        ensure!(preview["matching"] == matching, "{preview}");
    }

    // What each tenant may have is the system's.
    let limits = json!({"running_max": 2});
    for (method, path, body) in [(Method::GET, "/tenants", None), (Method::PUT, "/tenants/acme", Some(&limits))] {
        acme.send(cluster, "lb", method.clone(), path, body).await?.problem(403)?;
        default.send(cluster, "lb", method, path, body).await?.expect(200)?;
    }
    let tenants = read(cluster, default, "lb", "/tenants").await?;
    let names: Vec<_> = tenants["tenants"].as_array().into_iter().flatten().map(|one| one["tenant"].as_str()).collect();
    ensure!(names == [Some("acme"), Some("default"), Some("globex")], "{tenants}");
    let audit = cluster.client().http().get("/audit?limit=1").await?.expect(200)?;
    let entry = &audit["entries"][0];
    ensure!(entry["action"] == "tenant.put" && entry["target"] == "acme", "{audit}");

    // What is dropped is gone for its tenant, and was never there for others.
    let path = format!("/jobs/{mine}");
    acme.send(cluster, "lb", Method::DELETE, &path, None).await?.expect(204)?;
    acme.send(cluster, "lb", Method::GET, &path, None).await?.problem(410)?;
    is_not_there(cluster, globex, mine).await
}

#[tokio::test]
async fn each_tenant_has_jobs_of_its_own() -> Result<()> {
    among_strangers(Setup::embedded().api_key(FIRST_KEY), jobs_of_their_own).await
}

#[tokio::test]
async fn each_tenant_has_jobs_of_its_own_in_several_stores() -> Result<()> {
    let setup = Setup::rabbitmq(Vhost::fresh().await?.urls()).postgres(postgres::fresh_database().await?, 2);
    among_strangers(setup.api_key(FIRST_KEY), jobs_of_their_own).await
}

#[tokio::test]
async fn what_operators_do_is_recorded() -> Result<()> {
    scenario(Setup::embedded().api_key(FIRST_KEY), async |cluster| {
        let operator = Key::create(cluster, json!({"name": "o", "scopes": ["read", "operate"]})).await?;
        let of_acme = Key::create(cluster, json!({"name": "a", "tenant": "acme", "scopes": ["admin"]})).await?;
        let unknown = "/jobs/018bcfe5-6800-7000-8000-000000000000/cancel";
        let schedule = json!({"cron": "@yearly", "job": {"task": "noop"}});
        let acts = [
            (Method::POST, "/queues/default/pause", None, 200),
            (Method::POST, "/queues/default/resume", None, 200),
            (Method::POST, unknown, None, 404),
            (Method::DELETE, "/cache/price", None, 200),
            (Method::PUT, "/schedules/yearly", Some(&schedule), 201),
            (Method::DELETE, "/schedules/yearly", None, 204),
        ];
        for (method, path, body, status) in acts {
            let told = operator.send(cluster, "lb", method.clone(), path, body).await?;
            ensure!(told.status == status, "{method} {path}: {told}");
        }
        operator.send(cluster, "lb", Method::GET, "/audit", None).await?.problem(403)?;
        let page = cluster.client().http().get("/audit?limit=7").await?.expect(200)?;
        let entries = page["entries"].as_array().context("entries")?;
        let told: Vec<_> = entries.iter().map(|entry| [&entry["who"], &entry["action"], &entry["outcome"]]).collect();
        let who = operator.id.as_str();
        let expected = [
            [who, "schedule.delete", "done"],
            [who, "schedule.put", "done"],
            [who, "cache.invalidate", "done"],
            [who, "job.cancel", "not-found"],
            [who, "queue.resume", "done"],
            [who, "queue.pause", "done"],
            ["admin", "key.create", "done"],
        ];
        ensure!(told == expected, "{page}");
        ensure!(entries[5]["from"] == "127.0.0.1" && entries[5]["target"] == "default", "{page}");
        ensure!(entries[5]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{page}");
        let cursor = page["next_cursor"].as_str().context("a cursor")?;
        let rest = cluster.client().http().get(&format!("/audit?cursor={cursor}")).await?.expect(200)?;
        ensure!(
            rest["entries"].as_array().is_some_and(|rest| rest.len() == 1) && rest["next_cursor"].is_null(),
            "{rest}"
        );

        // An administrator of a tenant sees and changes what is the tenant's, and nothing else.
        let own = of_acme.send(cluster, "lb", Method::GET, "/audit", None).await?.expect(200)?;
        ensure!(own["entries"] == json!([]), "{own}");
        let keys = of_acme.send(cluster, "lb", Method::GET, "/keys", None).await?.expect(200)?;
        ensure!(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
        let path = format!("/keys/{who}");
        of_acme.send(cluster, "lb", Method::GET, &path, None).await?.problem(404)?;
        of_acme.send(cluster, "lb", Method::DELETE, &path, None).await?.problem(404)?;
        let for_others = json!({"name": "b", "tenant": "beta", "scopes": ["read"]});
        of_acme.send(cluster, "lb", Method::POST, "/keys", Some(&for_others)).await?.problem(422)?;
        of_acme.send(cluster, "lb", Method::POST, "/queues/default/pause", None).await?.problem(403)?;
        let own = of_acme.send(cluster, "lb", Method::GET, "/audit", None).await?.expect(200)?;
        ensure!(own["entries"][0]["action"] == "key.revoke" && own["entries"][0]["outcome"] == "not-found", "{own}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_session_of_the_console_is_good_at_every_gateway() -> Result<()> {
    scenario(Setup::embedded().api_key(FIRST_KEY), async |cluster| {
        let http = cluster.http("gateway-0")?;
        let begun = http.post("/console/session", &json!({"key": FIRST_KEY})).await?;
        ensure!(begun.status == 204, "{begun}");
        let cookie = begun.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let with_cookie = [(header::COOKIE.as_str(), cookie.as_str())];
        for at in gateways(cluster) {
            let told = cluster.http(&at)?.send(Method::GET, "/jobs", &with_cookie, None).await?;
            ensure!(told.status == 200, "{at}: {told}");
        }
        http.send(Method::DELETE, "/console/session", &with_cookie, None).await?.expect(204)?;
        for at in gateways(cluster) {
            eventually(REVOKED_WITHIN, "it has ended", async || {
                let told = cluster.http(&at)?.send(Method::GET, "/jobs", &with_cookie, None).await?;
                Ok((told.status == 401).then_some(()))
            })
            .await?;
        }
        Ok(())
    })
    .await
}
