//! The lines that a program writes to fd 3: `{"fraction":0.5,"message":"…"}` or a bare number. Anything else is skipped.

use protocol::api::Progress;
use serde::Deserialize;

/// A longer line is skipped: nobody writes that much about progress.
const LINE_BYTES_MAX: usize = 4_096;

/// Cuts a stream into lines without ever holding more than one.
#[derive(Debug, Default)]
pub(super) struct ProgressLines {
    line: Vec<u8>,
    /// The line outgrew its bound; the rest of it is skipped too.
    skipping: bool,
    not_started: Option<i32>,
}

impl ProgressLines {
    /// Takes the next bytes of the stream; the last valid line among them is what counts.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Progress> {
        let mut latest = None;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.skipping |= self.line.len() + text.len() > LINE_BYTES_MAX;
            if !self.skipping {
                self.line.extend_from_slice(text);
            }
            if ended {
                match if self.skipping { None } else { parse(&self.line) } {
                    Some(Said::Progress(progress)) => latest = Some(progress),
                    Some(Said::NotStarted(errno)) => self.not_started = Some(errno),
                    None => {}
                }
                self.line.clear();
                self.skipping = false;
            }
        }
        latest
    }

    /// Why the program could not be started, if its launcher said so: an error number of the system.
    pub(super) fn not_started(&self) -> Option<i32> {
        self.not_started
    }
}

enum Said {
    Progress(Progress),
    NotStarted(i32),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Number(f64),
    NotStarted { not_started: i32 },
    Object { fraction: Option<f64>, message: Option<String> },
}

fn parse(line: &[u8]) -> Option<Said> {
    match serde_json::from_slice(line).ok()? {
        Line::Number(fraction) => Some(Said::Progress(Progress { fraction: Some(fraction), message: None })),
        Line::NotStarted { not_started } => Some(Said::NotStarted(not_started)),
        Line::Object { fraction: None, message: None } => None,
        Line::Object { fraction, message } => Some(Said::Progress(Progress { fraction, message })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbers_or_objects_and_the_last_one_counts() {
        let check = |chunks: &[&str], expected: Option<(Option<f64>, Option<&str>)>| {
            let mut lines = ProgressLines::default();
            let latest = chunks.iter().filter_map(|chunk| lines.push(chunk.as_bytes())).last();
            let expected =
                expected.map(|(fraction, message)| Progress { fraction, message: message.map(str::to_owned) });
            assert_eq!(latest, expected, "{chunks:?}");
        };
        check(&["0.25\n"], Some((Some(0.25), None)));
        check(&["1\n"], Some((Some(1.0), None)));
        check(&["{\"fraction\":0.5,\"message\":\"half\"}\n"], Some((Some(0.5), Some("half"))));
        check(&["{\"message\":\"reading\"}\r\n"], Some((None, Some("reading"))));
        check(&["{\"frac", "tion\":0.", "5}", "\n0."], Some((Some(0.5), None)));
        check(&["0.1\n0.2\nnonsense\n"], Some((Some(0.2), None)));
        check(&["nonsense\n", "{}\n", "\n", "0.5"], None);
        check(&["{\"not_started\":2}\n"], None);
    }

    #[test]
    fn endless_line_costs_no_memory_and_does_not_hide_the_next() {
        let mut lines = ProgressLines::default();
        for _ in 0..1_000 {
            assert_eq!(lines.push(&[b'7'; 100]), None);
        }
        assert!(lines.line.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(lines.push(b"7\n0.5\n"), Some(Progress { fraction: Some(0.5), message: None }));
    }
}
