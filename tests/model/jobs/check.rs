//! The explorations: the guarded model holds, and each guard that is taken out is missed.

use stateright::{Checker, HasDiscoveries, Model};

use super::system::{Budget, FENCE_MAX, Guards, Jobs, System};
use crate::reach::Graph;

const ALL_GUARDS: Guards = Guards { fence: true, dispatch_number: true };

const FAULTS: Budget = Budget {
    together: 3,
    duplicated_bells: 1,
    lost_bells: 1,
    lost_answers: 1,
    late_requests: 1,
    stops: 1,
    kills: 1,
    renewals: 1,
    releases: 1,
    cancels: 0,
    start_deadlines: 0,
    pulls: 0,
};

/// A worker that pulls beside the one that is rung.
const PULLS: Budget = Budget { pulls: 1, together: 2, lost_bells: 0, renewals: 0, releases: 0, ..FAULTS };

/// Explores everything, or up to the first property that does not hold, and prints what was seen.
fn explore(name: &str, guards: Guards, budget: Budget) -> impl Checker<Jobs> {
    let checker =
        Jobs { guards, budget }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    println!("model {name}: {} states", checker.unique_state_count());
    for property in checker.model().properties() {
        println!("  {:?} {}", property.expectation, property.name);
    }
    checker
}

#[test]
fn no_accepted_job_is_lost_and_none_has_two_owners() {
    explore("jobs", ALL_GUARDS, FAULTS).assert_properties();
}

#[test]
fn cancel_races_keep_one_outcome() {
    let budget = Budget { cancels: 1, lost_bells: 0, duplicated_bells: 0, ..FAULTS };
    explore("jobs with cancel", ALL_GUARDS, budget).assert_properties();
}

#[test]
fn a_missed_start_is_the_end_of_a_job_that_never_began() {
    let budget = Budget { start_deadlines: 1, renewals: 0, late_requests: 0, lost_answers: 0, ..FAULTS };
    explore("jobs with a start deadline", ALL_GUARDS, budget).assert_properties();
}

#[test]
fn pulled_jobs_have_one_owner_whatever_becomes_of_their_bells() {
    explore("jobs with pulls", ALL_GUARDS, PULLS).assert_properties();
}

#[test]
fn every_accepted_job_can_always_still_end() {
    can_always_end(Budget { together: 2, ..FAULTS });
}

#[test]
fn every_pulled_job_can_always_still_end() {
    can_always_end(Budget { together: 1, ..PULLS });
}

fn can_always_end(budget: Budget) {
    let graph = Graph::explore(&Jobs { guards: ALL_GUARDS, budget });
    println!("model jobs, can always end: {} states", graph.len());
    // Beyond the boundary nothing is explored: reaching it counts as going on.
    let ended = |system: &System| {
        let row = system.row.as_ref();
        row.is_some_and(|row| row.job.fence > FENCE_MAX || (system.accepted && row.job.state.is_terminal()))
    };
    assert_eq!(graph.stuck(ended), None, "from this state the job cannot end any more");
}

#[test]
fn without_the_fence_check_a_late_word_is_recorded() {
    let guards = Guards { fence: false, ..ALL_GUARDS };
    let checker = explore("jobs without the fence check", guards, FAULTS);
    assert!(checker.discovery("the word of a reaped owner is never recorded").is_some());
}

#[test]
fn without_the_dispatch_number_an_old_bell_wins_again() {
    let guards = Guards { dispatch_number: false, ..ALL_GUARDS };
    let checker = explore("jobs without the dispatch number", guards, FAULTS);
    assert!(checker.discovery("a bell wins at most one claim").is_some());
}
