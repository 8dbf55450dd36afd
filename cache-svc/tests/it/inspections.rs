//! What is held where, and the auditor that looks whether an acknowledged invalidation is kept.

use chassis::testing::wait_until;
use protocol::cache_api::Source;
use protocol::ids::Seq;
use protocol::inspection::{
    GenerationsView, Inspected, InspectionAnswer, InspectionRequest, LeaseView, NearHeld, NearView,
};
use protocol::invalidation::sequencer::LoadMark;
use serde_json::{Value, json};

use crate::cache::{Holder, SOON, TestCache};
use crate::store::ScriptedStore;

async fn seated() -> (ScriptedStore, TestCache, Holder) {
    let store = ScriptedStore::start().await;
    let cache = TestCache::seated(&store).await;
    let holder = Holder::of(&cache).await;
    (store, cache, holder)
}

/// A gateway that holds a key, loaded under this number.
fn view(holder: &Holder, seq: u64, would_serve: bool) -> NearView {
    let term = holder.term.expect("it has its lease");
    let held = NearHeld {
        would_serve,
        current: would_serve,
        expired: false,
        absent: false,
        version: None,
        read_at: None,
        mark: Some(LoadMark { term, seq: Seq(seq) }),
        loaded_from: Source::Store,
        tags: 0,
        age_ms: 1,
        generations: GenerationsView { now: 0, loaded: 0, key: 0, all: 0 },
    };
    let lease = LeaseView { valid: true, remaining_ms: 1_000, term: Some(term), applied: holder.applied };
    NearView { gateway: "gateway-0".to_owned(), lease, held: Some(held) }
}

/// Waits until the holder is asked, and answers.
async fn answer(cache: &TestCache, holder: &Holder, view: &NearView) -> String {
    let ask = async |answers: Vec<Inspected>, wait_ms: u64| {
        let request = InspectionRequest { holder: holder.id, answers, wait_ms };
        let told = cache.post("/inspections", json!(request)).await;
        let answer: InspectionAnswer = serde_json::from_value(told.body).expect("an answer");
        answer.questions
    };
    loop {
        if let Some(question) = ask(Vec::new(), 1_000).await.pop() {
            ask(vec![Inspected { id: question.id, view: view.clone() }], 0).await;
            return question.key;
        }
    }
}

async fn figure(cache: &TestCache, name: &str) -> f64 {
    let text = cache.text("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    lines.filter_map(|value| value.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn debug_shows_each_tier_and_who_is_silent() {
    let (store, cache, holder) = seated().await;
    store.change("a", "1");
    store.tag("a", &["t"]);
    cache.read("a").await;
    let near = view(&holder, 0, true);
    let (told, key) = tokio::join!(cache.get("/cache/debug/a"), answer(&cache, &holder, &near));
    assert_eq!((told.status, key.as_str()), (200, "a"), "{told:?}");
    assert_eq!(told.body["gateways"], json!([near]));
    assert_eq!((&told.body["silent"], &told.body["shared"]["tags"]), (&json!(0), &json!(["t"])));
    let told = cache.get("/cache/debug/b").await;
    assert_eq!((&told.body["shared"], &told.body["silent"]), (&Value::Null, &json!(1)), "nobody answered: {told:?}");
}

#[tokio::test]
async fn auditor_counts_what_would_be_served_though_it_is_older() {
    let (_store, cache, mut holder) = seated().await;
    let audit = async |holder: &mut Holder, seq: u64, would_serve: bool| {
        let invalidated = cache.delete("/cache/a");
        let near = view(holder, seq, would_serve);
        let applying = async {
            holder.renew(&cache, 500).await;
            holder.renew(&cache, 0).await;
        };
        let (told, ()) = tokio::join!(invalidated, applying);
        assert_eq!(told.body["fenced"], json!(true));
        answer(&cache, holder, &near).await
    };
    let audited = async |count: f64| {
        let counted = async || figure(&cache, "longshore_coherence_audits_total").await >= count;
        wait_until(SOON, "it is counted", counted).await;
        figure(&cache, "longshore_coherence_violations_total").await
    };
    let before = figure(&cache, "longshore_coherence_audits_total").await;
    let violations = figure(&cache, "longshore_coherence_violations_total").await;
    assert_eq!(audit(&mut holder, 0, false).await, "a");
    assert_eq!(audited(before + 1.0).await, violations, "it is not served");
    audit(&mut holder, 2, true).await;
    assert_eq!(audited(before + 2.0).await, violations, "it is newer");
    audit(&mut holder, 2, true).await;
    assert_eq!(audited(before + 3.0).await, violations + 1.0);
}
