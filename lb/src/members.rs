//! What the control thread knows about the backends, and what it makes of it: the membership that requests see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::backend::{Backend, Member, Membership};
use crate::core::ejection::{self, Change, Conduct};
use crate::core::health::{Check, Standing, Thresholds};
use crate::core::pick::Policy;
use crate::core::ramp;
use crate::plan::BACKENDS_MAX;
use crate::shared::Shared;

/// All backends.
pub(crate) struct Members {
    shared: Arc<Shared>,
    list: Vec<Known>,
    /// Those that left last.
    gone: Vec<Arc<Backend>>,
    pick: Policy,
    thresholds: Thresholds,
    /// Until when requests were counted, and how many.
    looked: (Duration, u64),
}

/// What is known of one backend.
pub(crate) struct Known {
    pub(crate) backend: Arc<Backend>,
    standing: Standing,
    is_checked: bool,
    conduct: Conduct,
    /// Since the start of the balancer; `None`: it was there from the beginning.
    back_since: Option<Duration>,
    /// As the plan has it.
    pub(crate) weight: u32,
    /// Of [`ramp::PARTS`] that it has of its weight.
    parts: u32,
}

/// How a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It was not checked yet.
    New,
    Healthy,
    /// It has its share little by little.
    Starting,
    /// It has weight 0.
    Draining,
    /// Its checks are good, its answers are not.
    LeftOut,
    Unhealthy,
}

impl Known {
    fn new(address: SocketAddr, weight: u32, back_since: Option<Duration>) -> Known {
        Known {
            backend: Arc::new(Backend::new(address)),
            standing: Standing::new(),
            is_checked: false,
            conduct: Conduct::default(),
            back_since,
            weight,
            parts: ramp::PARTS,
        }
    }

    fn is_asked(&self) -> bool {
        self.standing.is_healthy() && !self.conduct.is_out()
    }

    pub(crate) fn state(&self) -> State {
        match self {
            _ if !self.standing.is_healthy() => State::Unhealthy,
            _ if self.conduct.is_out() => State::LeftOut,
            _ if self.weight == 0 => State::Draining,
            _ if !self.is_checked => State::New,
            _ if self.parts < ramp::PARTS => State::Starting,
            _ => State::Healthy,
        }
    }

    fn observed(&mut self, now: Duration) -> &mut Conduct {
        self.conduct.observe(now, self.backend.totals(), self.backend.bad_in_a_row());
        &mut self.conduct
    }

    /// Its checks are good again. `was_there`: before that, too, so that it starts slowly now.
    fn start_afresh(&mut self, now: Duration, was_there: bool) {
        self.backend.forgive();
        self.backend.expected.reset();
        self.back_since = was_there.then_some(now);
    }

    fn changed(&mut self, change: Change, now: Duration) {
        self.backend.forgive();
        match change {
            Change::Out { until } => {
                self.backend.counts.ejections.fetch_add(1, Relaxed);
                let (bad_in_a_row, last) = self.conduct.grounds();
                let out_ms = u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    backend = self.backend.name,
                    out_ms,
                    bad_in_a_row,
                    answers_in_10_s = last.answers,
                    bad_in_10_s = last.failures,
                    unreached_in_10_s = last.unreached,
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

impl State {
    /// The name in the admin API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::New => "new",
            State::Healthy => "healthy",
            State::Starting => "starting",
            State::Draining => "draining",
            State::LeftOut => "left-out",
            State::Unhealthy => "unhealthy",
        }
    }
}

impl Members {
    pub(crate) fn new(shared: Arc<Shared>) -> Members {
        let thresholds = Thresholds { rise: shared.config.check_rise, fall: shared.config.check_fall };
        Members {
            shared,
            list: Vec::new(),
            gone: Vec::new(),
            pick: Policy::default(),
            thresholds,
            looked: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn list(&self) -> &[Known] {
        &self.list
    }

    pub(crate) fn pick(&self) -> Policy {
        self.pick
    }

    pub(crate) fn set_pick(&mut self, pick: Policy) {
        self.pick = pick;
    }

    /// Takes the addresses, each with its weight, as the backends; returns the new ones.
    pub(crate) fn replace(&mut self, addresses: &BTreeMap<SocketAddr, u32>) -> Vec<Arc<Backend>> {
        // A name that is not found for a moment takes nobody out.
        if addresses.is_empty() && !self.list.is_empty() {
            return Vec::new();
        }
        let left = self.list.extract_if(.., |known| !addresses.contains_key(&known.backend.address));
        self.gone.extend(left.map(|known| known.backend));
        self.gone.retain(|backend| !addresses.contains_key(&backend.address));
        self.gone.drain(..self.gone.len().saturating_sub(BACKENDS_MAX));
        let now = self.shared.started.elapsed();
        // One that joins others starts slowly; those that are there from the beginning do not.
        let joined = (!self.list.is_empty()).then_some(now);
        let mut new = Vec::new();
        for (&address, &weight) in addresses {
            if let Some(known) = self.list.iter_mut().find(|known| known.backend.address == address) {
                known.weight = weight;
            } else {
                let known = Known::new(address, weight, joined);
                new.push(Arc::clone(&known.backend));
                self.list.push(known);
            }
        }
        self.list.sort_by_key(|known| known.backend.address);
        self.publish();
        new
    }

    /// Takes in the result of a check; false if the backend is no member any more.
    pub(crate) fn observe(&mut self, backend: &Arc<Backend>, check: Check) -> bool {
        let now = self.shared.started.elapsed();
        let Some(known) = self.list.iter_mut().find(|known| Arc::ptr_eq(&known.backend, backend)) else {
            return false;
        };
        let (before, was_proven) = (known.standing.is_healthy(), known.standing.is_proven());
        known.standing = known.standing.after(check, self.thresholds);
        known.is_checked = true;
        let is_healthy = known.standing.is_healthy();
        let is_in_again = known.conduct.checked(check == Check::Ready, !is_healthy, self.thresholds.rise);
        if is_healthy != before || is_in_again {
            if is_healthy {
                tracing::info!(backend = backend.name, "healthy");
                known.start_afresh(now, was_proven);
            } else {
                tracing::warn!(backend = backend.name, ?check, "unhealthy");
            }
            self.publish();
        }
        true
    }

    /// How requests ended since the last time: who is left out for it, who comes back, what may be repeated.
    pub(crate) fn look(&mut self) {
        let now = self.shared.started.elapsed();
        let requests = self.list.iter().map(|known| known.backend.first_attempts()).sum();
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
            let parts =
                known.back_since.map_or(ramp::PARTS, |since| ramp::parts(now.saturating_sub(since), slow_start));
            is_changed |= known.parts != parts;
            known.parts = parts;
        }
        if is_changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let member = |known: &Known| Member {
            backend: Arc::clone(&known.backend),
            is_healthy: known.is_asked(),
            weight: known.weight * known.parts,
        };
        let members = self.list.iter().map(member).collect();
        let membership = Membership::new(self.pick, members, self.gone.clone());
        self.shared.membership.store(Arc::new(membership));
    }

    /// Says how we are: ready once everybody has been looked at, degraded while somebody is missing.
    pub(crate) fn report(&self) {
        let missing = self.list.iter().filter(|known| !known.is_asked());
        let missing: Vec<_> = missing.map(|known| known.backend.name.as_str()).collect();
        match missing.as_slice() {
            [] if self.list.is_empty() => self.shared.health.lost("backends", "none of their names is found"),
            [] => self.shared.health.found("backends"),
            _ => self.shared.health.lost("backends", format!("unhealthy: {}", missing.join(", "))),
        }
        if self.list.iter().all(|known| known.is_checked) {
            self.shared.health.ready();
        }
    }
}
