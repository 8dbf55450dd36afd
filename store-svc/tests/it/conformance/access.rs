//! API keys and the audit log: a key's life, whose it is, and that an act is recorded in the commit that does it.

use protocol::access::{Act, Audited, KeyCommand, KeyId, KeyRecord, KeyView, NewKey, Scope};
use protocol::ids::JobId;
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Command, Reply};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;
use store_svc::storage::KeyCursor;

use super::{Fixture, Lab};

fn id(number: u64) -> KeyId {
    KeyId::of(number)
}

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

pub(super) fn new(number: u64, of: &str) -> NewKey {
    NewKey {
        key_id: id(number),
        name: "a key".parse().expect("a name"),
        tenant: tenant(of),
        scopes: [Scope::Read].into_iter().collect(),
        expires_at: None,
        digest: format!("digest {number}"),
        session_of: None,
    }
}

fn rotate(number: u64, digest: &str) -> KeyCommand {
    KeyCommand::Rotate { key_id: id(number), of: None, digest: digest.to_owned(), overlap_ms: 10_000 }
}

fn revoke(number: u64) -> KeyCommand {
    KeyCommand::Revoke { key_id: id(number), of: None }
}

fn act(action: &str, of: &str) -> Act {
    Act {
        who: "00000000000000ff".to_owned(),
        tenant: tenant(of),
        action: action.to_owned(),
        target: "it".to_owned(),
        from: Some("192.0.2.1".to_owned()),
        request_id: "r-1".to_owned(),
    }
}

impl<F: Fixture> Lab<F> {
    pub(super) fn key(&mut self, command: KeyCommand) -> Result<KeyView, Problem> {
        match self.apply(Command::Key(command))? {
            Reply::Key(key) => Ok(*key),
            other => panic!("no key: {other:?}"),
        }
    }

    fn record(&mut self, number: u64) -> KeyRecord {
        self.read(|reader| reader.key(&id(number))).read.expect("it is there")
    }

    /// The actions of a tenant or of all, with their outcomes, the newest first.
    fn acts(&mut self, of: Option<&str>) -> Vec<(String, String)> {
        let of = of.map(tenant);
        let read = self.read(|reader| reader.audit(of.as_ref(), None, 100)).read;
        assert_eq!(read.before, None);
        read.entries.into_iter().map(|entry| (entry.action, entry.outcome)).collect()
    }
}

fn kind(refused: Result<KeyView, Problem>) -> Option<Kind> {
    refused.err().and_then(|problem| problem.kind())
}

pub(crate) fn a_key_is_made_once_rotated_and_revoked<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let made = lab.key(KeyCommand::Create(new(1, "acme"))).expect("made");
    assert_eq!((made.tenant.as_str(), made.revoked_at), ("acme", None));
    assert_eq!(lab.key(KeyCommand::Create(new(1, "acme"))).expect("a repeat"), made);
    let other = NewKey { digest: "other".to_owned(), ..new(1, "acme") };
    assert_eq!(kind(lab.key(KeyCommand::Create(other))), Some(Kind::Conflict));

    let rotated = lab.key(rotate(1, "new")).expect("rotated");
    assert_eq!(rotated.old_secret_until.map(Timestamp::unix_ms), Some(lab.wall_ms + 10_000));
    assert_eq!(lab.key(rotate(1, "new")).expect("a repeat"), rotated);
    let record = lab.record(1);
    assert_eq!((record.digest.as_str(), record.old_digest.as_deref()), ("new", Some("digest 1")));

    let used = Timestamp::from_unix_ms(lab.wall_ms + 5);
    for at in [used, Timestamp::from_unix_ms(1)] {
        lab.apply(Command::Key(KeyCommand::Used(vec![(id(1), at), (id(9), at)]))).expect("noted");
    }
    assert_eq!(lab.record(1).key.last_used_at, Some(used));

    let revoked = lab.key(revoke(1)).expect("revoked");
    lab.wall_ms += 1_000;
    assert_eq!(lab.key(revoke(1)).expect("a repeat"), revoked);
    assert!(!revoked.is_good(lab.wall_ms));
    assert_eq!(kind(lab.key(rotate(1, "newer"))), Some(Kind::Conflict));
    for command in [rotate(2, "a"), revoke(2)] {
        assert_eq!(kind(lab.key(command)), Some(Kind::NotFound));
    }
}

pub(crate) fn a_key_of_another_tenant_is_not_there<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.key(KeyCommand::Create(new(1, "acme"))).expect("made");
    let by = |of: &str| KeyCommand::Revoke { key_id: id(1), of: Some(tenant(of)) };
    let rotate = KeyCommand::Rotate { key_id: id(1), of: Some(tenant("beta")), digest: "a".to_owned(), overlap_ms: 0 };
    assert_eq!(kind(lab.key(by("beta"))), Some(Kind::NotFound));
    assert_eq!(kind(lab.key(rotate)), Some(Kind::NotFound));
    assert!(lab.key(by("acme")).is_ok());
}

pub(crate) fn sessions_end_with_their_key<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.key(KeyCommand::Create(new(1, "acme"))).expect("made");
    for (number, of) in [(2, id(1)), (3, id(1)), (4, id(9))] {
        let session = NewKey { session_of: Some(of.to_string()), ..new(number, "acme") };
        lab.key(KeyCommand::Create(session)).expect("begun");
    }
    assert_eq!(kind(lab.key(rotate(2, "a"))), Some(Kind::NotFound), "a session has no other secret");
    lab.key(revoke(2)).expect("logged out");
    assert_eq!(lab.record(1).key.revoked_at, None);
    lab.key(revoke(1)).expect("revoked");
    let ended = |lab: &mut Lab<F>, number| lab.record(number).key.revoked_at.is_some();
    assert!(ended(&mut lab, 3) && !ended(&mut lab, 4));
    assert_eq!(lab.read(|reader| reader.keys(None, None, 10)).read.keys.len(), 1, "sessions are not listed");
}

pub(crate) fn keys_are_listed_page_by_page<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    for number in 0..7 {
        // Of one instant, but for the last.
        lab.wall_ms += i64::from(number == 6);
        lab.key(KeyCommand::Create(new(10 - number, if number < 4 { "acme" } else { "beta" }))).expect("made");
    }
    let mut list = |of: Option<&str>| {
        let (of, mut after, mut found): (_, Option<KeyCursor>, _) = (of.map(tenant), None, Vec::new());
        loop {
            let page = lab.read(|reader| reader.keys(of.as_ref(), after.as_ref(), 2)).read;
            found.extend(page.keys.iter().map(|key| key.key_id.clone()));
            let Some(next) = page.after else { return found };
            after = KeyCursor::parse(&next.to_string());
            assert_eq!(after.as_ref(), Some(&next));
        }
    };
    let ids = |numbers: &[u64]| numbers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    assert_eq!(list(None), ids(&[5, 6, 7, 8, 9, 10, 4]));
    assert_eq!(list(Some("acme")), ids(&[7, 8, 9, 10]));
    assert_eq!(list(Some("nobody")), ids(&[]));
}

pub(crate) fn what_operators_do_is_recorded_with_it<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let audited = |action: &str, of: &str, command: Command| {
        Command::Audited(Box::new(Audited { act: act(action, of), command }))
    };
    let queue = "default".try_into().expect("a queue");
    lab.apply(audited("queue.pause", "default", Command::PauseQueue { queue })).expect("paused");
    let unknown = lab.apply(audited("job.cancel", "acme", Command::Cancel { job_id: JobId::generate() }));
    assert_eq!(unknown.err().and_then(|problem| problem.kind()), Some(Kind::NotFound));
    let refused = Some(Kind::FenceTimeout.problem());
    lab.apply(Command::Audit(Box::new((act("cache.invalidate", "acme"), refused)))).expect("noted");

    let said = |acts: &[(&str, &str)]| -> Vec<(String, String)> {
        acts.iter().map(|(action, outcome)| ((*action).to_owned(), (*outcome).to_owned())).collect()
    };
    let of_acme = said(&[("cache.invalidate", "fence-timeout"), ("job.cancel", "not-found")]);
    assert_eq!(lab.acts(Some("acme")), of_acme);
    assert_eq!(lab.acts(None), [of_acme, said(&[("queue.pause", "done")])].concat());
    let first = lab.read(|reader| reader.audit(None, None, 2)).read;
    assert_eq!((first.entries.len(), first.entries[0].from.as_deref()), (2, Some("192.0.2.1")));
    let rest = lab.read(|reader| reader.audit(None, first.before, 2)).read;
    assert_eq!((rest.entries.len(), rest.before), (1, None));
}

pub(crate) fn what_is_recorded_is_done_for_the_callers_tenant<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    lab.tenant = tenant("acme");
    let job_id = lab.job("a");
    let cancel = |of: &str| {
        let command = Command::Cancel { job_id };
        Command::Audited(Box::new(Audited { act: act("job.cancel", of), command }))
    };
    lab.tenant = tenant("globex");
    let refused = lab.apply(cancel("globex")).expect_err("refused");
    assert_eq!(refused.kind(), Some(Kind::NotFound));
    lab.tenant = tenant("acme");
    assert!(matches!(lab.apply(cancel("acme")), Ok(Reply::Cancelled { .. })));
    assert_eq!(lab.acts(Some("globex")), [("job.cancel".to_owned(), "not-found".to_owned())]);
    assert_eq!(lab.acts(Some("acme")), [("job.cancel".to_owned(), "done".to_owned())]);
}
