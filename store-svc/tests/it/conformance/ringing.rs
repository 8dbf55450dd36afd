//! The dispatch window.

use protocol::api::{Priority, WaitingFor};
use protocol::dispatch::unknown_task_wait_ms;
use protocol::ids::{Dispatch, JobId, SessionId};
use protocol::job::ClaimRefusal;
use protocol::store_api::{BellFates, BellId, Command, Create};
use store_svc::storage::{BellSeq, RungBell};

use super::{Fixture, Lab, create, heartbeat};

fn ids(bells: &[RungBell]) -> Vec<JobId> {
    bells.iter().map(|bell| bell.bell.job_id).collect()
}

fn many<F: Fixture>(lab: &mut Lab<F>, task: &str, count: usize) -> Vec<JobId> {
    let creates: Vec<Create> = (0..count).map(|_| create(task)).collect();
    let commands: Vec<Command> = creates.iter().cloned().map(|create| Command::Create(Box::new(create))).collect();
    for chunk in commands.chunks(1_000) {
        lab.apply_all(chunk);
    }
    creates.into_iter().map(|create| create.job_id).collect()
}

fn wanting(task: &str) -> Create {
    Create { wants_bell: true, ..create(task) }
}

fn mark<F: Fixture>(lab: &mut Lab<F>, fates: BellFates) {
    lab.apply(Command::Bells(fates)).expect("noted");
}

fn bell(job_id: JobId) -> BellId {
    BellId { job_id, dispatch: Dispatch(1) }
}

pub(crate) fn the_window_bounds_what_is_out<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs = many(&mut lab, "a", 20);
    let mut out = ids(&lab.ring());
    assert_eq!(out, jobs[..4]);
    for (named, job_id) in jobs.iter().enumerate() {
        assert_eq!(out.remove(0), *job_id, "oldest first");
        lab.claim(session, *job_id, 1);
        assert_eq!(lab.step(|transitions| Ok(transitions.restless())).len(), usize::from(named < 20));
        out.extend(ids(&lab.ring()));
        assert!(out.len() <= 4);
    }
    assert!(out.is_empty());
    // Without a setting it follows the slots: twice eight.
    lab.settings.window = None;
    many(&mut lab, "a", 40);
    assert_eq!(lab.ring().len(), 16);
}

pub(crate) fn high_overtakes_within_one_window<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["*"]);
    let low: Vec<Command> =
        (0..5_000).map(|_| Command::Create(Box::new(Create { priority: Priority::Low, ..create("slow") }))).collect();
    for chunk in low.chunks(1_000) {
        lab.apply_all(chunk);
    }
    let first = lab.ring();
    assert_eq!(first.len(), 4);
    let high = lab.create(Create { priority: Priority::High, wants_bell: true, ..create("urgent") });
    lab.claim(session, first[0].bell.job_id, 1);
    assert_eq!(ids(&lab.ring()), [high], "the next free place is its");
}

pub(crate) fn unknown_tasks_delay_nobody<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["known"]);
    many(&mut lab, "nobody", 1_000);
    let known = lab.create(wanting("known"));
    assert_eq!(ids(&lab.ring()), [known]);
    let unknown = lab.create(wanting("nobody"));
    assert!(lab.ring().is_empty());
    assert_eq!(lab.view(unknown).waiting_for, Some(WaitingFor::Worker));
    assert_eq!(lab.view(known).waiting_for, Some(WaitingFor::Slot));
}

pub(crate) fn a_task_that_becomes_known_is_rung_in_order<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["other"]);
    lab.ring();
    let mut jobs = Vec::new();
    // More than one step looks at, with strangers in between.
    for _ in 0..3 {
        many(&mut lab, "stranger", 900);
        jobs.extend(many(&mut lab, "late", 2));
    }
    let high = lab.create(Create { priority: Priority::High, ..create("late") });
    let session = SessionId::generate();
    lab.beat(heartbeat(session, &["late"])).expect("registered");
    // It may not overtake what waits longer, though it is known at once that somebody runs it.
    let newest = lab.try_create(wanting("late")).expect("created");
    assert_eq!(newest.bell, None);
    let expected: Vec<JobId> = [high].into_iter().chain(jobs).chain([newest.job_id]).collect();
    let mut rung = ids(&lab.ring());
    let mut named = 0;
    while named < rung.len() {
        lab.claim(session, rung[named], 1);
        named += 1;
        rung.extend(ids(&lab.ring()));
    }
    assert_eq!(rung, expected);
}

pub(crate) fn a_creator_may_ring_only_what_nothing_waits_before<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let granted = |lab: &mut Lab<F>, create: Create| lab.try_create(create).expect("created").bell.is_some();
    assert!(!granted(&mut lab, wanting("a")), "nobody is there");
    let session = lab.worker(&["a"]);
    lab.ring();
    assert!(!granted(&mut lab, create("a")), "it does not want to");
    assert!(!granted(&mut lab, wanting("a")), "another one waits before it");
    assert!(granted(&mut lab, Create { priority: Priority::High, ..wanting("a") }), "nothing waits before it");
    lab.ring();
    assert!(!granted(&mut lab, wanting("a")), "all places are taken");
    for job in lab.ring() {
        lab.claim(session, job.bell.job_id, 1);
    }
}

pub(crate) fn creators_that_say_nothing_are_taken_over<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.ring();
    let jobs: Vec<JobId> = (0..3).map(|_| lab.create(wanting("a"))).collect();
    assert_eq!(lab.signals.bells, BellSeq(3));
    mark(&mut lab, BellFates { sent: vec![bell(jobs[0])], ring_again: vec![] });
    assert_eq!(lab.read(|reader| reader.outstanding())[0].unsent, 2);
    lab.claim(session, jobs[1], 1);
    let rung = lab.step(|transitions| transitions.take_over(BellSeq(3)));
    assert_eq!(ids(&rung), [jobs[2]]);
    assert_eq!(rung[0].bell.dispatch, Dispatch(1), "ringing again repeats the number");
    assert!(lab.step(|transitions| transitions.take_over(BellSeq(9))).is_empty(), "once");
    assert_eq!(lab.read(|reader| reader.outstanding())[0].count, 2);
}

pub(crate) fn creators_that_failed_are_helped_at_once<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    lab.ring();
    let (first, second) = (lab.create(wanting("a")), lab.create(wanting("a")));
    lab.claim(session, second, 1);
    mark(&mut lab, BellFates { sent: vec![], ring_again: vec![bell(first), bell(second), bell(JobId::generate())] });
    assert_eq!(ids(&lab.signals.rung), [first]);
    assert_eq!(lab.read(|reader| reader.outstanding())[0].count, 1);
}

pub(crate) fn lost_bells_are_rung_again<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs = many(&mut lab, "a", 5);
    lab.ring();
    // A later one was named by a claim: what was rung before it is not in the queue any more.
    lab.claim(session, jobs[2], 1);
    let lost = lab.step(|transitions| transitions.lose_bells("default", BellSeq(4), false));
    assert_eq!(lost, 2);
    let rung = lab.ring();
    assert_eq!(ids(&rung), [jobs[0], jobs[1], jobs[4]]);
    assert_eq!(rung[0].bell.dispatch, Dispatch(1), "ringing again repeats the number");
    // The queue is empty: all that is old enough is lost.
    let lost = lab.step(|transitions| transitions.lose_bells("default", BellSeq(5), true));
    assert_eq!(lost, 2);
    assert_eq!(ids(&lab.ring()), [jobs[0], jobs[3]]);
    assert_eq!(lab.claim(session, jobs[0], 1).0, 1, "whichever copy comes first wins");
    assert_eq!(lab.refused(session, jobs[0], 1), ClaimRefusal::NotQueued);
}

pub(crate) fn bells_that_may_still_be_there_are_not_lost<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs = many(&mut lab, "a", 4);
    lab.ring();
    assert_eq!(lab.step(|transitions| transitions.lose_bells("default", BellSeq(4), false)), 0);
    lab.claim(session, jobs[1], 1);
    assert_eq!(lab.step(|transitions| transitions.lose_bells("default", BellSeq(0), true)), 0, "none is old enough");
    let mut lab = lab.after_kill();
    assert_eq!(lab.step(|transitions| transitions.lose_bells("default", BellSeq(4), false)), 1);
    assert_eq!(lab.read(|reader| reader.outstanding())[0].claimed_through, BellSeq(2));
}

pub(crate) fn an_unknown_task_waits_longer_each_time<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let narrow = lab.worker(&["other"]);
    let wide = lab.worker(&["a"]);
    let job_id = lab.job("a");
    for refusals in 1..=19 {
        let wait_ms = unknown_task_wait_ms(refusals).cast_signed();
        assert_eq!(ids(&lab.ring()), [job_id]);
        assert_eq!(lab.refused(narrow, job_id, 1), ClaimRefusal::UnknownTask);
        assert_eq!(lab.signals.due_ms, Some(lab.wall_ms + wait_ms));
        assert!(lab.ring().is_empty());
        lab.wall_ms += wait_ms - 1;
        lab.step(|transitions| transitions.due(10));
        assert!(lab.ring().is_empty());
        lab.wall_ms += 1;
        lab.step(|transitions| transitions.due(10));
    }
    lab.ring();
    assert_eq!(lab.view(job_id).attempt, 0);
    lab.claim(wide, job_id, 1);
}

pub(crate) fn a_wider_session_ends_the_wait_for_it<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let narrow = lab.worker(&["other"]);
    lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    lab.refused(narrow, job_id, 1);
    assert!(lab.ring().is_empty());
    lab.beat(heartbeat(narrow, &["other", "a"])).expect("widened");
    assert!(lab.ring().is_empty(), "the queue knows no more tasks than before");
    lab.worker(&["a*"]);
    assert_eq!(ids(&lab.ring()), [job_id]);
}

pub(crate) fn unsent_bells_give_their_places_back<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    let jobs = many(&mut lab, "a", 6);
    let bells: Vec<BellId> = lab.ring().iter().map(RungBell::id).collect();
    lab.step(|transitions| transitions.unring(&bells));
    assert_eq!(ids(&lab.ring()), jobs[..4]);
}

pub(crate) fn an_empty_broker_frees_all_places<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs = many(&mut lab, "a", 6);
    lab.ring();
    lab.claim(session, jobs[0], 1);
    let mut lab = lab.after_kill();
    lab.step(|transitions| transitions.forget_bells());
    assert!(lab.read(|reader| reader.outstanding()).is_empty());
    assert_eq!(ids(&lab.ring()), jobs[1..5]);
}

pub(crate) fn tasks_that_are_forgotten_lie_apart<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    many(&mut lab, "a", 1_000);
    let first = ids(&lab.ring());
    lab.apply(Command::EndSession { session }).expect("ended");
    let other = lab.worker(&["b"]);
    for job_id in &first {
        assert_eq!(lab.refused(other, *job_id, 1), ClaimRefusal::UnknownTask);
    }
    let job_id = lab.create(wanting("b"));
    assert_eq!(ids(&lab.ring()), [job_id]);
    lab.worker(&["a"]);
    assert_eq!(ids(&lab.ring()), first[..3]);
}
