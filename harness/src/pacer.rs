//! Waits for due instants with the kernel's own timer: tokio's counts in milliseconds, which is as much as an answer takes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, Instant};

/// One timer; it is set anew for each due instant.
#[derive(Debug)]
pub struct Pacer {
    timer: AsyncFd<OwnedFd>,
    set_for: Option<Instant>,
}

impl Pacer {
    /// # Errors
    /// When the process may open no further file.
    #[expect(
        deprecated,
        reason = "its successor is unsafe and asks for what an OwnedFd is: one open file as long as it lives"
    )]
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: AsyncFd::new(timer)?, set_for: None })
    }

    /// Returns at the instant, or at once when it has passed. Cancel-safe.
    pub async fn until(&mut self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.set_for != Some(due) {
                self.set(left)?;
                self.set_for = Some(due);
            }
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            // What is left of an earlier instant would block: setting the timer has cleared it.
            if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
                read?;
                self.set_for = None;
            }
        }
    }

    fn set(&self, left: Duration) -> io::Result<()> {
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_returns_early_and_survives_being_cancelled() {
        let mut pacer = Pacer::new().expect("a timer");
        let start = Instant::now();
        for n in 1..=20 {
            let due = start + Duration::from_micros(700) * n;
            // Given up at once, then asked again: the instant stays the same.
            tokio::select! {
                biased;
                result = pacer.until(due) => result.expect("waited"),
                () = std::future::ready(()) => {}
            }
            pacer.until(due).await.expect("waited");
            assert!(Instant::now() >= due, "{n}");
        }
        pacer.until(start).await.expect("the past is now");
    }
}
