//! What attempts wrote to stdout and stderr: the end of it, within bounds.

use serde::{Deserialize, Serialize};

use crate::ids::JobId;
use crate::time::Timestamp;

/// Of what an attempt wrote to each of stdout and stderr, so much of the end is kept, in bytes.
pub const LOG_BYTES_MAX: usize = 64 * 1024;
/// So many attempts of a job have their logs kept: the last ones.
pub const LOGS_KEPT: u32 = 5;

/// The end of what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogTail {
    pub text: String,
    /// There was more than is kept.
    pub truncated: bool,
}

impl LogTail {
    /// The last of these bytes, which are the last of all that were written if some are missing already.
    #[must_use]
    pub fn of(bytes: &[u8], is_cut: bool) -> Self {
        let kept = bytes.get(bytes.len().saturating_sub(LOG_BYTES_MAX)..).unwrap_or_default();
        let truncated = is_cut || kept.len() < bytes.len();
        // A cut may fall into the middle of a character: its rest is left out.
        let rest = kept.iter().take(3).take_while(|byte| truncated && **byte & 0xC0 == 0x80).count();
        let text = String::from_utf8_lossy(kept.get(rest..).unwrap_or_default()).into_owned();
        Self { text, truncated }.bounded()
    }

    /// Cut to its bound: what is no UTF-8 takes more room as text.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.text.len() > LOG_BYTES_MAX {
            let from = self.text.ceil_char_boundary(self.text.len() - LOG_BYTES_MAX);
            self.text.drain(..from);
            self.truncated = true;
        }
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.truncated
    }
}

/// What one attempt wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Output {
    pub stdout: LogTail,
    pub stderr: LogTail,
}

impl Output {
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { stdout: self.stdout.bounded(), stderr: self.stderr.bounded() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stdout.is_empty() && self.stderr.is_empty()
    }
}

/// How an attempt ended, as its worker said. One that ended with its worker has no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    Succeeded,
    Failed,
    /// Given back unfinished, which is not counted as an attempt.
    Released,
}

/// The log of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptLog {
    pub run: u32,
    pub attempt: u32,
    pub ended: AttemptEnd,
    pub ended_at: Timestamp,
    #[serde(flatten)]
    pub output: Output,
}

/// `GET /jobs/{id}/logs`: the last attempts that wrote anything, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobLogs {
    pub job_id: JobId,
    pub attempts: Vec<AttemptLog>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_within_its_bound() {
        let check = |bytes: &[u8], is_cut: bool, text: &str, truncated: bool| {
            let tail = LogTail::of(bytes, is_cut);
            assert!(tail.text == text && tail.truncated == truncated, "{} bytes, cut: {is_cut}", bytes.len());
            assert!(tail.text.len() <= LOG_BYTES_MAX && tail.clone().bounded() == tail);
        };
        check(b"", false, "", false);
        check(b"a line\n", false, "a line\n", false);
        check(&"xü".as_bytes()[2..], true, "", true);
        check("üx".as_bytes(), false, "üx", false);
        let full = "y".repeat(LOG_BYTES_MAX);
        check(full.as_bytes(), false, &full, false);
        check(format!("x{full}").as_bytes(), false, &full, true);
        // The cut falls into the ü.
        let less = "y".repeat(LOG_BYTES_MAX - 1);
        check(format!("ü{less}").as_bytes(), false, &less, true);
        // Each bad byte becomes a character of three.
        let bad = vec![0xff; LOG_BYTES_MAX];
        check(&bad, false, &"\u{fffd}".repeat(LOG_BYTES_MAX / 3), true);
    }

    #[test]
    fn the_wire_form_of_a_log_is_flat() {
        let output = Output { stdout: LogTail::of(b"out", false), stderr: LogTail::default() };
        let ended_at = Timestamp::from_unix_ms(0);
        let log = AttemptLog { run: 1, attempt: 2, ended: AttemptEnd::Failed, ended_at, output };
        let expected = serde_json::json!({
            "run": 1, "attempt": 2, "ended": "failed", "ended_at": "1970-01-01T00:00:00.000Z",
            "stdout": {"text": "out", "truncated": false}, "stderr": {"text": "", "truncated": false},
        });
        assert_eq!(serde_json::to_value(log).unwrap(), expected);
    }
}
