//! How a list is shown: once, or again and again; as a table, or as JSON that came from the service.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::client::Call;
use chassis::config::ExitWith;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::arguments::Shown;
use crate::client::{Client, UNAVAILABLE};
use crate::durations;
use crate::output::{self, Screen};

/// What is shown of one answer.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) lines: Vec<String>,
    /// For people, beside it.
    pub(crate) notes: Vec<String>,
}

/// Asks, and shows what `page` makes of the answer for a terminal of so many columns.
pub(crate) async fn show(
    client: &Client,
    call: &Call,
    shown: &Shown,
    page: impl Fn(&[u8], usize) -> Result<Page, ExitWith>,
) -> anyhow::Result<ExitCode> {
    if let Some(every_ms) = shown.watch {
        return again(client, call, shown.json, Duration::from_millis(every_ms), page).await;
    }
    let answer = client.call(call).await?;
    if shown.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = page(&answer.body, output::width())?;
    output::lines(page.lines)?;
    page.notes.iter().for_each(output::note);
    Ok(ExitCode::SUCCESS)
}

/// One thing that was answered: as JSON, or in the lines that are made of it.
pub(crate) fn one<V: DeserializeOwned>(
    client: &Client,
    body: &[u8],
    is_json: bool,
    lines: impl FnOnce(V) -> Vec<String>,
) -> anyhow::Result<()> {
    if is_json {
        output::json(body)?;
    } else {
        output::lines(lines(client.read(body)?))?;
    }
    Ok(())
}

/// Until somebody ends it.
async fn again(
    client: &Client,
    call: &Call,
    is_json: bool,
    every: Duration,
    page: impl Fn(&[u8], usize) -> Result<Page, ExitWith>,
) -> anyhow::Result<ExitCode> {
    let screen = Screen::new();
    let title = format!("Every {}, until Ctrl-C", durations::show_ms(u64::try_from(every.as_millis()).unwrap_or(0)));
    let mut last: Option<Page> = None;
    loop {
        match client.call(call).await {
            Ok(answer) if is_json => {
                output::line(one_line(&answer.body)?)?;
                last = Some(Page::default());
            }
            Ok(answer) => {
                let page = page(&answer.body, output::width())?;
                screen.draw(&title, &page.lines, &page.notes)?;
                last = Some(page);
            }
            Err(error) if error.status == UNAVAILABLE => match &last {
                // What was seen once may be away for a while.
                Some(page) if screen.is_terminal() && !is_json => screen.draw(&away(&error), &page.lines, &[])?,
                Some(_) => output::note(format!("longshore: {}", away(&error))),
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(every).await;
    }
}

fn away(error: &ExitWith) -> String {
    format!("{error} Trying again.")
}

/// A JSON document without the line breaks that it may have.
pub(crate) fn one_line(body: &[u8]) -> anyhow::Result<String> {
    let document: Box<RawValue> = serde_json::from_slice(body).context("the answer is no JSON")?;
    // Outside of strings a line break is only white space, and inside of them there is none.
    Ok(document.get().replace(['\n', '\r'], " "))
}
