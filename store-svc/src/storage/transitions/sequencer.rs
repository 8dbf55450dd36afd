//! The sequencer's lease: the row, and who may have it by `protocol::invalidation::grant`.

use protocol::ids::{Epoch, InstanceId};
use protocol::invalidation::grant::Acquired;
use protocol::store_api::{Reply, SequencerAnswer};

use super::{Decided, Transaction};
use crate::storage::sql::values;
use crate::storage::{SYSTEM, SequencerRenewal, StorageError};

/// One that stands by asks again at least this often, ms: the lease may be given back at any time.
const ASK_AGAIN_MS: u64 = 500;

impl Transaction<'_> {
    pub(super) fn acquire_sequencer(&mut self, instance: InstanceId) -> Result<Decided, StorageError> {
        let (now_ms, lease_ms) = (self.context.now_ms, self.context.settings.sequencer_lease_ms);
        let stood_still = self.memory.holder_watch.stood_still(now_ms, lease_ms);
        let answer = match self.memory.holding.acquire(instance, stood_still) {
            Acquired::Held => {
                let remaining_ms = self.memory.holder_watch.remaining_ms(now_ms, lease_ms);
                SequencerAnswer::Held { retry_after_ms: remaining_ms.clamp(1, ASK_AGAIN_MS) }
            }
            Acquired::Granted { epoch, predecessor } => {
                self.save_holding()?;
                self.count("sequencer_granted");
                let (head, fenced_through) = (self.memory.head, self.memory.fenced_through);
                SequencerAnswer::Granted { epoch, lease_ms, head, fenced_through, predecessor }
            }
        };
        Ok(Ok(Reply::Sequencer(answer)))
    }

    pub(super) fn yield_sequencer(&mut self, instance: InstanceId, epoch: Epoch) -> Result<Decided, StorageError> {
        if self.memory.holding.give_back(instance, epoch) {
            self.save_holding()?;
        }
        Ok(Ok(Reply::Done))
    }

    pub(super) fn renew_sequencer_lease(&mut self, renewal: SequencerRenewal) -> Result<bool, StorageError> {
        let held = self.memory.holding.renew(renewal.instance, renewal.epoch);
        if held {
            self.memory.holder_watch.look(self.context.now_ms, &self.memory.holding);
            self.memory.holding_unsaved = true;
        }
        Ok(held)
    }

    pub(super) fn save_holding(&mut self) -> Result<(), StorageError> {
        let holding = self.memory.holding;
        self.memory.holder_watch.look(self.context.now_ms, &holding);
        self.memory.holding_unsaved = false;
        let query = "UPDATE meta SET epoch = ?, sequencer = ?, sequencer_renewal = ? WHERE tenant = ?";
        let holder = holding.holder.map(|holder| holder.0);
        self.sql.write(query, values![holding.epoch.0, holder, holding.renewal, SYSTEM])
    }
}
