//! Requests at the edge of HTTP/1.1 and beyond, one by one: what the client is told, what the backend sees, and that the balancer goes on.

mod answers;
pub(crate) mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use chassis::testing::wait_until;

use self::cases::wire::{self, AFTER_LINE, Talk, unchunked};
use self::cases::{Case, SMUGGLED, Seen, Then, Verdict};
use crate::backend::{Asked, Backend, Deed, ok};
use crate::balancer::{Balancer, SOON};

const REFERENCE: &str = "/reference";

/// Sends every case through one balancer to one backend; all that is wrong, together.
async fn check(cases: Vec<Case>) {
    let backend = Backend::doing([Deed::Say(ok(""))]).await;
    let balancer = Balancer::start(&[backend.address], &[]).await;
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        match wire::talk(balancer.address, wire::source(number), case).await {
            Ok(talk) => wrong.extend(wrong_words(case, &talk).map(|why| format!("{}: {why}: {talk:?}", case.id))),
            Err(error) => wrong.push(format!("{}: {error}", case.id)),
        }
        let status = balancer.get(REFERENCE).await.status;
        if status != 200 {
            wrong.push(format!("{}: {status} for the request after it", case.id));
        }
    }
    balancer.trigger.end();
    balancer.tasks.join(SOON).await.unwrap();
    wait_until(SOON, "all is read", || async { backend.ended() == backend.connections() }).await;
    let mut asked = by_source(backend.asked());
    let references = asked.remove(&Ipv4Addr::LOCALHOST).unwrap_or_default();
    if let Some(other) = references.iter().find(|asked| line(asked) != format!("GET {REFERENCE}")) {
        wrong.push(format!("nobody sent {other:?}"));
    }
    for (number, case) in cases.iter().enumerate() {
        let asked = asked.remove(&wire::source(number)).unwrap_or_default();
        wrong.extend(wrong_requests(case, &asked).map(|why| format!("{}: {why}: {asked:?}", case.id)));
    }
    assert!(asked.is_empty(), "nobody sent {asked:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Requests by the address that the balancer says they are from.
fn by_source(asked: Vec<Asked>) -> BTreeMap<Ipv4Addr, Vec<Asked>> {
    let mut sources: BTreeMap<Ipv4Addr, Vec<Asked>> = BTreeMap::new();
    for asked in asked {
        let source = asked.head.lines().find_map(|line| line.strip_prefix("x-forwarded-for: "));
        let source = source.map_or(Ipv4Addr::UNSPECIFIED, |source| source.parse().unwrap());
        sources.entry(source).or_default().push(asked);
    }
    sources
}

/// What the client should not have been told.
fn wrong_words(case: &Case, talk: &Talk) -> Option<&'static str> {
    let told = talk.statuses.as_slice();
    let is_right = match &case.verdict {
        Verdict::Refused(statuses) => told.is_empty() || told.len() == 1 && statuses.contains(&told[0]),
        Verdict::Broken => matches!(told, [] | [400]),
        Verdict::Awaited => matches!(told, [] | [400 | 408]),
        Verdict::Passed(seen, then) => {
            let last: &[u16] = match then {
                Then::GoesOn => &[200],
                Then::Closes => &[],
                Then::Refuses => &[400],
            };
            told == [&vec![200; seen.len()], last].concat()
        }
        Verdict::NotApplicable(_) => told == [200, 200],
    };
    let asked = case.writes.concat();
    let asks = |part: &str| asked.windows(part.len()).any(|window| window == part.as_bytes());
    let may_be_interim = asks("Expect: 100-continue") && !asks("HTTP/1.0");
    match () {
        () if !is_right => Some("other answers"),
        () if talk.interim > 0 && !may_be_interim => Some("an answer before the answer"),
        () if !talk.rest.is_empty() => Some("no whole answer"),
        () if talk.heads.iter().any(|head| !head.contains("\r\ndate: ")) => Some("an answer without a date"),
        () => None,
    }
}

/// What the backend should not have seen.
fn wrong_requests(case: &Case, asked: &[Asked]) -> Option<String> {
    if let Some(bad) = asked.iter().find(|asked| !is_well_formed(&asked.head)) {
        return Some(format!("badly written: {:?}", bad.head));
    }
    if asked.iter().any(|asked| line(asked).contains(SMUGGLED)) {
        return Some("smuggled".to_owned());
    }
    let (after, asked): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| line(asked) == AFTER_LINE);
    if after.len() != usize::from(case.goes_on()) || asked.len() > case.requests_max() {
        return Some("too many requests".to_owned());
    }
    match &case.verdict {
        Verdict::Passed(seen, _) if seen.len() != asked.len() => Some("too few requests".to_owned()),
        Verdict::Passed(seen, _) => seen.iter().zip(asked).find_map(|(seen, asked)| difference(seen, asked)),
        Verdict::NotApplicable(_) if asked.is_empty() => Some("nothing was passed on".to_owned()),
        Verdict::Broken | Verdict::Awaited => {
            asked.first().and_then(|asked| content(asked)).map(|content| format!("a whole body of {content:?}"))
        }
        Verdict::NotApplicable(_) | Verdict::Refused(_) => None,
    }
}

fn difference(seen: &Seen, asked: &Asked) -> Option<String> {
    let body = content(asked).map(|body| String::from_utf8_lossy(&body).into_owned());
    let framed = String::from_utf8_lossy(&asked.body);
    let misses = |part: &&&str| !asked.head.contains(**part);
    let has = |part: &&&str| asked.head.contains(**part) || framed.contains(**part);
    match () {
        () if line(asked) != seen.line => Some(format!("{} instead of {}", line(asked), seen.line)),
        () if body.as_deref() != Some(&seen.body) => Some(format!("{body:?} instead of {:?}", seen.body)),
        () => {
            let missed = seen.has.iter().find(misses).map(|part| format!("no {part:?}"));
            missed.or(seen.lacks.iter().find(has).map(|part| format!("{part:?}")))
        }
    }
}

/// Method and target.
fn line(asked: &Asked) -> &str {
    asked.head.split(" HTTP/").next().unwrap()
}

/// Every line ends with CR and LF, and these are nowhere else.
fn is_well_formed(head: &str) -> bool {
    let lines = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
    head.contains(" HTTP/1.1\r\n")
        && lines.into_iter().all(|line| !line.contains(['\r', '\n', '\0']) && !line.is_empty())
}

/// The body without its chunks, if it came to its end.
fn content(asked: &Asked) -> Option<Vec<u8>> {
    if asked.head.contains("transfer-encoding: chunked\r\n") {
        return unchunked(&asked.body).filter(|(_, length)| *length == asked.body.len()).map(|(content, _)| content);
    }
    let length = asked.head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    (asked.body.len() == length).then(|| asked.body.clone())
}

#[tokio::test]
async fn the_catalogues_cases_of_compliance_get_their_verdicts() {
    check(cases::compliance()).await;
}

#[tokio::test]
async fn the_catalogues_cases_of_smuggling_get_their_verdicts() {
    check(cases::smuggling()).await;
}

#[tokio::test]
async fn the_gardens_trophies_get_their_verdicts() {
    check(cases::trophies()).await;
}

#[test]
fn whatever_does_not_apply_or_deviates_says_why() {
    for case in cases::all() {
        let reasons = [case.deviation, if let Verdict::NotApplicable(why) = case.verdict { Some(why) } else { None }];
        assert!(reasons.into_iter().flatten().all(|why| !why.is_empty()), "{}", case.id);
    }
}

#[test]
fn no_case_is_missing_or_there_twice() {
    let ids: BTreeSet<_> = cases::all().iter().map(|case| case.id).collect();
    assert_eq!(
        (cases::compliance().len(), cases::smuggling().len(), ids.len()),
        (76, 87, 76 + 87 + cases::trophies().len())
    );
    let kinds = [("SERVER", 48, None), ("PROXY", 25, Some(8)), ("BONUS", 5, None)];
    let numbered = kinds.iter().flat_map(|(kind, last, gap)| {
        (1..=*last).filter(move |number| Some(*number) != *gap).map(move |number| format!("{kind}-{number}"))
    });
    let trophies: BTreeSet<_> = cases::trophies().iter().map(|case| case.id.to_owned()).collect();
    assert_eq!(trophies, numbered.collect());
}

/// What is not as it ought to be is known by name: whoever mends it takes it off this list.
#[test]
fn deviations_are_these() {
    let deviations: Vec<_> =
        cases::all().into_iter().filter(|case| case.deviation.is_some()).map(|case| case.id).collect();
    assert_eq!(deviations, ["COMP-HTTP12-VERSION"]);
}
