//! The control thread's look at the backends: resolves their names, asks each for `/ready`, looks how their requests end, and publishes who is
//! asked from now on.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Backend, Member, Membership};
use crate::core::ejection::{self, Change, Conduct};
use crate::core::health::{self, Check, Standing, Thresholds};
use crate::core::ramp;
use crate::shared::Shared;

/// Names are looked up this often; their addresses change when containers are started anew.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// More backends than this are not used.
const BACKENDS_MAX: usize = 1_024;

/// What is read of an answer to a check.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// How their requests end is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

enum Event {
    Resolved(BTreeSet<SocketAddr>),
    Checked(Arc<Backend>, Check),
    Look,
}

/// What is known of one backend.
struct Known {
    backend: Arc<Backend>,
    standing: Standing,
    is_checked: bool,
    conduct: Conduct,
    /// Since the start of the balancer; `None`: it never was away.
    back_since: Option<Duration>,
    /// In parts of a whole one.
    weight: u32,
}

/// Everything known about the backends.
struct Members {
    shared: Arc<Shared>,
    list: Vec<Known>,
    thresholds: Thresholds,
    /// Until when requests were counted, and how many.
    looked: (Duration, u64),
}

/// Checks for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let thresholds = Thresholds { rise: shared.config.check_rise, fall: shared.config.check_fall };
    let mut members =
        Members { shared: Arc::clone(&shared), list: Vec::new(), thresholds, looked: (Duration::ZERO, 0) };
    let mut events: FuturesUnordered<LocalBoxFuture<'_, Event>> = FuturesUnordered::new();
    events.push(Box::pin(resolved(&shared, Duration::ZERO)));
    events.push(Box::pin(look()));
    while let Some(event) = events.next().await {
        match event {
            Event::Resolved(addresses) => {
                for backend in members.replace(&addresses) {
                    events.push(Box::pin(checked(&shared, backend, Duration::ZERO)));
                }
                if has_names(&shared) {
                    events.push(Box::pin(resolved(&shared, RESOLVE_EVERY)));
                }
            }
            Event::Checked(backend, check) => {
                if members.observe(&backend, check) {
                    let pause_ms = health::pause_ms(shared.config.check_interval_ms, rand::random());
                    events.push(Box::pin(checked(&shared, backend, Duration::from_millis(pause_ms))));
                }
            }
            Event::Look => {
                members.look();
                events.push(Box::pin(look()));
            }
        }
        members.report();
    }
}

/// Whether there is anything to look up again.
fn has_names(shared: &Shared) -> bool {
    let mut backends = shared.config.backends.as_slice().iter();
    backends.any(|address| address.authority().as_str().parse::<SocketAddr>().is_err())
}

async fn look() -> Event {
    tokio::time::sleep(LOOK_EVERY).await;
    Event::Look
}

async fn resolved(shared: &Shared, pause: Duration) -> Event {
    tokio::time::sleep(pause).await;
    let mut addresses = BTreeSet::new();
    for address in shared.config.backends.as_slice() {
        match tokio::net::lookup_host(address.authority().as_str()).await {
            Ok(found) => addresses.extend(found),
            Err(error) => tracing::warn!(%error, backend = %address, "the name of a backend is not found"),
        }
    }
    Event::Resolved(addresses.into_iter().take(BACKENDS_MAX).collect())
}

async fn checked(shared: &Shared, backend: Arc<Backend>, pause: Duration) -> Event {
    tokio::time::sleep(pause).await;
    let limit = Duration::from_millis(shared.config.check_timeout_ms);
    let check = match tokio::time::timeout(limit, ask(backend.address)).await {
        Ok(Ok(status)) if (200..300).contains(&status) => Check::Ready,
        Ok(Ok(_)) => Check::Declines,
        Ok(Err(_)) | Err(_) => Check::Silent,
    };
    Event::Checked(backend, check)
}

/// The status that `/ready` has.
async fn ask(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nuser-agent: longshore-lb\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    status_of(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    let status = line.get(2..5).filter(|_| line.get(1) == Some(&b' '))?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

impl Known {
    fn is_asked(&self) -> bool {
        self.standing.is_healthy() && !self.conduct.is_out()
    }

    fn observed(&mut self, now: Duration) -> &mut Conduct {
        let in_a_row = self.backend.counts.bad_in_a_row.load(Relaxed);
        self.conduct.observe(now, self.backend.totals(), in_a_row);
        &mut self.conduct
    }

    /// Its checks are good again. `was_there`: before that, too, so that it starts slowly now.
    fn start_afresh(&mut self, now: Duration, was_there: bool) {
        self.backend.counts.bad_in_a_row.store(0, Relaxed);
        self.backend.expected.reset();
        self.back_since = was_there.then_some(now);
    }

    fn changed(&mut self, change: Change, now: Duration) {
        let counts = &self.backend.counts;
        counts.bad_in_a_row.store(0, Relaxed);
        match change {
            Change::Out { until } => {
                counts.ejections.fetch_add(1, Relaxed);
                let out_ms = u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    backend = self.backend.name,
                    out_ms,
                    "left out: its answers are bad, those of others are good"
                );
            }
            Change::Back => {
                tracing::info!(backend = self.backend.name, "asked again");
                self.back_since = Some(now);
            }
        }
    }
}

impl Members {
    /// Takes the addresses as the backends; returns the new ones.
    fn replace(&mut self, addresses: &BTreeSet<SocketAddr>) -> Vec<Arc<Backend>> {
        // A name that is not found for a moment takes nobody out.
        if addresses.is_empty() && !self.list.is_empty() {
            return Vec::new();
        }
        self.list.retain(|member| addresses.contains(&member.backend.address));
        let known: BTreeSet<_> = self.list.iter().map(|member| member.backend.address).collect();
        let new: Vec<_> = addresses.difference(&known).map(|&address| Arc::new(Backend::new(address))).collect();
        let member = |backend: &Arc<Backend>| Known {
            backend: Arc::clone(backend),
            standing: Standing::new(),
            is_checked: false,
            conduct: Conduct::default(),
            back_since: None,
            weight: ramp::PARTS,
        };
        self.list.extend(new.iter().map(member));
        self.list.sort_by_key(|member| member.backend.address);
        self.publish();
        new
    }

    /// Takes in the result of a check; false if the backend is no member any more.
    fn observe(&mut self, backend: &Arc<Backend>, check: Check) -> bool {
        let now = self.shared.started.elapsed();
        let Some(member) = self.list.iter_mut().find(|member| Arc::ptr_eq(&member.backend, backend)) else {
            return false;
        };
        let (before, was_proven) = (member.standing.is_healthy(), member.standing.is_proven());
        member.standing = member.standing.after(check, self.thresholds);
        member.is_checked = true;
        let is_healthy = member.standing.is_healthy();
        member.conduct.checked(!is_healthy);
        if is_healthy != before {
            if is_healthy {
                tracing::info!(backend = backend.name, "healthy");
                member.start_afresh(now, was_proven);
            } else {
                tracing::warn!(backend = backend.name, ?check, "unhealthy");
            }
            self.publish();
        }
        true
    }

    /// How requests ended since the last time: who is left out for it, who comes back, what may be repeated.
    fn look(&mut self) {
        let now = self.shared.started.elapsed();
        let requests = self.list.iter().map(|known| known.backend.counts.requests.load(Relaxed)).sum();
        let (since, before) = std::mem::replace(&mut self.looked, (now, requests));
        self.shared.budget.earn(requests.saturating_sub(before), now.saturating_sub(since));
        let config = &self.shared.config;
        let limits =
            ejection::Limits { in_a_row: config.eject_in_a_row, absence: Duration::from_millis(config.eject_ms) };
        let slow_start = Duration::from_millis(config.backend_slow_start_ms);
        let mut conducts: Vec<_> = self.list.iter_mut().map(|known| known.observed(now)).collect();
        let changes = ejection::changes(&mut conducts, now, limits);
        for (place, change) in &changes {
            self.list[*place].changed(*change, now);
        }
        let mut is_changed = !changes.is_empty();
        for known in &mut self.list {
            let weight =
                known.back_since.map_or(ramp::PARTS, |since| ramp::parts(now.saturating_sub(since), slow_start));
            is_changed |= known.weight != weight;
            known.weight = weight;
        }
        if is_changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let member = |known: &Known| Member {
            backend: Arc::clone(&known.backend),
            is_healthy: known.is_asked(),
            weight: known.weight,
        };
        self.shared.membership.store(Arc::new(Membership::new(self.list.iter().map(member).collect())));
    }

    /// Says how we are: ready once everybody has been looked at, degraded while somebody is missing.
    fn report(&self) {
        let missing = self.list.iter().filter(|member| !member.is_asked());
        let missing: Vec<_> = missing.map(|member| member.backend.name.as_str()).collect();
        match missing.as_slice() {
            [] if self.list.is_empty() => self.shared.health.lost("backends", "none of their names is found"),
            [] => self.shared.health.found("backends"),
            _ => self.shared.health.lost("backends", format!("unhealthy: {}", missing.join(", "))),
        }
        if self.list.iter().all(|member| member.is_checked) {
            self.shared.health.ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<u16>) {
        assert_eq!(status_of(answer.as_bytes()), expected, "{answer}");
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        check("HTTP/1.1 200 OK\r\n\r\n", Some(200));
        check("HTTP/1.0 503", Some(503));
        for bad in ["", "HTTP/1.1", "HTTP/1.1 2", "HTTP/2 200", "HTTP/1.1 2x0", "SSH-2.0-x"] {
            check(bad, None);
        }
    }
}
