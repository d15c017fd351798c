//! Spans of time as people write them: `10s`, `500ms`, `5m`; the short forms of a ttl.

use std::time::Duration;

use backsight_registry::ttl::parse_ttl;

/// Reads a span above zero; the error says what is allowed.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a span of time above zero; write `10s`, `500ms`, `5m` or `1h`");
    let nanos = parse_ttl(text).ok().flatten().map(|ttl| ttl.nanos()).ok_or_else(refused)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_above_zero_and_have_a_unit_or_are_seconds() {
        for (text, millis) in
            [("10s", 10_000), ("500ms", 500), ("5m", 300_000), ("1h30m", 5_400_000), ("2", 2_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "soon", "10000000d"] {
            assert!(parse_duration(text).unwrap_err().contains("write `10s`"), "{text}");
        }
    }
}
