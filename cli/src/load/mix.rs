//! What kinds of requests a load consists of, and which one is next. Pure: the same seed gives the same requests.

use std::fmt;
use std::str::FromStr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Shares are at most this; their sum needs not be 100.
const SHARE_MAX: u32 = 1_000_000;

const ACCEPTED: &str = "must be kinds with their shares, such as submit=50,wait=10,read=30,write=5,invalidate=5; the kinds are submit, wait, \
     read, write, invalidate";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `POST /longtask`, answered 202.
    Submit,
    /// `POST /longtask` with `Prefer: wait`: answered when the job has ended.
    Wait,
    /// `GET /data/{key}`.
    Read,
    /// `PUT /data/{key}`.
    Write,
    /// `DELETE /cache/{key}`.
    Invalidate,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Submit, Self::Wait, Self::Read, Self::Write, Self::Invalidate];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Wait => "wait",
            Self::Read => "read",
            Self::Write => "write",
            Self::Invalidate => "invalidate",
        }
    }

    /// Its place in [`Kind::ALL`].
    pub(crate) fn place(self) -> usize {
        self as usize
    }

    /// Whether the service is asked to hold its answer.
    pub(crate) fn is_held(self) -> bool {
        self == Self::Wait
    }

    pub(crate) fn makes_a_job(self) -> bool {
        matches!(self, Self::Submit | Self::Wait)
    }
}

/// The share of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    shares: [u32; 5],
}

impl Mix {
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.shares[kind.place()] > 0
    }

    pub(crate) fn touches_data(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| !kind.makes_a_job() && self.has(kind))
    }

    pub(crate) fn makes_jobs(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| kind.makes_a_job() && self.has(kind))
    }

    /// The kind at this place of all shares laid end to end.
    fn at(&self, mut place: u32) -> Kind {
        for kind in Kind::ALL {
            let share = self.shares[kind.place()];
            if place < share {
                return kind;
            }
            place -= share;
        }
        Kind::Invalidate
    }
}

/// Draws kinds and keys.
#[derive(Debug)]
pub(crate) struct Draw {
    mix: Mix,
    total: u32,
    keys: usize,
    random: SmallRng,
}

impl Draw {
    /// `keys` is above zero.
    pub(crate) fn new(mix: Mix, keys: usize, seed: u64) -> Self {
        let total = mix.shares.iter().sum();
        Self { mix, total, keys, random: SmallRng::seed_from_u64(seed) }
    }

    /// The kind of the next request and which key it is about.
    pub(crate) fn next(&mut self) -> (Kind, usize) {
        let kind = self.mix.at(self.random.random_range(0..self.total));
        (kind, self.random.random_range(0..self.keys))
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares = [None; 5];
        for part in text.split(',').map(str::trim) {
            let wrong = |what: &str| format!("has {part:?}, {what}; it {ACCEPTED}");
            let (name, share) = part.split_once('=').ok_or_else(|| wrong("which is not KIND=SHARE"))?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim());
            let kind = kind.ok_or_else(|| wrong("which is no kind of request"))?;
            let share = share.trim().parse::<u32>().ok().filter(|share| *share <= SHARE_MAX);
            let share = share.ok_or_else(|| wrong("whose share is not a whole number up to 1000000"))?;
            if shares[kind.place()].replace(share).is_some() {
                return Err(wrong("a kind that it has twice"));
            }
        }
        let shares = shares.map(Option::unwrap_or_default);
        if shares.iter().sum::<u32>() == 0 {
            return Err(format!("has no share above 0; it {ACCEPTED}"));
        }
        Ok(Self { shares })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = Kind::ALL.into_iter().filter(|kind| self.has(*kind));
        let shares: Vec<String> =
            present.map(|kind| format!("{}={}", kind.name(), self.shares[kind.place()])).collect();
        f.write_str(&shares.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_kinds_with_shares() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<Mix>(), expected) {
            (Ok(mix), Ok(shown)) => assert_eq!(mix.to_string(), shown),
            (Err(error), Err(says)) => assert!(error.contains(says), "{text}: {error}"),
            (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
        };
        check("submit=1", Ok("submit=1"));
        check("read=30, submit=50,wait=0", Ok("submit=50,read=30"));
        check("submits=1", Err("which is no kind of request; it must be kinds with their shares"));
        check("submit", Err("which is not KIND=SHARE"));
        check("", Err("which is not KIND=SHARE"));
        check("submit=1,submit=2", Err("that it has twice"));
        check("submit=half", Err("not a whole number"));
        check("submit=-1", Err("not a whole number"));
        check("submit=0,read=0", Err("no share above 0"));
    }

    #[test]
    fn draws_follow_the_shares_and_repeat_with_the_seed() {
        let mix: Mix = "submit=60,read=30,invalidate=10".parse().expect("a mix");
        let drawn = |seed| {
            let mut draw = Draw::new(mix.clone(), 7, seed);
            (0..10_000).map(|_| draw.next()).collect::<Vec<_>>()
        };
        let first = drawn(1);
        assert_eq!(first, drawn(1));
        assert_ne!(first, drawn(2));
        let count = |kind| first.iter().filter(|(drawn, _)| *drawn == kind).count();
        assert!((5_800..6_200).contains(&count(Kind::Submit)), "{}", count(Kind::Submit));
        assert!((2_800..3_200).contains(&count(Kind::Read)), "{}", count(Kind::Read));
        assert_eq!((count(Kind::Wait), count(Kind::Write)), (0, 0));
        assert!((0..7).all(|key| first.iter().any(|(_, drawn)| *drawn == key)));
    }
}
