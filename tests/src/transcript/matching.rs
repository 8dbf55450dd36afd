//! Whether what was printed is what the page says. Pure. These may differ, and nothing else:
//!
//! - `…` in a line stands for any text; alone on a line, for any number of lines.
//! - A UUID, a time (RFC 3339) and 32 hexadecimal digits (an entity tag, a request's id) are equal to any other of their kind.
//! - So is a number that was measured: before ` ms` or ` s`, and after `"duration_ms":` or `"fraction":`.

const ANYTHING: char = '…';
const MEASURED: [&str; 2] = ["\"duration_ms\":", "\"fraction\":"];
const UNITS: [&str; 2] = [" ms", " s"];

/// Says in which printed line they part, if they do.
pub fn compare(expected: &str, printed: &str) -> Result<(), String> {
    let expected: Vec<String> = lines(expected);
    let found: Vec<String> = lines(printed);
    let reached = furthest(&expected, &found);
    if reached.is_end(&expected, &found) {
        return Ok(());
    }
    let said = expected.get(reached.expected).map_or("(nothing more)", String::as_str);
    let got = found.get(reached.found).map_or("(nothing more)", String::as_str);
    Err(format!("the page says\n    {said}\nwhere the line {} of what was printed is\n    {got}", reached.found + 1))
}

/// Trailing blanks and empty lines at either end do not show on a terminal; a carriage return ends a header's line.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| in_kinds(line.trim_end())).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    lines.split_off(first)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    expected: usize,
    found: usize,
}

impl Reached {
    fn is_end(self, expected: &[String], found: &[String]) -> bool {
        self.expected == expected.len() && self.found == found.len()
    }
}

/// Follows every way to read the gaps, a line of the page at a time; returns the end, or where the way that led furthest broke off.
fn furthest(expected: &[String], found: &[String]) -> Reached {
    let mut best = Reached { expected: 0, found: 0 };
    // How many printed lines may be used up by the lines of the page so far.
    let mut open: Vec<usize> = vec![0];
    for (number, line) in expected.iter().enumerate() {
        let next: Vec<usize> = if is_gap(line) {
            open.first().map_or_else(Vec::new, |&first| (first..=found.len()).collect())
        } else {
            let fits = open.iter().filter(|&&at| found.get(at).is_some_and(|found| line_fits(line, found)));
            fits.map(|at| at + 1).collect()
        };
        best = best.max(Reached { expected: number, found: open.first().copied().unwrap_or(0) });
        if next.is_empty() {
            return best;
        }
        open = next;
    }
    // Every way has read the whole page; the longest has used up the most of what was printed.
    Reached { expected: expected.len(), found: open.last().copied().unwrap_or(0) }
}

fn is_gap(line: &str) -> bool {
    line.trim() == ANYTHING.to_string()
}

/// The pieces between the gaps stand in the line, in their order, the first at its begin and the last at its end.
fn line_fits(expected: &str, found: &str) -> bool {
    let Some((head, rest)) = expected.split_once(ANYTHING) else { return expected == found };
    let Some(mut left) = found.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split(ANYTHING).collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.ends_with(tail)
}

/// The line with each id, time and measured number replaced by the name of its kind.
fn in_kinds(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(letter) = rest.chars().next() {
        let word_before =
            shown.chars().next_back().is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '.');
        let taken = if word_before { None } else { kind(&shown, rest) };
        let (name, length) = taken.unwrap_or(("", letter.len_utf8()));
        let (piece, after) = rest.split_at(length);
        shown.push_str(if name.is_empty() { piece } else { name });
        rest = after;
    }
    shown
}

/// What `rest` begins with, and how long it is.
fn kind(before: &str, rest: &str) -> Option<(&'static str, usize)> {
    let word = span(rest, |letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | ':' | '.'));
    let word = word.trim_end_matches(['-', ':', '.']);
    let exact = [("<id>", is_uuid as fn(&str) -> bool), ("<time>", is_time), ("<hash>", is_hash)];
    if let Some((name, _)) = exact.into_iter().find(|(_, is)| is(word)) {
        return Some((name, word.len()));
    }
    let number = span(rest, |letter| letter.is_ascii_digit() || letter == '.');
    let after = rest.strip_prefix(number).unwrap_or_default();
    let is_span = UNITS.iter().any(|unit| {
        after.strip_prefix(unit).is_some_and(|end| !end.starts_with(|letter: char| letter.is_ascii_alphanumeric()))
    });
    let is_measured = is_span || MEASURED.iter().any(|member| before.ends_with(member));
    (number.starts_with(|letter: char| letter.is_ascii_digit()) && is_measured).then_some(("<number>", number.len()))
}

fn span(text: &str, fits: impl Fn(char) -> bool) -> &str {
    text.split(|letter| !fits(letter)).next().unwrap_or_default()
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.parse::<uuid::Uuid>().is_ok()
}

fn is_hash(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_time(word: &str) -> bool {
    word.ends_with('Z') && word.parse::<protocol::time::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_differ() {
        let check = |expected: &str, printed: &str| compare(expected, printed).unwrap_or_else(|why| panic!("{why}"));
        check("", "\n");
        check("a\n…\nd", "a\nb\nc\nd");
        check("a\n…\nd", "a\nd");
        check("…\nb\n…", "a\nb\nb\nc");
        check("{\"a\":1,…,\"z\":2}", "{\"a\":1,\"b\":5,\"z\":2}");
        check("HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\n");
        check("01a20a59-5fde-7768-b4a1-84f689f0b1a6", "01a21191-ba64-704d-94f9-0c6668ac9fcd");
        check("/jobs/01a20a59-5fde-7768-b4a1-84f689f0b1a6/result", "/jobs/01a21191-ba64-704d-94f9-0c6668ac9fcd/result");
        check("at \"2026-11-23T21:39:19.150Z\"", "at \"2026-11-25T07:18:12.838Z\"");
        check("etag: \"92c06c03ae33c12a42a7c9a8e50f41eb\"", "etag: \"7b21aec0f41d39a60ae4f354b4d61558\"");
        check("{\"duration_ms\":5097}", "{\"duration_ms\":5432}");
        check("{\"fraction\":0.15}", "{\"fraction\":1}");
        check("x  0.3 s", "x  12 s");
    }

    #[test]
    fn what_may_not_differ() {
        let check = |expected: &str, printed: &str, says: &str| {
            let why = compare(expected, printed).expect_err(expected);
            assert!(why.contains(says), "{why}");
        };
        check("a", "b", "line 1 of what was printed is\n    b");
        check("a\nb", "a", "(nothing more)");
        check("a", "a\nb", "line 2 of what was printed is\n    b");
        check("a\n…\nd", "a\nb\nc", "the page says\n    d");
        check("{\"a\":1,…}", "{\"a\":2,\"b\":1}", "{\"a\":2");
        check("\"attempt\":1", "\"attempt\":2", "\"attempt\":2");
        check("01a20a59-5fde-7768-b4a1-84f689f0b1a6", "not an id", "not an id");
        check("exit 7 sorry", "exit 8 sorry", "exit 8");
        check("{\"timeout_ms\":5}", "{\"timeout_ms\":6}", "timeout_ms");
        check("12 statements", "13 statements", "13 statements");
        check("3972dc9744f6499f0f9b2dbf76696f2a00", "3972dc9744f6499f0f9b2dbf76696f2a01", "2a01");
    }
}
