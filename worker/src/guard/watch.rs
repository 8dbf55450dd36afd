//! The guard's own loop: takes orders, ends what is overdue, and everything once the worker has ended.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use chassis::clock::now_ms;
use protocol::lease_api::LeaseId;
use protocol::store_api::JobFence;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::book::{Book, Order};
use super::strays;

/// Nothing is watched: look again after this.
const IDLE: Duration = Duration::from_secs(3_600);
/// While something is watched. Timers stand still while the machine sleeps, leases do not.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks for what has left its process group: each reads the environments of all processes, so that many short programs share one.
const STRAYS: Duration = Duration::from_millis(200);
/// After the worker's end: the most looks.
const LAST_LOOKS: u32 = 25;

pub(super) async fn watch() -> io::Result<()> {
    // A signal to everything must not take the guard before the worker.
    let _terminate = signal(SignalKind::terminate())?;
    let _interrupt = signal(SignalKind::interrupt())?;
    let stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(stdin).lines();
    let mut book = Book::default();
    let mut strays_at = None;
    loop {
        let now_ms = now_ms();
        let overdue = book.end_overdue(now_ms);
        if !overdue.is_empty() {
            overdue.into_iter().for_each(kill);
            strays_at = Some(Instant::now());
        }
        let end_ms = book.next_end_ms();
        let idle = end_ms.map_or(IDLE, |end_ms| Duration::from_millis(end_ms.saturating_sub(now_ms)).min(LOOK));
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    let begun = Order::parse(&line).and_then(|order| book.take_order(order));
                    // One whose lease is over is ended instead of being confirmed.
                    book.end_overdue(chassis::clock::now_ms()).into_iter().for_each(kill);
                    begun.filter(|attempt| book.is_held(*attempt)).into_iter().for_each(confirm);
                }
                Ok(None) | Err(_) => break,
            },
            () = tokio::time::sleep_until(strays_at.unwrap_or_else(Instant::now)), if strays_at.is_some() => {
                look_for_strays(&mut book);
                strays_at = None;
            }
            () = tokio::time::sleep(idle) => {}
        }
        if strays_at.is_none() && !book.ended().is_empty() {
            strays_at = Some(Instant::now() + STRAYS);
        }
    }
    book.end_overdue(u64::MAX).into_iter().for_each(kill);
    for _ in 0..LAST_LOOKS {
        look_for_strays(&mut book);
        if book.ended().is_empty() {
            break;
        }
        tokio::time::sleep(STRAYS).await;
    }
    Ok(())
}

fn look_for_strays(book: &mut Book) {
    let ended = book.ended();
    let found = strays::end(&ended);
    book.looked(&ended, &found);
}

/// The worker may let the program begin. If nobody reads it, nobody waits for it.
fn confirm(attempt: JobFence) {
    let line = format!("{}\n", LeaseId(attempt));
    io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()).unwrap_or_default();
}

fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // Gone already is as good; there is nobody to tell anything else.
        kill_process_group(group, Signal::KILL).unwrap_or_default();
    }
}
