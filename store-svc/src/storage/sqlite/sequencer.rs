//! The sequencer's lease: one holder, a new epoch with each grant.

use protocol::ids::{Epoch, InstanceId};
use protocol::store_api::{Reply, SequencerAnswer};
use rusqlite::params;

use super::transaction::{Decided, Transaction};
use super::{StorageError, TENANT};
use crate::storage::SequencerRenewal;

/// How soon one that stands by should ask again, ms.
const ASK_AGAIN_MS: u64 = 500;

impl Transaction<'_> {
    pub(super) fn acquire_sequencer(&mut self, instance: InstanceId) -> Result<Decided, StorageError> {
        if self.memory.sequencer.is_some_and(|holder| holder != instance) {
            return Ok(Ok(Reply::Sequencer(SequencerAnswer::Held { retry_after_ms: ASK_AGAIN_MS })));
        }
        let predecessor = self.memory.epoch > Epoch(0);
        self.memory.epoch = self.memory.epoch.next();
        self.memory.sequencer = Some(instance);
        self.memory.sequencer_renewal += 1;
        self.save_sequencer()?;
        self.count("sequencer_granted");
        Ok(Ok(Reply::Sequencer(SequencerAnswer::Granted {
            epoch: self.memory.epoch,
            lease_ms: self.context.settings.sequencer_lease_ms,
            head: self.memory.head,
            fenced_through: self.memory.fenced_through,
            predecessor,
        })))
    }

    pub(super) fn yield_sequencer(&mut self, instance: InstanceId, epoch: Epoch) -> Result<Decided, StorageError> {
        if self.holds(instance, epoch) {
            self.memory.sequencer = None;
            self.save_sequencer()?;
        }
        Ok(Ok(Reply::Done))
    }

    pub(super) fn renew_sequencer_lease(&mut self, renewal: SequencerRenewal) -> Result<bool, StorageError> {
        let held = self.holds(renewal.instance, renewal.epoch);
        if held {
            self.memory.sequencer_renewal += 1;
            self.save_sequencer()?;
        }
        Ok(held)
    }

    pub(super) fn expire_sequencer_lease(&mut self, epoch: Epoch, renewal: u64) -> Result<bool, StorageError> {
        let memory = &self.memory;
        let still = memory.sequencer.is_some() && memory.epoch == epoch && memory.sequencer_renewal == renewal;
        if still {
            self.memory.sequencer = None;
            self.save_sequencer()?;
            self.count("sequencer_expired");
        }
        Ok(still)
    }

    fn holds(&self, instance: InstanceId, epoch: Epoch) -> bool {
        self.memory.sequencer == Some(instance) && self.memory.epoch == epoch
    }

    fn save_sequencer(&self) -> Result<(), StorageError> {
        let query = "UPDATE meta SET epoch = ?, sequencer = ?, sequencer_renewal = ? WHERE tenant = ?";
        self.sql.prepare_cached(query)?.execute(params![
            self.memory.epoch.0.cast_signed(),
            self.memory.sequencer.map(|holder| holder.0.into_bytes()),
            self.memory.sequencer_renewal.cast_signed(),
            TENANT,
        ])?;
        Ok(())
    }
}
