//! The few keys that are written and read. A key may be given up: what may still happen under it would be no news to anybody then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::Owed;

const LOOK_EVERY: Duration = Duration::from_millis(40);

#[derive(Debug)]
struct Slot {
    key: String,
    /// How many keys the slot had before.
    given_up: u64,
}

/// The keys in use, one for each slot, and what writes under them are owed.
#[derive(Debug)]
pub(in crate::chaos) struct Keys {
    prefix: &'static str,
    slots: RefCell<Vec<Slot>>,
    /// By key: the last write that was answered with a token.
    owed: RefCell<BTreeMap<String, Owed>>,
    /// Whoever writes or voids them waits.
    pub(super) calm: Cell<bool>,
}

impl Keys {
    pub(in crate::chaos) fn new(prefix: &'static str, slots: usize) -> Self {
        let slot = |slot| Slot { key: name(prefix, slot, 0), given_up: 0 };
        Self {
            prefix,
            slots: RefCell::new((0..slots).map(slot).collect()),
            owed: RefCell::default(),
            calm: Cell::default(),
        }
    }

    pub(super) async fn calm_is_over(&self) {
        while self.calm.get() {
            sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Of the slot, counted around.
    pub(in crate::chaos) fn get(&self, slot: usize) -> String {
        let slots = self.slots.borrow();
        slots[slot % slots.len()].key.clone()
    }

    /// All of them begin with it.
    pub(super) fn prefix(&self) -> String {
        format!("{}-", self.prefix)
    }

    /// Another key takes the place of this one, if it still has one.
    pub(super) fn give_up(&self, key: &str) {
        let mut slots = self.slots.borrow_mut();
        if let Some((place, slot)) = slots.iter_mut().enumerate().find(|(_, slot)| slot.key == key) {
            slot.given_up += 1;
            slot.key = name(self.prefix, place, slot.given_up);
            self.owed.borrow_mut().remove(key);
        }
    }

    pub(super) fn owe(&self, key: &str, owed: Owed) {
        let mut all = self.owed.borrow_mut();
        if all.get(key).is_none_or(|before| before.version < owed.version) {
            all.insert(key.to_owned(), owed);
        }
    }

    pub(super) fn owed(&self, key: &str) -> Option<Owed> {
        self.owed.borrow().get(key).cloned()
    }
}

fn name(prefix: &str, slot: usize, given_up: u64) -> String {
    format!("{prefix}-{slot}-{given_up}")
}
