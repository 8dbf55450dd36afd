//! Starts the systems that run jobs, each as its documentation recommends for production, and says what each promises.

use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use chassis::testing::rabbit::ScratchNode;
use tests::ports::free_address;
use tests::rabbit::{own_urls, urls};
use tests::{Cluster, Setup};

use super::system::{Done, System};
use crate::meter::Meter;
use crate::plan::Plan;
use crate::programs::{self, until_answers};
use crate::reads::start_uvicorn;
use crate::record::Contender;
use crate::redis::{Durability, Redis};

const CELERY: &str = include_str!("../../../../bench/jobs/celery_app.py");
const BULLMQ_SERVER: &str = include_str!("../../../../bench/jobs/bullmq_server.cjs");
const BULLMQ_WORKER: &str = include_str!("../../../../bench/jobs/bullmq_worker.cjs");
const CELERY_VHOST: &str = "celery";
const ONE_PROCESS_VHOST: &str = "one-process";
pub(crate) const SLOTS: &str = "64";
pub(crate) const NOOP: &str = "[task.noop]\nkind = \"simulate\"\nduration_ms = 0\n";

impl Durability {
    fn said(self) -> &'static str {
        match self {
            Self::Always => "AOF always: an accepted job is on disk",
            Self::EverySecond => "AOF everysec: a power cut loses up to two seconds of accepted jobs",
            Self::None => "nothing on disk",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Always => "AOF always",
            Self::EverySecond => "AOF everysec",
            Self::None => "no AOF",
        }
    }
}

/// The process of the node.
pub(crate) fn pid(node: &ScratchNode) -> Result<u32> {
    u32::try_from(node.pid().context("the node runs")?).context("a pid is positive")
}

fn contender(name: &str, what: &str) -> Contender {
    Contender { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() }
}

/// Every program a process of its own, as in production.
pub(super) async fn longshore(node: &ScratchNode) -> Result<System> {
    let setup = Setup::rabbitmq(own_urls(node)).workers(1).worker_program("noop-worker").slots(SLOTS);
    let what = "through lb and three gateways; the store commits with an fsync (synchronous=FULL) before the 202, bells confirmed on a quorum \
                queue, a handler in Rust on 64 slots; an accepted job survives the loss of the broker's disk";
    let mut system = start_longshore(setup, contender("Longshore on RabbitMQ", what)).await?;
    system.meter.add("RabbitMQ", pid(node)?);
    Ok(system)
}

/// Everything in one process, beside RabbitMQ.
pub(super) async fn longshore_up_on_rabbitmq(node: &ScratchNode) -> Result<System> {
    node.management().make_vhost(ONE_PROCESS_VHOST, &["default"]).await?;
    let setup = Setup::rabbitmq(urls(node, ONE_PROCESS_VHOST)).in_one_process().slots(SLOTS).tasks(NOOP);
    let what = "`longshore up` with AMQP_URL: the same in one process, and the built-in task `simulate`; the same fsync, the same confirms";
    let mut system = start_longshore(setup, contender("Longshore in one process, on RabbitMQ", what)).await?;
    system.meter.add("RabbitMQ", pid(node)?);
    Ok(system)
}

/// Everything in one process.
pub(super) async fn longshore_up() -> Result<System> {
    let setup = Setup::embedded().slots(SLOTS).tasks(NOOP);
    let what = "`longshore up`: the same with the embedded broker, which keeps its bells in memory; the same fsync before the 202";
    start_longshore(setup, contender("Longshore in one process", what)).await
}

/// Without a line per request or job in any log, like the other contenders.
pub(crate) fn quiet(mut setup: Setup) -> Setup {
    for program in ["lb", "gateway", "store-svc", "cache-svc", "worker", "up"] {
        setup = setup.set(program, "LONGSHORE_LOG", "warn");
    }
    for program in ["lb", "up"] {
        setup = setup.set(program, "LONGSHORE_ACCESS_LOG", "false");
    }
    setup
}

async fn start_longshore(setup: Setup, contender: Contender) -> Result<System> {
    let mut cluster = Cluster::start(&quiet(setup)).await?;
    let mut meter = Meter::default();
    for process in cluster.processes("") {
        meter.add(tests::cluster::program_of(process.name()), process.pid());
    }
    let done = Done::Listing { edge: Box::new(cluster.http("lb")?), store: Box::new(cluster.http("store-svc")?) };
    Ok(System { contender, address: cluster.address("lb")?, meter, done, held: vec![Box::new(cluster)] })
}

pub(super) async fn celery_rabbitmq(plan: &Plan, folder: &Path, node: &ScratchNode) -> Result<System> {
    let management = node.management();
    management.make_bare_vhost(CELERY_VHOST).await?;
    management.allow_everything(CELERY_VHOST, "admin").await?;
    let what = "quorum queue, publisher confirms, late acks; results in Redis with AOF everysec";
    let url = node.amqp_url_for("admin", CELERY_VHOST);
    let results = Redis::start(folder, "redis-results", Durability::EverySecond).await?;
    let mut system = celery(plan, folder, contender("FastAPI + Celery on RabbitMQ", what), url, results).await?;
    system.meter.add("RabbitMQ", pid(node)?);
    Ok(system)
}

pub(super) async fn celery_redis(plan: &Plan, folder: &Path, durability: Durability) -> Result<System> {
    let what = format!("Redis as broker and for results, late acks; {}", durability.said());
    let contender = contender(&format!("FastAPI + Celery on Redis, {}", durability.name()), &what);
    let redis = Redis::start(folder, &format!("redis-celery-{durability:?}"), durability).await?;
    let url = redis.url(0);
    celery(plan, folder, contender, url, redis).await
}

async fn celery(plan: &Plan, folder: &Path, contender: Contender, broker: String, redis: Redis) -> Result<System> {
    let environment = [("BROKER_URL", broker), ("RESULT_URL", redis.url(1))];
    let (address, server) = start_uvicorn(plan, folder, "celery_app", CELERY, &environment).await?;
    let own = folder.join(format!("worker-{}", folder.read_dir()?.count()));
    std::fs::create_dir(&own)?;
    std::fs::write(own.join("celery_app.py"), CELERY)?;
    // More processes than cores are slower with tasks that do not wait.
    let concurrency = available_parallelism()?.to_string();
    let arguments = ["--app", "celery_app:celery", "worker", "--pool", "prefork", "--concurrency", &concurrency];
    let quiet = ["--loglevel", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair"];
    let arguments = [arguments.as_slice(), &quiet].concat();
    let worker = programs::start(&own, "celery", plan.installed.python("celery")?, &arguments, &environment)?;
    let mut meter = Meter::default();
    meter.add("uvicorn", server.pid());
    meter.add("celery", worker.pid());
    meter.add("Redis", redis.process.pid());
    // One key for each result, and nothing else in this database.
    let done = Done::Redis { address: redis.address, database: 1, command: "DBSIZE" };
    Ok(System { contender, address, meter, done, held: vec![Box::new(server), Box::new(worker), Box::new(redis)] })
}

pub(super) async fn bullmq(plan: &Plan, folder: &Path, durability: Durability) -> Result<System> {
    let name = format!("bullmq-{durability:?}");
    let redis = Redis::start(folder, &format!("redis-{name}"), durability).await?;
    let address = free_address()?;
    let modules = plan.installed.node_modules()?.display().to_string();
    let environment = [
        ("NODE_PATH", modules),
        ("NODE_ENV", "production".to_owned()),
        ("REDIS_PORT", redis.address.port().to_string()),
        ("PORT", address.port().to_string()),
    ];
    let own = folder.join(&name);
    std::fs::create_dir(&own)?;
    std::fs::write(own.join("server.cjs"), BULLMQ_SERVER)?;
    std::fs::write(own.join("worker.cjs"), BULLMQ_WORKER)?;
    let mut server = programs::start(&own, "fastify", "node", &["server.cjs"], &environment)?;
    let worker = programs::start(&own, "bullmq", "node", &["worker.cjs"], &environment)?;
    until_answers(&mut server, address, "/ready").await?;
    let mut meter = Meter::default();
    meter.add("fastify", server.pid());
    meter.add("worker", worker.pid());
    meter.add("Redis", redis.process.pid());
    let what = format!("a server process, a worker process with a concurrency of 64; {}", durability.said());
    let contender = contender(&format!("Fastify + BullMQ, {}", durability.name()), &what);
    let done = Done::Redis { address: redis.address, database: 0, command: "ZCARD bull:work:completed" };
    Ok(System { contender, address, meter, done, held: vec![Box::new(server), Box::new(worker), Box::new(redis)] })
}
