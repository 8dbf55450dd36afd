//! What clients may send that is at the edge of HTTP/1.1 or beyond it, and what the balancer must make of each: as tables that the
//! balancer's own tests and the system tests go through.
//!
//! The ids are those of `Http11Probe`'s catalogue (its suites of compliance as of commit 09a1f5b and of smuggling as of 12c26d8) and the
//! numbers of HTTP Garden's trophies (as of commit 68698e9); what is sent is written from RFC 9110 and 9112.

mod compliance;
mod proxies;
mod sequences;
mod servers;
mod smuggling;
pub(crate) mod wire;

/// Where a request goes that nobody sent, if two readers disagree about where another one ends. No backend may ever see it.
pub(crate) const SMUGGLED: &str = "/smuggled";

/// What the balancer must make of a case.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// One of these statuses, or no word at all, and the end of the connection. No backend hears of it.
    Refused(&'static [u16]),
    /// The head is good and the body is not: 400 or no word, and the end of the connection. A backend sees at most a body without an end.
    Broken,
    /// The rest is waited for. A backend sees at most a body without an end.
    Awaited,
    /// Each of these reaches a backend and is answered.
    Passed(Vec<Seen>, Then),
    /// It tries what only an origin decides. One request passes as it is, and the answer is the origin's.
    NotApplicable(&'static str),
}

/// What becomes of a connection after the last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoesOn,
    Closes,
    /// What came behind the last request is answered with 400, and the connection ends.
    Refuses,
}

/// A request as a backend must see it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and target.
    pub(crate) line: String,
    pub(crate) body: String,
    /// Parts of the head, names in lower case.
    pub(crate) has: Vec<&'static str>,
    pub(crate) lacks: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) id: &'static str,
    /// Written one after the other, each when the one before is answered.
    pub(crate) writes: Vec<Vec<u8>>,
    pub(crate) verdict: Verdict,
    /// The verdict is what holds now; this is what ought to hold.
    pub(crate) deviation: Option<&'static str>,
}

impl Case {
    /// Sends this, too.
    fn then(mut self, sent: impl Into<Vec<u8>>) -> Case {
        self.writes.push(sent.into());
        self
    }

    fn deviates(mut self, from: &'static str) -> Case {
        self.deviation = Some(from);
        self
    }

    /// Whether the connection serves further requests.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.verdict, Verdict::Passed(_, Then::GoesOn) | Verdict::NotApplicable(_))
    }

    /// How many requests a client can have sent by any reading of RFC 9112, apart from those that ask how the connection goes on.
    pub(crate) fn requests_max(&self) -> usize {
        match &self.verdict {
            Verdict::Refused(_) => 0,
            Verdict::Broken | Verdict::Awaited | Verdict::NotApplicable(_) => 1,
            Verdict::Passed(seen, _) => seen.len(),
        }
    }
}

impl Seen {
    fn body(mut self, body: impl Into<String>) -> Seen {
        self.body = body.into();
        self
    }

    fn has(mut self, part: &'static str) -> Seen {
        self.has.push(part);
        self
    }

    fn lacks(mut self, part: &'static str) -> Seen {
        self.lacks.push(part);
        self
    }
}

impl Verdict {
    fn then(self, then: Then) -> Verdict {
        match self {
            Verdict::Passed(seen, _) => Verdict::Passed(seen, then),
            other => other,
        }
    }
}

impl From<Seen> for Verdict {
    fn from(seen: Seen) -> Verdict {
        Verdict::Passed(vec![seen], Then::GoesOn)
    }
}

fn case(id: &'static str, sent: impl Into<Vec<u8>>, verdict: impl Into<Verdict>) -> Case {
    Case { id, writes: vec![sent.into()], verdict: verdict.into(), deviation: None }
}

/// 400 from us or from the parser.
fn refused() -> Verdict {
    Verdict::Refused(&[400])
}

fn unsupported() -> Verdict {
    Verdict::Refused(&[501])
}

fn seen(line: impl Into<String>) -> Seen {
    Seen { line: line.into(), body: String::new(), has: Vec::new(), lacks: Vec::new() }
}

/// A head with this line and these further fields, each with its end of line.
fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn get(fields: &str) -> String {
    head("GET /", fields)
}

fn post(fields: &str, body: &str) -> String {
    head("POST /", fields) + body
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn sized(body: &str) -> String {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

fn smuggled(fields: &str) -> String {
    head(&format!("GET {SMUGGLED}"), fields)
}

pub(crate) fn compliance() -> Vec<Case> {
    compliance::cases()
}

pub(crate) fn smuggling() -> Vec<Case> {
    smuggling::cases().into_iter().chain(sequences::cases()).collect()
}

pub(crate) fn trophies() -> Vec<Case> {
    servers::cases().into_iter().chain(proxies::cases()).collect()
}

pub(crate) fn all() -> Vec<Case> {
    compliance().into_iter().chain(smuggling()).chain(trophies()).collect()
}
