//! Sizes and times as people write them. What is printed reads back as the same quantity.

use std::time::Duration;

const SIZE_UNITS: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const TIME_UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `8GiB`, `64KiB`, `220B` or `220`.
///
/// # Errors
/// In words: what is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (count, unit) = split(text)?;
    let scale = match unit {
        "" => 1,
        _ => match SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, scale)) => *scale,
            None => {
                return Err(match unit.to_ascii_uppercase().as_str() {
                    "K" | "KB" => format!("`{unit}` may mean 1000 or 1024, write KiB for 1024 bytes"),
                    "M" | "MB" | "G" | "GB" | "T" | "TB" => {
                        format!("`{unit}` may count in 1000 or 1024, write {}iB for the latter", &unit[..1])
                    }
                    _ => format!("`{unit}` is not a unit of size"),
                });
            }
        },
    };
    count.checked_mul(scale).ok_or_else(|| "it exceeds 64 bits".to_owned())
}

/// Writes a size in the largest unit that divides it.
pub fn print_size(size: u64) -> String {
    print(size, SIZE_UNITS, "0B")
}

/// Reads `10s`, `200ms`, `5us`, `100ns`, `5m` or `1h`.
///
/// # Errors
/// In words: what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (count, unit) = split(text)?;
    let unit = if unit == "µs" || unit == "μs" { "us" } else { unit };
    match TIME_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => match count.checked_mul(*scale) {
            Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            None => Err("it exceeds 64 bits of nanoseconds".to_owned()),
        },
        None if unit.is_empty() => Err("its unit is missing".to_owned()),
        None => Err(format!("`{unit}` is not a unit of time")),
    }
}

/// Writes a time in the largest unit that divides it. What exceeds 64 bits of nanoseconds, 584 years, is cut there.
pub fn print_duration(time: Duration) -> String {
    print(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), TIME_UNITS, "0s")
}

fn print(quantity: u64, units: &[(&str, u64)], zero: &str) -> String {
    if quantity == 0 {
        return zero.to_owned();
    }
    let (name, scale) = units
        .iter()
        .find(|(_, scale)| quantity.is_multiple_of(*scale))
        .expect("the smallest unit divides every quantity");
    format!("{}{name}", quantity / scale)
}

/// Parts the digits from the unit behind them.
fn split(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if unit.starts_with(['.', ',']) {
        return Err("it has a fraction, write a whole number of a smaller unit".to_owned());
    }
    let digits: String = digits.chars().filter(|&c| c != '_').collect();
    if digits.is_empty() {
        return Err("it does not begin with a number".to_owned());
    }
    let count = digits.parse().map_err(|_| "it exceeds 64 bits".to_owned())?;
    Ok((count, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_written() {
        for (text, size) in [
            ("0", 0),
            ("220", 220),
            ("220B", 220),
            ("64KiB", 64 << 10),
            ("64 kib", 64 << 10),
            ("8GiB", 8 << 30),
            ("1_024MiB", 1 << 30),
            ("16777215TiB", 16_777_215 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn sizes_refuse_overflow_and_nonsense() {
        for text in [
            "",
            "KiB",
            "-1",
            "1.5GiB",
            "1,5GiB",
            "64KB",
            "64k",
            "8G",
            "8gb",
            "1e3",
            "0x10",
            "10 GiB x",
            "1 KiB KiB",
            "16777216TiB",
            "18446744073709551616",
            "99999999999999999999GiB",
            "٣KiB",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        assert_eq!(
            parse_size("8GB"),
            Err("`GB` may count in 1000 or 1024, write GiB for the latter".to_owned())
        );
    }

    #[test]
    fn times_read_as_written() {
        for (text, nanoseconds) in [
            ("10s", 10_000_000_000),
            ("200ms", 200_000_000),
            ("5us", 5_000),
            ("5µs", 5_000),
            ("7ns", 7),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
        assert_eq!(parse_duration("2m"), parse_duration("120s"));
        assert_eq!(parse_duration("1h"), parse_duration("60m"));
    }

    #[test]
    fn times_refuse_overflow_and_nonsense() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 fortnights", "1M", "1S", "18446744074s", "5124096h", "infs"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_largest_fitting_unit_is_printed() {
        assert_eq!(print_size(64 << 10), "64KiB");
        assert_eq!(print_size(1536), "1536B");
        assert_eq!(print_size(0), "0B");
        assert_eq!(print_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(print_duration(Duration::from_secs(120)), "2m");
        assert_eq!(print_duration(Duration::ZERO), "0s");
    }

    proptest! {
        #[test]
        fn printed_sizes_read_back(size: u64, shift in 0_u32..50) {
            let size = size >> shift << shift;
            prop_assert_eq!(parse_size(&print_size(size)), Ok(size));
        }

        #[test]
        fn printed_times_read_back(nanoseconds: u64, unit in 0_usize..6) {
            let scale = TIME_UNITS[unit].1;
            let time = Duration::from_nanos(nanoseconds / scale * scale);
            prop_assert_eq!(parse_duration(&print_duration(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}
