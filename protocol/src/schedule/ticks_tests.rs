//! Ticks through changes of the clock, leap days and odd zones.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The ticks that follow an instant, as UTC to the minute.
fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
    let (parsed, known) = (Cron::try_from(cron).expect("an expression"), Zone::try_from(zone).expect("a zone"));
    let ticks = Ticks { cron: &parsed, zone: &known };
    let found: Vec<String> = ticks.following(at(after)).take(expected.len()).map(|tick| tick.to_string()).collect();
    let expected: Vec<String> = expected.iter().map(|minute| format!("{minute}:00.000Z")).collect();
    assert_eq!(found, expected, "{cron} in {zone} after {after}");
}

#[test]
fn a_tick_is_after_the_instant_and_on_the_minute() {
    check("* * * * *", "UTC", "2026-11-29T12:00:00Z", &["2026-11-29T12:01", "2026-11-29T12:02"]);
    check("* * * * *", "UTC", "2026-11-29T11:59:59.999Z", &["2026-11-29T12:00"]);
    check("*/15 9-17 * * MON-FRI", "UTC", "2026-11-27T17:40:00Z", &["2026-11-27T17:45", "2026-11-30T09:00"]);
    check("@daily", "UTC", "2026-12-31T00:00:00Z", &["2027-01-01T00:00"]);
}

#[test]
fn a_time_that_the_clock_skips_is_due_when_it_has_been_skipped() {
    // 02:00 to 03:00 is not shown on 29 March 2026 in Berlin, nor on 8 March in New York.
    let berlin = ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"];
    check("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &berlin);
    let new_york = ["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"];
    check("30 2 * * *", "America/New_York", "2026-03-07T06:00:00Z", &new_york);
    // Several that are skipped together are one tick, and so is one that is shown right then.
    let once = ["2026-03-29T01:00", "2026-03-29T01:20", "2026-03-29T01:40", "2026-03-30T00:00"];
    check("*/20 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &once);
    // Who wants an even pace is not served twice.
    check("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["2026-03-29T00:30", "2026-03-29T01:30"]);
    check("0 */2 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", &["2026-03-29T02:00", "2026-03-29T04:00"]);
    // A whole day was left out in Samoa.
    check("0 8 30 12 *", "Pacific/Apia", "2011-01-01T00:00:00Z", &["2011-12-30T10:00", "2012-12-29T18:00"]);
}

#[test]
fn a_time_that_the_clock_shows_twice_is_due_once() {
    // 02:00 to 03:00 is shown twice on 25 October 2026 in Berlin; 01:00 to 02:00 on 1 November in New York.
    let berlin = ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"];
    check("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", &berlin);
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", &["2026-10-26T01:30"]);
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T01:30"]);
    let new_york = ["2026-11-01T05:30", "2026-11-02T06:30"];
    check("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", &new_york);
    check("0 3 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T02:00"]);
    // Who wants an even pace has it.
    let hourly = ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"];
    check("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &hourly);
    // The clock of Beirut goes back over midnight.
    check("30 23 * * *", "Asia/Beirut", "2026-10-24T12:00:00Z", &["2026-10-24T20:30", "2026-10-25T21:30"]);
}

#[test]
fn calendars_and_odd_zones_are_followed() {
    check("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T12:00", "2032-02-29T12:00"]);
    check("0 12 29 2 *", "Europe/Berlin", "2096-03-01T00:00:00Z", &["2104-02-29T11:00"]);
    check("0 23 L * *", "Europe/Berlin", "2027-01-31T23:00:00Z", &["2027-02-28T22:00", "2027-03-31T21:00"]);
    check("0 6 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", &["2026-01-01T00:15", "2026-01-02T00:15"]);
    check("0 * * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", &["2026-01-01T00:30"]);
    // Half an hour is skipped and shown twice on Lord Howe Island.
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &["2026-10-03T15:30", "2026-10-04T15:15"]);
    check("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &["2026-04-04T14:45", "2026-04-05T15:15"]);
}

#[test]
fn zones_have_names_of_the_database() {
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(Zone::try_from(name).ok().map(|zone| zone.name().to_owned()), expected.map(str::to_owned), "{name}");
    };
    check("Europe/Berlin", Some("Europe/Berlin"));
    check("europe/berlin", Some("Europe/Berlin"));
    check("UTC", Some("UTC"));
    check("America/Argentina/Buenos_Aires", Some("America/Argentina/Buenos_Aires"));
    for unknown in ["", "Berlin", "CEST", "+02:00", "Europe/Berlin ", "../UTC"] {
        check(unknown, None);
    }
    assert_eq!(Zone::default(), Zone::try_from("UTC").expect("a zone"));
    let berlin = Zone::try_from("Europe/Berlin").expect("a zone");
    assert_eq!(berlin.local(at("2026-03-29T01:00:00Z")), "2026-03-29T03:00:00+02:00");
    assert_eq!(Zone::default().local(at("2026-03-29T01:00:00Z")), "2026-03-29T01:00:00+00:00");
}

#[test]
fn the_newest_are_found_however_many_there_are() {
    let check = |cron: &str, from: &str, until: &str, most: usize, expected: (usize, &str, &str)| {
        let (cron, zone) = (Cron::try_from(cron).expect("an expression"), Zone::default());
        let newest = Ticks { cron: &cron, zone: &zone }.newest(at(from), at(until), most);
        let ends = [newest.first(), newest.last()].map(|tick| tick.map_or_else(String::new, ToString::to_string));
        assert_eq!((newest.len(), ends[0].as_str(), ends[1].as_str()), expected, "{from} to {until}");
    };
    let day = ("2026-01-01T00:00:00.000Z", "2026-01-01T12:00:00.000Z");
    check("0 */12 * * *", day.0, day.1, 10, (2, day.0, day.1));
    check("* * * * *", "2020-01-01T00:00:00Z", day.1, 1, (1, day.1, day.1));
    check("* * * * *", "2020-01-01T00:00:00Z", day.1, 720, (720, "2026-01-01T00:01:00.000Z", day.1));
    check("0 0 1 1 *", "2020-01-01T00:00:00Z", day.1, 2, (2, "2025-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"));
    check("0 0 2 1 *", day.0, day.1, 5, (0, "", ""));
}

#[test]
fn every_minute_of_a_year_follows_the_one_before() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"] {
        let (cron, zone) = (Cron::try_from("* * * * *").expect("an expression"), Zone::try_from(zone).expect("a zone"));
        let ticks = Ticks { cron: &cron, zone: &zone };
        let start = at("2026-01-01T00:00:00Z");
        let even = (1..).map(|minute| Timestamp::from_unix_ms(start.unix_ms() + minute * MINUTE_MS));
        let odd = ticks.following(start).zip(even).take(366 * 24 * 60).find(|(tick, even)| tick != even);
        assert_eq!(odd, None, "{}", zone.name());
    }
}
