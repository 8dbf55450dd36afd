//! The log: everything that followers see, in commit order.

use protocol::api::{Progress, Status};
use protocol::ids::{Epoch, InstanceId, Position};
use protocol::store_api::{Change, Command, Heartbeat, Held, PutData};
use serde_json::value::RawValue;
use store_svc::storage::{LogKinds, LogRead};

use super::{BEGIN_MS, Fixture, Lab, heartbeat, succeeded};

const HOUR_MS: i64 = 3_600_000;

fn put<F: Fixture>(lab: &mut Lab<F>) {
    let data = RawValue::from_string("1".to_owned()).expect("json");
    lab.apply(Command::PutData(PutData::json("k".try_into().expect("a key"), data))).expect("written");
}

fn page<F: Fixture>(lab: &mut Lab<F>, after: u64, kinds: LogKinds, limit: u32) -> Option<(Vec<u64>, u64)> {
    let page = lab.read(|reader| reader.log(Position(after), kinds, limit));
    match page.read {
        LogRead::Page { entries, through, .. } => {
            let positions = entries.iter().map(|(position, _)| position.0).collect();
            Some((positions, through.unwrap_or(page.position).0))
        }
        LogRead::Trimmed => None,
    }
}

const BOTH: LogKinds = LogKinds { jobs: true, invalidations: true };

pub(crate) fn the_log_is_in_commit_order<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    put(&mut lab);
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    lab.complete(job_id, fence, succeeded());
    let entries = lab.log(0);
    let positions: Vec<u64> = entries.iter().map(|entry| entry.position.0).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    let said: Vec<Option<Status>> = entries
        .iter()
        .map(|entry| match entry.change {
            Change::Job { status, .. } => Some(status),
            _ => None,
        })
        .collect();
    assert_eq!(said, [Some(Status::Queued), None, Some(Status::Running), Some(Status::Succeeded)]);
    assert_eq!(lab.signals.head, Position(4));
}

pub(crate) fn followers_choose_kinds<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.job("a");
    put(&mut lab);
    lab.job("a");
    let kinds = |jobs: bool, invalidations: bool| LogKinds { jobs, invalidations };
    assert_eq!(page(&mut lab, 0, kinds(true, true), 10), Some((vec![1, 2, 3], 3)));
    assert_eq!(page(&mut lab, 0, kinds(true, false), 10), Some((vec![1, 3], 3)));
    assert_eq!(page(&mut lab, 0, kinds(false, true), 10), Some((vec![2], 3)), "complete up to the head");
    assert_eq!(page(&mut lab, 2, kinds(false, true), 10), Some((vec![], 3)));
}

pub(crate) fn pages_of_the_log_follow_each_other<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    for _ in 0..5 {
        lab.job("a");
    }
    assert_eq!(page(&mut lab, 0, BOTH, 2), Some((vec![1, 2], 2)));
    assert_eq!(page(&mut lab, 2, BOTH, 2), Some((vec![3, 4], 4)));
    assert_eq!(page(&mut lab, 4, BOTH, 2), Some((vec![5], 5)));
    assert_eq!(page(&mut lab, 5, BOTH, 2), Some((vec![], 5)));
}

pub(crate) fn trimmed_cursors_are_told<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    for _ in 0..4 {
        lab.job("a");
        lab.wall_ms += HOUR_MS;
    }
    let before_ms = BEGIN_MS + 2 * HOUR_MS;
    assert!(lab.step(|transitions| transitions.trim_log(before_ms, 1)), "there is more");
    while lab.step(|transitions| transitions.trim_log(before_ms, 1)) {}
    assert_eq!(page(&mut lab, 1, BOTH, 10), None);
    assert_eq!(page(&mut lab, 2, BOTH, 10), Some((vec![3, 4], 4)));
    // The head stays, so that positions go on after a restart.
    while lab.step(|transitions| transitions.trim_log(i64::MAX, 1)) {}
    assert_eq!(page(&mut lab, 3, BOTH, 10), Some((vec![4], 4)));
    let mut lab = lab.after_kill();
    lab.job("a");
    assert_eq!(page(&mut lab, 4, BOTH, 10), Some((vec![5], 5)));
    assert_eq!(page(&mut lab, 2, BOTH, 10), None);
}

/// They come from commits that the database has lost since.
pub(crate) fn cursors_beyond_the_head_are_told<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    assert_eq!(page(&mut lab, 0, BOTH, 10), Some((vec![], 0)));
    assert_eq!(page(&mut lab, 1, BOTH, 10), None);
    lab.job("a");
    assert_eq!(page(&mut lab, 1, BOTH, 10), Some((vec![], 1)));
    for kinds in [BOTH, LogKinds { jobs: true, invalidations: false }, LogKinds { jobs: false, invalidations: true }] {
        assert_eq!(page(&mut lab, 2, kinds, 10), None);
    }
}

pub(crate) fn what_is_not_fenced_is_not_trimmed<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.job("a");
    put(&mut lab);
    lab.job("a");
    lab.job("a");
    while lab.step(|transitions| transitions.trim_log(i64::MAX, 10)) {}
    assert_eq!(page(&mut lab, 1, BOTH, 10), Some((vec![2, 3, 4], 4)));
    lab.apply(Command::SequencerAcquire { instance: InstanceId::generate() }).expect("granted");
    lab.apply(Command::Fenced { epoch: Epoch(1), through: Position(2) }).expect("fenced");
    while lab.step(|transitions| transitions.trim_log(i64::MAX, 10)) {}
    assert_eq!(page(&mut lab, 3, BOTH, 10), Some((vec![4], 4)));
}

pub(crate) fn a_job_knows_where_it_last_changed<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    let changed = |lab: &mut Lab<F>| lab.seen(job_id).expect("it is there").1.0;
    assert_eq!(changed(&mut lab), 1);
    lab.job("a");
    assert_eq!(changed(&mut lab), 1, "another job changed");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    assert_eq!(changed(&mut lab), 3);
    let progress = Some(Progress { fraction: Some(0.5), message: None });
    let holds = vec![Held { job_id, fence, progress }];
    for _ in 0..2 {
        lab.beat(Heartbeat { holds: holds.clone(), ..heartbeat(session, &["a"]) }).expect("known");
        assert_eq!(changed(&mut lab), 4, "the same progress again is no change");
    }
    lab.apply(Command::Cancel { job_id }).expect("asked");
    assert_eq!(changed(&mut lab), 5);
    lab.complete(job_id, fence, succeeded());
    let last = lab.log(0).last().expect("entries").position.0;
    assert_eq!((changed(&mut lab), last), (6, 6));
}
