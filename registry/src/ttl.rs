//! A time to live as text: what a definition may write, and how one is shown.

use std::fmt;

use crate::model::Ttl;

const NANO: i128 = 1;
const SECOND: i128 = 1_000_000_000 * NANO;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;
/// The longest protobuf duration: ten thousand years.
const NANOS_MAX: i128 = 315_576_000_000 * SECOND;

/// Units of the short form, longest first.
const UNITS: &[(&str, i128)] = &[
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", SECOND / 1_000),
    ("us", SECOND / 1_000_000),
    ("ns", NANO),
];

/// Why a text is no ttl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TtlError {
    /// What is wrong, without the place.
    pub message: String,
    /// What to write.
    pub hint: Option<String>,
}

/// Reads `90m`, `6h`, `1d12h`, an ISO 8601 duration (`P1DT12H`) or a number of seconds. Zero is no ttl.
///
/// Exact to the nanosecond: a fraction that is finer is refused, not rounded.
pub fn parse_ttl(text: &str) -> Result<Option<Ttl>, TtlError> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-')
        && parse_nanos(rest).is_ok()
    {
        return Err(TtlError {
            message: format!("ttl `{text}` is negative"),
            hint: Some("a ttl says how old a feature row may be; 0 or no ttl means unlimited".to_owned()),
        });
    }
    let nanos = parse_nanos(text)?;
    if nanos > NANOS_MAX {
        let hint = "leave the ttl out for unlimited".to_owned();
        return Err(TtlError {
            message: format!("ttl `{text}` is longer than 10,000 years"),
            hint: Some(hint),
        });
    }
    Ok(Ttl::from_nanos(nanos))
}

fn parse_nanos(text: &str) -> Result<i128, TtlError> {
    let invalid = |hint: Option<&str>| TtlError {
        message: format!(
            "ttl `{text}` is not a duration; allowed: `90m`, `6h`, `100d`, `1d12h`, an ISO 8601 duration such as \
             `PT90M`, or seconds"
        ),
        hint: hint.map(str::to_owned),
    };
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        return parse_iso(iso).map_err(|hint| invalid(hint.as_deref()));
    }
    if text.is_empty() {
        return Err(invalid(None));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return scaled(text, SECOND).ok_or_else(|| invalid(None));
    }
    let mut sum = 0_i128;
    let mut used = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits =
            rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|letter: char| !letter.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let place = UNITS.iter().position(|(name, _)| *name == unit);
        // Units go from long to short, each once: `12h1d` is more likely a slip than a wish.
        let Some(place) = place.filter(|place| *place >= used) else {
            return Err(invalid(unit_hint(unit)));
        };
        let part = scaled(number, UNITS[place].1).ok_or_else(|| invalid(None))?;
        sum = sum.checked_add(part).ok_or_else(|| invalid(None))?;
        used = place + 1;
        rest = tail.trim_start();
    }
    Ok(sum)
}

fn unit_hint(unit: &str) -> Option<&'static str> {
    match unit {
        "M" | "mo" | "y" | "Y" | "month" | "months" | "year" | "years" => {
            Some("months and years have no fixed length; write days")
        }
        "min" | "mins" | "minute" | "minutes" => Some("write `m` for minutes"),
        "sec" | "secs" | "second" | "seconds" => Some("write `s` for seconds"),
        "hr" | "hrs" | "hour" | "hours" | "H" => Some("write `h` for hours"),
        "day" | "days" | "D" => Some("write `d` for days"),
        "week" | "weeks" | "W" => Some("write `w` for weeks"),
        _ => None,
    }
}

/// The part after `P`: weeks, days, then after `T` hours, minutes, seconds.
fn parse_iso(text: &str) -> Result<i128, Option<String>> {
    let upper = text.to_ascii_uppercase();
    let (date, time) = match upper.split_once('T') {
        Some((_, "")) => return Err(None),
        Some((date, time)) => (date, time),
        None => (upper.as_str(), ""),
    };
    if date.contains(['Y', 'M']) {
        return Err(Some("months and years have no fixed length; write days".to_owned()));
    }
    if date.is_empty() && time.is_empty() {
        return Err(None);
    }
    let date = sum_iso(date, &[('W', 7 * DAY), ('D', DAY)]).ok_or(None)?;
    let time = sum_iso(time, &[('H', HOUR), ('M', MINUTE), ('S', SECOND)]).ok_or(None)?;
    date.checked_add(time).ok_or(None)
}

fn sum_iso(mut rest: &str, units: &[(char, i128)]) -> Option<i128> {
    let mut sum = 0_i128;
    for (unit, nanos) in units {
        if let Some((number, tail)) = rest.split_once(*unit) {
            sum = sum.checked_add(scaled(&number.replace(',', "."), *nanos)?)?;
            rest = tail;
        }
    }
    rest.is_empty().then_some(sum)
}

/// A decimal number times a unit, when that is a whole number of nanoseconds.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    const DIGITS_MAX: usize = 15;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= DIGITS_MAX;
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let total = format!("{whole}{fraction}").parse::<i128>().ok()?.checked_mul(unit)?;
    (total % scale == 0).then_some(total / scale)
}

impl fmt::Display for Ttl {
    /// `100d`, `1d12h`, `250ms`: always a form that a definition may use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.nanos();
        for (unit, nanos) in UNITS.iter().skip(1) {
            if rest >= *nanos {
                write!(f, "{}{unit}", rest / nanos)?;
                rest %= nanos;
            }
        }
        Ok(())
    }
}

/// A ttl that may be absent, as a person reads it.
pub fn ttl_text(ttl: Option<Ttl>) -> String {
    ttl.map_or_else(|| "unlimited".to_owned(), |ttl| ttl.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_exact() {
        let cases = [
            ("90m", 90 * MINUTE, "1h30m"),
            ("6h", 6 * HOUR, "6h"),
            ("100d", 100 * DAY, "100d"),
            ("8640000000", 100_000 * DAY, "100000d"),
            ("2w", 14 * DAY, "14d"),
            ("1d12h", 36 * HOUR, "1d12h"),
            ("1d 12h", 36 * HOUR, "1d12h"),
            ("1 d 12 h", 36 * HOUR, "1d12h"),
            ("1.5h", 90 * MINUTE, "1h30m"),
            ("250ms", SECOND / 4, "250ms"),
            ("0.25", SECOND / 4, "250ms"),
            ("1us", 1_000, "1us"),
            ("1ns", 1, "1ns"),
            ("P1DT12H", 36 * HOUR, "1d12h"),
            ("PT90M", 90 * MINUTE, "1h30m"),
            ("P2W", 14 * DAY, "14d"),
            ("PT0.5S", SECOND / 2, "500ms"),
        ];
        for (text, nanos, shown) in cases {
            let ttl = parse_ttl(text).unwrap().unwrap();
            assert_eq!((ttl.nanos(), ttl.to_string().as_str()), (nanos, shown), "{text}");
        }
        for text in ["0", "0s", "PT0S", "0d"] {
            assert_eq!(parse_ttl(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let negative = "is negative";
        let other = "is not a duration";
        let cases = [
            ("-1h", negative),
            ("-5", negative),
            ("-PT5S", negative),
            ("soon", other),
            ("", other),
            ("5", "ok"),
            ("1h1d", other),
            ("1h1h", other),
            ("3min", other),
            ("1M", other),
            ("P1M", other),
            ("P1Y", other),
            ("P", other),
            ("PT", other),
            ("P1DT", other),
            ("1..5h", other),
            (".5h", other),
            ("5.h", other),
            ("0.5ns", other),
            ("999999999999999999999d", other),
            ("115740741d", "is longer than 10,000 years"),
        ];
        for (text, expected) in cases {
            let shown = match parse_ttl(text) {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.message,
            };
            assert!(shown.contains(expected), "{text}: {shown}");
        }
        assert_eq!(parse_ttl("3min").unwrap_err().hint.as_deref(), Some("write `m` for minutes"));
        assert_eq!(
            parse_ttl("P1M").unwrap_err().hint.as_deref(),
            Some("months and years have no fixed length; write days")
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in 1_i128..NANOS_MAX) {
            let ttl = Ttl::from_nanos(nanos);
            prop_assert_eq!(parse_ttl(&ttl.unwrap().to_string()), Ok(ttl));
        }
    }
}
