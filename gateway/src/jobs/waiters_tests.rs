//! No interleaving of tickets, reads and the follower leaves anybody waiting for an end that has been.

use std::time::Duration;

use futures_util::FutureExt;
use protocol::api::Status;
use protocol::ids::Incarnation;
use protocol::store_api::LogEntry;

use super::*;

fn place(position: u64) -> Place {
    Place { incarnation: Incarnation(uuid::Uuid::from_u128(1)), position: Position(position) }
}

fn job(number: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(number))
}

fn page(place: Place, entries: &[(u64, JobId, Status)]) -> LogPage {
    let entry = |&(position, job_id, status)| LogEntry {
        position: Position(position),
        change: Change::Job { job_id, run: 1, status },
    };
    LogPage {
        incarnation: place.incarnation,
        position: place.position,
        fenced_through: Position(0),
        entries: entries.iter().map(entry).collect(),
        renewed: None,
    }
}

fn is_woken(ticket: &mut Ticket) -> bool {
    ticket.woken().now_or_never().is_some()
}

#[test]
fn the_end_of_its_job_wakes_a_waiter_and_nothing_else_does() {
    let waiters = Waiters::new(10);
    let mut ticket = waiters.register(job(1)).expect("a place");
    assert_eq!(ticket.saw(place(7)), Sight::Ahead);
    waiters.told(place(7), &page(place(9), &[(8, job(2), Status::Succeeded), (9, job(1), Status::Running)]));
    assert!(!is_woken(&mut ticket));
    waiters.told(place(9), &page(place(10), &[(10, job(1), Status::Failed)]));
    assert!(is_woken(&mut ticket));
    assert_eq!(waiters.count(), 0);
}

#[test]
fn following_begins_with_the_first_sight_and_ends_with_the_last_waiter() {
    let waiters = Waiters::new(10);
    assert_eq!(waiters.place().now_or_never(), None);
    let ticket = waiters.register(job(1)).expect("a place");
    assert_eq!(waiters.place().now_or_never(), None);
    ticket.saw(place(7));
    assert_eq!(waiters.place().now_or_never(), Some(place(7)));
    drop(ticket);
    waiters.told(place(7), &page(place(8), &[]));
    assert_eq!(waiters.place().now_or_never(), None);
}

#[tokio::test(start_paused = true)]
async fn the_follower_is_woken_by_the_first_sight() {
    let waiters = Waiters::new(10);
    let ticket = waiters.register(job(1)).expect("a place");
    let follower = async { tokio::time::timeout(Duration::from_secs(1), waiters.place()).await };
    let (found, _) = tokio::join!(follower, async { ticket.saw(place(3)) });
    assert_eq!(found, Ok(place(3)));
}

#[test]
fn a_read_older_than_what_was_told_is_read_again() {
    let waiters = Waiters::new(10);
    let first = waiters.register(job(1)).expect("a place");
    first.saw(place(7));
    waiters.told(place(7), &page(place(20), &[(15, job(2), Status::Succeeded)]));
    // The end of job 2 has been told before this ticket was taken.
    let late = waiters.register(job(2)).expect("a place");
    assert_eq!(late.saw(place(14)), Sight::ReadAgain);
    assert_eq!(late.saw(place(20)), Sight::Ahead);
}

#[test]
fn a_follower_that_runs_ahead_of_a_waiting_ticket_forces_no_second_read() {
    let waiters = Waiters::new(10);
    let first = waiters.register(job(1)).expect("a place");
    first.saw(place(7));
    let mut second = waiters.register(job(2)).expect("a place");
    // The log goes on while the second reads; its job's end is told to it because it already holds its ticket.
    waiters.told(place(7), &page(place(20), &[(15, job(2), Status::Succeeded)]));
    assert_eq!(second.saw(place(9)), Sight::Ahead);
    assert!(is_woken(&mut second));
}

#[test]
fn of_two_who_begin_together_the_one_with_the_older_read_reads_again() {
    let waiters = Waiters::new(10);
    let (first, second) = (waiters.register(job(1)).expect("a place"), waiters.register(job(2)).expect("a place"));
    assert_eq!(first.saw(place(10)), Sight::Ahead);
    assert_eq!(second.saw(place(9)), Sight::ReadAgain);
    assert_eq!(second.saw(place(10)), Sight::Ahead);
}

#[test]
fn another_history_wakes_everybody() {
    let other = Place { incarnation: Incarnation(uuid::Uuid::from_u128(2)), position: Position(3) };
    let waiters = Waiters::new(10);
    let mut first = waiters.register(job(1)).expect("a place");
    first.saw(place(10));
    waiters.told(place(10), &page(other, &[]));
    assert!(is_woken(&mut first));
    assert_eq!(waiters.place().now_or_never(), None);

    let mut first = waiters.register(job(1)).expect("a place");
    first.saw(place(10));
    let mut second = waiters.register(job(1)).expect("a place");
    assert_eq!(second.saw(other), Sight::Ahead);
    assert!(is_woken(&mut first));
    assert!(!is_woken(&mut second));
    assert_eq!(waiters.place().now_or_never(), Some(other));
    // What was asked for in the old history is dropped.
    waiters.told(place(10), &page(place(11), &[(11, job(1), Status::Succeeded)]));
    assert!(!is_woken(&mut second));
    drop(second);
    assert_eq!(waiters.count(), 0);
}

#[test]
fn a_trimmed_log_wakes_everybody() {
    let waiters = Waiters::new(10);
    let mut ticket = waiters.register(job(1)).expect("a place");
    ticket.saw(place(10));
    waiters.lost(place(9));
    assert!(!is_woken(&mut ticket));
    waiters.lost(place(10));
    assert!(is_woken(&mut ticket));
}

#[test]
fn places_are_bounded_and_given_back() {
    let waiters = Waiters::new(2);
    let first = waiters.register(job(1)).expect("a place");
    let second = waiters.register(job(1)).expect("a place");
    assert!(waiters.register(job(2)).is_none());
    drop(first);
    assert_eq!(waiters.count(), 1);
    assert!(waiters.register(job(2)).is_some());
    drop(second);
    assert_eq!(waiters.count(), 0);
}

#[test]
fn who_watches_is_woken_by_each_change_and_counts_elsewhere() {
    let waiters = Waiters::new(1);
    let mut waiting = waiters.register(job(1)).expect("a place");
    waiting.saw(place(7));
    let watch = |from: u64| {
        let ticket = waiters.watch(job(1));
        assert_eq!(ticket.saw(place(from)), Sight::Ahead);
        ticket
    };
    let mut watching = watch(7);
    assert_eq!(waiters.count(), 1, "a stream takes no place of those who wait");
    waiters.told(place(7), &page(place(8), &[(8, job(2), Status::Running)]));
    assert!(!is_woken(&mut watching));
    waiters.told(place(8), &page(place(9), &[(9, job(1), Status::Running)]));
    assert!(is_woken(&mut watching) && !is_woken(&mut waiting));
    let mut watching = watch(9);
    let mut progress = page(place(10), &[(10, job(1), Status::Running)]);
    progress.entries[0].change =
        Change::Progress { job_id: job(1), progress: protocol::api::Progress { fraction: Some(0.5), message: None } };
    waiters.told(place(9), &progress);
    assert!(is_woken(&mut watching) && !is_woken(&mut waiting));
    let mut watching = watch(10);
    waiters.told(place(10), &page(place(11), &[(11, job(1), Status::Succeeded)]));
    assert!(is_woken(&mut watching) && is_woken(&mut waiting));
    assert_eq!(waiters.count(), 0);
}

#[test]
fn a_change_between_the_ticket_and_the_read_wakes_or_is_read() {
    let waiters = Waiters::new(10);
    let other = waiters.register(job(9)).expect("a place");
    other.saw(place(7));
    let mut early = waiters.watch(job(1));
    waiters.told(place(7), &page(place(8), &[(8, job(1), Status::Running)]));
    // Its read may have been before the change or after it: in both cases it is told to look again.
    assert_eq!(early.saw(place(7)), Sight::Ahead);
    assert!(is_woken(&mut early));
    let late = waiters.watch(job(1));
    assert_eq!((late.saw(place(7)), late.saw(place(8))), (Sight::ReadAgain, Sight::Ahead));
}
