//! The worker's side of the guard: says what to watch, and starts another guard when one has ended.

use std::collections::BTreeMap;
use std::io::{self, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chassis::backoff::Backoff;
use chassis::task::Tasks;
use protocol::lease_api::LeaseId;
use protocol::store_api::JobFence;
use rustix::fs::{OFlags, fcntl_setfl};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::ARGUMENT;
use super::book::Order;

/// Whatever file this process runs, also when it was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A guard, or the next one. Dropped, it ends the guard and everything that was not done.
#[derive(Debug)]
pub struct Guard {
    program: PathBuf,
    // Held for one step, never across an await.
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    orders: PipeWriter,
    /// What the next guard must be told.
    held: BTreeMap<JobFence, Order>,
    /// Who waits for the guard's confirmation.
    unconfirmed: BTreeMap<JobFence, oneshot::Sender<()>>,
    is_lost: bool,
}

impl Guard {
    /// Starts this very program again as a guard. Its `main` must look at [`super::is_asked`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(tasks: &Tasks) -> io::Result<Arc<Self>> {
        Self::start_program(Path::new(THIS_PROGRAM), tasks)
    }

    /// Starts a program that is a guard when it is given [`ARGUMENT`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_program(program: &Path, tasks: &Tasks) -> io::Result<Arc<Self>> {
        let (orders, process) = spawn(program)?;
        let link = Link { orders, held: BTreeMap::new(), unconfirmed: BTreeMap::new(), is_lost: false };
        let guard = Arc::new(Self { program: program.to_owned(), link: Mutex::new(link) });
        tasks.spawn("guard", keep(Arc::downgrade(&guard), process));
        Ok(guard)
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program that starts others in a way that lets the guard know of them first.
    pub(crate) fn launcher(&self) -> &Path {
        &self.program
    }

    /// From now on the attempt runs in this process group, at most until then. The receiver hears when the guard knows.
    pub fn watch(&self, attempt: JobFence, group: i32, until_ms: u64) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        let mut link = self.link();
        link.unconfirmed.insert(attempt, confirm);
        link.hold(Order::Hold { attempt, group, until_ms }, attempt);
        confirmed
    }

    /// The lease was renewed until then.
    pub fn hold(&self, attempt: JobFence, group: i32, until_ms: u64) {
        self.link().hold(Order::Hold { attempt, group, until_ms }, attempt);
    }

    /// The attempt has ended.
    pub fn done(&self, attempt: JobFence) {
        let mut link = self.link();
        link.held.remove(&attempt);
        link.unconfirmed.remove(&attempt);
        link.say(Order::Done { attempt });
    }

    fn confirmed(&self, line: &str) {
        let confirm = line.parse().ok().and_then(|LeaseId(attempt)| self.link().unconfirmed.remove(&attempt));
        if let Some(confirm) = confirm {
            // Whoever waited may be gone.
            confirm.send(()).unwrap_or_default();
        }
    }

    /// Another guard takes over what the last one watched.
    fn start_again(&self) -> io::Result<Child> {
        let (orders, process) = spawn(&self.program)?;
        let mut link = self.link();
        link.orders = orders;
        link.is_lost = false;
        let held: Vec<Order> = link.held.values().copied().collect();
        held.into_iter().for_each(|order| link.say(order));
        Ok(process)
    }
}

impl Link {
    fn hold(&mut self, order: Order, attempt: JobFence) {
        self.held.insert(attempt, order);
        self.say(order);
    }

    /// A line is shorter than what a pipe takes at once or not at all, and the pipe holds hundreds of them. A guard that does not
    /// read is as good as none: the worker goes on.
    fn say(&mut self, order: Order) {
        if let Err(error) = self.orders.write_all(order.line().as_bytes())
            && !self.is_lost
        {
            self.is_lost = true;
            tracing::error!(%error, "the guard does not listen: programs may outlive this worker if it is killed now");
        }
    }
}

fn spawn(program: &Path) -> io::Result<(PipeWriter, Child)> {
    let (reader, orders) = io::pipe()?;
    let process = Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(reader)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A signal from a terminal goes to the worker's group.
        .process_group(0)
        .spawn()?;
    tracing::debug!(pid = process.id(), "a guard watches over the programs of this worker");
    fcntl_setfl(&orders, OFlags::NONBLOCK)?;
    Ok((orders, process))
}

/// Hears what the guard confirms; when it has ended before its worker, starts another one.
async fn keep(guard: Weak<Guard>, mut process: Child) {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50), Duration::from_secs(2));
    loop {
        if let Some(confirmations) = process.stdout.take() {
            let mut lines = BufReader::new(confirmations).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                backoff.reset();
                if let Some(guard) = guard.upgrade() {
                    guard.confirmed(&line);
                }
            }
        }
        let ended = process.wait().await;
        process = loop {
            let Some(guard) = guard.upgrade() else { return };
            tracing::error!(?ended, "the guard has ended: another one is started");
            match guard.start_again() {
                Ok(process) => break process,
                Err(error) => tracing::error!(%error, "no guard could be started"),
            }
            drop(guard);
            tokio::time::sleep(backoff.next_random()).await;
        };
        // One that ends again and again is not started more often than that.
        tokio::time::sleep(backoff.next_random()).await;
    }
}
