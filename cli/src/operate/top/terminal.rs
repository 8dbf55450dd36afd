//! The terminal while `longshore top` has it: keys come one by one and unseen, on a screen of its own. It is given back when this is dropped.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::net::unix::pipe::Receiver;

/// The alternate screen without a cursor, and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// What a person may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Up,
    Down,
    Pause,
    Resume,
}

#[derive(Debug)]
pub(super) struct Terminal {
    /// tokio has no type for terminals; its pipes ask nothing of a file but that it can be waited for.
    keyboard: Receiver,
    saved: Termios,
}

impl Terminal {
    /// # Errors
    /// When there is none.
    pub(super) fn open() -> io::Result<Self> {
        // A description of its own, so that others who read the terminal still wait.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty")?;
        let saved = tcgetattr(&file)?;
        let mut quiet = saved.clone();
        // Ctrl-C is a key like the others, so that nothing ends this program with the terminal in its hands.
        quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        let terminal = Self { keyboard: Receiver::from_file_unchecked(file)?, saved };
        tcsetattr(&terminal.keyboard, OptionalActions::Now, &quiet)?;
        write(ENTER)?;
        Ok(terminal)
    }

    /// What was pressed; the end of the terminal is a wish to quit. Cancel-safe.
    pub(super) async fn keys(&self) -> io::Result<Vec<Key>> {
        let mut bytes = [0; 64];
        loop {
            self.keyboard.readable().await?;
            match self.keyboard.try_read(&mut bytes) {
                Ok(0) => return Ok(vec![Key::Quit]),
                Ok(count) => return Ok(keys_of(bytes.get(..count).unwrap_or_default())),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The lines from the top, over what was there.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let body: Vec<String> = lines.iter().map(|line| format!("{line}\x1b[K")).collect();
        write(format!("\x1b[H{}\x1b[J", body.join("\r\n")).as_bytes())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        write(LEAVE).unwrap_or_default();
        tcsetattr(&self.keyboard, OptionalActions::Now, &self.saved).unwrap_or_default();
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn keys_of(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        (rest, keys) = match (first, after) {
            (0x1b, [b'[' | b'O', b'A', after @ ..]) => (after, with(keys, Key::Up)),
            (0x1b, [b'[' | b'O', b'B', after @ ..]) => (after, with(keys, Key::Down)),
            // Ctrl-C and Ctrl-D.
            (b'q' | 0x03 | 0x04, _) => (after, with(keys, Key::Quit)),
            (b'k', _) => (after, with(keys, Key::Up)),
            (b'j', _) => (after, with(keys, Key::Down)),
            (b'p', _) => (after, with(keys, Key::Pause)),
            (b'r', _) => (after, with(keys, Key::Resume)),
            _ => (after, keys),
        };
    }
    keys
}

fn with(mut keys: Vec<Key>, key: Key) -> Vec<Key> {
    keys.push(key);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_their_bytes() {
        let check = |bytes: &[u8], expected: &[Key]| assert_eq!(keys_of(bytes), expected);
        check(b"q", &[Key::Quit]);
        check(b"\x03", &[Key::Quit]);
        check(b"\x1b[A\x1b[Bjk", &[Key::Up, Key::Down, Key::Down, Key::Up]);
        check(b"xp r", &[Key::Pause, Key::Resume]);
        check(b"", &[]);
    }
}
