//! The garden's servers: each reads requests in its own way, and remembers which ones it has read.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use bytes::Bytes;
use chassis::listen::listen;
use chassis::task::Tasks;
use tempfile::TempDir;
use tests::ports::free_address;
use tests::process::{Process, Spec};

/// A request that a server has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// From whom it is, as the balancer says; nobody's if it does not.
    pub(super) source: String,
    pub(super) method: String,
    pub(super) target: String,
}

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    record: Record,
    program: Option<Process>,
    tasks: Tasks,
    // Holds settings and logs as long as the program runs.
    folder: TempDir,
}

#[derive(Debug)]
enum Record {
    Counted(Arc<Mutex<Vec<Request>>>),
    /// What the program says.
    Said,
    Written(PathBuf),
}

impl Backend {
    pub(super) async fn axum() -> Result<Backend> {
        // With room for as many connects at once as HTTP/2 can make of one connection.
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let counted: Arc<Mutex<Vec<Request>>> = Arc::default();
        let tasks = Tasks::new();
        let counting = Arc::clone(&counted);
        // The body is taken so that reading it may fail.
        let count = async move |method: Method, uri: Uri, headers: HeaderMap, _body: Bytes| {
            let source =
                headers.get("x-forwarded-for").and_then(|source| source.to_str().ok()).unwrap_or("-").to_owned();
            let request = Request { source, method: method.to_string(), target: uri.to_string() };
            counting.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            StatusCode::OK
        };
        tasks.spawn("axum", async move {
            axum::serve(listener, Router::new().fallback(count)).await.ok();
        });
        Ok(Backend { address, record: Record::Counted(counted), program: None, tasks, folder: TempDir::new()? })
    }

    pub(super) fn h11() -> Result<Backend> {
        Backend::script("python3", "python3-h11", "h11_backend.py", include_str!("h11_backend.py"))
    }

    pub(super) fn node() -> Result<Backend> {
        Backend::script("node", "nodejs", "node_backend.js", include_str!("node_backend.js"))
    }

    pub(super) fn nginx() -> Result<Backend> {
        let (address, folder) = (free_address()?, TempDir::new()?);
        let place = folder.path();
        let requests = place.join("requests");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", place.display()));
        let settings = format!(
            "daemon off; master_process off; pid {0}/pid; error_log stderr;\nevents {{}}\nhttp {{\n{1}\n\
             log_format seen '$http_x_forwarded_for $request';\naccess_log {0}/requests seen;\n\
             server {{ listen {address}; location / {{ return 200; }} }}\n}}\n",
            place.display(),
            temporary.join("\n"),
        );
        let file = write(place, "nginx.conf", &settings)?;
        let arguments = ["-p", &place.display().to_string(), "-c", &file, "-e", "stderr"].map(str::to_owned);
        let program = Process::start(spec("nginx", "nginx-light", &arguments, place)?)?;
        Ok(Backend { address, record: Record::Written(requests), program: Some(program), tasks: Tasks::new(), folder })
    }

    /// In front of axum, which counts what haproxy passes on.
    pub(super) async fn haproxy() -> Result<Backend> {
        let mut backend = Backend::axum().await?;
        let (address, place) = (free_address()?, backend.folder.path());
        let settings = format!(
            "global\n  maxconn 256\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
             frontend in\n  bind {address}\n  default_backend out\nbackend out\n  server axum {}\n",
            backend.address,
        );
        let file = write(place, "haproxy.cfg", &settings)?;
        let program = Process::start(spec("haproxy", "haproxy", &["-db".to_owned(), "-f".to_owned(), file], place)?)?;
        (backend.address, backend.program) = (address, Some(program));
        Ok(backend)
    }

    fn script(program: &str, package: &str, name: &str, script: &str) -> Result<Backend> {
        let (address, folder) = (free_address()?, TempDir::new()?);
        let file = write(folder.path(), name, script)?;
        let program = Process::start(spec(program, package, &[file, address.port().to_string()], folder.path())?)?;
        Ok(Backend { address, record: Record::Said, program: Some(program), tasks: Tasks::new(), folder })
    }

    /// What it has read so far, in order.
    pub(super) fn seen(&self) -> Result<Vec<Request>> {
        let text = match &self.record {
            Record::Counted(counted) => {
                return Ok(counted.lock().unwrap_or_else(PoisonError::into_inner).clone());
            }
            Record::Said => self.program.as_ref().map(Process::log).unwrap_or_default(),
            Record::Written(path) => fs::read_to_string(path)?,
        };
        Ok(text.lines().map(request).collect())
    }

    /// The last words of the program.
    pub(super) fn said(&self) -> String {
        self.program.as_ref().map(|program| program.log_tail(10)).unwrap_or_default()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Of a line with an address, a method and a target.
fn request(line: &str) -> Request {
    let mut words = line.split(' ').map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    Request { source: next(), method: next(), target: next() }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn spec(program: &str, package: &str, arguments: &[String], folder: &Path) -> Result<Spec> {
    let places = ["/usr/bin", "/usr/sbin"].map(|place| Path::new(place).join(program));
    let binary = places.into_iter().find(|path| path.exists());
    let binary = binary.with_context(|| format!("{program} is not there: run `apt-get install {package}`"))?;
    ensure!(folder.is_absolute(), "{} is absolute", folder.display());
    Ok(Spec {
        name: program.to_owned(),
        binary,
        arguments: arguments.to_vec(),
        environment: BTreeMap::new(),
        folder: folder.to_owned(),
    })
}
