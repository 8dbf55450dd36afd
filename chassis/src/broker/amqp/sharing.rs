//! Which slots share which consumer. Pure.
//!
//! A consumer's prefetch is the number of slots that share it, so what the broker sends always finds one of them free. A slot that leaves would
//! leave its credit behind, and a message would wait behind a busy slot: so its consumer is ended, and those who stay begin a new one.

use std::collections::BTreeMap;

/// Of the slots of one queue at a time; beyond that they are all ended, and one takes their place.
const CONSUMERS_MAX: usize = 4;

/// Names a consumer among all of a channel.
pub(super) type ConsumerId = u64;

#[derive(Debug, Default)]
struct Slot {
    wants: bool,
    busy: bool,
    consumer: Option<ConsumerId>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Those who can take a delivery.
    free: Vec<usize>,
    /// A slot has left, or it seems to be deaf.
    is_stale: bool,
    /// It is being cancelled: what is on its way still comes, then its end.
    ending: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sharing {
    slots: BTreeMap<usize, Slot>,
    consumers: BTreeMap<ConsumerId, Shared>,
    begun: ConsumerId,
}

impl Sharing {
    /// Whether the slot is to consume.
    pub(super) fn want(&mut self, number: usize, wants: bool) {
        let slot = self.slots.entry(number).or_default();
        slot.wants = wants;
        if !wants && let Some(consumer) = slot.consumer.take() {
            self.leave(number, consumer);
        }
    }

    /// The slot is gone.
    pub(super) fn remove(&mut self, number: usize) {
        self.want(number, false);
        self.slots.remove(&number);
    }

    /// What the slot had is settled.
    pub(super) fn free(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(&number) else { return };
        slot.busy = false;
        if let Some(shared) = slot.consumer.and_then(|consumer| self.consumers.get_mut(&consumer)) {
            shared.free.push(number);
        }
    }

    /// A free slot for a delivery of the consumer, which is busy from now on. There is none if they have all left meanwhile.
    pub(super) fn take(&mut self, consumer: ConsumerId) -> Option<usize> {
        let number = self.consumers.get_mut(&consumer)?.free.pop()?;
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.busy = true;
        }
        Some(number)
    }

    /// Those of the consumers that have a free slot are to be begun anew. Whether there are any.
    pub(super) fn renew(&mut self, consumers: &[ConsumerId]) -> bool {
        let mut some = false;
        for consumer in consumers {
            if let Some(shared) = self.consumers.get_mut(consumer).filter(|shared| !shared.free.is_empty()) {
                shared.is_stale = true;
                some = true;
            }
        }
        some
    }

    /// The consumers that must end now.
    pub(super) fn end_some(&mut self) -> Vec<ConsumerId> {
        let live = self.consumers.values().filter(|shared| !shared.ending).count();
        let too_many = live >= CONSUMERS_MAX && self.idle().next().is_some();
        let mut ending = Vec::new();
        for (consumer, shared) in &mut self.consumers {
            if !shared.ending && (shared.is_stale || too_many) {
                shared.ending = true;
                ending.push(*consumer);
            }
        }
        // Those who are busy will find another one; those who are free stay until the end, for what is on its way.
        for slot in self.slots.values_mut().filter(|slot| slot.busy) {
            slot.consumer.take_if(|consumer| ending.contains(consumer));
        }
        ending
    }

    /// Its end has come. `false`: nobody asked for it.
    pub(super) fn ended(&mut self, consumer: ConsumerId) -> bool {
        if !self.consumers.get(&consumer).is_some_and(|shared| shared.ending) {
            return false;
        }
        self.consumers.remove(&consumer);
        for slot in self.slots.values_mut() {
            slot.consumer.take_if(|of| *of == consumer);
        }
        true
    }

    /// A consumer to begin, with its prefetch. Not while one is ending, whose slots will share it.
    pub(super) fn begin_one(&mut self) -> Option<(ConsumerId, u16)> {
        if self.consumers.values().any(|shared| shared.ending) {
            return None;
        }
        let free: Vec<usize> = self.idle().take(usize::from(u16::MAX)).collect();
        let prefetch = u16::try_from(free.len()).ok().filter(|prefetch| *prefetch > 0)?;
        self.begun += 1;
        for number in &free {
            if let Some(slot) = self.slots.get_mut(number) {
                slot.consumer = Some(self.begun);
            }
        }
        self.consumers.insert(self.begun, Shared { free, ..Shared::default() });
        Some((self.begun, prefetch))
    }

    /// The channel is gone, and all consumers with it.
    pub(super) fn reset(&mut self) {
        self.consumers.clear();
        self.slots.values_mut().for_each(|slot| slot.consumer = None);
    }

    /// Whether a slot could begin to consume.
    pub(super) fn is_ready(&self) -> bool {
        self.idle().next().is_some()
    }

    /// Those who want to consume, can, and do not yet. A slot whose holder is still busy does not begin, else a job would wait behind it.
    fn idle(&self) -> impl Iterator<Item = usize> {
        let idle = |slot: &Slot| slot.wants && !slot.busy && slot.consumer.is_none();
        self.slots.iter().filter(move |(_, slot)| idle(slot)).map(|(number, _)| *number)
    }

    fn leave(&mut self, number: usize, consumer: ConsumerId) {
        if let Some(shared) = self.consumers.get_mut(&consumer) {
            shared.free.retain(|free| *free != number);
            shared.is_stale = true;
        }
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
