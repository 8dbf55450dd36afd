//! Queues as a whole: paused, resumed, and what they hold.

use protocol::api::{Status, WaitingFor};
use protocol::ids::{Dispatch, JobId};
use protocol::job::ClaimRefusal;
use protocol::problem::Kind;
use protocol::queue::{Depth, Flow, Pause, QueueView};
use protocol::store_api::{BellFates, BellId, Change, Command, Create, QueuePause, Reply};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use store_svc::storage::{BellSeq, NewsItem, QueueNow, RungBell};

use super::{BEGIN_MS, Fixture, Lab, create, failed, heartbeat, succeeded};

impl<F: Fixture> Lab<F> {
    pub(crate) fn pause(&mut self, paused: bool) -> Pause {
        let queue = "default".try_into().expect("a queue");
        match self.apply(if paused { Command::PauseQueue { queue } } else { Command::ResumeQueue { queue } }) {
            Ok(Reply::Pause(pause)) => pause,
            other => panic!("not paused: {other:?}"),
        }
    }

    pub(crate) fn queue(&mut self) -> QueueView {
        let always = self.settings.queues.clone();
        let queues = self.read(|reader| reader.queues(&always)).read;
        assert_eq!(queues.iter().map(|queue| queue.queue.as_str()).collect::<Vec<_>>(), ["default", "reports"]);
        queues.into_iter().next().expect("the first")
    }
}

pub(crate) fn a_paused_queue_rings_nothing<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.ring();
    let first = lab.pause(true);
    assert_eq!((first.paused, first.paused_at), (true, Some(Timestamp::from_unix_ms(BEGIN_MS))));
    let created = lab.try_create(Create { wants_bell: true, ..create("a") }).expect("accepted");
    assert_eq!((created.status, created.bell), (Status::Queued, None), "it is accepted, and not rung");
    assert!(lab.ring().is_empty());
    assert_eq!(lab.view(created.job_id).waiting_for, Some(WaitingFor::QueuePaused));
    lab.wall_ms += 1;
    assert_eq!(lab.pause(true), first, "it is paused since the first time");
    assert_eq!(lab.pause(false).paused_at, None);
    assert_eq!(lab.signals.restless, ["default"], "whoever commits it rings");
    assert_eq!(lab.ring().len(), 1);
    assert_eq!(lab.view(created.job_id).waiting_for, Some(WaitingFor::Slot));
}

pub(crate) fn a_claim_refused_by_a_pause_puts_the_row_back<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let (running, waiting) = (lab.job("a"), lab.job("a"));
    lab.ring();
    let fence = lab.claim(session, running, 1);
    lab.pause(true);
    assert_eq!(lab.refused(session, waiting, 1), ClaimRefusal::QueuePaused);
    assert_eq!((lab.view(waiting).attempt, lab.queue().bells), (0, 0), "its place is free, no attempt was counted");
    assert_eq!(lab.complete(running, fence, succeeded()).1, Status::Succeeded, "what runs goes on");
    lab.pause(false);
    assert_eq!(
        lab.ring().iter().map(RungBell::id).collect::<Vec<_>>(),
        [BellId { job_id: waiting, dispatch: Dispatch(1) }]
    );
    lab.claim(session, waiting, 1);
}

pub(crate) fn pauses_are_logged_and_told<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let queue = || "default".try_into().expect("a queue");
    for paused in [true, false] {
        let head = lab.signals.head;
        lab.pause(paused);
        let pause = QueuePause { queue: "default".to_owned(), paused };
        assert_eq!(lab.signals.news, [(session, NewsItem::Pause(pause))]);
        lab.pause(paused);
        assert!(lab.signals.news.is_empty(), "nothing changed");
        let changes: Vec<Change> = lab.log(head.0).into_iter().map(|entry| entry.change).collect();
        assert_eq!(changes, [Change::Queue { queue: queue(), paused }]);
        let reply = lab.beat(heartbeat(session, &["a"])).expect("known");
        assert_eq!(reply.paused, if paused { vec!["default".to_owned()] } else { vec![] });
    }
}

pub(crate) fn a_pause_survives_a_kill<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.job("a");
    lab.pause(true);
    let mut lab = lab.after_kill();
    assert!(lab.ring().is_empty() && lab.queue().paused);
    lab.beat(heartbeat(protocol::ids::SessionId::generate(), &["b"])).expect("registered");
    assert!(lab.signals.queues.is_empty(), "nothing has changed since the first commit after the start");
    lab.pause(false);
    let mut lab = lab.after_kill();
    assert_eq!(lab.ring().len(), 1);
}

pub(crate) fn bells_of_creators_are_not_repeated_into_a_pause<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.worker(&["a"]);
    lab.ring();
    let jobs: Vec<JobId> = (0..2).map(|_| lab.create(Create { wants_bell: true, ..create("a") })).collect();
    lab.pause(true);
    let failed = BellFates { sent: vec![], ring_again: vec![BellId { job_id: jobs[0], dispatch: Dispatch(1) }] };
    lab.apply(Command::Bells(failed)).expect("noted");
    assert!(lab.signals.rung.is_empty());
    assert!(lab.step(|transitions| transitions.take_over(BellSeq(9))).is_empty());
    assert_eq!(lab.queue().bells, 0);
    lab.pause(false);
    assert_eq!(lab.ring().len(), 2);
}

pub(crate) fn queues_show_what_they_hold<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    assert_eq!(lab.queue(), QueueView { queue: "default".to_owned(), ..QueueView::default() });
    let session = lab.worker(&["a"]);
    let flows = |lab: &Lab<F>| lab.signals.flows.get("default").copied().unwrap_or_default();
    let unmatched = lab.job("nobody");
    lab.wall_ms += 1_000;
    let jobs: Vec<JobId> = (0..6).map(|_| lab.job("a")).collect();
    assert_eq!(flows(&lab), Flow { arrived: 1, ..Flow::default() });
    lab.create(Create { run_at: Some(Timestamp::from_unix_ms(lab.wall_ms + 1)), ..create("a") });
    lab.ring();
    let fence = lab.claim(session, jobs[0], 1);
    assert_eq!(flows(&lab), Flow { started: 1, ..Flow::default() });
    let queue = lab.queue();
    assert_eq!(queue.depth, Depth { scheduled: 1, queued: 6, running: 1 });
    assert_eq!(lab.signals.queues, [QueueNow { queue: "default".to_owned(), depth: queue.depth, paused: false }]);
    assert_eq!((queue.sessions, queue.slots, queue.bells), (1, 8, 3));
    let oldest = queue.oldest.expect("one waits");
    assert_eq!((oldest.job_id, oldest.created_at.unix_ms()), (unmatched, BEGIN_MS));
    lab.apply(Command::Cancel { job_id: unmatched }).expect("cancelled");
    assert_eq!(flows(&lab), Flow { cancelled: 1, ..Flow::default() });
    assert_eq!(lab.queue().oldest.map(|oldest| oldest.job_id), Some(jobs[1]), "also one whose bell is out");
    lab.complete(jobs[0], fence, failed(false));
    assert_eq!(flows(&lab), Flow { failed: 1, ..Flow::default() });
    assert_eq!(lab.queue().depth, Depth { scheduled: 1, queued: 5, running: 0 });
    lab.apply(Command::Retry { job_id: jobs[0] }).expect("retried");
    assert_eq!((flows(&lab).arrived, lab.queue().depth.queued), (1, 6));
}

pub(crate) fn a_full_queue_takes_nothing_more<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.settings.queue_depth_max = 3;
    let session = lab.worker(&["a"]);
    let first = create("a");
    let (running, cancelled) = (lab.create(first.clone()), lab.job("nobody"));
    lab.create(Create { run_at: Some(Timestamp::from_unix_ms(BEGIN_MS + 1)), ..create("a") });
    lab.ring();
    let fence = lab.claim(session, running, 1);
    let refused = |lab: &mut Lab<F>| {
        let problem = lab.try_create(create("a")).expect_err("refused");
        assert_eq!((problem.kind(), problem.retry_after()), (Some(Kind::QueueFull), Some(5)));
    };
    refused(&mut lab);
    assert!(lab.try_create(first).expect("a repeat needs no room").replayed.is_some());
    lab.create(Create { queue: "reports".try_into().expect("a queue"), ..create("a") });
    lab.apply(Command::Cancel { job_id: cancelled }).expect("cancelled");
    lab.job("a");
    refused(&mut lab);
    let retried = lab.apply(Command::Retry { job_id: cancelled }).expect_err("refused");
    assert_eq!((retried.kind(), lab.status(cancelled)), (Some(Kind::QueueFull), Status::Cancelled));
    lab.complete(running, fence, succeeded());
    lab.apply(Command::Retry { job_id: cancelled }).expect("there is room");
    let mut lab = lab.after_kill();
    refused(&mut lab);
}

pub(crate) fn depth_survives_a_kill<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let jobs: Vec<JobId> = (0..3).map(|_| lab.job("a")).collect();
    lab.ring();
    lab.claim(session, jobs[0], 1);
    let broken = lab.try_step(|transitions| {
        transitions.apply(&Tenant::default(), &Command::Create(Box::new(create("a"))))?;
        Err::<(), _>(store_svc::storage::StorageError::Internal("on purpose".to_owned()))
    });
    assert!(broken.is_err());
    let expected = Depth { scheduled: 0, queued: 2, running: 1 };
    assert_eq!(lab.queue().depth, expected);
    let mut lab = lab.after_kill();
    lab.reap(jobs[0]);
    assert_eq!(lab.queue().depth, Depth { scheduled: 0, queued: 3, running: 0 });
}

pub(crate) fn only_known_queues_are_paused<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let queue = "nowhere".try_into().expect("a queue");
    let problem = lab.apply(Command::PauseQueue { queue }).expect_err("refused");
    assert_eq!(problem.kind(), Some(Kind::NotFound));
    lab.queue();
}
