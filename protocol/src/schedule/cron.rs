//! Cron expressions: the minutes that five fields name on the clock on the wall. Vixie cron's rules, with `L` for the last day of a month.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest expression, in bytes.
pub const CRON_BYTES_MAX: usize = 256;
/// A day that comes at all comes within so many days: 29 February may be left out for eight years.
const DAYS_MAX: usize = 8 * 366;
/// In the set of days: the last one of the month.
const LAST_DAY: u32 = 0;

/// What the nicknames stand for. Vixie's `@reboot` names no time.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Why an expression was refused; the text is made for people and names the field.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CronError {
    #[error("is {0} bytes long, at most {max} are allowed", max = CRON_BYTES_MAX)]
    TooLong(usize),
    #[error(
        "has {0} fields, but must have 5: minute, hour, day of month, month, day of week, such as \"30 2 * * MON-FRI\""
    )]
    Fields(usize),
    #[error("is not one of {}", nicknames())]
    Nickname,
    #[error("names no day that ever comes: none of its months has such a day")]
    Never,
    #[error("has a bad {field}: `{part}` {fault}")]
    Field { field: &'static str, part: String, fault: String },
}

fn nicknames() -> String {
    NICKNAMES.map(|(nickname, _)| nickname).join(", ")
}

/// One of the five.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Of the values from `min` on.
    words: &'static [&'static str],
    has_last: bool,
}

const MINUTE: Field = Field { name: "minute", min: 0, max: 59, words: &[], has_last: false };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, words: &[], has_last: false };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, words: &[], has_last: true };
const MONTH: Field = Field { name: "month", min: 1, max: 12, words: &MONTHS, has_last: false };
/// 7 is Sunday, too.
const WEEKDAY: Field = Field { name: "day of week", min: 0, max: 7, words: &WEEKDAYS, has_last: false };
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Values of a field, one bit for each.
type Set = u64;

/// A checked expression, and what it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Both the day of the month and that of the week are restricted: either of them names a day.
    either_day: bool,
    every_hour: bool,
}

impl Cron {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its hours begin with `*`: it asks for an even pace, not for times of the day.
    pub(super) fn keeps_pace(&self) -> bool {
        self.every_hour
    }

    /// The first time that it names from a minute on, and before another one; both in minutes since 1970 on the clock on the wall.
    pub(super) fn first_from(&self, from: i64, until: i64) -> Option<i64> {
        const DAY_MINUTES: i64 = 24 * 60;
        let (first_day, minute) = (from.div_euclid(DAY_MINUTES), from.rem_euclid(DAY_MINUTES));
        let mut date = Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(first_day).ok()?).ok()?;
        let mut start = u32::try_from(minute).ok()?;
        for day in (first_day..).take(DAYS_MAX) {
            if day * DAY_MINUTES >= until {
                return None;
            }
            if self.names_day(date)
                && let Some(minute) = self.first_minute(start)
            {
                return Some(day * DAY_MINUTES + i64::from(minute)).filter(|found| *found < until);
            }
            (date, start) = (date.tomorrow().ok()?, 0);
        }
        None
    }

    /// Of a day, from a minute of it on.
    fn first_minute(&self, start: u32) -> Option<u32> {
        let (hour, minute) = (start / 60, start % 60);
        let in_this_hour = if has(self.hours, hour) { first(self.minutes, minute) } else { None };
        match in_this_hour {
            Some(minute) => Some(hour * 60 + minute),
            None => Some(first(self.hours, hour + 1)? * 60 + first(self.minutes, 0)?),
        }
    }

    fn names_day(&self, date: Date) -> bool {
        let is_last = has(self.days, LAST_DAY) && date.day() == date.days_in_month();
        let by_date = is_last || has(self.days, date.day().unsigned_abs().into());
        let by_weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset().unsigned_abs().into());
        let by_both = if self.either_day { by_date || by_weekday } else { by_date && by_weekday };
        by_both && has(self.months, date.month().unsigned_abs().into())
    }

    fn ever_comes(&self) -> bool {
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let earliest = first(self.days, LAST_DAY + 1).unwrap_or(u32::MAX);
        let by_date = |month| has(self.days, LAST_DAY) || earliest <= longest(month);
        self.either_day || (1..=12).any(|month| has(self.months, month) && by_date(month))
    }
}

impl TryFrom<String> for Cron {
    type Error = CronError;

    fn try_from(text: String) -> Result<Self, CronError> {
        if text.len() > CRON_BYTES_MAX {
            return Err(CronError::TooLong(text.len()));
        }
        let stated = text.trim();
        let nickname = NICKNAMES.iter().find(|(nickname, _)| nickname.eq_ignore_ascii_case(stated));
        let expression = match nickname {
            Some((_, expression)) => expression,
            None if stated.starts_with('@') => return Err(CronError::Nickname),
            None => stated,
        };
        let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return Err(CronError::Fields(fields.len())) };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: weekdays | u64::from(has(weekdays, 7)),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            every_hour: hour.starts_with('*'),
            text,
        };
        if cron.ever_comes() { Ok(cron) } else { Err(CronError::Never) }
    }
}

impl TryFrom<&str> for Cron {
    type Error = CronError;

    fn try_from(text: &str) -> Result<Self, CronError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<Set, CronError> {
        text.split(',').try_fold(0, |set, part| {
            let values = self.part(part).map_err(|fault| {
                let part = part.to_owned();
                CronError::Field { field: self.name, part, fault }
            })?;
            Ok(set | values)
        })
    }

    /// `*`, a value, a range, or a range or `*` with a step.
    fn part(&self, part: &str) -> Result<Set, String> {
        if self.has_last && part.eq_ignore_ascii_case("L") {
            return Ok(1 << LAST_DAY);
        }
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((low, high)) => self.range(low, high)?,
            None if step.is_some() => return Err("has a step without a range: write `*/n` or `low-high/n`".to_owned()),
            None => self.value(range).map(|value| (value, value))?,
        };
        let step = match step.map(number) {
            None => 1,
            Some(Some(step)) if (1..=self.max).contains(&step) => step,
            Some(_) => return Err(format!("has a step that is not 1 to {}", self.max)),
        };
        // Nobody means Sunday twice in `*/2`.
        let high = if range == "*" && self.max == 7 { 6 } else { high };
        Ok((low..=high).step_by(step as usize).fold(0, |set, value| set | 1 << value))
    }

    fn range(&self, low: &str, high: &str) -> Result<(u32, u32), String> {
        let (low, mut high) = (self.value(low)?, self.value(high)?);
        if self.max == 7 && high == 0 && low > 0 {
            // FRI-SUN
            high = 7;
        }
        if low <= high { Ok((low, high)) } else { Err("begins after its end".to_owned()) }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let by_word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let by_word = by_word.and_then(|place| u32::try_from(place).ok()).map(|place| place + self.min);
        match by_word.or_else(|| number(text)).filter(|value| (self.min..=self.max).contains(value)) {
            Some(value) => Ok(value),
            None => Err(self.expected()),
        }
    }

    fn expected(&self) -> String {
        let Self { min, max, .. } = self;
        let last = if self.has_last { " or L" } else { "" };
        match (self.words.first(), self.words.last()) {
            (Some(first), Some(end)) => {
                format!("must be {min} to {max}, or {} to {}", first.to_uppercase(), end.to_uppercase())
            }
            _ => format!("must be {min} to {max}{last}"),
        }
    }
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u32> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

fn has(set: Set, value: u32) -> bool {
    set >> value & 1 == 1
}

/// The first value from `from` on; `from` is less than 64.
fn first(set: Set, from: u32) -> Option<u32> {
    let rest = set >> from;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_and_faults_name_their_field() {
        let check = |text: &str, expected: Result<(), &str>| match (Cron::try_from(text), expected) {
            (Ok(cron), Ok(())) => assert_eq!(cron.as_str(), text),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        };
        for good in [
            "* * * * *",
            "*/15 0-6,22,23 1,15,L JAN-mar,12 Mon-FRI",
            "  0  0  *  *  7 ",
            "5-59/10 */2 * * fri-sun",
            "0 0 29 2 *",
            "0 0 31 * *",
            "0 0 30 2 MON",
            "@daily",
            "@Hourly",
            "@annually",
        ] {
            check(good, Ok(()));
        }
        check("", Err("has 0 fields, but must have 5"));
        check("* * * *", Err("has 4 fields"));
        check("0 * * * * *", Err("has 6 fields"));
        check("@reboot", Err("is not one of @hourly, @daily"));
        check("60 * * * *", Err("has a bad minute: `60` must be 0 to 59"));
        check("* 24 * * *", Err("has a bad hour: `24` must be 0 to 23"));
        check("* * 0 * *", Err("has a bad day of month: `0` must be 1 to 31 or L"));
        check("* * * 13 *", Err("has a bad month: `13` must be 1 to 12, or JAN to DEC"));
        check("* * * * MONDAY", Err("has a bad day of week: `MONDAY` must be 0 to 7, or SUN to SAT"));
        check("5/10 * * * *", Err("has a step without a range"));
        check("*/0 * * * *", Err("`*/0` has a step that is not 1 to 59"));
        check("*/x * * * *", Err("has a step that is not"));
        check("30-10 * * * *", Err("begins after its end"));
        check("1,,2 * * * *", Err("has a bad minute: `` must be"));
        check("-1 * * * *", Err("has a bad minute"));
        check("+1 * * * *", Err("must be 0 to 59"));
        check("* * * * 1#2", Err("has a bad day of week"));
        check("0 0 31 2,4,6 *", Err("names no day that ever comes"));
        check(&"1,".repeat(200), Err("is 400 bytes long, at most 256"));
    }

    /// Minutes since 1970.
    fn minutes(text: &str) -> i64 {
        text.parse::<crate::time::Timestamp>().expect("a time").unix_ms() / 60_000
    }

    #[test]
    fn times_follow_one_another_as_the_fields_say() {
        let check = |text: &str, from: &str, expected: &[&str]| {
            let cron = Cron::try_from(text).expect("an expression");
            let mut from = minutes(from);
            for expected in expected {
                let found = cron.first_from(from, i64::MAX).expect("it comes");
                assert_eq!(found, minutes(expected), "{text}: {expected}");
                from = found + 1;
            }
        };
        check("* * * * *", "2026-01-01T00:00:00Z", &["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]);
        check("30 2 * * *", "2026-01-01T02:31:00Z", &["2026-01-02T02:30:00Z", "2026-01-03T02:30:00Z"]);
        check("0 0 29 2 *", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        check("0 12 L * *", "2028-01-31T12:01:00Z", &["2028-02-29T12:00:00Z", "2028-03-31T12:00:00Z"]);
        check("0 0 31 * *", "2026-01-31T00:01:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
        // Either day, as both are restricted; of `*/10` and a weekday both must fit.
        check("0 0 13 * FRI", "2026-02-01T00:00:00Z", &["2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"]);
        check("0 0 */10 * FRI", "2026-02-01T00:00:00Z", &["2026-05-01T00:00:00Z", "2026-07-31T00:00:00Z"]);
        check("0 9 * * FRI-SUN/2", "2026-02-01T00:00:00Z", &["2026-02-01T09:00:00Z", "2026-02-06T09:00:00Z"]);
        check("0 0 * * 7", "2026-02-02T00:00:00Z", &["2026-02-08T00:00:00Z"]);
        check("59 23 31 12 *", "2026-12-31T23:59:00Z", &["2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"]);
        let cron = Cron::try_from("0 0 1 1 *").expect("an expression");
        assert_eq!(cron.first_from(minutes("2026-01-01T00:01:00Z"), minutes("2027-01-01T00:00:00Z")), None);
    }
}
