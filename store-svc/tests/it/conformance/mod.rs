//! What every storage adapter must do, whatever it is made of. A new adapter adds a fixture and one line to `suite!`.

use std::sync::Arc;

use protocol::api::{JobView, Status};
use protocol::ids::{ClaimId, Dispatch, Fence, JobId, Position, SessionId};
use protocol::job::{ClaimRefusal, Settled};
use protocol::problem::{Kind, Problem};
use protocol::retry::Backoff;
use protocol::store_api::{
    Answer, Claim, Claimed, Command, Complete, Create, Created, Heartbeat, HeartbeatReply, Outcome, Release, Reply,
};
use protocol::tenant::Tenant;
use store_svc::storage::{
    Context, JobRead, JobsQuery, LogKinds, LogRead, Reader, RungBell, Settings, Signals, Storage, StorageError,
    Transitions, WebhookSettings,
};

mod access;
mod batches;
mod bulk_retrying;
mod cancelling;
mod creating;
mod data;
mod expiring;
mod explaining;
mod fencing;
mod key_limits;
mod leases;
mod log;
mod logs;
mod missing;
mod pages;
mod pausing;
pub(crate) mod postgres;
mod pulling;
mod random;
mod retrying;
mod ringing;
pub(crate) mod scheduling;
pub(crate) mod sqlite;
pub(crate) mod telling;
mod tenants;
mod unique;

/// A storage under test.
pub(crate) trait Fixture {
    fn fresh() -> Self;
    fn storage(&mut self) -> &mut dyn Storage;
    /// Opens what is on disk now, as after a SIGKILL: nobody said goodbye to the former one.
    fn after_kill(self) -> Self;
}

/// Runs the whole suite on each fixture.
macro_rules! suite {
    ($($module:ident { $($test:ident),+ $(,)? })+) => {
        suite! { @on on_sqlite, crate::conformance::sqlite::SqliteFixture: $($module { $($test),+ })+ }
        suite! { @on on_postgres, crate::conformance::postgres::PostgresFixture: $($module { $($test),+ })+ }
    };
    (@on $name:ident, $fixture:ty: $($module:ident { $($test:ident),+ })+) => {
        mod $name {
            $(mod $module {
                $(#[test] fn $test() { $crate::conformance::$module::$test::<$fixture>(); })+
            })+
        }
    };
}

suite! {
    access {
        a_key_is_made_once_rotated_and_revoked, a_key_of_another_tenant_is_not_there, sessions_end_with_their_key,
        keys_are_listed_page_by_page, what_operators_do_is_recorded_with_it,
        what_is_recorded_is_done_for_the_callers_tenant,
    }
    batches { one_bad_command_does_not_fail_its_batch, failed_work_leaves_nothing_behind, committed_work_survives_a_kill }
    bulk_retrying {
        a_filter_chooses_who_is_retried, a_step_retries_so_many_and_goes_on, what_fails_again_is_not_retried_again,
        a_limit_ends_it, held_keys_are_skipped, a_full_queue_is_waited_for, only_so_many_run_at_once, one_is_stopped,
        a_preview_counts_and_shows_the_first, many_strangers_are_passed_in_bounded_steps,
    }
    cancelling {
        waiting_jobs_are_cancelled_at_once, running_jobs_are_asked, the_first_outcome_wins_over_a_cancel,
        cancelled_bell_keeps_its_place_until_named,
    }
    creating {
        a_job_is_recorded_as_asked, the_same_key_names_the_first_job, the_same_key_with_another_body_is_refused,
        a_key_is_forgotten_after_a_day, the_same_id_is_repeated_or_refused, unknown_queues_are_refused,
        delays_count_from_the_stores_own_clock,
    }
    data { writes_are_versioned_and_logged, preconditions_are_kept, deleted_entries_are_gone, tags_and_media_types_are_kept_with_their_entry }
    explaining {
        a_position_counts_what_is_offered_before, a_position_is_exact_up_to_a_bound, waits_are_explained, owners_are_named,
        a_fence_is_named,
    }
    expiring {
        ended_jobs_expire_by_age, a_job_that_is_retried_is_kept, ended_jobs_are_counted_from_the_newest,
        one_ended_job_is_purged_at_once, names_of_expired_jobs_are_not_given_to_others,
        latecomers_to_an_expired_job_are_told_that_it_has_ended, tombstones_are_trimmed_by_age_and_number,
        pages_go_on_while_jobs_expire,
    }
    fencing {
        a_job_that_invalidates_succeeds_when_fenced, only_the_present_epoch_fences, one_sequencer_at_a_time,
        a_silent_sequencer_is_replaced, unsuccessful_ends_invalidate_without_waiting,
    }
    leases {
        a_repeated_claim_is_the_same_claim, a_stale_bell_loses, a_session_must_be_known, a_late_owner_is_refused,
        heartbeats_renew_what_they_name, crashes_and_releases_are_not_attempts, poison_is_stopped, progress_is_shown,
        claims_are_bounded_in_their_lease, who_crashes_again_waits_a_moment,
    }
    log {
        the_log_is_in_commit_order, followers_choose_kinds, trimmed_cursors_are_told, cursors_beyond_the_head_are_told,
        what_is_not_fenced_is_not_trimmed, pages_of_the_log_follow_each_other, a_job_knows_where_it_last_changed,
    }
    logs {
        each_attempt_has_its_log, the_word_of_a_former_owner_leaves_no_log, the_last_logs_are_kept_and_each_is_bounded,
        results_and_errors_are_bounded,
    }
    missing { what_a_bell_or_a_session_names_is_missed, what_may_be_forgotten_is_not_missed }
    pages { newest_first_without_gaps_or_repeats, filters_select, a_page_looks_at_a_bounded_number_of_rows }
    pausing {
        a_paused_queue_rings_nothing, a_claim_refused_by_a_pause_puts_the_row_back, pauses_are_logged_and_told, a_pause_survives_a_kill,
        a_full_queue_takes_nothing_more, bells_of_creators_are_not_repeated_into_a_pause, queues_show_what_they_hold, depth_survives_a_kill, only_known_queues_are_paused,
    }
    retrying {
        a_failure_waits_before_the_next_attempt, the_last_failure_ends_the_job, retry_opens_the_next_run,
        scheduled_jobs_start_when_due, an_error_may_forbid_retries, a_job_that_does_not_start_in_time_fails,
        a_start_deadline_counts_from_the_due_time, a_deadline_holds_before_its_loop_comes, a_retry_has_its_deadline_anew,
    }
    pulling {
        rows_are_taken_by_priority_then_age_wherever_they_wait, nothing_is_rung_for_who_pulls,
        a_pulled_row_leaves_its_bell_in_its_place, a_pulled_job_that_comes_back_is_rung_under_the_next_number,
        a_repeated_pull_is_the_same_pull, a_heartbeat_renews_the_lease_and_the_session,
        a_worker_that_died_is_forgotten_and_its_jobs_come_back, what_others_wait_for_is_in_nobodys_way,
        names_have_turns_when_there_are_too_many_for_one_look, a_pull_is_bounded,
        rung_rows_are_not_stuck_when_their_consumers_are_gone, a_paused_queue_is_not_pulled_from,
        what_did_not_start_in_time_is_not_pulled, the_next_job_without_a_bell_comes_with_an_outcome,
        an_outcome_that_is_repeated_brings_the_same_next_job, no_next_job_comes_from_a_paused_queue_or_to_a_stranger,
    }
    random { ringing_agrees_with_its_definition }
    ringing {
        the_window_bounds_what_is_out, high_overtakes_within_one_window, unknown_tasks_delay_nobody,
        a_task_that_becomes_known_is_rung_in_order, a_creator_may_ring_only_what_nothing_waits_before,
        creators_that_say_nothing_are_taken_over, creators_that_failed_are_helped_at_once, lost_bells_are_rung_again,
        bells_that_may_still_be_there_are_not_lost, an_unknown_task_waits_longer_each_time,
        unsent_bells_give_their_places_back, an_empty_broker_frees_all_places, tasks_that_are_forgotten_lie_apart,
        a_wider_session_ends_the_wait_for_it,
    }
    scheduling {
        a_tick_is_one_job, missed_ticks_are_caught_up_as_asked, a_late_tick_is_missed_where_none_is_caught_up,
        a_clock_that_is_put_back_repeats_no_tick, a_tick_whose_job_is_forgotten_is_not_run_again,
        a_paused_schedule_lets_its_ticks_pass, what_is_put_anew_goes_on_or_begins_again, a_tick_that_is_refused_says_why,
        one_is_run_by_hand_beside_its_ticks, only_so_many_are_kept_and_listed_by_name, a_schedule_names_a_queue_that_is_there,
    }
    telling {
        each_end_is_noted_for_whoever_wants_to_know, an_event_is_sent_by_one_until_it_is_delivered,
        what_nobody_takes_is_given_up_and_may_be_sent_again, who_is_gone_is_told_nothing_more,
        a_deleted_webhook_is_forgotten_with_its_events, secrets_overlap_when_they_are_rotated,
        webhooks_are_bounded_listed_and_not_private, a_page_of_events_follows_the_other,
        a_job_that_was_handed_over_is_no_sessions, a_wait_that_was_asked_for_is_kept, an_event_names_the_tenant_of_its_job,
    }
    key_limits {
        as_many_of_a_key_run_at_once_as_may, so_many_of_a_key_start_per_second_as_may, what_a_key_has_waiting_is_in_nobodys_way,
        lanes_of_a_tenant_share_what_it_gets, limits_of_a_key_survive_a_kill, limits_are_of_a_key_that_is_there,
    }
    tenants {
        what_belongs_to_another_is_not_there, an_id_of_another_is_taken_and_tells_nothing, schedules_and_retries_are_a_tenants_own,
        nobody_can_guess_the_id_of_a_ticks_job, tenants_are_known_by_their_first_job_up_to_a_bound, of_the_next_starts_each_gets_its_share,
        a_newcomer_starts_next_behind_any_backlog, a_claim_that_is_repeated_gets_the_same_other_job,
        who_has_nothing_waiting_is_rung_beside_a_backlog, pulls_are_divided_by_shares, as_many_run_at_once_as_may,
        so_many_start_per_second_as_may, a_pull_keeps_to_the_rate_beside_a_bell, as_many_wait_as_may, limits_and_counts_survive_a_kill,
    }
    unique {
        one_job_with_a_key_is_open, a_key_is_free_when_its_job_has_ended, a_repeat_is_the_same_job_and_no_conflict,
        a_retry_needs_its_key,
    }
}

pub(crate) const LEASE_MS: u64 = 15_000;
/// How long ended jobs are kept.
pub(crate) const DAY_MS: u64 = 86_400_000;
/// When the tests begin, Unix ms.
pub(crate) const BEGIN_MS: i64 = 1_700_000_000_000;

/// A storage with a clock of its own.
pub(crate) struct Lab<F> {
    pub(crate) fixture: F,
    pub(crate) wall_ms: i64,
    pub(crate) now_ms: u64,
    pub(crate) settings: Settings,
    pub(crate) signals: Signals,
    /// For whom everything is commanded and read.
    pub(crate) tenant: Tenant,
    seed: u64,
}

/// A database that somebody else made can be read, and has neither jobs nor schedules.
pub(crate) fn assert_nothing_is_listed(reader: &mut dyn Reader) {
    let tenant = Tenant::default();
    assert!(reader.schedules(&tenant, "", 1).expect("read").read.schedules.is_empty());
    let query = JobsQuery { limit: 1, ..JobsQuery::default() };
    assert!(reader.jobs(&tenant, &query).expect("read").read.jobs.is_empty());
}

impl<F: Fixture> Lab<F> {
    pub(crate) fn new() -> Self {
        Self::with(F::fresh())
    }

    pub(crate) fn with(fixture: F) -> Self {
        let settings = Settings {
            window: Some(4),
            backoff: Backoff { base_ms: 1_000, max_ms: 60_000 },
            queues: ["default", "reports"].map(ToOwned::to_owned).into(),
            sequencer_lease_ms: 5_000,
            queue_depth_max: 1_000_000,
            retention_ms: DAY_MS,
            webhooks: WebhookSettings::default(),
        };
        Self {
            fixture,
            wall_ms: BEGIN_MS,
            now_ms: 0,
            settings,
            signals: Signals::default(),
            tenant: Tenant::default(),
            seed: 0,
        }
    }

    pub(crate) fn after_kill(self) -> Self {
        Self { fixture: self.fixture.after_kill(), ..self }
    }

    fn context(&mut self) -> Context {
        self.seed += 1;
        Context {
            wall_ms: self.wall_ms,
            now_ms: self.now_ms,
            seed: self.seed,
            settings: Arc::new(self.settings.clone()),
        }
    }

    pub(crate) fn try_step<T>(
        &mut self,
        mut step: impl FnMut(&mut dyn Transitions) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let context = self.context();
        let mut result = None;
        let work = &mut |transitions: &mut dyn Transitions| {
            result = Some(step(transitions)?);
            Ok(())
        };
        self.signals = self.fixture.storage().transact(&context, work)?;
        Ok(result.expect("it ran"))
    }

    pub(crate) fn step<T>(&mut self, step: impl FnMut(&mut dyn Transitions) -> Result<T, StorageError>) -> T {
        self.try_step(step).expect("the storage works")
    }

    pub(crate) fn apply_all(&mut self, commands: &[Command]) -> Vec<Result<Reply, Problem>> {
        let tenant = self.tenant.clone();
        let all: Vec<(&Tenant, &Command)> = commands.iter().map(|command| (&tenant, command)).collect();
        // What is foreseen is a hint: the answers are the same without it.
        let foresees = self.seed.is_multiple_of(2);
        let answers = self.step(|transitions| {
            if foresees {
                transitions.foresee(&all)?;
            }
            commands.iter().map(|command| transitions.apply(&tenant, command)).collect()
        });
        let answers: Vec<Answer> = answers;
        let result = |answer| match answer {
            Answer::Ok(reply) => Ok(*reply),
            Answer::Error(problem) => Err(*problem),
        };
        answers.into_iter().map(result).collect()
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Reply, Problem> {
        self.apply_all(&[command]).pop().expect("an answer")
    }

    pub(crate) fn read<T>(&mut self, read: impl FnOnce(&mut dyn Reader) -> Result<T, StorageError>) -> T {
        let mut reader = self.fixture.storage().reader().expect("a reader");
        read(reader.as_mut()).expect("the storage works")
    }

    pub(crate) fn try_create(&mut self, create: Create) -> Result<Created, Problem> {
        match self.apply(Command::Create(Box::new(create)))? {
            Reply::Created(created) => Ok(created),
            other => panic!("not created: {other:?}"),
        }
    }

    pub(crate) fn create(&mut self, create: Create) -> JobId {
        self.try_create(create).expect("created").job_id
    }

    /// A job of this task, created and found by its id.
    pub(crate) fn job(&mut self, task: &str) -> JobId {
        self.create(create(task))
    }

    pub(crate) fn view(&mut self, job_id: JobId) -> JobView {
        self.seen(job_id).expect("the job is known").0
    }

    /// The job and where it last changed.
    pub(crate) fn seen(&mut self, job_id: JobId) -> Option<(JobView, Position)> {
        let tenant = self.tenant.clone();
        match self.read(|reader| reader.job(&tenant, job_id)).read {
            JobRead::Job(job, changed) => Some((*job, changed)),
            JobRead::Unknown | JobRead::Expired => None,
        }
    }

    pub(crate) fn status(&mut self, job_id: JobId) -> Status {
        self.view(job_id).status
    }

    pub(crate) fn beat(&mut self, heartbeat: Heartbeat) -> Result<HeartbeatReply, Problem> {
        match self.apply(Command::Heartbeat(heartbeat))? {
            Reply::Heartbeat(reply) => Ok(reply),
            other => panic!("no heartbeat: {other:?}"),
        }
    }

    /// A session that runs these tasks on eight slots of `default`.
    pub(crate) fn worker(&mut self, tasks: &[&str]) -> SessionId {
        let session = SessionId::generate();
        self.beat(heartbeat(session, tasks)).expect("registered");
        session
    }

    /// Rings `default` until nothing more is to be rung now.
    pub(crate) fn ring(&mut self) -> Vec<RungBell> {
        let mut bells = Vec::new();
        loop {
            let rung = self.step(|transitions| transitions.ring("default"));
            bells.extend(rung.bells);
            if !rung.more {
                return bells;
            }
        }
    }

    pub(crate) fn try_claim(
        &mut self,
        session: SessionId,
        job_id: JobId,
        dispatch: u64,
        claim_id: ClaimId,
    ) -> Result<Claimed, Result<ClaimRefusal, Problem>> {
        let claim =
            Claim { session, job_id, dispatch: Dispatch(dispatch), claim_id, lease_ms: LEASE_MS, or_except: None };
        match self.apply(Command::Claim(claim)) {
            Ok(Reply::Claimed(claimed)) => Ok(*claimed),
            Ok(Reply::ClaimRefused(refusal)) => Err(Ok(refusal)),
            Ok(other) => panic!("no answer to a claim: {other:?}"),
            Err(problem) => Err(Err(problem)),
        }
    }

    pub(crate) fn claim(&mut self, session: SessionId, job_id: JobId, dispatch: u64) -> Fence {
        self.try_claim(session, job_id, dispatch, ClaimId::generate()).expect("won").fence
    }

    pub(crate) fn refused(&mut self, session: SessionId, job_id: JobId, dispatch: u64) -> ClaimRefusal {
        let refused = self.try_claim(session, job_id, dispatch, ClaimId::generate()).expect_err("refused");
        refused.expect("a refusal")
    }

    pub(crate) fn complete(&mut self, job_id: JobId, fence: Fence, outcome: Outcome) -> (Settled, Status) {
        self.settle(Command::Complete(Complete { job_id, fence, outcome, output: None, next: None }))
    }

    pub(crate) fn release(&mut self, job_id: JobId, fence: Fence) -> (Settled, Status) {
        self.settle(Command::Release(Release { job_id, fence, output: None }))
    }

    fn settle(&mut self, command: Command) -> (Settled, Status) {
        match self.apply(command) {
            Ok(Reply::Settled { settled, status, .. }) => (settled, status.expect("the job is known")),
            other => panic!("not settled: {other:?}"),
        }
    }

    /// Ends the lease of a running job as the reaper does.
    pub(crate) fn reap(&mut self, job_id: JobId) -> bool {
        let leases = self.read(|reader| reader.leases());
        let lease = leases.into_iter().find(|lease| lease.key.job_id == job_id).expect("it runs");
        self.step(|transitions| transitions.reap(lease.key, lease.renewal))
    }

    /// Everything in the log after a position.
    pub(crate) fn log(&mut self, after: u64) -> Vec<protocol::store_api::LogEntry> {
        let kinds = LogKinds { jobs: true, invalidations: true };
        let page = self.read(|reader| reader.log(Position(after), kinds, 10_000)).read;
        let LogRead::Page { entries, .. } = page else { panic!("trimmed") };
        let entry = |(position, change): (_, String)| protocol::store_api::LogEntry {
            position,
            change: serde_json::from_str(&change).expect("a change"),
        };
        entries.into_iter().map(entry).collect()
    }
}

pub(crate) fn create(task: &str) -> Create {
    Create {
        job_id: JobId::generate(),
        task: task.try_into().expect("a task"),
        payload: None,
        queue: "default".try_into().expect("a queue"),
        priority: protocol::api::Priority::Normal,
        run_at: None,
        delay_ms: None,
        max_attempts: 3,
        timeout_ms: None,
        start_deadline_ms: None,
        invalidates: Vec::new(),
        unique_key: None,
        idempotency_key: None,
        fingerprint: format!("fingerprint of {task}"),
        trace: None,
        key_id: None,
        wants_bell: false,
    }
}

pub(crate) fn heartbeat(session: SessionId, tasks: &[&str]) -> Heartbeat {
    Heartbeat {
        session,
        register: true,
        worker: "worker of the tests".to_owned(),
        queues: [("default".try_into().expect("a queue"), 8)].into(),
        tasks: tasks.iter().map(|task| (*task).to_owned().try_into().expect("a pattern")).collect(),
        holds: Vec::new(),
    }
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded { result: None }
}

pub(crate) fn failed(may_retry: bool) -> Outcome {
    let error = protocol::api::JobError { kind: protocol::api::ErrorKind::Failed, message: "no".to_owned() };
    Outcome::Failed { error, may_retry, retry_after_ms: None }
}

pub(crate) fn kind(problem: &Problem) -> Option<Kind> {
    problem.kind()
}
