//! Webhooks: each end of a run is noted for whoever wants to know, and sent by one until it is delivered or given up.

use protocol::ids::{DeliveryId, JobId};
use protocol::key::WebhookName;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Reply};
use protocol::time::Timestamp;
use protocol::webhook::{
    DeliveryStatus, DeliveryView, EventType, Filter, LastAttempt, OVERLAP_MS, ResendMany, Resent, Secret, WEBHOOKS_MAX,
    Webhook, WebhookCommand, WebhookReply, WebhookView, delivery_of,
};
use store_svc::storage::{DeliveriesQuery, Room, Sending, Sent, Told};

use super::{BEGIN_MS, Fixture, Lab, failed, succeeded};

const HOUR_MS: i64 = 3_600_000;
const LEASE_MS: u64 = 30_000;
/// The wait after the first failure is half of this, at least.
const BASE_MS: i64 = 5_000;

pub(crate) fn webhook(name: &str, filter: Filter) -> Webhook {
    Webhook {
        name: name.try_into().expect("a name"),
        url: "https://receiver.example/".to_owned(),
        filter,
        secret: None,
        made: Secret::of([1; 32]),
    }
}

fn name(name: &str) -> WebhookName {
    name.try_into().expect("a name")
}

impl<F: Fixture> Lab<F> {
    fn webhook(&mut self, command: WebhookCommand) -> Result<WebhookReply, Problem> {
        match self.apply(Command::Webhook(command))? {
            Reply::Webhook(reply) => Ok(reply),
            other => panic!("not about a webhook: {other:?}"),
        }
    }

    pub(crate) fn put_webhook(&mut self, webhook: Webhook) -> (bool, WebhookView) {
        match self.webhook(WebhookCommand::Put(Box::new(webhook))) {
            Ok(WebhookReply::Webhook { created, webhook }) => (created, *webhook),
            other => panic!("not put: {other:?}"),
        }
    }

    fn told_webhook(&mut self, command: WebhookCommand) -> WebhookView {
        match self.webhook(command) {
            Ok(WebhookReply::Webhook { webhook, .. }) => *webhook,
            other => panic!("no webhook: {other:?}"),
        }
    }

    fn shown_webhook(&mut self, of: &str) -> Option<WebhookView> {
        let (of, now_ms) = (name(of), self.wall_ms);
        self.read(|reader| reader.webhook(&of, now_ms)).read
    }

    pub(crate) fn deliveries(&mut self, of: &str) -> Vec<DeliveryView> {
        let query = DeliveriesQuery { name: name(of), status: None, before: i64::MAX, limit: 1_000 };
        self.read(|reader| reader.deliveries(&query)).read.map(|page| page.deliveries).unwrap_or_default()
    }

    /// A job of this task that ends so.
    fn ends(&mut self, task: &str, well: bool) -> JobId {
        let session = self.worker(&[task]);
        let job_id = self.job(task);
        self.ring();
        let fence = self.claim(session, job_id, 1);
        self.complete(job_id, fence, if well { succeeded() } else { failed(false) });
        job_id
    }

    /// What is due, at most so many of each webhook.
    fn take(&mut self, free: u32) -> Vec<Sending> {
        let due = self.read(|reader| reader.deliveries_due());
        let rooms: Vec<Room> = due.into_iter().map(|(webhook, _)| Room { webhook, free }).collect();
        self.step(|transitions| transitions.take_deliveries(&rooms, LEASE_MS))
    }

    fn sent(&mut self, sending: &Sending, told: Told) {
        let Sending { webhook, position, attempt, .. } = *sending;
        let last = LastAttempt { at: Timestamp::from_unix_ms(self.wall_ms), http_status: Some(500), error: None };
        let sent = Sent { webhook, position, attempt, told, last };
        self.step(|transitions| transitions.sent(&sent));
    }

    fn resent(&mut self, of: &str, since: i64, status: DeliveryStatus) -> Resent {
        let resend = ResendMany { since: Timestamp::from_unix_ms(since), status };
        match self.webhook(WebhookCommand::ResendMany { name: name(of), resend }) {
            Ok(WebhookReply::Resent(resent)) => resent,
            other => panic!("not sent again: {other:?}"),
        }
    }
}

const FAILED: Told = Told::Failed { asked_ms: None };

pub(crate) fn each_end_is_noted_for_whoever_wants_to_know<F: Fixture>() {
    use EventType::{JobCancelled, JobFailed, JobSucceeded};
    let mut lab = Lab::<F>::new();
    lab.ends("early", true);
    let (created, view) = lab.put_webhook(webhook("all", Filter::default()));
    assert!(created && view.disabled.is_none() && view.secrets == 1);
    assert_eq!(view.secret, Some(Secret::of([1; 32])));
    let tasks = vec!["report_*".to_owned().try_into().expect("a pattern")];
    lab.put_webhook(webhook("reports", Filter { tasks, ..Filter::default() }));
    lab.put_webhook(webhook("failures", Filter { events: vec![JobFailed], ..Filter::default() }));
    let (well, badly) = (lab.ends("report_1", true), lab.ends("other", false));
    assert!(lab.signals.deliveries);
    let cancelled = lab.job("other");
    lab.apply(Command::Cancel { job_id: cancelled }).expect("cancelled");
    let noted = |lab: &mut Lab<F>, of: &str| -> Vec<(JobId, EventType)> {
        lab.deliveries(of).iter().map(|delivery| (delivery.job_id, delivery.kind)).collect()
    };
    assert_eq!(noted(&mut lab, "all"), [(cancelled, JobCancelled), (badly, JobFailed), (well, JobSucceeded)]);
    assert_eq!(noted(&mut lab, "reports"), [(well, JobSucceeded)]);
    assert_eq!(noted(&mut lab, "failures"), [(badly, JobFailed)]);
    // The next run of a job ends with an event of its own; a failed attempt is no end.
    lab.apply(Command::Retry { job_id: badly }).expect("opened");
    lab.apply(Command::Cancel { job_id: badly }).expect("cancelled");
    assert_eq!(noted(&mut lab, "all")[0], (badly, JobCancelled));
    assert_eq!(lab.deliveries("all")[0].run, 2);
    let taken = lab.take(100);
    assert_eq!(taken.len(), 6);
    let sending = taken.iter().find(|sending| sending.name.as_str() == "reports").expect("one of it");
    assert_eq!(sending.delivery, delivery_of(sending.webhook, well, 1));
    let event: serde_json::Value = serde_json::from_str(&sending.body).expect("JSON");
    assert_eq!(event["type"], "job.succeeded");
    assert_eq!(event["data"]["job"]["status"], "succeeded");
    assert_eq!(event["data"]["job"]["job_id"], well.to_string());
    assert_eq!(event["timestamp"], event["data"]["job"]["finished_at"]);
}

pub(crate) fn an_event_is_sent_by_one_until_it_is_delivered<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    for _ in 0..3 {
        lab.ends("a", true);
    }
    let first = lab.take(2);
    assert_eq!(first.len(), 2, "as many as there is room for");
    let second = lab.take(2);
    assert_eq!(second.len(), 1, "nobody takes what another one sends");
    assert_eq!(lab.take(2).len(), 0);
    lab.sent(&first[0], Told::Delivered);
    lab.sent(&second[0], FAILED);
    let states =
        |lab: &mut Lab<F>| lab.deliveries("all").iter().map(|one| (one.status, one.attempts)).collect::<Vec<_>>();
    use DeliveryStatus::{Delivered, Pending};
    assert_eq!(states(&mut lab), [(Pending, 1), (Pending, 1), (Delivered, 1)]);
    lab.wall_ms += BASE_MS / 2 - 1;
    assert_eq!(lab.take(9).len(), 0, "who failed gets a while");
    lab.wall_ms += BASE_MS / 2 + 1;
    let again = lab.take(9);
    assert_eq!((again.len(), again[0].delivery, again[0].attempt), (1, second[0].delivery, 2));
    // Whoever sent the other one has died.
    let mut lab = lab.after_kill();
    lab.wall_ms += LEASE_MS.cast_signed();
    let taken = lab.take(9);
    assert_eq!(taken.len(), 2);
    let lost = taken.iter().find(|sending| sending.delivery == first[1].delivery).expect("it is sent again");
    assert_eq!(lost.attempt, 2);
    // He was only slow: that he failed does not matter any more, that he was heard does.
    lab.sent(&first[1], FAILED);
    assert_eq!(lab.deliveries("all")[1].attempts, 2);
    lab.sent(&first[1], Told::Delivered);
    lab.sent(lost, FAILED);
    assert_eq!(lab.deliveries("all")[1].status, Delivered);
}

pub(crate) fn what_nobody_takes_is_given_up_and_may_be_sent_again<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    lab.ends("a", true);
    let mut attempts = 0;
    while lab.deliveries("all")[0].status == DeliveryStatus::Pending {
        for sending in lab.take(9) {
            lab.sent(&sending, FAILED);
            attempts += 1;
        }
        let next = lab.deliveries("all")[0].next_attempt_at;
        lab.wall_ms = next.map_or(lab.wall_ms, Timestamp::unix_ms);
    }
    // 5 s, 10 s, … 1 h, each at least halved, for a day.
    assert!((25..70).contains(&attempts), "{attempts}");
    assert!(lab.wall_ms - BEGIN_MS >= 24 * HOUR_MS && lab.wall_ms - BEGIN_MS < 26 * HOUR_MS);
    let given_up = lab.deliveries("all").remove(0);
    assert_eq!((given_up.status, given_up.next_attempt_at), (DeliveryStatus::Failed, None));
    assert_eq!(given_up.last.expect("an attempt").http_status, Some(500));
    lab.ends("a", true);
    for sending in lab.take(9) {
        lab.sent(&sending, Told::Delivered);
    }
    let expected = |resent| Resent { resent, more: false };
    assert_eq!(lab.resent("all", BEGIN_MS + HOUR_MS, DeliveryStatus::Failed), expected(0), "it is older");
    assert_eq!(lab.resent("all", BEGIN_MS, DeliveryStatus::Failed), expected(1));
    assert_eq!(lab.resent("all", BEGIN_MS, DeliveryStatus::Failed), expected(0));
    assert_eq!(lab.resent("all", BEGIN_MS, DeliveryStatus::Delivered), expected(1));
    let again = lab.take(9);
    assert_eq!(again.len(), 2);
    assert!(again.iter().any(|sending| sending.delivery == given_up.delivery_id && sending.attempt == 1));
    for sending in &again {
        lab.sent(sending, Told::Delivered);
    }
    let one = WebhookCommand::Resend { name: name("all"), delivery: given_up.delivery_id };
    let WebhookReply::Delivery(view) = lab.webhook(one).expect("known") else { panic!("a delivery") };
    assert_eq!((view.status, view.attempts), (DeliveryStatus::Pending, 0));
    assert_eq!(lab.take(9).len(), 1);
    let unknown = WebhookCommand::Resend { name: name("all"), delivery: DeliveryId::generate() };
    assert_eq!(lab.webhook(unknown).expect_err("unknown").kind(), Some(Kind::NotFound));
}

pub(crate) fn who_is_gone_is_told_nothing_more<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    lab.ends("a", true);
    lab.ends("a", true);
    let first = lab.take(1);
    lab.sent(&first[0], Told::Gone);
    let view = lab.shown_webhook("all").expect("it is there");
    assert_eq!(view.disabled.expect("disabled").reason, "its receiver answered 410 Gone");
    assert_eq!(view.pending, 1);
    lab.ends("a", true);
    assert_eq!(lab.deliveries("all").len(), 2, "nothing new is noted");
    assert!(lab.read(|reader| reader.deliveries_due()).is_empty());
    let view = lab.told_webhook(WebhookCommand::Enable { name: name("all") });
    assert_eq!(view.disabled, None);
    assert_eq!(lab.take(9).len(), 1, "what waited goes on");
    lab.ends("a", true);
    assert_eq!(lab.deliveries("all").len(), 3);
    let view = lab.told_webhook(WebhookCommand::Disable { name: name("all") });
    assert_eq!(view.disabled.expect("disabled").reason, "by an operator");
    // An event for what is disabled after it was taken keeps its place.
    lab.wall_ms += HOUR_MS;
    assert_eq!(lab.take(9).len(), 0);
}

pub(crate) fn a_deleted_webhook_is_forgotten_with_its_events<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    lab.put_webhook(webhook("other", Filter::default()));
    for _ in 0..5 {
        lab.ends("a", true);
    }
    let deleted = |lab: &mut Lab<F>| match lab.webhook(WebhookCommand::Delete { name: name("all") }) {
        Ok(WebhookReply::Deleted { deleted }) => deleted,
        other => panic!("not deleted: {other:?}"),
    };
    assert!(deleted(&mut lab));
    assert!(!deleted(&mut lab));
    assert!(lab.shown_webhook("all").is_none());
    assert_eq!(lab.read(|reader| reader.deliveries_due()).len(), 1);
    let (created, _) = lab.put_webhook(webhook("all", Filter::default()));
    assert!(created, "its name is free at once");
    assert!(lab.deliveries("all").is_empty());
    let mut steps = 0;
    while lab.step(|transitions| transitions.trim_deliveries(0, 2)) {
        steps += 1;
    }
    assert!(steps >= 2, "{steps}");
    assert_eq!(lab.deliveries("other").len(), 5);
    // What has ended is kept for a while, what is pending until it ends.
    let taken = lab.take(2);
    for sending in &taken {
        lab.sent(sending, Told::Delivered);
    }
    let now_ms = lab.wall_ms;
    assert!(!lab.step(|transitions| transitions.trim_deliveries(now_ms, 100)));
    assert_eq!(lab.deliveries("other").len(), 5);
    lab.step(|transitions| transitions.trim_deliveries(now_ms + 1, 100));
    assert_eq!(lab.deliveries("other").len(), 3);
}

pub(crate) fn secrets_overlap_when_they_are_rotated<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    let (created, view) =
        lab.put_webhook(Webhook { url: "https://other.example/".to_owned(), ..webhook("all", Filter::default()) });
    assert!(!created && view.secret.is_none() && view.url == "https://other.example/");
    let rotate =
        |byte: u8, overlap_ms| WebhookCommand::Rotate { name: name("all"), secret: Secret::of([byte; 32]), overlap_ms };
    let view = lab.told_webhook(rotate(2, OVERLAP_MS));
    assert_eq!((view.secret, view.secrets), (Some(Secret::of([2; 32])), 2));
    assert_eq!(lab.told_webhook(rotate(2, OVERLAP_MS)).secrets, 2, "the answer to the first request was lost");
    lab.ends("a", true);
    assert_eq!(lab.take(1)[0].secrets, [2, 1].map(|byte| Secret::of([byte; 32])));
    assert_eq!(lab.shown_webhook("all").expect("there").secret, None);
    lab.wall_ms += OVERLAP_MS.cast_signed();
    assert_eq!(lab.take(1)[0].secrets, [Secret::of([2; 32])]);
    assert_eq!(lab.told_webhook(rotate(3, 0)).secrets, 1, "one that was stolen signs no more");
}

pub(crate) fn webhooks_are_bounded_listed_and_not_private<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    for number in 0..WEBHOOKS_MAX {
        lab.put_webhook(webhook(&format!("w-{number:02}"), Filter::default()));
    }
    let put = |webhook| WebhookCommand::Put(Box::new(webhook));
    let refused = lab.webhook(put(webhook("more", Filter::default()))).expect_err("too many");
    assert_eq!(refused.kind(), Some(Kind::Conflict));
    lab.put_webhook(webhook("w-00", Filter::default()));
    let private = Webhook { url: "http://[::ffff:10.0.0.1]/".to_owned(), ..webhook("w-00", Filter::default()) };
    let refused = lab.webhook(put(private)).expect_err("a private address");
    assert_eq!((refused.kind(), refused.errors[0].pointer.as_str()), (Some(Kind::Invalid), "/url"));
    let now_ms = lab.wall_ms;
    let page = lab.read(|reader| reader.webhooks("w-09", 3, now_ms)).read;
    let names: Vec<&str> = page.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    assert_eq!((names, page.after.as_deref()), (vec!["w-10", "w-11", "w-12"], Some("w-12")));
    let last = lab.read(|reader| reader.webhooks("w-61", 9, now_ms)).read;
    assert_eq!((last.webhooks.len(), last.after), (2, None));
    for unknown in [WebhookCommand::Enable { name: name("x") }, WebhookCommand::Disable { name: name("x") }] {
        assert_eq!(lab.webhook(unknown).expect_err("unknown").kind(), Some(Kind::NotFound));
    }
}

pub(crate) fn a_page_of_events_follows_the_other<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    let mut jobs: Vec<JobId> = (0..5).map(|_| lab.ends("a", true)).collect();
    jobs.reverse();
    let sending = lab.take(1);
    lab.sent(&sending[0], Told::Delivered);
    let mut page = |status, before, limit| {
        let query = DeliveriesQuery { name: name("all"), status, before, limit };
        let page = lab.read(|reader| reader.deliveries(&query)).read.expect("known");
        (page.deliveries.iter().map(|delivery| delivery.job_id).collect::<Vec<_>>(), page.before)
    };
    let (first, before) = page(None, i64::MAX, 2);
    let (second, end) = page(None, before.expect("more"), 3);
    assert_eq!(([first, second].concat(), end), (jobs.clone(), None));
    assert_eq!(page(Some(DeliveryStatus::Delivered), i64::MAX, 9), (vec![jobs[4]], None));
    assert_eq!(page(Some(DeliveryStatus::Pending), i64::MAX, 3).0, jobs[..3]);
    let absent = DeliveriesQuery { name: name("x"), status: None, before: i64::MAX, limit: 1 };
    assert!(lab.read(|reader| reader.deliveries(&absent)).read.is_none());
}

/// A job that its worker handed to somebody who reports over HTTP.
pub(crate) fn a_job_that_was_handed_over_is_no_sessions<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let job_id = lab.job("a");
    lab.ring();
    let fence = lab.claim(session, job_id, 1);
    let lease = protocol::store_api::JobFence { job_id, fence };
    let before = lab.read(|reader| reader.leases())[0].renewal;
    use protocol::job::Settled;
    let hand_over = |lab: &mut Lab<F>| match lab.apply(Command::HandOver(lease)) {
        Ok(Reply::Settled { settled, .. }) => settled,
        other => panic!("not handed over: {other:?}"),
    };
    assert_eq!(hand_over(&mut lab), Settled::Recorded);
    assert!(lab.read(|reader| reader.leases())[0].renewal > before, "its lease begins anew");
    let workers = lab.read(|reader| reader.workers()).read.workers;
    assert_eq!(workers[0].busy, 0, "its slot is free");
    // What the new owner says does not keep the worker's session alive.
    let sessions = lab.read(|reader| reader.sessions());
    let held = protocol::store_api::Held { job_id, fence, progress: None };
    lab.apply(Command::Renew(held)).expect("renewed");
    assert_eq!(lab.read(|reader| reader.sessions()), sessions);
    lab.complete(job_id, fence, succeeded());
    assert_eq!(hand_over(&mut lab), Settled::AlreadyRecorded);
    let late = protocol::store_api::JobFence { job_id, fence: protocol::ids::Fence(99) };
    let reply = lab.apply(Command::HandOver(late)).expect("an answer");
    assert!(matches!(reply, Reply::Settled { settled: Settled::Refused, .. }), "{reply:?}");
}

pub(crate) fn a_wait_that_was_asked_for_is_kept<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let session = lab.worker(&["a"]);
    let mut waits = |asked_ms: Option<u64>| {
        let job_id = lab.job("a");
        lab.ring();
        let fence = lab.claim(session, job_id, 1);
        let protocol::store_api::Outcome::Failed { error, .. } = failed(true) else { panic!("a failure") };
        let outcome = protocol::store_api::Outcome::Failed { error, may_retry: true, retry_after_ms: asked_ms };
        lab.complete(job_id, fence, outcome);
        lab.view(job_id).run_at.expect("scheduled").unix_ms() - BEGIN_MS
    };
    assert!(waits(None) <= 1_000);
    assert_eq!(waits(Some(30_000)), 30_000);
    assert_eq!(waits(Some(u64::MAX)), HOUR_MS, "within its bound");
}

pub(crate) fn an_event_names_the_tenant_of_its_job<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.put_webhook(webhook("all", Filter::default()));
    let mut named = |tenant: &str| {
        lab.tenant = tenant.parse().expect("a tenant");
        let job_id = lab.ends("a", true);
        let sending = lab.take(10).pop().expect("it is told");
        let body: serde_json::Value = serde_json::from_str(&sending.body).expect("json");
        assert_eq!(body["data"]["job"]["job_id"], job_id.to_string());
        body["data"].get("tenant").cloned()
    };
    assert_eq!(named("default"), None, "as where there are no tenants");
    assert_eq!(named("acme"), Some("acme".into()));
}
