//! `longshore top`: queues, workers, running jobs and backends at a glance, once a second, until `q` or Ctrl-C.

mod frame;
mod sight;
mod terminal;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chassis::config::Source;
use console::Term;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::queues::pausing;
use crate::arguments::Top;
use crate::client::Client;
use crate::output;
use frame::{Frame, Room};
use sight::{Places, Sight};
use terminal::{Key, Terminal};

const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(arguments: &Top, source: &Source) -> anyhow::Result<ExitCode> {
    let places = Places {
        service: Client::new(&arguments.service, source)?,
        admin: Client::admin(arguments.admin.as_deref(), source)?,
    };
    if arguments.once || !Term::stdout().is_term() {
        let sight = places.look().await?;
        let room = Room { width: output::width(), height: usize::MAX };
        output::lines(Frame::of(places.service.address().to_string(), sight).lines(room))?;
        return Ok(ExitCode::SUCCESS);
    }
    // The first look is an error like any other; later ones are shown.
    let sight = places.look().await?;
    let terminal = Terminal::open().context("opening the terminal")?;
    watch(&places, &terminal, sight).await?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(places: &Places, terminal: &Terminal, first: Sight) -> anyhow::Result<()> {
    let mut frame = Frame::of(places.service.address().to_string(), first);
    let mut ends = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let mut resized = signal(SignalKind::window_change())?;
    let mut looking = Box::pin(later(places));
    loop {
        terminal.draw(&frame.lines(Room::of(&Term::stdout())))?;
        tokio::select! {
            looked = &mut looking => {
                frame.see(looked);
                looking = Box::pin(later(places));
            }
            keys = terminal.keys() => {
                for key in keys? {
                    match key {
                        Key::Quit => return Ok(()),
                        Key::Up => frame.select(-1),
                        Key::Down => frame.select(1),
                        Key::Pause => set(places, &mut frame, "pause").await,
                        Key::Resume => set(places, &mut frame, "resume").await,
                    }
                }
            }
            _ = resized.recv() => {}
            () = any_of(&mut ends) => return Ok(()),
        }
    }
}

async fn later(places: &Places) -> anyhow::Result<Sight> {
    tokio::time::sleep(EVERY).await;
    places.look().await
}

/// Pauses or resumes the queue that is selected.
async fn set(places: &Places, frame: &mut Frame, what: &str) {
    let Some(queue) = frame.selected() else { return };
    let said = match places.service.call(&pausing(&queue, what)).await {
        Ok(_) => format!("{what}: {queue}"),
        Err(error) => error.to_string(),
    };
    frame.say(said);
}

async fn any_of(signals: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
