//! Numbers for people: counts with separators, bytes, shares, spans of time, rates.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", count(number), if number == 1 { singular } else { plural })
}

/// Bytes in the largest binary unit that keeps a whole digit before the point.
pub(crate) fn bytes(number: u64) -> String {
    backsight_registry::size::show_size(number)
}

/// A share in per cent with one decimal; only all is 100 and only none is 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    let tenths = match (part, tenths) {
        (part, 1000) if part < whole => 999,
        (part, 0) if part > 0 => 1,
        (_, tenths) => tenths,
    };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A span of nanoseconds in its two largest units: `0 s`, `1.500 s`, `35 min`, `2 h 5 min`, `12 d 3 h`.
pub(crate) fn span(nanos: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let seconds = nanos / SECOND;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        i64::MIN..=-1 => {
            nanos.checked_neg().map_or_else(|| "-".to_owned(), |positive| format!("-{}", span(positive)))
        }
        0 if nanos == 0 => "0 s".to_owned(),
        0 if nanos.abs() < 1_000 => format!("{nanos} ns"),
        0 if nanos.abs() < 1_000_000 => format!("{} µs", nanos / 1_000),
        0 => format!("{} ms", nanos / 1_000_000),
        1..60 if nanos % SECOND == 0 => format!("{seconds} s"),
        1..60 => format!("{seconds}.{:03} s", nanos % SECOND / 1_000_000),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => {
            let days = seconds / 86_400;
            if days >= 100 {
                format!("{} d", count(days.unsigned_abs()))
            } else {
                two(days, "d", seconds % 86_400 / 3_600, "h")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "file", "files"), "1 file");
        assert_eq!(counted(1_234, "file", "files"), "1,234 files");
    }

    #[test]
    fn bytes_have_one_decimal() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (8 << 30, "8.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn only_all_is_everything_and_only_none_is_nothing() {
        for (part, whole, text) in [
            (0, 0, "-"),
            (0, 7, "0.0 %"),
            (7, 7, "100.0 %"),
            (1, 3, "33.3 %"),
            (1, 1_000_000, "0.1 %"),
            (999_999, 1_000_000, "99.9 %"),
        ] {
            assert_eq!(percent(part, whole), text, "{part}/{whole}");
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        const SECOND: i64 = 1_000_000_000;
        for (nanos, text) in [
            (0, "0 s"),
            (7, "7 ns"),
            (7_000, "7 µs"),
            (250_000_000, "250 ms"),
            (1_500_000_000, "1.500 s"),
            (59 * SECOND, "59 s"),
            (61 * SECOND, "1 min 1 s"),
            (35 * 60 * SECOND, "35 min"),
            (3_600 * SECOND, "1 h"),
            (7_500 * SECOND, "2 h 5 min"),
            (86_400 * SECOND * 12 + 3_600 * SECOND * 3, "12 d 3 h"),
            (86_400 * SECOND * 36_500, "36,500 d"),
            (-61 * SECOND, "-1 min 1 s"),
        ] {
            assert_eq!(span(nanos), text, "{nanos}");
        }
    }
}
