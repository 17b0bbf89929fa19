//! Quantities as people read them.

use std::time::Duration;

/// `512 B`, `1.5 KiB`, `12 MiB`: three digits at most, in the unit that fits.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 9.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds with one decimal below 1000, then milliseconds, then seconds.
pub fn nanos(ns: u64) -> String {
    let value = ns as f64;
    if value < 999_950.0 {
        format!("{:.1} us", value / 1e3)
    } else if value < 999_950_000.0 {
        format!("{:.1} ms", value / 1e6)
    } else {
        format!("{:.1} s", value / 1e9)
    }
}

/// A time of day's scale: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
pub fn uptime(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Operations per second, as a whole number.
pub fn rate(operations: u64, time: Duration) -> String {
    count(per_second(operations, time).round() as u64)
}

/// Operations per second.
pub fn per_second(operations: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { operations as f64 / time.as_secs_f64() }
}

/// A share of a whole: `0 %`, `<0.1 %`, `3.4 %`, `71 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    match 100.0 * part as f64 / whole as f64 {
        share if share < 0.1 => "<0.1 %".to_owned(),
        share if share < 9.95 => format!("{share:.1} %"),
        share => format!("{share:.0} %"),
    }
}

/// `1 node`, `3 nodes`.
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_written() {
        let sizes = [0, 1023, 1024, 1536, 10 << 10, (1 << 20) - 1, 1 << 20, 5 << 30];
        let texts = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB"];
        assert_eq!(sizes.map(bytes), texts);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1_500, 2_500_000, 3_000_000_000].map(nanos), ["1.5 us", "2.5 ms", "3.0 s"]);
        let times = [5, 125, 7300, 100_000].map(|s| uptime(Duration::from_secs(s)));
        assert_eq!(times, ["5 s", "2 min 5 s", "2 h 1 min", "1 d 3 h"]);
        assert_eq!(rate(3000, Duration::from_secs(2)), "1,500");
        assert_eq!(rate(1, Duration::ZERO), "0");
        assert_eq!(percent(1, 100_000), "<0.1 %");
        assert_eq!([percent(0, 0), percent(1, 30), percent(2, 3)], ["0 %", "3.3 %", "67 %"]);
        assert_eq!([plural(1, "node"), plural(2, "node")], ["1 node", "2 nodes"]);
    }
}
