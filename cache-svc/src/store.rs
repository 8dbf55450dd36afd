//! The store as cache-svc uses it: the sequencer's lease, the log, closed fences, loads.

use std::time::Duration;

use chassis::client::{Call, DataRead, Error, StoreClient};
use chassis::config::Address;
use protocol::ids::{Incarnation, InstanceId, Position};
use protocol::invalidation::Term;
use protocol::store_api::{Answer, Applied, Apply, Command, LogPage, Reply, SequencerAnswer};

/// How long a call that should be answered at once may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a load may take.
pub(crate) const LOAD_DEADLINE: Duration = Duration::from_millis(1_500);
/// The store answers the log on news or after this, in ms; each call renews the sequencer's lease.
const LOG_WAIT_MS: u64 = 500;

#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: StoreClient,
    instance: InstanceId,
}

impl Store {
    pub(crate) fn new(client: StoreClient) -> Self {
        Self { client, instance: InstanceId::generate() }
    }

    /// The same instance over other connections.
    pub(crate) fn over(&self, client: StoreClient) -> Self {
        Self { client, instance: self.instance }
    }

    /// Asks for the sequencer's lease.
    pub(crate) async fn acquire(&self) -> Result<(Incarnation, SequencerAnswer), Error> {
        match self.apply(Command::SequencerAcquire { instance: self.instance }).await? {
            (_, incarnation, Reply::Sequencer(answer)) => Ok((incarnation, answer)),
            (address, _, other) => {
                let reason = format!("it does not belong to the command: {}", other.name());
                Err(Error::Malformed { address, reason })
            }
        }
    }

    /// Gives it back.
    pub(crate) async fn give_back(&self, term: Term) -> Result<(), Error> {
        self.apply(Command::SequencerYield { instance: self.instance, epoch: term.epoch }).await.map(drop)
    }

    /// Everything up to `through` is fenced.
    pub(crate) async fn post_fenced(&self, term: Term, through: Position) -> Result<(), Error> {
        self.apply(Command::Fenced { epoch: term.epoch, through }).await.map(drop)
    }

    /// What is to be invalidated after `after`; renews the lease of `term`.
    pub(crate) async fn follow(&self, term: Term, after: Position) -> Result<LogPage, Error> {
        let (instance, epoch) = (self.instance, term.epoch);
        let path =
            format!("/log?after={after}&wait_ms={LOG_WAIT_MS}&kinds=invalidation&instance={instance}&epoch={epoch}");
        let call = Call::get(path).within(Duration::from_millis(LOG_WAIT_MS) + DEADLINE);
        Ok(self.client.peer().call(&call).await?.json()?.body)
    }

    /// What is stored under a key.
    pub(crate) async fn load(&self, key: &str) -> Result<DataRead, Error> {
        self.client.data(key, LOAD_DEADLINE).await
    }

    async fn apply(&self, command: Command) -> Result<(Address, Incarnation, Reply), Error> {
        let peer = self.client.peer();
        let apply = Apply { items: vec![command] };
        // Each of our commands may be applied twice: a grant that was lost is granted again under the next epoch.
        let call = Call::post("/apply", &apply).map_err(|error| peer.unsendable(&error))?;
        let answer = peer.call(&call.within(DEADLINE).repeatable()).await?.json::<Applied>()?;
        let address = answer.address;
        match answer.body.items.into_iter().next() {
            Some(Answer::Ok(reply)) => Ok((address, answer.body.incarnation, *reply)),
            Some(Answer::Error(problem)) => Err(Error::Problem { address, problem }),
            None => Err(Error::Malformed { address, reason: "it has no answer to the command".to_owned() }),
        }
    }
}
