//! The `Prefer` header (RFC 7240) as far as jobs know it: `wait=N` and `respond-async`. Pure.
//!
//! What is unknown or malformed is ignored, as the RFC asks; what was honoured is said in `Preference-Applied`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::api::WAIT_S_MAX;

const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a client would like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// To wait this long for the job's end, in s; 1 to [`WAIT_S_MAX`].
    pub(crate) wait_s: Option<u64>,
    /// To be answered before the job ends.
    pub(crate) respond_async: bool,
}

impl Prefer {
    #[must_use]
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let mut wait_seen = false;
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(split_outside_quotes) {
            let (name, value) = name_and_value(preference);
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && !wait_seen {
                // The first of several counts (RFC 7240 §2).
                wait_seen = true;
                prefer.wait_s = wait_seconds(value);
            }
        }
        prefer
    }

    #[must_use]
    pub(crate) fn wait(self) -> Option<Duration> {
        self.wait_s.map(Duration::from_secs)
    }

    /// The value of `Preference-Applied`: the wait if it was held, and `respond-async` if the answer came before the end.
    #[must_use]
    pub(crate) fn applied(self, waited: bool, answered_before_end: bool) -> Option<HeaderValue> {
        let wait = self.wait_s.filter(|_| waited).map(|seconds| format!("wait={seconds}"));
        let respond_async = (self.respond_async && answered_before_end).then(|| "respond-async".to_owned());
        let applied: Vec<String> = respond_async.into_iter().chain(wait).collect();
        if applied.is_empty() { None } else { HeaderValue::try_from(applied.join(", ")).ok() }
    }
}

/// A bound above ours is brought down to it: to wait less is to respect it. Zero means not to wait.
fn wait_seconds(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| value.parse().unwrap_or(u64::MAX))?;
    (seconds > 0).then(|| seconds.min(WAIT_S_MAX))
}

/// The list's members; a comma within quotes is text.
fn split_outside_quotes(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    list.split(move |character: char| {
        let is_separator = character == ',' && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        is_separator
    })
}

/// `name=value;parameters`, with blanks around each and quotes around the value.
fn name_and_value(preference: &str) -> (&str, &str) {
    let preference = preference.split(';').next().unwrap_or_default();
    let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    (name.trim(), unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Prefer {
        let value = |line: &&str| (PREFER, HeaderValue::from_str(line).expect("header value"));
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(value) {
            headers.append(name, value);
        }
        Prefer::from_headers(&headers)
    }

    #[test]
    fn preferences_are_read_as_rfc_7240_writes_them() {
        let check = |lines: &[&str], wait_s: Option<u64>, respond_async: bool| {
            assert_eq!(parse(lines), Prefer { wait_s, respond_async }, "{lines:?}");
        };
        check(&[], None, false);
        check(&["wait=5"], Some(5), false);
        check(&["respond-async, wait=10"], Some(10), true);
        check(&["Respond-Async", "WAIT = \"7\""], Some(7), true);
        check(&["wait=100"], Some(30), false);
        check(&["wait=99999999999999999999999"], Some(30), false);
        check(&["wait=3, wait=9"], Some(3), false);
        check(&["wait=x, wait=9"], None, false);
        check(&["foo; wait=5, bar=\"a, wait=6\", wait=7;strict"], Some(7), false);
        check(&["foo=\"a\\\", wait=6\", wait=8"], Some(8), false);
        for ignored in ["wait", "wait=", "wait=0", "wait=-1", "wait=1.5", "wait=+1", "waits=5", "=5", ",,;", "\"wait=5"]
        {
            check(&[ignored], None, false);
        }
    }

    #[test]
    fn only_what_was_honoured_is_applied() {
        let check = |line: &str, waited, before_end, expected: Option<&str>| {
            let applied = parse(&[line]).applied(waited, before_end);
            assert_eq!(applied.as_ref().map(|value| value.to_str().expect("text")), expected, "{line}");
        };
        check("wait=5", true, false, Some("wait=5"));
        check("wait=5", true, true, Some("wait=5"));
        check("wait=5", false, true, None);
        check("respond-async", false, true, Some("respond-async"));
        check("respond-async, wait=60", true, true, Some("respond-async, wait=30"));
        check("respond-async, wait=5", true, false, Some("wait=5"));
        check("foo", true, true, None);
    }
}
