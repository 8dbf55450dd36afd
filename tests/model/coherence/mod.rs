//! Model (b): no stale read after an acknowledged invalidation. The cores of `protocol::invalidation` in a small world, explored
//! exhaustively; and, with one guard taken out, the stale read that the guard prevents.

mod state;
mod steps;

use std::time::Duration;

use protocol::invalidation::guards::Guard;
use protocol::invalidation::sequencer::Settings;
use stateright::{Checker, HasDiscoveries, Model, Path, Property};
use tokio::time::Instant;

use state::{Named, Read, State, Without, World, Write};

/// Beyond it an exploration counts as not done.
const EXPLORATION_MAX: Duration = Duration::from_secs(300);

const NO_STALE_READ: &str = "no request that begins after an acknowledgement gets the older value";
const FENCE_BOUND: &str = "a fence closes within lease + margin of its issue while its sequencer holds its lease";
const LATE_ANSWER: &str = "a request after an acknowledgement can be answered";
const OTHERS_STAY: &str = "a key without the tag stays cached";
const TAKEOVER: &str = "a write can be acknowledged under a second sequencer";

fn properties(world: &World) -> Vec<Property<World>> {
    let takeover = |_: &World, state: &State| state.write == Write::Acknowledged && state.store.holding.epoch.0 > 1;
    let mut properties = vec![
        Property::always(NO_STALE_READ, |world: &World, state: &State| !state.has_stale_read(world)),
        Property::always(FENCE_BOUND, |world: &World, state: &State| !state.has_overdue_fence(world)),
        Property::sometimes(LATE_ANSWER, |_: &World, state: &State| state.read == Read::Answered(0, 1)),
    ];
    if world.named == Named::Tag {
        properties.push(Property::sometimes(OTHERS_STAY, |_: &World, state: &State| state.keeps_the_other_key()));
    }
    if world.store_leases {
        properties.push(Property::sometimes(TAKEOVER, takeover));
    }
    properties
}

impl State {
    fn has_stale_read(&self, world: &World) -> bool {
        matches!(self.read, Read::Answered(key, 0) if world.named.changes(key))
    }

    fn keeps_the_other_key(&self) -> bool {
        let current = self.gateway.near[1].is_some_and(|(_, loaded)| self.gateway.is_current(loaded, 1));
        let written = self.caches.iter().any(|cache| cache.shared == [Some(1), Some(0)]);
        self.write == Write::Acknowledged && current && written
    }

    fn has_overdue_fence(&self, world: &World) -> bool {
        let Write::Issued { cache, term, seq, at_ms } = self.write else { return false };
        let core = &self.caches[cache].core;
        let due_ms = at_ms + world.settings.lease_ms + world.settings.margin_ms;
        let in_time = core.term() == Some(term) && core.holds(self.now) && self.now >= due_ms;
        in_time && core.clone().fenced(self.now) < Some(seq)
    }
}

/// One sequencer; loads and renewals go step by step, so that any two of them overlap in any way.
fn overlapping_loads() -> World {
    World {
        guards: Without(None),
        settings: Settings { margin_ms: 0, ..Settings::with_lease(2) },
        lease_ms: 100,
        end_ms: 3,
        caches: 1,
        store_leases: false,
        yields: 0,
        cache_restarts: 0,
        store_restarts: 0,
        announces: false,
        slow_loads: true,
        slow_renewals: true,
        slow_calls: true,
        late_head: false,
        logged_writes: false,
        direct_writes: true,
        keys: 1,
        named: Named::Key,
        job_waits: None,
    }
}

/// Two keys, one of them with a tag; an invalidation by key, by tag, or of everything overtakes loads of both.
fn two_keys(named: Named) -> World {
    let settings = Settings { margin_ms: 0, ..Settings::with_lease(1) };
    World { settings, keys: 2, named, end_ms: 1, slow_renewals: false, ..overlapping_loads() }
}

/// A job changes the data and declares it: it has succeeded only when its entry of the log is fenced.
fn job() -> World {
    World { direct_writes: false, logged_writes: false, job_waits: Some(true), ..two_sequencers() }
}

/// Announcements that are lost, late or of another key.
fn announcements() -> World {
    World { announces: true, slow_loads: false, ..overlapping_loads() }
}

/// Two cache-svcs that take the lease from each other, stop anywhere, and restart.
fn two_sequencers() -> World {
    World {
        lease_ms: 2,
        end_ms: 5,
        caches: 2,
        store_leases: true,
        slow_loads: false,
        slow_renewals: false,
        slow_calls: false,
        logged_writes: true,
        ..overlapping_loads()
    }
}

/// Two cache-svcs, one of which gives the lease back, so that the other has it at once.
fn handed_over() -> World {
    World { yields: 1, end_ms: 3, ..two_sequencers() }
}

/// A cache-svc that restarts, and a store that does.
fn restarts() -> World {
    World { caches: 1, cache_restarts: 1, store_restarts: 1, slow_calls: true, ..two_sequencers() }
}

/// Visits every reachable state, prints how many there are and what holds in them, and fails as soon as something does not.
fn explore(name: &str, world: World) {
    let start = Instant::now();
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    // All states are seen either way, and depth first costs less; the shortest way to one that must not be is found breadth first.
    let checker = checker.timeout(EXPLORATION_MAX).spawn_dfs().join();
    let (states, depth, took) = (checker.unique_state_count(), checker.max_depth(), start.elapsed());
    println!("coherence, {name}: {states} states, depth {depth}, {:.1} s", took.as_secs_f64());
    for property in properties(checker.model()) {
        println!("  {}", property.name);
    }
    assert!(took < EXPLORATION_MAX, "{name} was not explored to the end");
    checker.assert_properties();
}

#[test]
fn overlapping_loads_never_show_a_stale_value() {
    explore("overlapping loads", overlapping_loads());
}

#[test]
fn announcements_never_show_a_stale_value() {
    explore("announcements", announcements());
}

#[test]
fn two_sequencers_never_show_a_stale_value() {
    explore("two sequencers", two_sequencers());
}

#[test]
fn handed_over_lease_never_shows_a_stale_value() {
    explore("handed over", handed_over());
}

#[test]
fn restarts_never_show_a_stale_value() {
    explore("restarts", restarts());
}

#[test]
fn two_keys_and_one_invalidated_never_show_a_stale_value() {
    explore("two keys, by key", two_keys(Named::Key));
}

#[test]
fn two_keys_and_a_tag_invalidated_never_show_a_stale_value() {
    explore("two keys, by tag", two_keys(Named::Tag));
}

#[test]
fn two_keys_and_everything_invalidated_never_show_a_stale_value() {
    explore("two keys, everything", two_keys(Named::All));
}

#[test]
fn succeeded_job_never_shows_a_stale_value() {
    explore("job", job());
}

/// The stale read that the world without the guard has; printed with the way to it.
fn finds_a_stale_read(without: &str, world: World) {
    let found = HasDiscoveries::AnyOf([NO_STALE_READ].into());
    let checker = world.checker().finish_when(found).timeout(EXPLORATION_MAX).spawn_bfs().join();
    let path = checker.discovery(NO_STALE_READ);
    assert!(path.is_some(), "{without} could be taken out: nothing stale was read");
    let steps = path.map(Path::into_actions).unwrap_or_default();
    println!("coherence, without {without}, after {} states: {steps:?}", checker.unique_state_count());
}

fn breaks_without(guard: Guard, world: World) {
    finds_a_stale_read(&format!("{guard:?}"), World { guards: Without(Some(guard)), ..world });
}

#[test]
fn stale_read_without_the_send_instant() {
    breaks_without(Guard::SendInstant, overlapping_loads());
}

#[test]
fn stale_read_without_the_generation_compare() {
    breaks_without(Guard::GenerationCompare, overlapping_loads());
}

#[test]
fn stale_read_without_the_flight_key() {
    breaks_without(Guard::FlightKey, overlapping_loads());
}

#[test]
fn stale_read_when_a_request_without_a_lease_joins_a_flight() {
    breaks_without(Guard::LeaselessJoin, overlapping_loads());
}

#[test]
fn stale_read_without_the_fill_sequence() {
    breaks_without(Guard::FillSequence, overlapping_loads());
}

#[test]
fn stale_read_without_the_fence_wait() {
    breaks_without(Guard::FenceWait, overlapping_loads());
}

#[test]
fn stale_read_when_announcements_count_as_applied() {
    breaks_without(Guard::AppliedByRenewal, announcements());
}

#[test]
fn stale_read_without_the_restart_wait() {
    breaks_without(Guard::RestartWait, handed_over());
}

#[test]
fn stale_read_without_the_sequencers_lease() {
    breaks_without(Guard::SequencerLease, two_sequencers());
}

#[test]
fn stale_read_without_the_flush_on_a_new_term() {
    breaks_without(Guard::FlushOnNewTerm, two_sequencers());
}

#[test]
fn stale_read_when_the_logs_head_is_read_after_the_grant() {
    finds_a_stale_read("the granted head", World { late_head: true, ..two_sequencers() });
}

#[test]
fn stale_read_of_two_keys_without_the_guards_of_loads() {
    for named in [Named::Key, Named::Tag, Named::All] {
        for guard in
            [Guard::GenerationCompare, Guard::FlightKey, Guard::LeaselessJoin, Guard::FillSequence, Guard::FenceWait]
        {
            breaks_without(guard, two_keys(named));
        }
    }
}

#[test]
fn stale_read_when_a_job_succeeds_before_its_fence() {
    finds_a_stale_read("the job's wait", World { job_waits: Some(false), ..job() });
}

#[test]
fn stale_read_after_a_job_without_the_guards_of_its_sequencer() {
    breaks_without(Guard::RestartWait, World { yields: 1, end_ms: 3, ..job() });
    for guard in [Guard::SequencerLease, Guard::FlushOnNewTerm, Guard::FenceWait] {
        breaks_without(guard, job());
    }
}
