//! Numbers as people read them. Pure.

use std::time::Duration;

/// `6,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `200/s`, `0.5/s`.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    format!("{}/s", plain(per_second(number, time)))
}

pub(crate) fn per_second(number: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { real(number) / time.as_secs_f64() }
}

/// Three digits or so: `0.42`, `12.3`, `1,234`.
pub(crate) fn plain(number: f64) -> String {
    if number >= 999.5 {
        return count(Duration::try_from_secs_f64(number.round()).map_or(0, |whole| whole.as_secs()));
    }
    let text = match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    };
    match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// `1.1 %`.
pub(crate) fn share(part: u64, of: u64) -> String {
    if of == 0 { "0 %".to_owned() } else { format!("{} %", plain(real(part) * 100.0 / real(of))) }
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a count that is shown, or drawn")]
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// µs as ms with three decimals.
pub(crate) fn ms(micros: u64) -> f64 {
    real(micros) / 1e3
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    real(bytes) / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let check = |number: f64, expected: &str| assert_eq!(plain(number), expected);
        check(0.0, "0");
        check(0.424, "0.42");
        check(9.0, "9");
        check(12.34, "12.3");
        check(99.96, "100");
        check(640.4, "640");
        check(999.7, "1,000");
        check(1_234_567.8, "1,234,568");
    }

    #[test]
    fn counts_are_grouped_and_rates_are_per_second() {
        let check = |number: u64, expected: &str| assert_eq!(count(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(rate(6_000, Duration::from_secs(30)), "200/s");
        assert_eq!(rate(1, Duration::from_secs(2)), "0.50/s");
        assert_eq!((share(1, 3), share(0, 0)), ("33.3 %".to_owned(), "0 %".to_owned()));
    }
}
