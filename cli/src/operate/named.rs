//! What is kept under a name and has pages by name: schedules, webhooks. Their arguments, their paths, and how they are listed and shown.

use std::fmt::Display;

use anyhow::Context;
use bytes::Bytes;
use chassis::client::{Answer, Call};
use chassis::config::Source;
use clap::Args;
use http::Method;
use protocol::key::NameError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::{Service, name};
use crate::client::{Client, DEADLINE, get};
use crate::output::table::Table;
use crate::output::{self, listing};

/// The name of such a thing.
pub(crate) trait Name:
    for<'a> TryFrom<&'a str, Error = NameError> + Display + Clone + Send + Sync + 'static
{
    /// Where they all are.
    const PATH: &'static str;

    /// A name needs no escapes in a path.
    fn path(&self, part: &str) -> String {
        format!("{}/{self}{part}", Self::PATH)
    }
}

#[derive(Debug, Args)]
pub(crate) struct All {
    #[command(flatten)]
    service: Service,
    /// Print each as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show<N: Name> {
    #[command(flatten)]
    one: One<N>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct One<N: Name> {
    #[command(flatten)]
    service: Service,
    /// Which one: letters, digits, '.', '_', '-' and ':'
    #[arg(value_name = "NAME", value_parser = name::<N>)]
    pub(crate) name: N,
}

impl<N: Name> One<N> {
    /// The answer, and whom it is from.
    pub(crate) async fn call(&self, call: &Call, source: &Source) -> anyhow::Result<(Client, Answer<Bytes>)> {
        let client = Client::new(&self.service, source)?;
        let answer = client.call(call).await?;
        Ok((client, answer))
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, call: &Call, source: &Source) -> anyhow::Result<T> {
        let (client, answer) = self.call(call, source).await?;
        Ok(client.read(&answer.body)?)
    }

    /// PUT of it. `may_repeat`: a second request of the same kind is answered as the first one.
    ///
    /// # Errors
    /// When the body cannot be written as JSON.
    pub(crate) fn put(&self, body: &impl Serialize, may_repeat: bool) -> anyhow::Result<Call> {
        let json = serde_json::to_vec(body).context("writing the request as JSON")?;
        Ok(Call::new(Method::PUT, self.name.path(""), may_repeat).json_bytes(json).within(DEADLINE))
    }
}

impl<N: Name> Show<N> {
    /// As JSON, or in these lines.
    pub(crate) async fn run<V: DeserializeOwned>(
        &self,
        source: &Source,
        lines: impl FnOnce(&V) -> Vec<String>,
    ) -> anyhow::Result<()> {
        let (client, answer) = self.one.call(&get(self.one.name.path("")), source).await?;
        listing::one(&client, &answer.body, self.json, |view| lines(&view))
    }
}

impl All {
    /// Page after page of what is at `path`; `part` takes a page apart. As JSON each is a line; `none` is noted if there is nothing to put into a table.
    pub(crate) async fn run<P: DeserializeOwned, V: Serialize, const COLUMNS: usize>(
        &self,
        path: &str,
        source: &Source,
        part: impl Fn(P) -> (Vec<V>, Option<String>),
        table: impl FnOnce(&[V]) -> Table<COLUMNS>,
        none: &str,
    ) -> anyhow::Result<()> {
        let client = Client::new(&self.service, source)?;
        let (mut all, mut query) = (Vec::new(), String::new());
        loop {
            let answer = client.call(&get(format!("{path}{query}"))).await?;
            let (some, next_cursor) = part(client.read(&answer.body)?);
            all.extend(some);
            // The cursor is a name or a number, which need no escapes.
            let Some(cursor) = next_cursor else { break };
            query = format!("?cursor={cursor}");
        }
        if self.json {
            for one in &all {
                output::line(serde_json::to_string(one)?)?;
            }
        } else if all.is_empty() {
            output::note(none);
        } else {
            output::lines(table(&all).lines(output::width()))?;
        }
        Ok(())
    }
}
