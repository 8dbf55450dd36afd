//! A read that a cache answers: a gateway's near cache beside a bare axum handler with the same bytes, nginx's proxy cache, and FastAPI with
//! Redis. One after the other in each round, each on its own.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Result, ensure};
use chassis::testing::rabbit::ScratchNode;
use tempfile::TempDir;
use tests::binaries::binary;
use tests::http::Http;
use tests::ports::free_address;
use tests::rabbit::own_urls;
use tests::{Cluster, Process, Setup, wait_until};

use crate::meter::Meter;
use crate::plan::Plan;
use crate::programs::{self, fill, until_answers};
use crate::record::{Contender, Section};
use crate::redis::{self, Durability, Redis};
use crate::report::progress;
use crate::wrk;

const NGINX: &str = include_str!("../../../bench/reads/nginx.conf");
pub(crate) const FASTAPI: &str = include_str!("../../../bench/reads/fastapi_redis.py");
const PATH: &str = "/data/my_data";
const HIT_WITHIN: Duration = Duration::from_secs(10);

/// Something that answers `PATH`, and what shows that it was a hit.
struct Reader {
    contender: Contender,
    address: SocketAddr,
    meter: Meter,
    /// A header and what it begins with.
    hit: Option<(&'static str, &'static str)>,
}

pub(crate) async fn run(plan: &Plan, node: &ScratchNode) -> Result<Section> {
    let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
    let mut cluster = Cluster::start(&Setup::rabbitmq(own_urls(node)).gateways(1).workers(0)).await?;
    let gateway = gateway(&mut cluster)?;
    let body = gateway.hits().await?;
    // They end when this function does.
    let (axum, _axum) = bare_axum(&folder, &body).await?;
    let (nginx, _nginx) = nginx(&folder, axum.address).await?;
    let (fastapi, _fastapi) = fastapi(plan, &folder, &body).await?;
    let mut readers = [gateway, axum, nginx, fastapi];
    for round in 0..=plan.rounds {
        for reader in &mut readers {
            ensure!(reader.hits().await? == body, "{} answers something else", reader.contender.name);
            // The first one warms up.
            let length = if round == 0 { Duration::from_secs(1) } else { plan.length };
            let run = wrk::measure(&reader.meter, reader.address, PATH, wrk::CONNECTIONS, length).await?;
            reader.hits().await?;
            if round > 0 {
                progress("reads", &reader.contender.name, &run);
                reader.contender.runs.push(run);
            }
        }
    }
    let contenders = readers.into_iter().map(|reader| reader.contender).collect();
    Ok(Section { name: "reads".to_owned(), contenders })
}

impl Reader {
    fn new(name: &str, what: &str, address: SocketAddr) -> Self {
        let contender = Contender { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() };
        Self { contender, address, meter: Meter::default(), hit: None }
    }

    /// The body, once it comes from the cache.
    async fn hits(&self) -> Result<Vec<u8>> {
        let (http, mut body) = (Http::new(self.address), Vec::new());
        wait_until(HIT_WITHIN, &format!("{} answers from its cache", self.contender.name), async || {
            let answer = http.get(PATH).await?;
            ensure!(answer.status == 200, "{answer}");
            let is_hit = self.hit.is_none_or(|(header, start)| answer.header(header).starts_with(start));
            body = answer.body.to_vec();
            Ok(is_hit)
        })
        .await?;
        Ok(body)
    }
}

fn gateway(cluster: &mut Cluster) -> Result<Reader> {
    let what = "a near hit at one gateway: lease and generations checked, ETag and Cache-Status, metrics on";
    let mut reader = Reader::new("Longshore gateway", what, cluster.address("gateway-0")?);
    for (part, process) in [("gateway", "gateway-0"), ("cache-svc", "cache-svc"), ("store-svc", "store-svc")] {
        reader.meter.add(part, cluster.process(process)?.pid());
    }
    reader.hit = Some(("cache-status", "longshore-near; hit"));
    Ok(reader)
}

async fn bare_axum(folder: &TempDir, body: &[u8]) -> Result<(Reader, Process)> {
    let (address, file) = (free_address()?, folder.path().join("body"));
    std::fs::write(&file, body)?;
    // As many threads as a gateway has by default.
    let arguments = [&address.to_string(), "2", &file.display().to_string()];
    let mut process = programs::start(folder.path(), "bare-axum", binary("bare-axum")?, &arguments, &[])?;
    until_answers(&mut process, address, PATH).await?;
    let what =
        "a handler that returns the same bytes and fields from memory and does nothing else, same hyper, two threads";
    let mut reader = Reader::new("bare axum handler", what, address);
    reader.meter.add("server", process.pid());
    Ok((reader, process))
}

async fn nginx(folder: &TempDir, origin: SocketAddr) -> Result<(Reader, Process)> {
    let address = free_address()?;
    let mut process = start_nginx(
        folder.path(),
        "nginx-cache",
        NGINX,
        available_parallelism()?.get(),
        &[("listen", address.to_string()), ("origin", origin.to_string())],
    )?;
    until_answers(&mut process, address, PATH).await?;
    let what = "a hit of proxy_cache, one worker per core, open_file_cache on, access log off";
    let mut reader = Reader::new("nginx proxy_cache", what, address);
    reader.meter.add("server", process.pid());
    reader.hit = Some(("x-cache-status", "HIT"));
    Ok((reader, process))
}

/// nginx with all of its files in a folder below `folder`.
pub(crate) fn start_nginx(
    folder: &Path,
    name: &str,
    template: &str,
    workers: usize,
    values: &[(&str, String)],
) -> Result<Process> {
    let own = folder.join(name);
    std::fs::create_dir(&own)?;
    let mut values = values.to_vec();
    values.extend([("folder", own.display().to_string()), ("workers", workers.to_string())]);
    let settings = own.join("nginx.conf");
    std::fs::write(&settings, fill(template, &values)?)?;
    programs::start(folder, name, "nginx", &["-c", &settings.display().to_string()], &[])
}

async fn fastapi(plan: &Plan, folder: &TempDir, body: &[u8]) -> Result<(Reader, (Redis, Process))> {
    let redis = Redis::start(folder.path(), "redis-reads", Durability::None).await?;
    let text = String::from_utf8(body.to_vec())?;
    redis::ask(redis.address, 0, &format!("SET my_data '{text}'")).await?;
    let environment = [("CACHE_URL", redis.url(0))];
    let (address, process) = start_uvicorn(plan, folder.path(), "fastapi_redis", FASTAPI, &environment).await?;
    let mut reader = Reader::new(
        "FastAPI + Redis",
        "GET from Redis in an async handler, uvicorn with uvloop and httptools, two workers, hiredis",
        address,
    );
    reader.meter.add("uvicorn", process.pid());
    reader.meter.add("redis", redis.process.pid());
    Ok((reader, (redis, process)))
}

/// A Python application under uvicorn, as its documentation says for production: uvloop, httptools, a worker per core, no access log.
pub(crate) async fn start_uvicorn(
    plan: &Plan,
    folder: &Path,
    module: &str,
    source: &str,
    environment: &[(&str, String)],
) -> Result<(SocketAddr, Process)> {
    let (address, own) = (free_address()?, folder.join(format!("{module}-{}", folder.read_dir()?.count())));
    std::fs::create_dir(&own)?;
    std::fs::write(own.join(format!("{module}.py")), source)?;
    let (app, port) = (format!("{module}:app"), address.port().to_string());
    let workers = available_parallelism()?.to_string();
    let arguments = [
        [app.as_str(), "--host", "127.0.0.1", "--port", &port, "--workers", &workers].as_slice(),
        &["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"],
    ]
    .concat();
    let mut process = programs::start(&own, module, plan.installed.python("uvicorn")?, &arguments, environment)?;
    programs::until(&mut process, async || {
        // Any answer will do: the paths differ.
        Http::new(address).get("/").await.map(|_| Some(()))
    })
    .await?;
    Ok((address, process))
}
