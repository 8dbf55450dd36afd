//! Tenants: what belongs to one is not there for another, shares divide what starts, and limits hold.

use std::collections::{BTreeMap, VecDeque};

use protocol::access::KeyId;
use protocol::api::{Priority, Status, WaitingFor};
use protocol::bulk_retry::{RetryFilter, Unsuccessful};
use protocol::ids::{ClaimId, Fence, JobId, RetryId, SessionId};
use protocol::job::{ClaimRefusal, Settled};
use protocol::problem::{Kind, Problem};
use protocol::schedule::{CatchUp, JobTemplate, Schedule, ScheduleCommand};
use protocol::store_api::{Claim, Claimed, Command, Complete, Create, JobFence, Next, PulledJob, Reply, RetryJobs};
use protocol::tenant::{Limits, TENANTS_MAX, Tenant};
use store_svc::storage::{AttemptsRead, JobRead, JobsQuery, PayloadRead, ResultRead, RungBell};

use super::pulling::{pull, take};
use super::{Fixture, LEASE_MS, Lab, create, failed, kind, succeeded};

pub(super) fn tenant(name: &str) -> Tenant {
    name.parse().expect("a name")
}

impl<F: Fixture> Lab<F> {
    /// Commands and reads for this tenant from now on.
    pub(super) fn become_tenant(&mut self, name: &str) {
        self.tenant = tenant(name);
    }

    fn as_tenant<T>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.tenant, tenant(name));
        let done = act(self);
        self.tenant = before;
        done
    }

    pub(super) fn limit(&mut self, name: &str, limits: Limits) {
        let set = Command::SetTenant { tenant: tenant(name), limits };
        assert!(matches!(self.apply(set), Ok(Reply::Tenant { .. })));
    }

    /// So many jobs of a tenant, in one batch.
    pub(super) fn backlog(&mut self, name: &str, count: usize) -> Vec<JobId> {
        self.backlog_by(name, None, count)
    }

    /// The same, submitted with an API key.
    pub(super) fn backlog_by(&mut self, name: &str, key_id: Option<&KeyId>, count: usize) -> Vec<JobId> {
        self.as_tenant(name, |lab| {
            let creates: Vec<Create> = (0..count).map(|_| Create { key_id: key_id.cloned(), ..create("a") }).collect();
            for chunk in creates.chunks(1_000) {
                let commands: Vec<Command> =
                    chunk.iter().cloned().map(|create| Command::Create(Box::new(create))).collect();
                assert!(lab.apply_all(&commands).iter().all(Result::is_ok));
            }
            creates.into_iter().map(|create| create.job_id).collect()
        })
    }

    /// Claims a bell as a worker does that takes whatever is due.
    fn claim_due(
        &mut self,
        session: SessionId,
        bell: &RungBell,
        claim_id: ClaimId,
    ) -> Result<(JobId, Claimed), ClaimRefusal> {
        let (job_id, dispatch) = (bell.bell.job_id, bell.bell.dispatch);
        let claim = Claim { session, job_id, dispatch, claim_id, lease_ms: LEASE_MS, or_except: Some(Vec::new()) };
        match self.apply(Command::Claim(claim)) {
            Ok(Reply::Claimed(claimed)) => Ok((claimed.job_id.unwrap_or(job_id), *claimed)),
            Ok(Reply::ClaimRefused(refusal)) => Err(refusal),
            other => panic!("no answer to a claim: {other:?}"),
        }
    }

    /// When jobs that take no time start, Unix ms, while the clock goes on by tenths of a second.
    pub(super) fn starts_of_four_seconds(&mut self, session: SessionId) -> Vec<i64> {
        let mut started = Vec::new();
        for _ in 0..40 {
            self.step(|transitions| transitions.due(100));
            for bell in self.ring() {
                let fence = self.claim(session, bell.bell.job_id, bell.bell.dispatch.0);
                self.complete(bell.bell.job_id, fence, succeeded());
                started.push(self.wall_ms);
            }
            self.wall_ms += 100;
        }
        started
    }

    pub(super) fn complete_and_take(&mut self, session: SessionId, lease: JobFence) -> Option<PulledJob> {
        let next = Next { session, lease_ms: LEASE_MS, except: Vec::new(), claim_id: ClaimId::generate() };
        let JobFence { job_id, fence } = lease;
        let complete = Complete { job_id, fence, outcome: succeeded(), output: None, next: Some(next) };
        match self.apply(Command::Complete(complete)) {
            Ok(Reply::Settled { settled: Settled::Recorded, next, .. }) => next.map(|next| *next),
            other => panic!("not settled: {other:?}"),
        }
    }
}

fn is_not_found(answer: Result<Reply, Problem>) -> bool {
    answer.err().and_then(|problem| problem.kind()) == Some(Kind::NotFound)
}

pub(crate) fn what_belongs_to_another_is_not_there<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.become_tenant("acme");
    let payload = Some(serde_json::value::to_raw_value("secret").expect("json"));
    let keyed = Create {
        idempotency_key: Some("k".to_owned()),
        unique_key: Some("u".try_into().expect("a key")),
        ..create("a")
    };
    let mine = lab.create(Create { payload, ..keyed.clone() });
    lab.ring();
    let fence = lab.claim(session, mine, 1);
    assert_eq!(lab.complete(mine, fence, failed(false)).1, Status::Failed);
    assert!(lab.seen(mine).is_some());
    for other in ["default", "globex"] {
        lab.as_tenant(other, |lab| {
            let name = lab.tenant.clone();
            assert!(lab.seen(mine).is_none());
            assert!(matches!(lab.read(|reader| reader.result(&name, mine)).read, ResultRead::Unknown));
            assert!(matches!(lab.read(|reader| reader.payload(&name, mine)).read, PayloadRead::Unknown));
            assert!(matches!(lab.read(|reader| reader.logs(&name, mine)).read, AttemptsRead::Unknown));
            assert!(lab.read(|reader| reader.explain(&name, mine)).read.is_none());
            for status in [None, Some(Status::Failed)] {
                let query = JobsQuery { status, limit: 10, ..JobsQuery::default() };
                assert!(lab.read(|reader| reader.jobs(&name, &query)).read.jobs.is_empty());
            }
            assert!(is_not_found(lab.apply(Command::Cancel { job_id: mine })));
            assert!(is_not_found(lab.apply(Command::Retry { job_id: mine })));
            assert!(is_not_found(lab.apply(Command::Purge { job_id: mine })));
            // A key is a tenant's own.
            let own =
                lab.create(Create { job_id: JobId::generate(), fingerprint: "another".to_owned(), ..keyed.clone() });
            assert_ne!(own, mine);
        });
    }
    assert_eq!(lab.status(mine), Status::Failed);
    assert!(matches!(lab.apply(Command::Purge { job_id: mine }), Ok(Reply::Purged { purged: true })));
    let name = lab.tenant.clone();
    assert!(matches!(lab.read(|reader| reader.job(&name, mine)).read, JobRead::Expired));
    lab.become_tenant("globex");
    assert!(matches!(lab.read(|reader| reader.job(&tenant("globex"), mine)).read, JobRead::Unknown));
    assert!(is_not_found(lab.apply(Command::Cancel { job_id: mine })));
}

pub(crate) fn an_id_of_another_is_taken_and_tells_nothing<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let mine = lab.create(create("a"));
    let refused = |lab: &mut Lab<F>, create: Create| lab.try_create(create).expect_err("refused");
    let other_body = Create { job_id: mine, fingerprint: "another".to_owned(), ..create("a") };
    let to_owner = refused(&mut lab, other_body);
    assert_eq!(kind(&to_owner), Some(Kind::Conflict));
    lab.become_tenant("acme");
    let same_body = Create { job_id: mine, ..create("a") };
    assert_eq!(refused(&mut lab, same_body.clone()), to_owner, "as to the owner who repeats it with another body");
    lab.become_tenant("default");
    assert!(matches!(lab.apply(Command::Cancel { job_id: mine }), Ok(Reply::Cancelled { .. })));
    assert!(matches!(lab.apply(Command::Purge { job_id: mine }), Ok(Reply::Purged { purged: true })));
    lab.become_tenant("acme");
    assert_eq!(refused(&mut lab, same_body.clone()), to_owner);
    lab.become_tenant("default");
    assert_eq!(kind(&refused(&mut lab, same_body)), Some(Kind::JobExpired));
}

fn schedule(name: &str) -> Command {
    Command::Schedule(ScheduleCommand::Put(Box::new(Schedule {
        name: name.try_into().expect("a name"),
        cron: "* * * * *".try_into().expect("an expression"),
        time_zone: "UTC".try_into().expect("a zone"),
        job: JobTemplate::of(create("a")),
        catch_up: CatchUp::Latest,
        paused: None,
    })))
}

pub(crate) fn schedules_and_retries_are_a_tenants_own<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let name = || "nightly".try_into().expect("a name");
    for who in ["acme", "globex"] {
        lab.become_tenant(who);
        let put = lab.apply(schedule("nightly"));
        assert!(matches!(put, Ok(Reply::Schedule { created: true, .. })), "{put:?}");
    }
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let gone = lab.apply(Command::Schedule(ScheduleCommand::Delete { name: name() }));
    assert!(matches!(gone, Ok(Reply::ScheduleDeleted { deleted: true })));
    assert!(lab.read(|reader| reader.schedule(&globex, &name())).read.is_none());
    assert!(lab.read(|reader| reader.schedule(&acme, &name())).read.is_some());
    assert!(is_not_found(lab.apply(Command::Schedule(ScheduleCommand::Pause { name: name() }))));
    lab.wall_ms += 60_000;
    lab.step(|transitions| transitions.due(100));
    let query = JobsQuery { limit: 10, ..JobsQuery::default() };
    let jobs = |lab: &mut Lab<F>, who: &Tenant| lab.read(|reader| reader.jobs(who, &query)).read.jobs;
    let made = jobs(&mut lab, &acme);
    assert_eq!((made.len(), jobs(&mut lab, &globex).len()), (1, 0), "a tick's job is for the schedule's tenant");

    let ended: Vec<(&str, JobId)> =
        [("acme", made[0].job_id), ("globex", lab.as_tenant("globex", |lab| lab.job("a")))].into();
    for (who, job_id) in &ended {
        lab.as_tenant(who, |lab| lab.apply(Command::Cancel { job_id: *job_id }).expect("cancelled"));
    }
    let filter: RetryFilter = serde_json::from_str(r#"{"status":"cancelled"}"#).expect("a filter");
    assert_eq!(filter.status, Unsuccessful::Cancelled);
    lab.become_tenant("acme");
    assert_eq!(lab.read(|reader| reader.preview_retry(&acme, &filter)).read.matching, 1);
    let retry_id = RetryId::generate();
    let retry = RetryJobs { retry_id, filter, rate_per_second: 100, limit: 100 };
    lab.apply(Command::RetryJobs(Box::new(retry))).expect("begun");
    assert_eq!(lab.read(|reader| reader.bulk_retries(&globex)).read.len(), 0);
    assert_eq!(lab.read(|reader| reader.running_retries()).len(), 1);
    assert!(lab.as_tenant("globex", |lab| is_not_found(lab.apply(Command::StopRetry { retry_id }))));
    assert_eq!(lab.step(|transitions| transitions.retry_some(retry_id, 10)).retried, 1);
    assert_eq!(lab.status(ended[0].1), Status::Queued);
    assert_eq!(lab.as_tenant("globex", |lab| lab.status(ended[1].1)), Status::Cancelled);
}

pub(crate) fn nobody_can_guess_the_id_of_a_ticks_job<F: Fixture>() {
    let tick = || {
        let mut lab = Lab::<F>::new();
        lab.apply(schedule("nightly")).expect("put");
        lab.wall_ms += 60_000;
        lab.step(|transitions| transitions.due(100));
        let query = JobsQuery { limit: 10, ..JobsQuery::default() };
        lab.read(|reader| reader.jobs(&Tenant::default(), &query)).read.jobs[0].job_id
    };
    // Who knows tenant, name and tick could take it before.
    assert_ne!(tick(), tick());
}

pub(crate) fn tenants_are_known_by_their_first_job_up_to_a_bound<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let names = |lab: &mut Lab<F>| -> Vec<String> {
        lab.read(|reader| reader.tenants()).read.tenants.iter().map(|view| view.tenant.to_string()).collect()
    };
    assert_eq!(names(&mut lab), ["default"]);
    lab.become_tenant("acme");
    assert!(is_not_found(lab.apply(Command::Cancel { job_id: JobId::generate() })));
    assert_eq!(names(&mut lab), ["default"], "who asks only is not kept");
    lab.job("a");
    lab.limit("globex", Limits { share: 3, ..Limits::default() });
    assert_eq!(names(&mut lab), ["acme", "default", "globex"]);
    let views = lab.read(|reader| reader.tenants()).read.tenants;
    assert_eq!((views[0].depth.queued, views[2].limits.share), (1, 3));
    let many: Vec<Command> = (3..TENANTS_MAX)
        .map(|number| Command::SetTenant { tenant: tenant(&format!("t{number}")), limits: Limits::default() })
        .collect();
    assert!(lab.apply_all(&many).iter().all(Result::is_ok));
    lab.become_tenant("one-too-many");
    assert_eq!(kind(&lab.try_create(create("a")).expect_err("refused")), Some(Kind::Conflict));
    let mut lab = lab.after_kill();
    lab.become_tenant("acme");
    lab.job("a");
    assert_eq!(lab.read(|reader| reader.tenants()).read.tenants[0].depth.queued, 2);
}

/// Of `starts` jobs that a slot runs one after the other, by bells and without, how many each tenant got.
fn starts<F: Fixture>(
    lab: &mut Lab<F>,
    session: SessionId,
    bells: &mut VecDeque<RungBell>,
    starts: usize,
) -> BTreeMap<String, usize> {
    bells.extend(lab.ring());
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0;
    while count < starts {
        let bell = bells.pop_front().expect("a bell is out");
        let claimed = lab.claim_due(session, &bell, ClaimId::generate());
        bells.extend(lab.ring());
        let Ok((job_id, claimed)) = claimed else { continue };
        *got.entry(claimed.tenant.to_string()).or_default() += 1;
        count += 1;
        let mut lease = JobFence { job_id, fence: claimed.fence };
        // Every third start comes with the outcome before it.
        for _ in 0..count % 3 {
            let Some(next) = lab.complete_and_take(session, lease) else { break };
            *got.entry(next.claimed.tenant.to_string()).or_default() += 1;
            count += 1;
            lease = JobFence { job_id: next.job_id, fence: next.claimed.fence };
        }
        lab.complete(lease.job_id, lease.fence, succeeded());
        bells.extend(lab.ring());
    }
    got
}

pub(crate) fn of_the_next_starts_each_gets_its_share<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.backlog("acme", 400);
    lab.backlog("globex", 400);
    let mut bells = VecDeque::new();
    let got = starts(&mut lab, session, &mut bells, 100);
    let (acme, globex) = (got["acme"], got["globex"]);
    assert!(acme.abs_diff(globex) <= 3, "{got:?}");
    lab.limit("globex", Limits { share: 3, ..Limits::default() });
    let got = starts(&mut lab, session, &mut bells, 100);
    assert!(got["globex"].abs_diff(75) <= 4, "three of four: {got:?}");
}

pub(crate) fn a_newcomer_starts_next_behind_any_backlog<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.backlog("acme", 300);
    let mut bells: VecDeque<RungBell> = lab.ring().into();
    for _ in 0..20 {
        let bell = bells.pop_front().expect("out");
        let (job_id, claimed) = lab.claim_due(session, &bell, ClaimId::generate()).expect("won");
        lab.complete(job_id, claimed.fence, succeeded());
        bells.extend(lab.ring());
    }
    for by_outcome in [false, true] {
        let bell = bells.pop_front().expect("out");
        let (job_id, claimed) = lab.claim_due(session, &bell, ClaimId::generate()).expect("won");
        // In the same commit as the claim a place is free: its bell goes out behind those of the backlog.
        let newcomer = lab.backlog("globex", 1)[0];
        bells.extend(lab.ring());
        let lease = JobFence { job_id, fence: claimed.fence };
        let (taken, fence) = if by_outcome {
            let next = lab.complete_and_take(session, lease).expect("one waits");
            (next.job_id, next.claimed.fence)
        } else {
            lab.complete(job_id, claimed.fence, succeeded());
            let bell = bells.pop_front().expect("out");
            let (taken, claimed) = lab.claim_due(session, &bell, ClaimId::generate()).expect("won");
            (taken, claimed.fence)
        };
        assert_eq!(taken, newcomer, "by outcome: {by_outcome}");
        lab.complete(taken, fence, succeeded());
        bells.extend(lab.ring());
    }
    // Nothing is lost by it: each job of the backlog is started once in the end.
    let mut started = 0;
    while let Some(bell) = bells.pop_front() {
        if let Ok((job_id, claimed)) = lab.claim_due(session, &bell, ClaimId::generate()) {
            started += usize::from(lab.complete(job_id, claimed.fence, succeeded()).0 == Settled::Recorded);
        }
        bells.extend(lab.ring());
    }
    assert_eq!(started, 300 - 22);
}

pub(crate) fn a_claim_that_is_repeated_gets_the_same_other_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let backlog = lab.backlog("acme", 10);
    let bells = lab.ring();
    let fence = lab.claim(session, backlog[0], 1);
    lab.complete(backlog[0], fence, succeeded());
    let newcomer = lab.backlog("globex", 1)[0];
    let claim_id = ClaimId::generate();
    let (taken, claimed) = lab.claim_due(session, &bells[1], claim_id).expect("won");
    assert_eq!(taken, newcomer);
    lab.ring();
    let (again, repeated) = lab.claim_due(session, &bells[1], claim_id).expect("it is held");
    assert_eq!((again, repeated.fence), (taken, claimed.fence));
    lab.complete(taken, claimed.fence, succeeded());
    let late = lab.claim_due(session, &bells[1], claim_id);
    assert_eq!(late.map(|_| ()), Err(ClaimRefusal::StaleBell), "a copy that comes late takes nothing");
    // The one that was passed over waits for its next bell; a worker of the version before takes what the bell names.
    lab.become_tenant("acme");
    assert_eq!(lab.status(backlog[1]), Status::Queued);
    assert_eq!(lab.try_claim(session, backlog[1], 2, ClaimId::generate()).map(|claimed| claimed.job_id), Ok(None));
}

pub(crate) fn who_has_nothing_waiting_is_rung_beside_a_backlog<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.settings.window = Some(8);
    lab.backlog("acme", 3);
    // It is looked through from its start, as any that was not known.
    lab.backlog("globex", 1);
    assert_eq!(lab.ring().len(), 4);
    lab.backlog("acme", 100);
    let wanting = || Create { wants_bell: true, ..create("a") };
    lab.become_tenant("globex");
    assert!(lab.try_create(wanting()).expect("created").bell.is_some(), "there is a place, and nothing of it waits");
    lab.become_tenant("acme");
    assert!(lab.try_create(wanting()).expect("created").bell.is_none(), "others of it wait");
    let high = Create { priority: Priority::High, ..create("a") };
    lab.create(high);
    lab.become_tenant("globex");
    assert!(lab.try_create(wanting()).expect("created").bell.is_none(), "one that is more urgent waits");
}

pub(crate) fn pulls_are_divided_by_shares<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.backlog("acme", 50);
    lab.backlog("globex", 50);
    let taken = take(&mut lab, &pull(&["a"], 10));
    let acme = taken.iter().filter(|job| job.claimed.tenant == tenant("acme")).count();
    assert_eq!((taken.len(), acme), (10, 5));
}

pub(crate) fn as_many_run_at_once_as_may<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.limit("acme", Limits { running_max: Some(2), ..Limits::default() });
    let jobs = lab.backlog("acme", 6);
    lab.become_tenant("acme");
    let bells = lab.ring();
    assert_eq!(bells.len(), 2, "no more is offered than may run");
    assert_eq!(lab.view(jobs[2]).waiting_for, Some(WaitingFor::TenantLimit));
    assert_eq!(lab.view(jobs[0]).waiting_for, Some(WaitingFor::Slot), "it is offered");
    let name = lab.tenant.clone();
    let told = lab.read(|reader| reader.explain(&name, jobs[2])).read.expect("known").tenant_limit.expect("limited");
    assert_eq!((told.reached.running, told.reached.running_max, told.tenant), (2, Some(2), name));
    let first = lab.claim(session, jobs[0], 1);
    lab.claim(session, jobs[1], 1);
    assert!(lab.ring().is_empty());
    assert!(take(&mut lab, &pull(&["a"], 10)).is_empty(), "nor pulled");
    // One that was rung before the limit was lowered goes back when it is claimed.
    lab.limit("acme", Limits { running_max: Some(4), ..Limits::default() });
    let bells = lab.ring();
    assert_eq!(bells.len(), 2);
    lab.limit("acme", Limits { running_max: Some(2), ..Limits::default() });
    assert_eq!(lab.refused(session, bells[0].bell.job_id, 1), ClaimRefusal::NotQueued);
    assert_eq!(lab.status(bells[0].bell.job_id), Status::Queued);
    assert_eq!(lab.refused(session, bells[1].bell.job_id, 1), ClaimRefusal::NotQueued);
    lab.complete(jobs[0], first, succeeded());
    let rung = lab.ring();
    assert_eq!(rung.len(), 1, "an end makes room");
    assert!(lab.as_tenant("globex", |lab| lab.try_create(create("a")).is_ok()));
    assert_eq!(lab.ring().len(), 1, "others are not held back");
    lab.limit("acme", Limits { running_max: Some(0), ..Limits::default() });
    assert_eq!(lab.refused(session, rung[0].bell.job_id, 1), ClaimRefusal::NotQueued);
    lab.limit("acme", Limits::default());
    assert_eq!(lab.ring().len(), 3, "without a limit all places are free");
}

pub(crate) fn so_many_start_per_second_as_may<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.limit("acme", Limits { rate_per_second: Some(2), ..Limits::default() });
    let jobs = lab.backlog("acme", 10);
    lab.become_tenant("acme");
    let started = lab.starts_of_four_seconds(session);
    assert_eq!(started.len(), 8, "two a second for four: {started:?}");
    assert!(started.windows(2).all(|two| two[1] - two[0] >= 500), "evenly: {started:?}");
    assert_eq!(lab.view(jobs[9]).status, Status::Queued);
    let due_ms = {
        lab.ring();
        lab.step(|transitions| transitions.due(100));
        lab.signals.due_ms
    };
    assert!(due_ms.is_some_and(|due_ms| due_ms > lab.wall_ms - 500), "it is known when to look again: {due_ms:?}");
}

pub(crate) fn a_pull_keeps_to_the_rate_beside_a_bell<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.limit("acme", Limits { rate_per_second: Some(10), ..Limits::default() });
    lab.backlog("acme", 20);
    assert_eq!(lab.ring().len(), 1);
    // The bell lies behind busy slots. Its row was counted when it was rung; the others are due one by one.
    for _ in 0..5 {
        assert_eq!(take(&mut lab, &pull(&["a"], 20)).len(), 1);
        assert!(take(&mut lab, &pull(&["a"], 20)).is_empty());
        lab.wall_ms += 100;
    }
}

pub(crate) fn as_many_wait_as_may<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.limit("acme", Limits { queued_max: Some(2), ..Limits::default() });
    lab.become_tenant("acme");
    let first = lab.job("a");
    lab.create(Create { delay_ms: Some(60_000), ..create("a") });
    let refused = lab.try_create(create("a")).expect_err("refused");
    assert_eq!((kind(&refused), refused.retry_after()), (Some(Kind::TenantFull), Some(5)));
    lab.apply(Command::Cancel { job_id: first }).expect("cancelled");
    lab.job("a");
    assert_eq!(kind(&lab.apply(Command::Retry { job_id: first }).expect_err("refused")), Some(Kind::TenantFull));
    lab.become_tenant("default");
    lab.job("a");
}

pub(crate) fn limits_and_counts_survive_a_kill<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.limit("acme", Limits { running_max: Some(2), share: 7, ..Limits::default() });
    let jobs = lab.backlog("acme", 5);
    lab.ring();
    lab.claim(session, jobs[0], 1);
    let mut lab = lab.after_kill();
    assert!(lab.ring().is_empty(), "one runs and one is offered");
    let views = lab.read(|reader| reader.tenants()).read.tenants;
    assert_eq!((views[0].limits.share, views[0].depth.running, views[0].depth.queued), (7, 1, 4));
    assert!(lab.try_claim(session, jobs[1], 1, ClaimId::generate()).is_ok());
    let leases = lab.read(|reader| reader.leases());
    assert_eq!(leases.len(), 2, "leases of all tenants are watched");
    let lease = JobFence { job_id: jobs[0], fence: Fence(1) };
    assert!(leases.iter().any(|held| held.key == lease));
}
