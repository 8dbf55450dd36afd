//! One connection, driven by the thread that uses it: statements are sent together and answered in order, and nothing is awaited for ever.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::bound::Bound;
use super::fault::Fault;
use super::url::Url;

/// A connection attempt may take so long, with the settings of the session.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// Whatever was sent together is answered within this time, or the connection counts as lost. The server gives up before (see [`SESSION`]).
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The session's own settings. Whoever is stopped in the middle of a transaction loses it, and with it the writer's seat, after five seconds.
const SESSION: &str = "SET search_path = longshore;
     SET synchronous_commit = on;
     SET client_min_messages = warning;
     SET statement_timeout = '10s';
     SET lock_timeout = '8s';
     SET idle_in_transaction_session_timeout = '5s'";

const PATIENCE: Duration = Duration::from_secs(3_600);
const PATIENT: &str =
    "SET statement_timeout = 0; SET lock_timeout = '10min'; SET idle_in_transaction_session_timeout = '1min'";

type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// What is sent: a prepared statement and its values.
pub(super) type Bind = (Statement, Vec<Bound>);

pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
    /// `None`: it has ended.
    driver: Option<Driver>,
    answer_within: Duration,
    /// By the text before its translation, and whether rows are locked.
    prepared: HashMap<(&'static str, Lock), Statement>,
}

/// Whether the rows that a query finds are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    No,
    /// Those that a stranger has locked are left out.
    SkipLocked,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects after a pause.
    pub(super) fn open(url: &Url, pause: Duration) -> Result<Self, Fault> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| Fault::lost(&error))?;
        let connecting = async {
            tokio::time::sleep(pause).await;
            tokio::time::timeout(CONNECT_WITHIN, url.connect()).await
        };
        let (client, driver) = runtime.block_on(connecting).map_err(|_| Fault::lost(&"no answer in time"))??;
        let mut connection = Self {
            runtime,
            client,
            driver: Some(Box::pin(driver)),
            answer_within: ANSWER_WITHIN,
            prepared: HashMap::new(),
        };
        connection.batch(SESSION)?;
        Ok(connection)
    }

    /// For work on whole tables, which takes as long as it takes, and waits for another store that does it.
    pub(super) fn be_patient(&mut self) -> Result<(), Fault> {
        self.answer_within = PATIENCE;
        self.batch(PATIENT)
    }

    pub(super) fn is_open(&self) -> bool {
        self.driver.is_some()
    }

    /// Several statements without values, as text.
    pub(super) fn batch(&mut self, text: &str) -> Result<(), Fault> {
        self.run(async |client| client.batch_execute(text).await)
    }

    /// A statement without values, as text.
    pub(super) fn ask(&mut self, text: &str) -> Result<Vec<Row>, Fault> {
        self.run(async |client| client.query(text, &[]).await)
    }

    pub(super) fn prepare(&mut self, statement: &'static str, lock: Lock) -> Result<Statement, Fault> {
        if let Some(prepared) = self.prepared.get(&(statement, lock)) {
            return Ok(prepared.clone());
        }
        let prepared = self.prepare_text(&translated(statement, lock))?;
        self.prepared.insert((statement, lock), prepared.clone());
        Ok(prepared)
    }

    /// A statement in PostgreSQL's own words, which is not kept.
    pub(super) fn prepare_text(&mut self, text: &str) -> Result<Statement, Fault> {
        self.run(async |client| client.prepare(text).await)
    }

    /// Sends all and then waits for all answers: one round trip. The first error counts.
    pub(super) fn pipeline(&mut self, sent: &[Bind]) -> Result<Vec<Vec<Row>>, Fault> {
        self.run(async |client| {
            let ask = async |(statement, values): &Bind| {
                let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
                client.query(statement, &values).await
            };
            in_order(sent.iter().map(ask).collect()).await
        })
    }

    /// Drives the connection until the work is done. A connection that ended or did not answer is not used again.
    fn run<T>(&mut self, work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, Fault> {
        let Self { runtime, client, driver, answer_within, .. } = self;
        let driven = async {
            let mut work = std::pin::pin!(work(client));
            poll_fn(|context| {
                if let Some(driving) = driver
                    && driving.as_mut().poll(context).is_ready()
                {
                    // What waits for an answer hears that none will come.
                    *driver = None;
                }
                work.as_mut().poll(context)
            })
            .await
        };
        let answered = runtime.block_on(async { tokio::time::timeout(*answer_within, driven).await });
        let answer = answered.map_err(|_| Fault::lost(&"no answer in time")).and_then(|answer| Ok(answer?));
        if matches!(answer, Err(Fault::Lost(_))) {
            self.driver = None;
        }
        answer
    }
}

/// Starts all in order and collects their results; the server answers in the same order.
async fn in_order<T, E>(futures: Vec<impl Future<Output = Result<T, E>>>) -> Result<Vec<T>, E> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut early: Vec<Option<Result<T, E>>> = poll_fn(|context| {
        let polled = waiting.iter_mut().map(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        });
        Poll::Ready(polled.collect())
    })
    .await;
    let mut results = Vec::with_capacity(waiting.len());
    let mut first_error = None;
    for (future, early) in waiting.into_iter().zip(early.drain(..)) {
        let result = match early {
            Some(result) => result,
            None => future.await,
        };
        match result {
            Ok(result) => results.push(result),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(results), Err)
}

/// From what both databases understand to PostgreSQL's own words.
fn translated(statement: &str, lock: Lock) -> String {
    let mut text = String::with_capacity(statement.len() + 32);
    let mut numbered = 0;
    let mut characters = statement.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '?' {
            text.push(character);
            continue;
        }
        text.push('$');
        if !characters.peek().is_some_and(char::is_ascii_digit) {
            numbered += 1;
            text.push_str(&numbered.to_string());
        }
    }
    if let Some((before, hint)) = text.split_once(" INDEXED BY ") {
        let after = hint.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        text = format!("{before}{after}");
    }
    text = text.replace(" NOT INDEXED", "");
    match lock {
        Lock::No => text,
        Lock::SkipLocked => text + " FOR UPDATE SKIP LOCKED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_statements_are_translated() {
        let check = |statement: &str, lock: Lock, expected: &str| assert_eq!(translated(statement, lock), expected);
        check("SELECT a FROM t WHERE b = ? AND c = ?", Lock::No, "SELECT a FROM t WHERE b = $1 AND c = $2");
        check(
            "VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = ?2",
            Lock::No,
            "VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = $2",
        );
        check("SELECT a FROM t INDEXED BY t_by_b\n WHERE b = ?", Lock::No, "SELECT a FROM t\n WHERE b = $1");
        check("SELECT a FROM t NOT INDEXED WHERE b = ?", Lock::No, "SELECT a FROM t WHERE b = $1");
        check("SELECT a FROM t LIMIT ?", Lock::SkipLocked, "SELECT a FROM t LIMIT $1 FOR UPDATE SKIP LOCKED");
    }
}
