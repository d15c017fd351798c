//! Sizes as people write and read them: `8GiB`, `512MB`, a number of bytes.

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Reads a size above zero; the error says what is allowed.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refused =
        || format!("`{text}` is not a size; write `8GiB`, `512MB`, or a number of bytes above zero");
    bytes_of(text).filter(|bytes| *bytes > 0).ok_or_else(refused)
}

fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = format!("{whole}{fraction}").parse::<u128>().ok()?.checked_mul(u128::from(*factor))?;
    u64::try_from(scaled / scale).ok()
}

/// Bytes in the largest binary unit that keeps a whole digit before the point.
pub fn show_size(number: u64) -> String {
    const BINARY: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut unit = 0;
    while unit + 1 < BINARY.len() && number >> (10 * (unit + 2)) > 0 {
        unit += 1;
    }
    let divisor = 1_u128 << (10 * (unit + 1));
    let tenths = (u128::from(number) * 10 + divisor / 2) / divisor;
    // 1023.96 KiB rounds up to the next unit.
    if tenths >= 10_240 && unit + 1 < BINARY.len() {
        return format!("1.0 {}", BINARY[unit + 1]);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, BINARY[unit])
}

#[cfg(test)]
mod tests {
    use super::{parse_size, show_size};

    #[test]
    fn sizes_are_exact() {
        for (text, bytes) in
            [("8GiB", 8 << 30), ("512MB", 512_000_000), ("1.5 gib", 3 << 29), ("1024", 1024), ("10 b", 10)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_a_unit() {
        let shown = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1800, "1.8 KiB"),
            (4 << 30, "4.0 GiB"),
            ((1 << 20) - 1, "1.0 MiB"),
        ];
        for (bytes, text) in shown {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_is_allowed() {
        for text in ["", "0", "8G", "-1", "1.GiB", ".5GiB", "many", "99999999999999TiB"] {
            let message = parse_size(text).unwrap_err();
            assert!(message.contains("write `8GiB`"), "{text}: {message}");
        }
    }
}
