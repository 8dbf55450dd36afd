//! Limits of API keys: what is submitted with one that has limits waits in a lane of its own, and these hold within what its tenant may.

use std::collections::BTreeMap;

use protocol::access::{KeyCommand, KeyId, KeyLimits};
use protocol::api::WaitingFor;
use protocol::ids::{ClaimId, JobId};
use protocol::job::ClaimRefusal;
use protocol::problem::Kind;
use protocol::store_api::{JobFence, PulledJob};
use protocol::tenant::Limits;

use super::access::new;
use super::pulling::{pull, take};
use super::tenants::tenant;
use super::{Fixture, Lab, create, succeeded};

impl<F: Fixture> Lab<F> {
    /// A key of the tenant with these limits.
    fn limited_key(&mut self, number: u64, of: &str, limits: KeyLimits) -> KeyId {
        self.key(KeyCommand::Create(new(number, of))).expect("made");
        self.limit_key(number, limits);
        KeyId::of(number)
    }

    fn limit_key(&mut self, number: u64, limits: KeyLimits) {
        let limit = KeyCommand::Limit { key_id: KeyId::of(number), of: None, limits };
        assert_eq!(self.key(limit).expect("limited").limits, limits);
    }

    fn rung(&mut self) -> Vec<JobId> {
        self.ring().iter().map(|bell| bell.bell.job_id).collect()
    }
}

fn running(most: u64) -> KeyLimits {
    KeyLimits { running_max: Some(most), ..KeyLimits::default() }
}

pub(crate) fn as_many_of_a_key_run_at_once_as_may<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.settings.window = Some(64);
    let key = lab.limited_key(1, "default", running(2));
    let jobs = lab.backlog_by("default", Some(&key), 5);
    let others = lab.backlog("default", 3);
    let rung = lab.rung();
    let of_key = |rung: &[JobId]| rung.iter().filter(|id| jobs.contains(id)).count();
    assert_eq!((rung.len(), of_key(&rung)), (5, 2), "no more is offered than may run, and all others");
    assert_eq!(lab.view(jobs[2]).waiting_for, Some(WaitingFor::KeyLimit));
    assert_eq!(lab.view(jobs[0]).waiting_for, Some(WaitingFor::Slot), "it is offered");
    let name = lab.tenant.clone();
    let told = lab.read(|reader| reader.explain(&name, jobs[2])).read.expect("known");
    let limit = told.key_limit.expect("limited");
    assert_eq!((limit.reached.running, limit.reached.running_max, limit.key_id), (2, Some(2), key.clone()));
    assert_eq!((told.tenant_limit, told.position.map(|position| position.ahead)), (None, Some(2)));
    let first = lab.claim(session, jobs[0], 1);
    lab.claim(session, jobs[1], 1);
    lab.claim(session, others[0], 1);
    assert!(lab.ring().is_empty());
    let pulled = take(&mut lab, &pull(&["a"], 10));
    assert_eq!(pulled.iter().map(|job| job.job_id).collect::<Vec<_>>(), others[1..], "those of the key are not pulled");
    lab.complete(jobs[0], first, succeeded());
    assert_eq!(lab.rung(), [jobs[2]], "an end makes room");
    // One that was rung before the limit was lowered goes back when it is claimed.
    lab.limit_key(1, running(1));
    assert_eq!(lab.refused(session, jobs[2], 1), ClaimRefusal::NotQueued);
    lab.limit_key(1, KeyLimits::default());
    assert_eq!(lab.rung(), jobs[2..], "without limits nothing is held back");
    // Within what the tenant may.
    lab.limit_key(1, running(10));
    lab.limit("default", Limits { running_max: Some(6), ..Limits::default() });
    let more = lab.backlog_by("default", Some(&key), 3);
    assert!(lab.ring().is_empty(), "three run and three are offered");
    assert_eq!(lab.view(more[0]).waiting_for, Some(WaitingFor::TenantLimit));
}

pub(crate) fn so_many_of_a_key_start_per_second_as_may<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let key = lab.limited_key(1, "acme", KeyLimits { rate_per_second: Some(2), ..KeyLimits::default() });
    lab.backlog_by("acme", Some(&key), 10);
    lab.become_tenant("acme");
    let started = lab.starts_of_four_seconds(session);
    assert_eq!(started.len(), 8, "two a second for four: {started:?}");
    assert!(started.windows(2).all(|two| two[1] - two[0] >= 500), "evenly: {started:?}");
}

pub(crate) fn what_a_key_has_waiting_is_in_nobodys_way<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let key = lab.limited_key(1, "default", running(0));
    lab.backlog_by("default", Some(&key), 3_000);
    assert!(lab.ring().is_empty());
    let others = lab.backlog("default", 40);
    let rung = lab.rung();
    assert_eq!(rung, others[..rung.len()], "they come first");
    let fence = lab.claim(session, rung[0], 1);
    let next = lab.complete_and_take(session, JobFence { job_id: rung[0], fence }).expect("one more");
    assert!(others.contains(&next.job_id));
    let pulled = take(&mut lab, &pull(&["a"], 5));
    assert!(pulled.len() == 5 && pulled.iter().all(|job| others.contains(&job.job_id)));
}

pub(crate) fn lanes_of_a_tenant_share_what_it_gets<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.settings.window = Some(12);
    let key = lab.limited_key(1, "acme", running(1_000));
    let of_key = lab.backlog_by("acme", Some(&key), 50);
    let of_acme = lab.backlog("acme", 50);
    let of_globex = lab.backlog("globex", 50);
    let shared = |started: &[JobId]| {
        let count = |of: &[JobId]| started.iter().filter(|id| of.contains(id)).count();
        (count(&of_key), count(&of_acme), count(&of_globex))
    };
    assert_eq!(shared(&lab.rung()), (3, 3, 6), "what is offered");
    let pulled = take(&mut lab, &pull(&["a"], 12));
    assert_eq!(shared(&pulled.iter().map(|job| job.job_id).collect::<Vec<_>>()), (3, 3, 6), "what is pulled");
    // What slots take that become free.
    let lease_of = |job: &PulledJob| JobFence { job_id: job.job_id, fence: job.claimed.fence };
    let (mut taken, mut next) = (Vec::new(), pulled.first().map(lease_of));
    while let Some(lease) = next.filter(|_| taken.len() < 12) {
        next = lab.complete_and_take(session, lease).as_ref().map(lease_of);
        taken.extend(next.map(|lease| lease.job_id));
    }
    assert_eq!(shared(&taken), (3, 3, 6), "what is taken next");
}

pub(crate) fn limits_of_a_key_survive_a_kill<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let key = lab.limited_key(1, "acme", running(2));
    let second = lab.limited_key(2, "acme", running(3));
    let jobs = lab.backlog_by("acme", Some(&key), 5);
    lab.ring();
    lab.claim(session, jobs[0], 1);
    let mut lab = lab.after_kill();
    assert!(lab.ring().is_empty(), "one runs and one is offered");
    lab.backlog_by("acme", Some(&second), 5);
    assert_eq!(lab.rung().len(), 3, "the other key has a lane of its own");
    let views = lab.read(|reader| reader.tenants()).read.tenants;
    let by_name: BTreeMap<&str, u64> = views.iter().map(|view| (view.tenant.as_str(), view.depth.queued)).collect();
    assert_eq!(by_name["acme"], 9, "what keys have is their tenant's");
    let shown = lab.read(|reader| reader.keys(None, None, 10)).read.keys;
    assert_eq!(shown.iter().map(|key| key.limits.running_max).collect::<Vec<_>>(), [Some(2), Some(3)]);
    assert!(lab.try_claim(session, jobs[1], 1, ClaimId::generate()).is_ok());
}

pub(crate) fn limits_are_of_a_key_that_is_there<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    let limit = |number: u64, of: Option<&str>, limits| KeyCommand::Limit {
        key_id: KeyId::of(number),
        of: of.map(tenant),
        limits,
    };
    let kind = |refused: Result<_, protocol::problem::Problem>| {
        refused.map(|_: protocol::access::KeyView| ()).expect_err("refused").kind()
    };
    assert_eq!(kind(lab.key(limit(1, None, running(1)))), Some(Kind::NotFound));
    let key = lab.limited_key(1, "acme", running(0));
    assert_eq!(kind(lab.key(limit(1, Some("globex"), running(1)))), Some(Kind::NotFound), "another tenant's");
    let none = KeyLimits { rate_per_second: Some(0), ..KeyLimits::default() };
    assert_eq!(kind(lab.key(limit(1, None, none))), Some(Kind::Invalid));
    // A key's lane is within its tenant, whoever names the key.
    let elsewhere = lab.backlog_by("globex", Some(&key), 1);
    let unknown = lab.backlog_by("acme", Some(&KeyId::of(7)), 1);
    let rung = lab.rung();
    assert!(rung.len() == 2 && rung.contains(&elsewhere[0]) && rung.contains(&unknown[0]), "{rung:?}");
    // Rotated, it keeps them.
    let rotate = KeyCommand::Rotate { key_id: key.clone(), of: None, digest: "another".to_owned(), overlap_ms: 0 };
    assert_eq!(lab.key(rotate).expect("rotated").limits, running(0));
    // Revoked, too: what was submitted with it goes on waiting.
    let waits = lab.backlog_by("acme", Some(&key), 1);
    lab.key(KeyCommand::Revoke { key_id: key, of: None }).expect("revoked");
    assert!(lab.ring().is_empty());
    lab.become_tenant("acme");
    assert_eq!(lab.view(waits[0]).waiting_for, Some(WaitingFor::KeyLimit));
    lab.limit_key(1, KeyLimits::default());
    assert_eq!(lab.rung(), waits);
    assert!(lab.try_create(create("a")).is_ok());
}
