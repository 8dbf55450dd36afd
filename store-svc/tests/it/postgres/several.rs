//! Several stores on one database.

use std::sync::Barrier;
use std::sync::mpsc::channel;

use protocol::api::Status;
use protocol::ids::{ClaimId, Dispatch, Epoch, InstanceId, Position, SessionId};
use protocol::problem::Kind;
use protocol::store_api::{Answer, Claim, Command, Create};
use protocol::tenant::Tenant;
use store_svc::storage::postgres::{Postgres, Url};
use store_svc::storage::{JobsQuery, LogKinds, LogRead, RungBell, SequencerRenewal, Storage, StorageError};

use super::{exists, job, seen, transact, try_apply, try_create};
use crate::conformance::postgres::{fresh_url, open};
use crate::conformance::{create, heartbeat};

const BOTH: LogKinds = LogKinds { jobs: true, invalidations: true };

/// Creates jobs, two in a transaction, beside another store that does the same.
fn write(url: &Url, start: &Barrier, transactions: u64) {
    let mut storage = open(url);
    start.wait();
    for _ in 0..transactions {
        try_apply(&mut storage, &[job("a").1, job("b").1]).expect("committed");
    }
}

/// Reads the log as a follower does, up to this position, and gives the positions seen.
fn follow(url: &Url, through: u64) -> Vec<u64> {
    let mut reader = open(url).reader().expect("a reader");
    let mut seen = Vec::new();
    let mut after = Position(0);
    let began_ms = chassis::clock::now_ms();
    while after.0 < through {
        assert!(chassis::clock::now_ms() - began_ms < 60_000, "no more after {after}");
        let page = reader.log(after, BOTH, 7).expect("read");
        let LogRead::Page { entries, through, .. } = page.read else { panic!("trimmed") };
        seen.extend(entries.iter().map(|(position, _)| position.0));
        after = through.unwrap_or(page.position);
    }
    seen
}

#[test]
fn no_cursor_skips_what_two_stores_write() {
    let url = fresh_url();
    drop(open(&url));
    let start = Barrier::new(3);
    let transactions = 60;
    let entries = 2 * 2 * transactions;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2).map(|_| scope.spawn(|| write(&url, &start, transactions))).collect();
        start.wait();
        assert_eq!(follow(&url, entries), (1..=entries).collect::<Vec<u64>>());
        writers.into_iter().for_each(|writer| writer.join().expect("it wrote"));
    });
}

fn register(storage: &mut Postgres, tasks: &[&str]) -> SessionId {
    let session = SessionId::generate();
    try_apply(storage, &[Command::Heartbeat(heartbeat(session, tasks))]).expect("registered");
    session
}

fn ring(storage: &mut Postgres) -> Vec<RungBell> {
    let mut bells = Vec::new();
    let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| {
        bells = transitions.ring("default")?.bells;
        Ok(())
    };
    transact(storage, work).expect("rung");
    bells
}

#[test]
fn stores_share_sessions_and_the_window() {
    let url = fresh_url();
    let (mut first, mut second) = (open(&url), open(&url));
    let session = register(&mut first, &["a"]);
    let jobs: Vec<_> = (0..6).map(|_| try_create(&mut second).expect("created").0).collect();
    // The window has four places, whoever rings.
    let (rung, none) = (ring(&mut second), ring(&mut first));
    assert_eq!((rung.len(), none.len()), (4, 0));
    let claim = Claim {
        session,
        job_id: jobs[0],
        dispatch: Dispatch(1),
        claim_id: ClaimId::generate(),
        lease_ms: 15_000,
        or_except: None,
    };
    try_apply(&mut second, &[Command::Claim(claim)]).expect("claimed");
    let view = seen(&first, jobs[0]).expect("read").expect("known");
    assert_eq!(view.status, Status::Running);
    let next = ring(&mut first);
    assert_eq!(next.iter().map(|bell| bell.bell.job_id).collect::<Vec<_>>(), jobs[4..5]);
    // What waits for a task that becomes known at one store is rung at the other.
    let (late, create) = job("late");
    try_apply(&mut first, &[create]).expect("created");
    register(&mut second, &["late"]);
    let free: Vec<_> = rung[1..].iter().map(RungBell::id).collect();
    let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| transitions.unring(&free);
    transact(&mut second, work).expect("given back");
    let rung: Vec<_> = ring(&mut first).iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(rung, jobs[1..4]);
    try_apply(&mut second, &[Command::EndSession { session }]).expect("ended");
    let free: Vec<_> = next.iter().map(RungBell::id).collect();
    let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| transitions.unring(&free);
    transact(&mut second, work).expect("given back");
    let rung: Vec<_> = ring(&mut first).iter().map(|bell| bell.bell.job_id).collect();
    assert_eq!(rung, [late], "nobody knows the others' task any more");
}

fn answer(storage: &mut Postgres, command: &Command) -> Answer {
    let mut answer = None;
    let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| {
        transitions.foresee(&[(&Tenant::default(), command)])?;
        answer = Some(transitions.apply(&Tenant::default(), command)?);
        Ok(())
    };
    transact(storage, work).expect("answered");
    answer.expect("it ran")
}

#[test]
fn stores_share_pauses_keys_depth_and_numbers() {
    let url = fresh_url();
    let (mut first, mut second) = (open(&url), open(&url));
    register(&mut first, &["a"]);
    let keyed = || Create { unique_key: Some("k".try_into().expect("a key")), ..create("a") };
    let (one, other) = (keyed(), keyed());
    let make = |create: &Create| Command::Create(Box::new(create.clone()));
    assert!(matches!(answer(&mut first, &make(&one)), Answer::Ok(_)));
    let kind = |answer| match answer {
        Answer::Error(problem) => problem.kind(),
        Answer::Ok(_) => None,
    };
    assert_eq!(kind(answer(&mut second, &make(&other))), Some(Kind::UniqueConflict));
    let queue = || "default".try_into().expect("a queue");
    let purge = Command::Purge { job_id: one.job_id };
    assert!(matches!(answer(&mut first, &Command::PauseQueue { queue: queue() }), Answer::Ok(_)));
    assert!(ring(&mut second).is_empty(), "paused by the other one");
    assert!(matches!(answer(&mut second, &Command::Cancel { job_id: one.job_id }), Answer::Ok(_)));
    // Its number is not given again, whoever dropped it.
    assert!(matches!(answer(&mut first, &purge), Answer::Ok(_)));
    assert_eq!(kind(answer(&mut second, &make(&one))), Some(Kind::JobExpired));
    assert!(matches!(answer(&mut second, &make(&other)), Answer::Ok(_)));
    let always = std::collections::BTreeSet::new();
    let queues = first.reader().expect("a reader").queues(&always).expect("read").read;
    let [view] = queues.as_slice() else { panic!("{queues:?}") };
    assert_eq!((view.paused, view.depth.queued, view.depth.open()), (true, 1, 1));
    let page = first
        .reader()
        .expect("a reader")
        .jobs(&Tenant::default(), &JobsQuery { before: Some(2), limit: 10, ..JobsQuery::default() });
    assert!(page.expect("read").read.jobs.is_empty(), "the second job has the second number");
    assert!(matches!(answer(&mut second, &Command::ResumeQueue { queue: queue() }), Answer::Ok(_)));
    assert_eq!(ring(&mut first).iter().map(|bell| bell.bell.job_id).collect::<Vec<_>>(), [other.job_id]);
}

#[test]
fn a_sequencer_that_one_store_hears_is_not_replaced_by_another() {
    let url = fresh_url();
    let (mut first, mut second) = (open(&url), open(&url));
    let (holder, rival) = (InstanceId::generate(), InstanceId::generate());
    let settings = store_svc::storage::Settings { sequencer_lease_ms: 5_000, ..Default::default() };
    let at = |now_ms| store_svc::storage::Context {
        wall_ms: 0,
        now_ms,
        seed: 0,
        settings: std::sync::Arc::new(settings.clone()),
    };
    let mut answer = String::new();
    let mut acquire = |storage: &mut Postgres, instance, now_ms| {
        let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| {
            answer = format!("{:?}", transitions.apply(&Tenant::default(), &Command::SequencerAcquire { instance })?);
            Ok(())
        };
        storage.transact(&at(now_ms), work).expect("answered");
        answer.contains("Granted")
    };
    assert!(acquire(&mut first, holder, 0));
    assert!(!acquire(&mut second, rival, 0));
    // Silent at the second store for longer than its lease, but not at the first.
    let renewal = SequencerRenewal { instance: holder, epoch: Epoch(1) };
    let mut renewed = false;
    let work = &mut |transitions: &mut dyn store_svc::storage::Transitions| {
        renewed = transitions.renew_sequencer(renewal)?;
        Ok(())
    };
    first.transact(&at(5_900), work).expect("answered");
    assert!(renewed);
    assert!(!acquire(&mut second, rival, 7_000));
    assert!(acquire(&mut second, rival, 13_000), "silent everywhere");
}

#[test]
fn a_store_that_stands_still_in_its_transaction_loses_the_seat() {
    let url = fresh_url();
    let (mut stuck, mut other) = (open(&url), open(&url));
    let (is_stuck, waits) = channel();
    let (goes_on, may_go_on) = channel();
    std::thread::scope(|scope| {
        let stands_still = scope.spawn(move || {
            let (job_id, command) = job("a");
            let mut once = true;
            let result = transact(&mut stuck, &mut |transitions| {
                transitions.apply(&Tenant::default(), &command)?;
                if std::mem::take(&mut once) {
                    is_stuck.send(()).expect("the test waits");
                    may_go_on.recv().expect("the test says so");
                    // Like a process that was stopped: it goes on where it was, and only now asks again.
                    return transitions.due(1).map(drop);
                }
                Ok(())
            });
            (job_id, stuck, result)
        });
        waits.recv().expect("it holds the seat");
        let (job_id, _) = try_create(&mut other).expect("the server ended the other's transaction");
        assert!(exists(&other, job_id).expect("read"));
        goes_on.send(()).expect("it waits");
        let (job_id, stuck, result) = stands_still.join().expect("it ended");
        // It began anew on another connection, or was told that nothing happened.
        match result {
            Ok(_) => assert!(exists(&stuck, job_id).expect("read")),
            Err(StorageError::Unavailable(_)) => assert!(!exists(&stuck, job_id).expect("read")),
            Err(error) => panic!("{error}"),
        }
    });
}
