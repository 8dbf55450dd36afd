//! Asks the gateways what they would answer for a key. They come and fetch the questions, so nobody needs to know their addresses.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::http::Rejection;
use protocol::ids::HolderId;
use protocol::inspection::{Inspected, NearView, Question};
use protocol::problem::Kind;
use tokio::sync::watch;
use uuid::Uuid;

/// Questions at once; more are answered 503.
const QUESTIONS_MAX: usize = 32;
/// A gateway that has not answered by then counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The questions that are open.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    /// Held for one look or change, never across an await.
    open: Mutex<Vec<Open>>,
    /// Counts changes: whoever waits for one looks again.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// Who has not answered yet.
    awaited: BTreeSet<HolderId>,
    views: Vec<NearView>,
}

/// What the gateways said.
#[derive(Debug)]
pub(crate) struct Views {
    pub(crate) views: Vec<NearView>,
    pub(crate) silent: usize,
}

/// Takes the question back, also when nobody waits for its answers any more.
struct Asked<'a> {
    inspections: &'a Inspections,
    id: Uuid,
}

impl Inspections {
    /// What each of these gateways would answer for the key.
    ///
    /// # Errors
    /// 503 when too many questions are open.
    pub(crate) async fn ask(&self, key: &str, holders: Vec<HolderId>) -> Result<Views, Rejection> {
        let id = Uuid::new_v4();
        {
            let mut open = self.open();
            if open.len() >= QUESTIONS_MAX {
                return Err(Kind::Unavailable.into());
            }
            let question = Question { id, key: key.to_owned() };
            open.push(Open { question, awaited: holders.into_iter().collect(), views: Vec::new() });
        }
        let asked = Asked { inspections: self, id };
        let mut changes = self.changes.subscribe();
        self.changed();
        let answered =
            changes.wait_for(|_| self.open().iter().all(|open| open.question.id != id || open.awaited.is_empty()));
        drop(tokio::time::timeout(ANSWER_WITHIN, answered).await);
        Ok(asked.take())
    }

    /// What this gateway is to look at.
    pub(crate) fn for_holder(&self, holder: HolderId) -> Vec<Question> {
        let open = self.open();
        open.iter().filter(|open| open.awaited.contains(&holder)).map(|open| open.question.clone()).collect()
    }

    pub(crate) fn answered(&self, holder: HolderId, answers: Vec<Inspected>) {
        let mut is_news = false;
        {
            let mut open = self.open();
            for Inspected { id, view } in answers {
                if let Some(open) = open.iter_mut().find(|open| open.question.id == id)
                    && open.awaited.remove(&holder)
                {
                    open.views.push(view);
                    is_news = true;
                }
            }
        }
        if is_news {
            self.changed();
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    fn take(&self) -> Views {
        let mut open = self.inspections.open();
        let place = open.iter().position(|open| open.question.id == self.id);
        let Some(Open { awaited, mut views, .. }) = place.map(|place| open.swap_remove(place)) else {
            return Views { views: Vec::new(), silent: 0 };
        };
        views.sort_by(|one, other| one.gateway.cmp(&other.gateway));
        Views { views, silent: awaited.len() }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.inspections.open().retain(|open| open.question.id != self.id);
    }
}
