//! When a schedule is due: the instants of a cron expression in a time zone, through changes of the clock on the wall.
//!
//! An expression that names hours goes by that clock: a time that is skipped is due as soon as it has been skipped, one that comes twice is due
//! the first time. One whose hours begin with `*` keeps its pace: it is due whenever the clock shows a time that it names.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cron::Cron;
use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;
/// A time that comes at all comes so soon, ms.
const HORIZON_MS: i64 = 9 * 366 * 24 * 60 * MINUTE_MS;

/// The name is not in the time zone database.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be the name of a time zone in the IANA database, such as Europe/Berlin or UTC")]
pub struct UnknownZone;

/// A time zone by its IANA name. Its rules are in this program, not on the machine, so that all stores agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct Zone(TimeZone);

impl Zone {
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The instant as the clock on the wall shows it: RFC 3339 with the offset.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_millisecond(at.unix_ms()).expect("a timestamp is within jiff's range");
        instant.to_zoned_datetime(self.0.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The stretch of time around an instant in which the clock on the wall is not changed.
    fn stretch(&self, at: jiff::Timestamp) -> Option<Stretch> {
        let offset = |at: jiff::Timestamp| i64::from(self.0.to_offset(at).seconds()) * 1_000;
        let a_moment = jiff::SignedDuration::from_nanos(1);
        let from = self.0.preceding(at.checked_add(a_moment).ok()?).next().map(|change| change.timestamp());
        let until = self.0.following(at).next().map(|change| change.timestamp());
        let before = from.and_then(|from| from.checked_sub(a_moment).ok()).map(offset);
        Some(Stretch {
            from: from.map_or(i64::MIN, |from| from.as_millisecond()),
            until: until.map_or(i64::MAX, |until| until.as_millisecond()),
            offset: offset(at),
            offset_before: before.unwrap_or_else(|| offset(at)),
        })
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        Self::try_from(name.as_str())
    }
}

impl TryFrom<&str> for Zone {
    type Error = UnknownZone;

    fn try_from(name: &str) -> Result<Self, UnknownZone> {
        let zone = TimeZone::get(name).map_err(|_| UnknownZone)?;
        if zone.iana_name().is_some() { Ok(Self(zone)) } else { Err(UnknownZone) }
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

/// Unix ms; what the offsets add makes the time on the wall.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: i64,
    until: i64,
    offset: i64,
    offset_before: i64,
}

impl Stretch {
    /// Where to begin to look, on the clock on the wall: a clock put forward has not shown what lies between, one put back shows again
    /// what has been.
    fn wall_from(&self, from: i64, cron: &Cron) -> i64 {
        let shown = from + self.offset;
        if cron.keeps_pace() || self.from == i64::MIN {
            return shown;
        }
        let new_from = self.from + self.offset_before;
        if from == self.from { new_from } else { shown.max(new_from) }
    }
}

/// When a schedule is due.
#[derive(Clone, Copy, Debug)]
pub struct Ticks<'t> {
    pub cron: &'t Cron,
    pub zone: &'t Zone,
}

impl Ticks<'_> {
    /// The first tick after an instant; `None`: there is none that can be written.
    #[must_use]
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.unix_ms() + 1;
        let end = from.saturating_add(HORIZON_MS);
        while from < end {
            let stretch = self.zone.stretch(jiff::Timestamp::from_millisecond(from).ok()?)?;
            let minute = |wall_ms: i64| wall_ms.div_euclid(MINUTE_MS) + i64::from(wall_ms.rem_euclid(MINUTE_MS) != 0);
            let (wall_from, wall_until) =
                (stretch.wall_from(from, self.cron), stretch.until.saturating_add(stretch.offset));
            if let Some(found) = self.cron.first_from(minute(wall_from), minute(wall_until)) {
                // What the clock has skipped is due at once.
                let tick = (found * MINUTE_MS - stretch.offset).max(stretch.from);
                return Some(Timestamp::from_unix_ms(tick));
            }
            from = stretch.until;
        }
        None
    }

    /// The next ticks after an instant.
    pub fn following(self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.after(after), move |tick| self.after(*tick))
    }

    /// The last ticks of those from one instant to another, both included: at most so many, the oldest first.
    #[must_use]
    pub fn newest(&self, from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        // There may be very many before them: look back further and further.
        let mut back_ms = 60 * MINUTE_MS;
        loop {
            let start = from.unix_ms().max(until.unix_ms().saturating_sub(back_ms));
            let ticks = self.following(Timestamp::from_unix_ms(start - 1));
            let mut newest: Vec<Timestamp> = ticks.take_while(|tick| *tick <= until).collect();
            if newest.len() >= most || start == from.unix_ms() {
                return newest.split_off(newest.len().saturating_sub(most));
            }
            back_ms = back_ms.saturating_mul(8);
        }
    }
}

#[cfg(test)]
#[path = "ticks_tests.rs"]
mod tests;
