//! Retries of many jobs, by the loop of a whole store.

use std::sync::Arc;

use protocol::api::JobView;
use protocol::bulk_retry::{BulkRetries, BulkRetry, BulkState, RetryFilter, RetryPreview, Unsuccessful};
use protocol::ids::{JobId, RetryId};
use protocol::store_api::{Command, Reply, RetryJobs};

use super::{DEADLINE, Store, broker, create, start, start_in};

pub(crate) const CANCELLED: RetryFilter = RetryFilter {
    status: Unsuccessful::Cancelled,
    queue: None,
    task: None,
    error_kind: None,
    after: None,
    before: None,
};

impl Store {
    async fn cancelled_jobs(&self, count: usize) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            let job_id = self.create(create("noop")).await.job_id;
            self.apply(Command::Cancel { job_id }).await;
            jobs.push(job_id);
        }
        jobs
    }

    async fn begin_retry(&self, rate_per_second: u32) {
        let asked = RetryJobs { retry_id: RetryId::generate(), filter: CANCELLED, rate_per_second, limit: 1_000 };
        let begun = self.apply(Command::RetryJobs(Box::new(asked))).await;
        assert!(matches!(begun, Reply::BulkRetry(_)), "{begun:?}");
    }

    async fn only_retry(&self) -> BulkRetry {
        let mut listed: BulkRetries = self.get("/retries").await;
        assert_eq!(listed.retries.len(), 1);
        listed.retries.remove(0)
    }

    async fn until_retried(&self, jobs: &[JobId]) {
        let done = async { while self.only_retry().await.state != BulkState::Done {} };
        tokio::time::timeout(DEADLINE, done).await.expect("they are retried");
        assert_eq!(self.only_retry().await.retried, jobs.len() as u64);
        for job_id in jobs {
            assert_eq!(self.get::<JobView>(&format!("/jobs/{job_id}")).await.run, 2, "once");
        }
    }
}

#[tokio::test]
async fn many_jobs_are_retried_by_the_store_itself() {
    let store = start().await;
    let jobs = store.cancelled_jobs(30).await;
    let previewed = store.client.peer().post::<_, RetryPreview>("/retries:preview", &CANCELLED).await;
    let preview = previewed.expect("answered").body;
    assert_eq!((preview.matching, preview.sample.len()), (30, 10));
    store.begin_retry(1_000).await;
    store.until_retried(&jobs).await;
    store.stop().await;
}

#[tokio::test]
async fn a_retry_of_many_goes_on_after_a_restart() {
    let store = start().await;
    let jobs = store.cancelled_jobs(3).await;
    store.begin_retry(1).await;
    let folder = Arc::clone(&store.folder);
    store.stop().await;
    let store = start_in(folder, broker()).await;
    assert_eq!(store.only_retry().await.state, BulkState::Running, "three take two seconds");
    store.until_retried(&jobs).await;
    store.stop().await;
}
