//! The shape of a load: `ramp 0..200/30s, hold 200/1m, spike 1000/5s`. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::durations;

/// Requests per second; more than one process can send.
pub(crate) const RATE_MAX: f64 = 100_000.0;
/// The longest that all stages may take together.
const LENGTH_MAX: Duration = Duration::from_secs(7 * 86_400);

const ACCEPTED: &str = "must be stages separated by commas: `ramp FROM..TO/TIME`, `hold RATE/TIME`, `spike RATE/TIME`, with \
                        rates in requests per second and times such as 500ms, 30s or 2m, for example \
                        `ramp 0..200/30s, hold 200/1m, spike 1000/5s`";

/// What a stage is called; ramps alone change their rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Ramp,
    Hold,
    Spike,
}

/// A time with a rate that is constant or grows evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stage {
    pub(crate) shape: Shape,
    /// Requests per second at its begin and at its end.
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) length: Duration,
}

/// One stage after the other; at least one request, at most a week.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages(Vec<Stage>);

impl Stage {
    pub(crate) fn hold(rate: f64, length: Duration) -> Self {
        Self { shape: Shape::Hold, from: rate, to: rate, length }
    }

    /// How many requests it holds; a fraction of one is carried into the next stage.
    pub(crate) fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }
}

impl Stages {
    /// # Errors
    /// When it holds no request, or takes too long.
    pub(crate) fn new(stages: Vec<Stage>) -> Result<Self, String> {
        let length: Duration = stages.iter().map(|stage| stage.length).sum();
        if length > LENGTH_MAX {
            return Err("may take 7 days at most".to_owned());
        }
        if stages.iter().map(Stage::requests).sum::<f64>() < 1.0 {
            return Err("must hold at least one request: a longer time, or a higher rate".to_owned());
        }
        Ok(Self(stages))
    }

    pub(crate) fn as_slice(&self) -> &[Stage] {
        &self.0
    }

    pub(crate) fn length(&self) -> Duration {
        self.0.iter().map(|stage| stage.length).sum()
    }

    pub(crate) fn requests(&self) -> f64 {
        self.0.iter().map(Stage::requests).sum()
    }
}

/// `200`, `200/s`, `0.5/s`, `600/m`: requests per second.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let (digits, per) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((digits, "m")) => (digits, 60.0),
        Some(_) => return Err(RATE_ACCEPTED.to_owned()),
    };
    let rate = number(digits).ok_or_else(|| RATE_ACCEPTED.to_owned())? / per;
    if rate > 0.0 && rate <= RATE_MAX { Ok(rate) } else { Err(RATE_ACCEPTED.to_owned()) }
}

const RATE_ACCEPTED: &str =
    "must be requests per second, above 0 and at most 100000, such as 200/s, 200, 0.5/s, or per minute: 600/m";

/// Digits with at most one point; no sign, exponent or word such as `inf`.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = text.parse::<f64>().ok().filter(|_| plain)?;
    (number <= RATE_MAX).then_some(number)
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stages = text.split(',').map(|part| stage(part.trim())).collect::<Result<Vec<_>, _>>()?;
        Self::new(stages)
    }
}

fn stage(text: &str) -> Result<Stage, String> {
    let wrong = |what: &str| format!("has {text:?}, {what}; it {ACCEPTED}");
    let (name, rest) = text.split_once(char::is_whitespace).ok_or_else(|| wrong("which is no stage"))?;
    let shape = match name {
        "ramp" => Shape::Ramp,
        "hold" => Shape::Hold,
        "spike" => Shape::Spike,
        _ => return Err(wrong("which begins with none of ramp, hold, spike")),
    };
    let (rates, length) = rest.trim().rsplit_once('/').ok_or_else(|| wrong("which lacks its time after a slash"))?;
    let length = durations::parse_ms(length.trim()).map_err(|error| wrong(&format!("whose time {error}")))?;
    if length == 0 {
        return Err(wrong("which takes no time"));
    }
    let ends = match (shape, rates.split_once("..")) {
        (Shape::Ramp, Some((from, to))) => number(from.trim()).zip(number(to.trim())),
        (Shape::Ramp, None) => return Err(wrong("whose rates are not FROM..TO")),
        (_, Some(_)) => return Err(wrong("which has one rate; only ramps have two")),
        (_, None) => number(rates.trim()).map(|rate| (rate, rate)),
    };
    let (from, to) = ends.ok_or_else(|| wrong("whose rate is not a number from 0 to 100000"))?;
    Ok(Stage { shape, from, to, length: Duration::from_millis(length) })
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = length_text(self.length);
        match self.shape {
            Shape::Ramp => write!(f, "ramp {}..{}/{time}", self.from, self.to),
            Shape::Hold => write!(f, "hold {}/{time}", self.from),
            Shape::Spike => write!(f, "spike {}/{time}", self.from),
        }
    }
}

/// As it may be written: the largest unit that leaves no rest.
pub(crate) fn length_text(length: Duration) -> String {
    let ms = length.as_millis();
    match ms {
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let shown = text.parse::<Stages>().map(|stages| {
            let shown: Vec<String> = stages.as_slice().iter().map(ToString::to_string).collect();
            format!("{} = {}", shown.join(", "), stages.requests())
        });
        match (shown, expected) {
            (Ok(shown), Ok(expected)) => assert_eq!(shown, expected),
            (Err(error), Err(says)) => assert!(error.contains(says), "{text}: {error}"),
            (shown, expected) => panic!("{text}: {shown:?} is not {expected:?}"),
        }
    }

    #[test]
    fn stages_are_read_with_their_rates_and_times() {
        check("hold 200/30s", Ok("hold 200/30s = 6000"));
        check("ramp 0..200/30s, hold 200/1m", Ok("ramp 0..200/30s, hold 200/1m = 15000"));
        check("spike 1000/500ms,hold 0/10s", Ok("spike 1000/500ms, hold 0/10s = 500"));
        check("ramp 10.5 .. 0.5 / 2m", Ok("ramp 10.5..0.5/2m = 660"));
    }

    #[test]
    fn what_is_no_stage_is_told_what_is_one() {
        for (text, says) in [
            ("", "which is no stage; it must be stages separated by commas"),
            ("hold 200/30s,", "\"\", which is no stage"),
            ("rampe 0..2/3s", "which begins with none of ramp, hold, spike"),
            ("hold 200", "which lacks its time after a slash"),
            ("hold 200/30", "whose time must be a number with a unit: 500ms, 30s"),
            ("hold 200/0s", "which takes no time"),
            ("ramp 200/30s", "whose rates are not FROM..TO"),
            ("hold 1..2/30s", "only ramps have two"),
            ("hold -1/30s", "whose rate is not a number from 0 to 100000"),
            ("hold inf/30s", "whose rate is not a number"),
            ("hold 1e3/30s", "whose rate is not a number"),
            ("hold 0/30s", "must hold at least one request"),
            ("hold 1/8d", "may take 7 days at most"),
        ] {
            check(text, Err(says));
        }
    }

    #[test]
    fn rates_are_per_second_or_minute() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse_rate(text).ok(), expected, "{text}");
        check("200", Some(200.0));
        check("200/s", Some(200.0));
        check("0.5/s", Some(0.5));
        check("600/m", Some(10.0));
        for bad in ["", "0", "-1", "1e3", "NaN", "200/h", "200/30s", "200/s/s", "100001", "/s"] {
            check(bad, None);
        }
    }
}
