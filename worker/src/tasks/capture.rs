//! What is kept of a program's output: all of stdout up to a bound, the tail of stderr; of both the end for the job's logs.

use std::collections::VecDeque;

use protocol::logs::LogTail;
use serde_json::value::RawValue;

use crate::handler::Output;

/// Stdout up to a bound.
#[derive(Debug)]
pub(super) struct Head {
    bytes: Vec<u8>,
    bound: usize,
}

impl Head {
    pub(super) fn new(bound: usize) -> Self {
        Self { bytes: Vec::new(), bound }
    }

    /// `false`: the bound is passed, the output is not complete any more.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.bytes.len() + bytes.len() > self.bound {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Its end, for the logs. `is_cut`: the output went on beyond the bound.
    pub(super) fn log(&self, is_cut: bool) -> LogTail {
        LogTail::of(&self.bytes, is_cut)
    }

    /// The output as a job's result: JSON as it stands, else a string without its last newline.
    pub(super) fn into_output(self) -> Output {
        // Read as a value first: a nesting that no reader would take is text, not JSON.
        let is_json = serde_json::from_slice::<serde_json::Value>(&self.bytes).is_ok();
        let json = is_json.then(|| serde_json::from_slice::<Box<RawValue>>(&self.bytes).ok()).flatten();
        json.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&self.bytes);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            serde_json::value::to_raw_value(text).expect("a string is always JSON")
        })
    }
}

/// The last bytes of stderr.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    bound: usize,
    cut: bool,
}

impl Tail {
    pub(super) fn new(bound: usize) -> Self {
        Self { bytes: VecDeque::new(), bound, cut: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fresh = bytes.get(bytes.len().saturating_sub(self.bound)..).unwrap_or_default();
        let surplus = (self.bytes.len() + fresh.len()).saturating_sub(self.bound);
        self.cut |= surplus > 0 || fresh.len() < bytes.len();
        self.bytes.drain(..surplus.min(self.bytes.len()));
        self.bytes.extend(fresh);
    }

    /// All that is kept, for the logs.
    pub(super) fn log(&self) -> LogTail {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        LogTail::of(&bytes, self.cut)
    }

    /// The last bytes of the tail as text, "…" in front where something is missing.
    pub(super) fn text(&self, last: usize) -> String {
        let skipped = self.bytes.len().saturating_sub(last);
        let bytes: Vec<u8> = self.bytes.iter().skip(skipped).copied().collect();
        let LogTail { text, truncated } = LogTail::of(&bytes, self.cut || skipped > 0);
        let text = text.trim();
        if truncated && !text.is_empty() { format!("…{text}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdout_is_json_or_a_string_without_its_last_newline() {
        let check = |stdout: &[u8], expected: &str| {
            let mut head = Head::new(1_000_000);
            assert!(head.push(stdout));
            assert_eq!(head.into_output().get(), expected, "{:?}", String::from_utf8_lossy(stdout));
        };
        check(b"{\"a\": 1.10}\n", "{\"a\": 1.10}");
        check(b" 12345678901234567890123 \n", "12345678901234567890123");
        check(b"\"text\"", "\"text\"");
        check(b"done\n", "\"done\"");
        check(b"two\nlines\n\n", "\"two\\nlines\\n\"");
        check(b"", "\"\"");
        check(b"{\"a\":1}{\"b\":2}\n", "\"{\\\"a\\\":1}{\\\"b\\\":2}\"");
        check(b"\xff\n", "\"\u{fffd}\"");
        let nested = "[".repeat(100_000) + &"]".repeat(100_000);
        check(nested.as_bytes(), &format!("\"{nested}\""));
    }

    #[test]
    fn stdout_over_its_bound_is_refused() {
        let mut head = Head::new(4);
        assert!(head.push(b"1234"));
        assert!(!head.push(b"5"));
    }

    #[test]
    fn tail_keeps_the_last_bytes() {
        let check = |chunks: &[&str], expected: &str| {
            let mut tail = Tail::new(8);
            chunks.iter().for_each(|chunk| tail.push(chunk.as_bytes()));
            assert_eq!(tail.text(8), expected, "{chunks:?}");
        };
        check(&[], "");
        check(&["short\n"], "short");
        check(&["12345678"], "12345678");
        check(&["123456789"], "…23456789");
        check(&["abcd", "efgh", "ij"], "…cdefghij");
        check(&["a very long line", "x"], "…ng linex");
        check(&["üüüü", "abc"], "…üüabc");
        let mut tail = Tail::new(8);
        tail.push(b"abcdefgh");
        assert_eq!((tail.text(2).as_str(), tail.text(0).as_str()), ("…gh", ""));
        assert_eq!(tail.log(), LogTail { text: "abcdefgh".to_owned(), truncated: false });
    }
}
