//! Starts the programs of others: their settings rendered from a template into a scratch folder, on free ports of loopback, waited for until
//! they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::http::Http;
use ::tests::process::Spec;
use ::tests::{Process, eventually};
use anyhow::{Context, Result, bail, ensure};

/// A Python server with its workers on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Where `tests/bench/run` has installed what is not of this project.
#[derive(Clone, Debug)]
pub(crate) struct Installed(pub(crate) PathBuf);

impl Installed {
    pub(crate) fn python(&self, program: &str) -> Result<PathBuf> {
        self.path(&format!("python/bin/{program}"))
    }

    pub(crate) fn node_modules(&self) -> Result<PathBuf> {
        self.path("node/node_modules")
    }

    pub(crate) fn pingora(&self) -> Result<PathBuf> {
        self.path("pingora/release/pingora-balancer")
    }

    /// A library that makes a program's connections come from another address.
    pub(crate) fn source_address(&self) -> Result<PathBuf> {
        self.path("source-address.so")
    }

    fn path(&self, below: &str) -> Result<PathBuf> {
        let path = self.0.join(below);
        ensure!(path.exists(), "{} is missing: start the bench by tests/bench/run, which installs it", path.display());
        Ok(path)
    }
}

/// `{{name}}` in the template becomes the value of that name. Every name must be used, and none left over.
pub(crate) fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        let place = format!("{{{{{name}}}}}");
        ensure!(text.contains(&place), "the template has no {place}");
        text = text.replace(&place, value);
    }
    match text.split_once("{{") {
        None => Ok(text),
        Some((_, rest)) => bail!("nothing was given for {{{{{}", rest.chars().take(20).collect::<String>()),
    }
}

/// A program found on the path, or by its own path, in a folder of its own.
pub(crate) fn start(
    folder: &Path,
    name: &str,
    binary: impl Into<PathBuf>,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> Result<Process> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Process::start(Spec {
        name: name.to_owned(),
        binary: binary.into(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        environment: BTreeMap::from_iter(environment),
        folder: folder.to_owned(),
    })
}

/// Until it answers this path with 200.
pub(crate) async fn until_answers(process: &mut Process, address: SocketAddr, path: &str) -> Result<()> {
    let http = Http::new(address).with_deadline(Duration::from_secs(5));
    until(process, async || Ok((http.get(path).await?.status == 200).then_some(()))).await
}

/// Until the probe succeeds; a program that ends meanwhile is shown with its log.
pub(crate) async fn until(process: &mut Process, mut probe: impl AsyncFnMut() -> Result<Option<()>>) -> Result<()> {
    let what = format!("{} answers", process.name());
    let outcome = eventually(ANSWERS_WITHIN, &what, async || match process.ended()? {
        Some(status) => Ok(Some(Err(status))),
        None => Ok(probe().await?.map(Ok)),
    })
    .await;
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(status)) => bail!("{} ended: {status}\n{}", process.name(), process.log_tail(30)),
        Err(error) => Err(error).with_context(|| process.log_tail(30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_and_nothing_is_left_over() {
        let port = || [("port", "7".to_owned())];
        assert_eq!(fill("listen {{port}};", &port()).unwrap(), "listen 7;");
        assert!(fill("listen 8;", &port()).is_err());
        assert!(fill("listen {{port}} {{other}};", &port()).is_err());
    }
}
