//! Loads that an invalidation overtakes: at a gateway (R1), in the shared cache (R2), of a key that is not there (R11), by tag, prefix or
//! everything (R12), and for longer than the sequencer remembers (R17).

use protocol::envelope::Covered;
use protocol::invalidation::sequencer::Settings;
use serde_json::{Value, json};

use crate::cores::{Cores, LEASE_MS, tag};
use crate::gate::Held;
use crate::system::{System, Told};

/// One gateway, and a key that nobody has read yet.
async fn unread(key: &str) -> System {
    let system = System::start().await;
    system.change(key, 1);
    system
}

/// A load has read 1; then 2 is written and acknowledged; then the load brings its 1, to the gateway and to its near cache.
#[tokio::test]
async fn r01_fill_that_began_before_an_invalidation_is_never_served() {
    let system = unread("a").await;
    let held = system.cache.hold_answers("/read/a");
    let overtaking = async {
        held.caught(1).await;
        system.put("a", 2).await;
        held.release();
    };
    let (old, ()) = tokio::join!(system.data(0, "a"), overtaking);
    assert_eq!(old, json!(1), "its request began before the acknowledgement");
    for _ in 0..3 {
        assert_eq!(system.data(0, "a").await, json!(2), "and left nothing behind");
    }
    assert!(system.get(0, "a").await.is_near(), "the key is cached again");
}

/// A load has read 1 and is still under way when 2 is written and acknowledged; who asks then does not wait for it.
#[tokio::test]
async fn r01_request_after_an_invalidation_joins_no_earlier_load() {
    let system = unread("a").await;
    let held = system.cache.hold_answers("/read/a");
    let overtaking = async {
        held.caught(1).await;
        system.put("a", 2).await;
        joins_none(&system, "a", held, || system.cache.asked("/read/a")).await;
    };
    let (old, ()) = tokio::join!(system.data(0, "a"), overtaking);
    assert_eq!(old, json!(1));
}

/// A request beside the load that is held gets 2, by a load of its own.
async fn joins_none(system: &System, key: &str, held: Held, loads: impl Fn() -> usize) {
    held.let_others_pass();
    assert_eq!(system.data(0, key).await, json!(2));
    assert_eq!(loads(), 2, "it has begun a load of its own");
    held.release();
}

/// The shared cache's load has read 1; then 2 is written and acknowledged; then the load brings its 1.
#[tokio::test]
async fn r02_load_that_an_invalidation_overtook_poisons_no_shared_cache() {
    let system = unread("a").await;
    let held = system.store.hold_answers("/data/a");
    let overtaking = async {
        held.caught(1).await;
        system.put("a", 2).await;
        held.release();
    };
    let ((old, _), ()) = tokio::join!(system.shared("a"), overtaking);
    assert_eq!(old, json!(1));
    assert_eq!(system.shared("a").await, (json!(2), "store".to_owned()), "nothing older is held");
    assert_eq!(system.shared("a").await, (json!(2), "shared".to_owned()), "and the next load is");
}

/// As before, but the load is still under way when the next gateway asks.
#[tokio::test]
async fn r02_reader_after_an_invalidation_joins_no_earlier_load_of_the_shared_cache() {
    let system = unread("a").await;
    let held = system.store.hold_answers("/data/a");
    let overtaking = async {
        held.caught(1).await;
        system.put("a", 2).await;
        held.let_others_pass();
        assert_eq!(system.shared("a").await, (json!(2), "store".to_owned()));
        assert_eq!(system.store.asked("/data/a"), 2);
        held.release();
    };
    let ((old, _), ()) = tokio::join!(system.shared("a"), overtaking);
    assert_eq!(old, json!(1));
}

fn is_absent(told: &Told) -> bool {
    told.status == 404
}

/// Both caches are about to keep that there is no such key when it is created and acknowledged.
#[tokio::test]
async fn r11_absence_that_was_overtaken_by_a_write_is_never_served() {
    let system = System::start().await;
    let held = system.store.hold_answers("/data/new");
    let overtaking = async {
        held.caught(1).await;
        system.put("new", 2).await;
        held.release();
    };
    let (old, ()) = tokio::join!(system.get(0, "new"), overtaking);
    assert!(is_absent(&old), "its request began before the acknowledgement: {old:?}");
    for _ in 0..3 {
        assert_eq!(system.data(0, "new").await, json!(2));
    }
}

/// A key is absent in both caches, and then it is not; and the other way round.
#[tokio::test]
async fn r11_absence_is_held_and_invalidated_like_a_value() {
    let system = System::start().await;
    for _ in 0..3 {
        assert!(is_absent(&system.get(0, "new").await));
    }
    assert_eq!(system.store.asked("/data/new"), 1, "random keys do not all reach the store");
    system.put("new", 1).await;
    assert_eq!(system.data(0, "new").await, json!(1));
}

/// A load fails; what it says of the key is nothing, and nothing of it is kept.
#[tokio::test]
async fn r11_failed_load_is_not_kept_as_absence() {
    let system = unread("a").await;
    let refused = system.store.refuse("/data/a");
    let told = system.get(0, "a").await;
    assert_eq!(told.status, 503, "{told:?}");
    refused.release();
    assert_eq!(system.data(0, "a").await, json!(1));
}

/// A load is under way in both tiers when everything below a prefix, or everything, is invalidated.
#[tokio::test]
async fn r12_prefix_and_everything_overtake_a_load_under_way() {
    for form in [json!({"prefix": "user-"}), json!({"all": true}), json!({"keys": ["other"], "prefix": "user"})] {
        overtaken(form).await;
    }
}

async fn overtaken(form: Value) {
    let system = unread("user-1").await;
    let held = system.store.hold_answers("/data/user-1");
    let overtaking = async {
        held.caught(1).await;
        system.change("user-1", 2);
        system.invalidate(form).await;
        joins_none(&system, "user-1", held, || system.store.asked("/data/user-1")).await;
    };
    let (old, ()) = tokio::join!(system.data(0, "user-1"), overtaking);
    assert_eq!(old, json!(1));
    for _ in 0..3 {
        assert_eq!(system.data(0, "user-1").await, json!(2));
    }
    assert_eq!(system.shared("user-1").await, (json!(2), "shared".to_owned()));
}

/// A tag is invalidated while a load is under way: which tags its value has is known only when it ends.
#[test]
fn r12_tag_overtakes_a_load_whose_tags_are_not_known_yet() {
    let mut cores = Cores::new();
    cores.renew(0);
    let (near, shared) = (cores.generations.now(), cores.sequencer.begin_load(0).expect("it is the sequencer"));
    let key = cores.generations.key_stripe("a");
    cores.issue(tag("t"), 10);
    cores.renew(10);
    assert!(!cores.generations.may_join(near, key, true), "it may turn out to have the tag");
    assert!(!cores.sequencer.may_join(shared, "a"));
    let [t, u] = ["t", "u"].map(|name| cores.generations.tag_stripe(name));
    assert!(!cores.generations.is_current(near, key, &[u, t]));
    assert!(cores.generations.is_current(near, key, &[u]), "one that ends without it is as good as before");
    let tags = ["u", "t"].map(str::to_owned);
    assert!(!cores.sequencer.may_keep(shared, "a", &tags));
    assert!(cores.sequencer.may_keep(shared, "a", &tags[..1]));
}

/// While a load is under way so much is invalidated that the sequencer no longer knows what it was.
#[test]
fn r17_load_older_than_what_is_remembered_is_not_kept() {
    let mut cores = Cores::set_to(Settings { ring_names_max: 4, ..Settings::with_lease(LEASE_MS) });
    let load = cores.sequencer.begin_load(0).expect("it is the sequencer");
    cores.issue(Covered::key("a"), 1);
    assert!(!cores.sequencer.may_keep(load, "a", &[]));
    for other in ["b", "c"] {
        assert!(cores.sequencer.may_keep(load, "other", &[]), "so far it is known what was invalidated");
        cores.issue(Covered::key(other), 2);
    }
    for key in ["a", "other"] {
        assert!(!cores.sequencer.may_keep(load, key, &[]), "{key}: a might be among what was forgotten");
        assert!(!cores.sequencer.may_join(load, key));
    }
    let later = cores.sequencer.begin_load(3).expect("it is the sequencer");
    assert!(cores.sequencer.may_keep(later, "a", &[]));
}
