//! One load at a time for a key and its generation. A load is nobody's request: it goes on when the client that caused it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The loads under way. `M` is what was read before a load began and decides who may join it; `T` is what it brings.
#[derive(Debug)]
pub struct Flights<M, T> {
    /// Held for a lookup or an insertion, never across an await.
    by_key: Mutex<HashMap<Arc<str>, Flight<M, T>>>,
}

#[derive(Debug)]
struct Flight<M, T> {
    began: M,
    landed: watch::Receiver<Option<T>>,
}

/// The right, and the duty, to load.
#[derive(Debug)]
pub struct Pilot<M, T> {
    pub key: Arc<str>,
    pub began: M,
    landed: watch::Sender<Option<T>>,
}

/// A seat on a flight.
#[derive(Debug)]
struct Boarded<M, T> {
    /// It must start the load itself.
    pilot: Option<Pilot<M, T>>,
    landed: watch::Receiver<Option<T>>,
}

impl<M, T> Default for Flights<M, T> {
    fn default() -> Self {
        Self { by_key: Mutex::default() }
    }
}

impl<M: Copy, T: Clone> Flights<M, T> {
    /// Joins the key's flight if `may_join` allows it by what was read before it began; else one begins at `now`, and `start` is given the duty to
    /// load. Says whether it joined, and gives what will be brought; `None`: the load died.
    pub fn fly(
        &self,
        key: &str,
        now: M,
        may_join: impl FnOnce(M) -> bool,
        start: impl FnOnce(Pilot<M, T>),
    ) -> (bool, impl Future<Output = Option<T>>) {
        let mut boarded = self.board(key, now, may_join);
        let pilot = boarded.pilot.take();
        let joined = pilot.is_none();
        if let Some(pilot) = pilot {
            start(pilot);
        }
        (joined, boarded.landed())
    }

    fn board(&self, key: &str, now: M, may_join: impl FnOnce(M) -> bool) -> Boarded<M, T> {
        let mut by_key = self.by_key();
        if let Some(flight) = by_key.get(key)
            && flight.is_under_way()
            && may_join(flight.began)
        {
            return Boarded { pilot: None, landed: flight.landed.clone() };
        }
        let key: Arc<str> = Arc::from(key);
        let (sender, landed) = watch::channel(None);
        // One that is under way under an older generation lands for those who are on it.
        by_key.insert(key.clone(), Flight { began: now, landed: landed.clone() });
        Boarded { pilot: Some(Pilot { key, began: now, landed: sender }), landed }
    }

    /// Ends a flight: those on it are answered, nobody joins it any more.
    pub fn land(&self, pilot: Pilot<M, T>, landed: T) {
        let Pilot { key, landed: on_it, .. } = pilot;
        let mut by_key = self.by_key();
        if by_key.get(&key).is_some_and(|flight| flight.landed.same_channel(&on_it.subscribe())) {
            by_key.remove(&key);
        }
        drop(by_key);
        on_it.send_replace(Some(landed));
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flight<M, T>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M, T> Flight<M, T> {
    /// False of one whose load died without landing.
    fn is_under_way(&self) -> bool {
        self.landed.has_changed().is_ok()
    }
}

impl<M, T: Clone> Boarded<M, T> {
    /// Waits for the landing. `None`: the load died.
    async fn landed(mut self) -> Option<T> {
        // Whoever pilots it has taken the pilot out by now; one that is still here would never land.
        drop(self.pilot.take());
        self.landed.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_load_serves_all_who_joined_it() {
        let flights = Flights::default();
        let mut first = flights.board("a", 0, |_| true);
        let second = flights.board("a", 0, |_| true);
        let pilot = first.pilot.take().expect("the first one loads");
        assert!(second.pilot.is_none());
        flights.land(pilot, "value");
        assert_eq!(first.landed().await, Some("value"));
        assert_eq!(second.landed().await, Some("value"));
        assert!(flights.board("a", 0, |_| true).pilot.is_some(), "a landed flight takes nobody");
    }

    #[tokio::test]
    async fn request_of_a_later_generation_starts_its_own_load() {
        let flights = Flights::default();
        let mut old = flights.board("a", 0, |_| true);
        let mut new = flights.board("a", 1, |began| began >= 1);
        let (old_pilot, new_pilot) = (old.pilot.take().expect("old"), new.pilot.take().expect("new"));
        flights.land(old_pilot, "old");
        assert_eq!(old.landed().await, Some("old"));
        let joined = flights.board("a", 1, |began| began >= 1);
        assert!(joined.pilot.is_none(), "the landing of the old flight leaves the new one to be joined");
        flights.land(new_pilot, "new");
        assert_eq!(joined.landed().await, Some("new"));
    }

    #[tokio::test]
    async fn dead_load_fails_its_passengers_and_nobody_else() {
        let flights: Flights<u8, &str> = Flights::default();
        let mut boarded = flights.board("a", 0, |_| true);
        drop(boarded.pilot.take());
        assert_eq!(boarded.landed().await, None);
        assert!(flights.board("a", 0, |_| true).pilot.is_some());
    }
}
