//! One load at a time for a key and its generation. A load is nobody's request: it goes on when the client that caused it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::http::Rejection;
use protocol::invalidation::near::Tick;
use protocol::problem::Kind;
use tokio::sync::watch;

use super::entry::Entry;

/// What a load gave.
pub(super) type Landed = Result<Arc<Entry>, Rejection>;

#[derive(Debug, Default)]
pub(super) struct Flights {
    /// Held for a lookup or an insertion, never across an await.
    by_key: Mutex<HashMap<Arc<str>, Flight>>,
}

#[derive(Clone, Debug)]
struct Flight {
    began: Tick,
    landed: watch::Receiver<Option<Landed>>,
}

/// The right, and the duty, to load.
#[derive(Debug)]
pub(super) struct Pilot {
    pub(super) key: Arc<str>,
    pub(super) began: Tick,
    landed: watch::Sender<Option<Landed>>,
}

/// What a request does after it boarded.
#[derive(Debug)]
pub(super) struct Boarded {
    /// It must start the load itself.
    pub(super) pilot: Option<Pilot>,
    landed: watch::Receiver<Option<Landed>>,
}

impl Flights {
    /// Joins the key's flight if `may_join` allows it by the tick at which it began; else a flight begins at `now`.
    pub(super) fn board(&self, key: &str, now: Tick, may_join: impl FnOnce(Tick) -> bool) -> Boarded {
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
    pub(super) fn land(&self, pilot: Pilot, landed: Landed) {
        let Pilot { key, landed: on_it, .. } = pilot;
        let mut by_key = self.by_key();
        if by_key.get(&key).is_some_and(|flight| flight.landed.same_channel(&on_it.subscribe())) {
            by_key.remove(&key);
        }
        drop(by_key);
        on_it.send_replace(Some(landed));
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<Arc<str>, Flight>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// False of one whose load died without landing.
    fn is_under_way(&self) -> bool {
        self.landed.has_changed().is_ok()
    }
}

impl Boarded {
    /// Waits for the landing.
    ///
    /// # Errors
    /// Why the load failed; 503 when it was given up.
    pub(super) async fn landed(mut self) -> Landed {
        match self.landed.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or_else(|| Err(Kind::Unavailable.into())),
            Err(_) => Err(Kind::Unavailable.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::invalidation::near::Generations;

    use super::*;
    use crate::data::entry::Entry;
    use protocol::cache_api::Source;

    fn entry(loaded: Tick) -> Landed {
        Ok(Arc::new(Entry { value: None, source: Source::Store, loaded, tags: Box::default(), expires_ms: 0 }))
    }

    #[tokio::test]
    async fn one_load_serves_all_who_joined_it() {
        let (flights, now) = (Flights::default(), Generations::shared(8).now());
        let mut first = flights.board("a", now, |_| true);
        let second = flights.board("a", now, |_| true);
        let pilot = first.pilot.take().expect("the first one loads");
        assert!(second.pilot.is_none());
        flights.land(pilot, entry(now));
        assert!(first.landed().await.is_ok());
        assert!(second.landed().await.is_ok());
        assert!(flights.board("a", now, |_| true).pilot.is_some(), "a landed flight takes nobody");
    }

    #[tokio::test]
    async fn request_of_a_later_generation_starts_its_own_load() {
        let (flights, now) = (Flights::default(), Generations::shared(8).now());
        let mut old = flights.board("a", now, |_| true);
        let mut new = flights.board("a", now, |_| false);
        let (old_pilot, new_pilot) = (old.pilot.take().expect("old"), new.pilot.take().expect("new"));
        flights.land(old_pilot, Err(Kind::Unavailable.into()));
        assert!(old.landed().await.is_err());
        let joined = flights.board("a", now, |_| true);
        assert!(joined.pilot.is_none(), "the landing of the old flight leaves the new one to be joined");
        flights.land(new_pilot, entry(now));
        assert!(joined.landed().await.is_ok());
    }

    #[tokio::test]
    async fn dead_load_fails_its_passengers_and_nobody_else() {
        let (flights, now) = (Flights::default(), Generations::shared(8).now());
        let mut boarded = flights.board("a", now, |_| true);
        drop(boarded.pilot.take());
        assert!(boarded.landed().await.is_err());
        assert!(flights.board("a", now, |_| true).pilot.is_some());
    }
}
