//! The loop of the control thread: resolves names, checks backends, looks how requests end, and does what operators ask for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Address;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::admin::view::View;
use crate::backend::Backend;
use crate::checks;
use crate::core::health::{self, Check};
use crate::members::Members;
use crate::plan::{Plan, Target};
use crate::shared::Shared;
use crate::tls::Certificate;

/// Names are looked up this often; their addresses change when containers are started anew.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// How requests end is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What an operator asks for, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Command {
    Show(oneshot::Sender<View>),
    Set(Target, oneshot::Sender<()>),
    Remove(Address, oneshot::Sender<Removed>),
    /// Reads the files again; what is wrong with them.
    Reload(oneshot::Sender<Result<(), String>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    Yes,
    NotThere,
    /// Without it there is none left.
    IsTheLast,
}

enum Event {
    /// The addresses of a version of the plan.
    Resolved(u64, BTreeMap<SocketAddr, u32>),
    /// It is time to look names up again.
    Resolve,
    Checked(Arc<Backend>, Check),
    Look,
}

type Events<'a> = FuturesUnordered<LocalBoxFuture<'a, Event>>;

struct Oversight<'a> {
    shared: &'a Arc<Shared>,
    members: Members,
    plan: Plan,
    /// Counts the changes of the plan, so that what was found for an older one is not taken for the present one.
    version: u64,
    events: Events<'a>,
}

/// Oversees for ever.
pub(crate) async fn run(shared: &Arc<Shared>, plan: Plan, mut commands: mpsc::Receiver<Command>) {
    let members = Members::new(Arc::clone(shared));
    let mut oversight = Oversight { shared, members, plan, version: 0, events: Events::new() };
    oversight.planned();
    oversight.later(LOOK_EVERY, Event::Look);
    oversight.later(RESOLVE_EVERY, Event::Resolve);
    loop {
        tokio::select! {
            Some(event) = oversight.events.next() => oversight.happened(event),
            Some(command) = commands.recv() => oversight.obey(command),
        }
        oversight.members.report();
    }
}

impl Oversight<'_> {
    fn happened(&mut self, event: Event) {
        match event {
            Event::Resolved(version, addresses) if version == self.version => {
                for backend in self.members.replace(&addresses) {
                    self.check(backend, Duration::ZERO);
                }
            }
            Event::Resolved(..) => {}
            Event::Resolve => {
                if checks::has_names(&self.plan.targets) {
                    self.resolve();
                }
                self.later(RESOLVE_EVERY, Event::Resolve);
            }
            Event::Checked(backend, check) => {
                if self.members.observe(&backend, check) {
                    let pause_ms = health::pause_ms(self.shared.config.check_interval_ms, rand::random());
                    self.check(backend, Duration::from_millis(pause_ms));
                }
            }
            Event::Look => {
                self.members.look();
                self.later(LOOK_EVERY, Event::Look);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Show(reply) => tell(reply, View::of(&self.members, self.shared)),
            Command::Set(target, reply) => {
                tracing::info!(backend = %target.address, weight = target.weight, "an operator set a backend");
                self.plan.set(target);
                self.planned();
                tell(reply, ());
            }
            Command::Remove(address, reply) => tell(reply, self.remove(&address)),
            Command::Reload(reply) => tell(reply, self.reload()),
        }
    }

    fn remove(&mut self, address: &Address) -> Removed {
        let is_last = matches!(self.plan.targets.as_slice(), [last] if last.address == *address);
        if is_last {
            return Removed::IsTheLast;
        }
        if !self.plan.remove(address) {
            return Removed::NotThere;
        }
        tracing::info!(backend = %address, "an operator removed a backend");
        self.planned();
        Removed::Yes
    }

    fn reload(&mut self) -> Result<(), String> {
        let config = &self.shared.config;
        let read = Plan::read(config).and_then(|plan| Ok((plan, Certificate::read(config)?)));
        let (plan, certificate) = read.inspect_err(|error| {
            tracing::error!(error, "not read again; backends and certificate stay what they are");
        })?;
        tracing::info!(backends = plan.targets.len(), "backends and certificate were read again");
        if let (Some(tls), Some(certificate)) = (&self.shared.tls, certificate) {
            tls.replace(certificate);
        }
        self.plan = plan;
        self.planned();
        Ok(())
    }

    /// The plan is another one.
    fn planned(&mut self) {
        self.version += 1;
        self.members.set_pick(self.plan.pick);
        self.resolve();
    }

    fn resolve(&self) {
        let (version, targets) = (self.version, self.plan.targets.clone());
        self.events.push(Box::pin(async move { Event::Resolved(version, checks::resolve(&targets).await) }));
    }

    fn check(&self, backend: Arc<Backend>, pause: Duration) {
        let limit = Duration::from_millis(self.shared.config.check_timeout_ms);
        self.events.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let check = checks::check(backend.address, limit).await;
            Event::Checked(backend, check)
        }));
    }

    fn later(&self, pause: Duration, event: Event) {
        self.events.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            event
        }));
    }
}

/// Who does not wait for the answer any more gets none.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}
