//! Reads on a few threads of their own, so that a slow disk never holds up the threads that serve requests.

use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::storage::{Reader, Storage, StorageError};

const THREADS: usize = 2;
/// Reads that may wait; one more is answered 503.
const WAITING_MAX: usize = 2_048;

#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("too many reads wait")]
    Overloaded,
    #[error("the readers have ended")]
    Ended,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

type Read = Box<dyn FnOnce(&mut dyn Reader) + Send>;

/// A handle on the reading threads; they end when all handles are gone.
#[derive(Clone, Debug)]
pub(crate) struct Readers {
    reads: mpsc::Sender<Read>,
}

impl Readers {
    /// # Errors
    /// When the database cannot be opened again or a thread cannot be started.
    pub(crate) fn start(storage: &dyn Storage) -> anyhow::Result<Self> {
        let (reads, waiting) = mpsc::channel::<Read>(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 1..=THREADS {
            let mut reader = storage.reader()?;
            let waiting = Arc::clone(&waiting);
            let name = format!("store-reader-{number}");
            std::thread::Builder::new().name(name).spawn(move || {
                while let Some(read) = next(&waiting) {
                    read(reader.as_mut());
                }
            })?;
        }
        Ok(Self { reads })
    }

    /// # Errors
    /// Why it could not be read; at once when there is no room to wait.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StorageError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |reader| {
            // Nobody reads for those who have gone.
            if !reply.is_closed() {
                drop(reply.send(read(reader)));
            }
        });
        self.reads.try_send(read).map_err(|error| match error {
            TrySendError::Full(_) => ReadError::Overloaded,
            TrySendError::Closed(_) => ReadError::Ended,
        })?;
        Ok(answer.await.map_err(|_| ReadError::Ended)??)
    }
}

/// The next read. The lock is held while waiting for it: the others wait for the lock instead.
fn next(waiting: &Mutex<mpsc::Receiver<Read>>) -> Option<Read> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}
