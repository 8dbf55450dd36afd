//! Where the requests of a connection of HTTP/1.1 begin and end, to the letter of RFC 9112, followed beside the parser that serves them. It
//! refuses what the parser would forgive or mend without a word (both framings in one head, a fragment, chunk lines with more than they may
//! have, a trailer without CR), and leaves what the parser refuses to the parser.

use std::mem;

use memchr::memchr;

/// Beyond any head, chunk line and trailer that the parser takes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What is known from the bytes that have come so far.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    next: Next,
    head: Head,
    /// The line that has no end yet.
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Next {
    #[default]
    RequestLine,
    Field,
    /// So many bytes of a body.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk and of the end of its line.
    Chunk(u64),
    Trailer,
    /// It may be another protocol. If it is not after all, the parser is on its own for the rest of the connection.
    Anything,
}

/// What a head has said so far.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    is_chunked: bool,
    may_switch: bool,
}

impl Framing {
    /// Takes the bytes that come next.
    ///
    /// # Errors
    /// How many of them may be read, when then comes a line that no request has.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut place = 0;
        while place < bytes.len() {
            let rest = &bytes[place..];
            place += match self.next {
                Next::Anything => rest.len(),
                Next::Body(left) => self.skip(left, rest.len(), Next::Body, Next::RequestLine),
                Next::Chunk(left) => self.skip(left, rest.len(), Next::Chunk, Next::ChunkSize),
                Next::RequestLine | Next::Field | Next::ChunkSize | Next::Trailer => self.take(rest).ok_or(place)?,
            };
        }
        Ok(())
    }

    fn skip(&mut self, left: u64, there: usize, more: fn(u64) -> Next, after: Next) -> usize {
        match usize::try_from(left).ok().filter(|left| *left <= there) {
            Some(left) => {
                self.next = after;
                left
            }
            None => {
                self.next = more(left - there as u64);
                there
            }
        }
    }

    /// Takes a line, or the beginning of one; how long it is.
    fn take(&mut self, rest: &[u8]) -> Option<usize> {
        let Some(end) = memchr(b'\n', rest) else {
            self.line.extend_from_slice(rest);
            return (self.line.len() <= LINE_BYTES_MAX).then_some(rest.len());
        };
        let mut begun = mem::take(&mut self.line);
        let line = if begun.is_empty() {
            &rest[..end]
        } else {
            begun.extend_from_slice(&rest[..end]);
            &begun
        };
        self.next = self.after(line)?;
        Some(end + 1)
    }

    /// What follows this line, which is without its LF; `None` if no request has it.
    fn after(&mut self, line: &[u8]) -> Option<Next> {
        let whole = line.strip_suffix(b"\r");
        match self.next {
            Next::RequestLine => self.after_request_line(whole.unwrap_or(line)),
            Next::Field => self.after_field(whole.unwrap_or(line)),
            Next::ChunkSize => match chunk_size(whole?)? {
                0 => Some(Next::Trailer),
                size => Some(Next::Chunk(size.checked_add(2)?)),
            },
            Next::Trailer => Some(if whole?.is_empty() { Next::RequestLine } else { Next::Trailer }),
            Next::Body(_) | Next::Chunk(_) | Next::Anything => Some(self.next),
        }
    }

    fn after_request_line(&mut self, line: &[u8]) -> Option<Next> {
        // Empty lines before a request are skipped (§2.2).
        if line.is_empty() {
            return Some(Next::RequestLine);
        }
        let target = line.iter().position(|&byte| byte == b' ').map_or(&[][..], |space| &line[space..]);
        if target.contains(&b'#') {
            return None;
        }
        self.head = Head { may_switch: line.starts_with(b"CONNECT "), ..Head::default() };
        Some(Next::Field)
    }

    fn after_field(&mut self, line: &[u8]) -> Option<Next> {
        if line.is_empty() {
            return Some(match self.head {
                Head { may_switch: true, .. } => Next::Anything,
                Head { is_chunked: true, .. } => Next::ChunkSize,
                Head { length: Some(length @ 1..), .. } => Next::Body(length),
                Head { .. } => Next::RequestLine,
            });
        }
        let (name, value) = line.split_at(memchr(b':', line).unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            // One that is no number is refused by the parser.
            self.head.length = Some(str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(0));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.head.may_switch |= value.eq_ignore_ascii_case(b"websocket");
        }
        let is_ambiguous = self.head.is_chunked && self.head.length.is_some();
        (!is_ambiguous).then_some(Next::Field)
    }
}

/// `chunk-size [ chunk-ext ]` (§7.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    let size = u64::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
    are_extensions(extensions).then_some(size)
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )` (§7.1.1), where BWS is blanks that should not be there.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(named) = rest.trim_ascii_start().strip_prefix(b";") else { return false };
        let Some(after_name) = after_token(named.trim_ascii_start()) else { return false };
        rest = after_name;
        if let Some(value) = after_name.trim_ascii_start().strip_prefix(b"=") {
            let value = value.trim_ascii_start();
            let Some(after_value) = after_quoted(value).or_else(|| after_token(value)) else { return false };
            rest = after_value;
        }
    }
    true
}

fn after_token(text: &[u8]) -> Option<&[u8]> {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = text.iter().take_while(is_token).count();
    (length > 0).then(|| &text[length..])
}

/// `quoted-string` (RFC 9110 §5.6.4).
fn after_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', escaped, after @ ..] if is_text(*escaped) => after,
            [byte, after @ ..] if *byte != b'\\' && is_text(*byte) => after,
            _ => return None,
        };
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// The lines before `refused` pass, and it does not; no `refused`: all do. However the bytes are cut.
    fn check(passed: &str, refused: Option<&str>) {
        let all = [passed, refused.unwrap_or_default()].concat();
        let expected = refused.map_or(Ok(()), |_| Err(passed.len()));
        for cut in 0..all.len() {
            let mut framing = Framing::default();
            let (first, second) = all.as_bytes().split_at(cut);
            let told = framing.pass(first).and_then(|()| framing.pass(second).map_err(|place| place + cut));
            // What has passed of a line before its end came cannot be taken back.
            assert_eq!(told, expected.map_err(|place| place.max(cut)), "{all:?} cut at {cut}");
        }
    }

    #[test]
    fn requests_follow_each_other() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check("POST / HTTP/1.1\nContent-Length:  5 \n\nTE: xGET / HTTP/1.1\r\n\r\n", None);
        check(&format!("{CHUNKED}3\r\n#\n\r\r\n00\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n\r\n"), None);
        check("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", Some("GET /#a HTTP/1.1\r\n"));
        check(&format!("{CHUNKED}1\r\nx\r\n0\r\n\r\n"), Some("GET /#a HTTP/1.1\r\n"));
    }

    #[test]
    fn a_head_with_both_framings_is_refused_in_either_order() {
        let (length, coding) = ("content-LENGTH: 5\r\n", "Transfer-Encoding:\tchunked\r\n");
        check(&format!("POST / HTTP/1.1\r\n{length}Host: a\r\n"), Some(coding));
        check(&format!("POST / HTTP/1.1\r\n{coding}Host: a\r\n"), Some(length));
        check(&format!("POST / HTTP/1.1\r\n{coding}"), Some("Content-Length: x\r\n"));
        check(&format!("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n{length}"), Some(coding));
        check(&format!("POST / HTTP/1.1\r\n{length}\r\nhelloPOST / HTTP/1.1\r\n{coding}\r\n0\r\n\r\n"), None);
    }

    #[test]
    fn a_fragment_is_refused_in_a_target_only() {
        check("", Some("GET /here#there HTTP/1.1\r\n"));
        check("G#T / HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\n", None);
    }

    #[test]
    fn chunk_lines_have_a_size_and_extensions_as_they_may_be() {
        for line in ["5", "005", "5;a", "5;a=b", "5 ; a = b", "5;a=\"; \\\" #\";c=d;e", "5;a=\"\""] {
            check(&format!("{CHUNKED}{line}\r\nhello\r\n0\r\n\r\n"), None);
        }
        let odd =
            ["5 ", "5;", "5;=b", "5;na[me=1", "5;\0name", "5;a=", "5;a=\"", "5;a=\"\\", "5;a;", "", "g", "0x5", "-1"];
        for line in odd.into_iter().chain(["fffffffffffffffff", "ffffffffffffffff"]) {
            check(CHUNKED, Some(&format!("{line}\r\n")));
        }
        check(CHUNKED, Some("5\n"));
    }

    #[test]
    fn trailers_end_with_cr_and_lf() {
        check(&format!("{CHUNKED}0\r\n"), Some("\n"));
        check(&format!("{CHUNKED}0\r\nA: b\r\n"), Some("C: d\n"));
    }

    #[test]
    fn what_may_be_another_protocol_is_not_looked_at() {
        let websocket = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n";
        check(&format!("{websocket}GET /#a HTTP/1.1\r\n"), None);
        check("CONNECT a:1 HTTP/1.1\r\n\r\nGET /#a HTTP/1.1\r\n", None);
        check(&websocket.replace("WebSocket", "h2c"), Some("GET /#a HTTP/1.1\r\n"));
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut framing = Framing::default();
        let piece = [b'x'; 1 << 10];
        let taken = (0..100).take_while(|_| framing.pass(&piece) == Ok(())).count();
        assert_eq!(taken, LINE_BYTES_MAX / piece.len());
    }
}
