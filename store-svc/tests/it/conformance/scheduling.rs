//! Schedules: each tick is one job, whatever the clock does.

use protocol::api::Status;
use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::schedule::{
    CATCH_UP_MAX, CatchUp, Cron, JobTemplate, LastTick, SCHEDULES_MAX, Schedule, ScheduleCommand, ScheduleView, Zone,
};
use protocol::store_api::{Command, Create, Reply};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use store_svc::storage::JobsQuery;

use super::{BEGIN_MS, Fixture, Lab, create};

const MINUTE_MS: i64 = 60_000;
/// The first whole minute of the tests.
const FIRST_MS: i64 = BEGIN_MS + 40_000;

pub(crate) fn every_minute(name: &str) -> Schedule {
    Schedule {
        name: name.try_into().expect("a name"),
        cron: Cron::try_from("* * * * *").expect("an expression"),
        time_zone: Zone::default(),
        job: JobTemplate::of(create("a")),
        catch_up: CatchUp::Latest,
        paused: None,
    }
}

impl<F: Fixture> Lab<F> {
    fn schedule(&mut self, command: ScheduleCommand) -> Result<(bool, ScheduleView), Problem> {
        match self.apply(Command::Schedule(command))? {
            Reply::Schedule { created, schedule } => Ok((created, *schedule)),
            other => panic!("no schedule: {other:?}"),
        }
    }

    fn put(&mut self, schedule: Schedule) -> ScheduleView {
        self.schedule(ScheduleCommand::Put(Box::new(schedule))).expect("put").1
    }

    fn shown(&mut self, name: &str) -> ScheduleView {
        let name = name.try_into().expect("a name");
        self.read(|reader| reader.schedule(&Tenant::default(), &name)).read.expect("it is there")
    }

    /// All that is due now, in steps of so many.
    fn due_now(&mut self, limit: u32) {
        while self.step(|transitions| transitions.due(limit)) {}
    }

    fn at(&mut self, wall_ms: i64) {
        self.wall_ms = wall_ms;
        self.due_now(100);
    }

    /// Minutes from the first one on, of the ticks that have jobs, in order.
    fn ticks(&mut self) -> Vec<i64> {
        let page = self
            .read(|reader| reader.jobs(&Tenant::default(), &JobsQuery { limit: 100_000, ..JobsQuery::default() }))
            .read;
        let ticks = page.jobs.into_iter().filter_map(|job| job.schedule?.tick);
        let mut minutes: Vec<i64> = ticks.map(|tick| (tick.unix_ms() - FIRST_MS) / MINUTE_MS).collect();
        minutes.sort_unstable();
        minutes
    }

    fn last(&mut self, name: &str) -> LastTick {
        self.shown(name).last.expect("a tick")
    }
}

pub(crate) fn a_tick_is_one_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let (created, view) = lab.schedule(ScheduleCommand::Put(Box::new(every_minute("often")))).expect("a new schedule");
    assert!(created && !view.paused && view.last.is_none());
    assert_eq!(lab.signals.due_ms, Some(FIRST_MS));
    assert_eq!(lab.read(|reader| reader.next_due_ms()), Some(FIRST_MS));
    let ahead: Vec<i64> = view.next_runs.iter().map(|run| run.at.unix_ms()).collect();
    assert_eq!(ahead, (0..5).map(|minute| FIRST_MS + minute * MINUTE_MS).collect::<Vec<i64>>());
    lab.at(FIRST_MS - 1);
    assert_eq!(lab.ticks(), [0; 0]);
    lab.at(FIRST_MS);
    assert_eq!(lab.signals.due_ms, Some(FIRST_MS + MINUTE_MS));
    lab.at(FIRST_MS + 1);
    assert_eq!(lab.ticks(), [0]);
    let last = lab.last("often");
    assert_eq!((last.tick.unix_ms(), last.at.unix_ms(), &last.skipped), (FIRST_MS, FIRST_MS, &None));
    let job = lab.view(last.job_id.expect("a job"));
    assert_eq!((job.task.as_str(), job.status, job.max_attempts), ("a", Status::Queued, 3));
    assert_eq!(job.schedule.expect("it was made by one").name, "often");
    let mut lab = lab.after_kill();
    lab.at(FIRST_MS + MINUTE_MS);
    assert_eq!(lab.ticks(), [0, 1]);
}

pub(crate) fn missed_ticks_are_caught_up_as_asked<F: Fixture>() {
    let check = |catch_up, minutes: i64, expected: &[i64]| {
        let mut lab = Lab::<F>::new();
        lab.put(Schedule { catch_up, ..every_minute("often") });
        lab.wall_ms = FIRST_MS + minutes * MINUTE_MS;
        let mut lab = lab.after_kill();
        lab.due_now(3);
        assert_eq!(lab.ticks(), expected, "{catch_up:?} after {minutes} minutes");
        lab.at(FIRST_MS + minutes * MINUTE_MS + 1);
        assert_eq!(lab.ticks(), expected, "{catch_up:?} again");
    };
    check(CatchUp::Latest, 7, &[7]);
    check(CatchUp::None, 7, &[7]);
    check(CatchUp::All, 7, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let bound = i64::try_from(CATCH_UP_MAX).expect("small");
    check(CatchUp::All, 2 * bound, &(bound + 1..=2 * bound).collect::<Vec<i64>>());
}

pub(crate) fn a_late_tick_is_missed_where_none_is_caught_up<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let hourly = Cron::try_from("0 * * * *").expect("an expression");
    lab.put(Schedule { cron: hourly, catch_up: CatchUp::None, ..every_minute("hourly") });
    let tick_ms = lab.shown("hourly").next_runs[0].at.unix_ms();
    lab.at(tick_ms + 3 * MINUTE_MS);
    assert_eq!(lab.ticks(), [0; 0]);
    let last = lab.last("hourly");
    assert_eq!((last.tick.unix_ms(), last.job_id), (tick_ms, None));
    assert_eq!(last.skipped.expect("a reason").reason, "missed");
    lab.at(tick_ms + 60 * MINUTE_MS + 900);
    assert_eq!(lab.last("hourly").tick.unix_ms(), tick_ms + 60 * MINUTE_MS);
    assert!(lab.last("hourly").job_id.is_some());
}

pub(crate) fn a_clock_that_is_put_back_repeats_no_tick<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put(Schedule { catch_up: CatchUp::All, ..every_minute("often") });
    lab.at(FIRST_MS + 2 * MINUTE_MS);
    // Far ahead and back: what was run by the wrong clock is not run again, and what lies between is not waited for.
    lab.put(Schedule { catch_up: CatchUp::Latest, ..every_minute("often") });
    lab.at(FIRST_MS + 1_000 * MINUTE_MS);
    assert_eq!(lab.ticks(), [0, 1, 2, 1_000]);
    lab.wall_ms = FIRST_MS + MINUTE_MS + 1;
    lab.step(|transitions| transitions.recount_ticks());
    assert_eq!(lab.shown("often").next_runs[0].at.unix_ms(), FIRST_MS + 2 * MINUTE_MS);
    for minute in 1..5 {
        lab.at(FIRST_MS + minute * MINUTE_MS + 1);
    }
    assert_eq!(lab.ticks(), [0, 1, 2, 3, 4, 1_000]);
    lab.at(FIRST_MS + 1_000 * MINUTE_MS + 1);
    assert_eq!(lab.ticks(), [0, 1, 2, 3, 4, 1_000]);
    let last = lab.last("often").job_id.expect("its job is there");
    assert_eq!(
        lab.view(last).schedule.expect("made by it").tick.map(Timestamp::unix_ms),
        Some(FIRST_MS + 1_000 * MINUTE_MS)
    );
}

pub(crate) fn a_tick_whose_job_is_forgotten_is_not_run_again<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put(every_minute("often"));
    lab.at(FIRST_MS);
    let job_id = lab.last("often").job_id.expect("a job");
    lab.apply(Command::Cancel { job_id }).expect("cancelled");
    lab.apply(Command::Purge { job_id }).expect("purged");
    lab.wall_ms = FIRST_MS - MINUTE_MS / 2;
    lab.step(|transitions| transitions.recount_ticks());
    lab.at(FIRST_MS);
    assert_eq!(lab.ticks(), [0; 0]);
    let last = lab.last("often");
    assert_eq!((last.tick.unix_ms(), last.job_id, last.skipped), (FIRST_MS, Some(job_id), None));
}

pub(crate) fn a_paused_schedule_lets_its_ticks_pass<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let name = || "often".try_into().expect("a name");
    lab.put(Schedule { catch_up: CatchUp::All, ..every_minute("often") });
    for _ in 0..2 {
        let (_, view) = lab.schedule(ScheduleCommand::Pause { name: name() }).expect("paused");
        assert!(view.paused && view.next_runs.is_empty());
    }
    lab.at(FIRST_MS + 3 * MINUTE_MS);
    let mut lab = lab.after_kill();
    // Put anew without a word about it, it stays paused.
    assert!(lab.put(every_minute("often")).paused);
    lab.at(FIRST_MS + 4 * MINUTE_MS);
    let (_, view) = lab.schedule(ScheduleCommand::Resume { name: name() }).expect("resumed");
    assert_eq!(view.next_runs[0].at.unix_ms(), FIRST_MS + 5 * MINUTE_MS);
    lab.at(FIRST_MS + 5 * MINUTE_MS);
    assert_eq!(lab.ticks(), [5]);
    assert!(lab.put(Schedule { paused: Some(true), ..every_minute("often") }).paused);
    assert!(!lab.put(Schedule { paused: Some(false), ..every_minute("often") }).paused);
    let unknown = lab.schedule(ScheduleCommand::Pause { name: "other".try_into().expect("a name") });
    assert_eq!(unknown.expect_err("unknown").kind(), Some(Kind::NotFound));
}

pub(crate) fn what_is_put_anew_goes_on_or_begins_again<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put(every_minute("often"));
    lab.wall_ms = FIRST_MS + 1;
    // Due already, and only its job is another: the tick is run, as the new job.
    lab.put(Schedule { job: JobTemplate::of(create("b")), ..every_minute("often") });
    lab.due_now(10);
    let job_id = lab.last("often").job_id.expect("a job");
    assert_eq!((lab.ticks(), lab.view(job_id).task.as_str()), (vec![0], "b"));
    lab.wall_ms = FIRST_MS + MINUTE_MS + 1;
    let tenth = Cron::try_from("*/10 * * * *").expect("an expression");
    let view = lab.put(Schedule { cron: tenth, ..every_minute("often") });
    lab.due_now(10);
    assert_eq!(lab.ticks(), [0], "other times are counted from when they were asked for");
    assert_eq!(view.last.expect("it is remembered").job_id, Some(job_id));
    assert_eq!(view.created_at.unix_ms(), BEGIN_MS);
}

pub(crate) fn a_tick_that_is_refused_says_why<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let held = Create { unique_key: Some("k".try_into().expect("a key")), ..create("a") };
    lab.put(Schedule { job: JobTemplate::of(held), ..every_minute("alone") });
    lab.at(FIRST_MS);
    let first = lab.last("alone").job_id.expect("a job");
    lab.at(FIRST_MS + MINUTE_MS);
    let last = lab.last("alone");
    assert_eq!((last.job_id, last.skipped.expect("a reason").reason.as_str()), (None, "unique-conflict"));
    lab.apply(Command::Cancel { job_id: first }).expect("cancelled");
    lab.at(FIRST_MS + 2 * MINUTE_MS);
    assert_eq!(lab.ticks(), [0, 2]);
    lab.settings.queue_depth_max = 1;
    lab.put(every_minute("full"));
    lab.at(FIRST_MS + 3 * MINUTE_MS);
    assert_eq!(lab.last("full").skipped.expect("a reason").reason, "queue-full");
    lab.settings.queue_depth_max = 2;
    lab.at(FIRST_MS + 4 * MINUTE_MS);
    assert_eq!(lab.last("full").skipped, None, "the next tick finds room");
}

pub(crate) fn one_is_run_by_hand_beside_its_ticks<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put(Schedule { paused: Some(true), ..every_minute("often") });
    let job_id = JobId::generate();
    let run = ScheduleCommand::Run { name: "often".try_into().expect("a name"), job_id };
    for _ in 0..2 {
        let Ok(Reply::ScheduleRun { job }) = lab.apply(Command::Schedule(run.clone())) else { panic!("not run") };
        let made_by = job.schedule.as_ref().expect("made by it");
        assert_eq!((job.job_id, made_by.name.as_str(), made_by.tick), (job_id, "often", None));
    }
    assert_eq!(lab.shown("often").last, None);
    let other = ScheduleCommand::Run { name: "other".try_into().expect("a name"), job_id };
    assert_eq!(lab.apply(Command::Schedule(other)).expect_err("unknown").kind(), Some(Kind::NotFound));
}

pub(crate) fn only_so_many_are_kept_and_listed_by_name<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let put = |number: u32| Command::Schedule(ScheduleCommand::Put(Box::new(every_minute(&format!("s{number:04}")))));
    let all: Vec<Command> = (0..SCHEDULES_MAX).map(put).collect();
    assert!(lab.apply_all(&all).iter().all(Result::is_ok));
    let refused = lab.apply(put(SCHEDULES_MAX)).expect_err("one too many");
    assert!(refused.kind() == Some(Kind::Conflict) && refused.detail.contains("which is the limit"), "{refused}");
    lab.apply(put(7)).expect("in the place of another");
    let (mut after, mut names) = (String::new(), Vec::new());
    loop {
        let page = lab.read(|reader| reader.schedules(&Tenant::default(), &after, 300)).read;
        names.extend(page.schedules.into_iter().map(|schedule| schedule.name.to_string()));
        let Some(next) = page.after else { break };
        after = next;
    }
    assert_eq!(names, (0..SCHEDULES_MAX).map(|number| format!("s{number:04}")).collect::<Vec<String>>());
    let delete = || Command::Schedule(ScheduleCommand::Delete { name: "s0007".try_into().expect("a name") });
    for expected in [true, false] {
        let reply = lab.apply(delete());
        assert!(matches!(reply, Ok(Reply::ScheduleDeleted { deleted }) if deleted == expected), "{reply:?}");
    }
    lab.apply(put(SCHEDULES_MAX)).expect("there is room again");
    // All of them are due at once.
    lab.at(FIRST_MS);
    assert_eq!(lab.ticks().len(), SCHEDULES_MAX as usize);
}

pub(crate) fn a_schedule_names_a_queue_that_is_there<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let nowhere = Create { queue: "nowhere".try_into().expect("a queue"), ..create("a") };
    let asked = Schedule { job: JobTemplate::of(nowhere), ..every_minute("often") };
    let refused = lab.schedule(ScheduleCommand::Put(Box::new(asked))).expect_err("refused");
    assert_eq!(refused.errors[0].pointer, "/job/queue");
    let listed = lab.read(|reader| reader.schedules(&Tenant::default(), "", 10)).read;
    assert!(listed.schedules.is_empty() && listed.after.is_none());
}
