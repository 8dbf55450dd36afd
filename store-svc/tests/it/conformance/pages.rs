//! Lists of jobs.

use protocol::api::Status;
use protocol::ids::JobId;
use protocol::store_api::Create;
use protocol::tenant::Tenant;
use store_svc::storage::JobsQuery;

use super::{Fixture, Lab, create, failed, succeeded};

fn page<F: Fixture>(lab: &mut Lab<F>, query: &JobsQuery) -> (Vec<JobId>, Option<i64>) {
    let page = lab.read(|reader| reader.jobs(&Tenant::default(), query)).read;
    (page.jobs.iter().map(|job| job.job_id).collect(), page.before)
}

fn all<F: Fixture>(lab: &mut Lab<F>, mut query: JobsQuery) -> Vec<JobId> {
    let mut jobs = Vec::new();
    loop {
        let (found, before) = page(lab, &query);
        jobs.extend(found);
        if before.is_none() {
            return jobs;
        }
        query.before = before;
    }
}

pub(crate) fn newest_first_without_gaps_or_repeats<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let mut expected: Vec<JobId> = (0..10).map(|_| lab.job("a")).collect();
    expected.reverse();
    let mut query = JobsQuery { limit: 3, ..JobsQuery::default() };
    let mut seen = Vec::new();
    loop {
        let (found, before) = page(&mut lab, &query);
        seen.extend(found);
        // What is added meanwhile is newer than the whole list.
        lab.job("late");
        if before.is_none() {
            break;
        }
        query.before = before;
    }
    assert_eq!(seen, expected);
    let exact = JobsQuery { limit: 14, ..JobsQuery::default() };
    assert_eq!(page(&mut lab, &exact).1, None, "a full last page is the last");
}

pub(crate) fn filters_select<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (done, broken, waiting) = (lab.job("a"), lab.job("a"), lab.job("b"));
    let elsewhere = lab.create(Create { queue: "reports".try_into().expect("a queue"), ..create("a") });
    lab.ring();
    for (job_id, outcome) in [(done, succeeded()), (broken, failed(false))] {
        let fence = lab.claim(session, job_id, 1);
        lab.complete(job_id, fence, outcome);
    }
    let running = lab.job("a");
    lab.claim(session, running, 1);
    let query = || JobsQuery { limit: 2, ..JobsQuery::default() };
    let mut check =
        |query: JobsQuery, expected: &[JobId]| assert_eq!(all(&mut lab, query.clone()), expected, "{query:?}");
    check(JobsQuery { status: Some(Status::Succeeded), ..query() }, &[done]);
    check(JobsQuery { status: Some(Status::Failed), ..query() }, &[broken]);
    check(JobsQuery { status: Some(Status::Running), ..query() }, &[running]);
    check(JobsQuery { status: Some(Status::Cancelled), ..query() }, &[]);
    check(JobsQuery { status: Some(Status::Queued), ..query() }, &[elsewhere, waiting]);
    check(JobsQuery { queue: Some("reports".to_owned()), ..query() }, &[elsewhere]);
    check(JobsQuery { task: Some("b".to_owned()), ..query() }, &[waiting]);
    let both = JobsQuery { status: Some(Status::Queued), task: Some("a".to_owned()), ..query() };
    check(both, &[elsewhere]);
}

pub(crate) fn a_page_looks_at_a_bounded_number_of_rows<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let rare = lab.job("rare");
    for _ in 0..21 {
        let many: Vec<_> = (0..1_000).map(|_| protocol::store_api::Command::Create(Box::new(create("a")))).collect();
        lab.apply_all(&many);
    }
    let query = JobsQuery { task: Some("rare".to_owned()), limit: 10, ..JobsQuery::default() };
    let (found, before) = page(&mut lab, &query);
    assert!(found.is_empty() && before.is_some(), "a short page has a next one");
    assert_eq!(all(&mut lab, query), [rare]);
}
