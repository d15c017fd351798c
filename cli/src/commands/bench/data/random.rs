//! Random numbers that are found by their place: any row can be made without the rows before it.

/// Numbers of one seed and purpose, one for each row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(u64);

/// The step between the states of a `SplitMix64` generator.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scatters the bits of a number (the finaliser of `SplitMix64`); no two numbers give the same.
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Stream {
    /// The stream of a seed for one purpose, as a table's and a column's numbers.
    pub(crate) fn new(seed: u64, purpose: [u64; 2]) -> Self {
        let [table, column] = purpose;
        let state = mix(seed.wrapping_add(STEP));
        let state = mix(state ^ table.wrapping_add(1).wrapping_mul(STEP));
        Self(mix(state ^ column.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// 64 bits for a row.
    pub(crate) fn bits(self, row: u64) -> u64 {
        mix(self.0.wrapping_add(row.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// A number from 0 up to 1 for a row.
    pub(crate) fn unit(self, row: u64) -> f64 {
        const SCALE: f64 = 1.0 / 9_007_199_254_740_992.0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
        let whole = (self.bits(row) >> 11) as f64;
        whole * SCALE
    }

    /// Whether a row is among this share of all.
    pub(crate) fn is_among(self, row: u64, share: f64) -> bool {
        share > 0.0 && self.unit(row) < share
    }
}

/// `unit` of the whole numbers below `count`.
pub(crate) fn below(unit: f64, count: u64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are below 2^42, and a unit is not negative"
    )]
    let number = (unit * count as f64) as u64;
    number.min(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_even_and_have_nothing_to_do_with_each_other() {
        let (one, other) = (Stream::new(7, [0, 0]), Stream::new(7, [0, 1]));
        let mean = |stream: Stream| (0..10_000).map(|row| stream.unit(row)).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean(one)) && (0.49..0.51).contains(&mean(other)));
        let both = (0..10_000).filter(|&row| one.is_among(row, 0.5) && other.is_among(row, 0.5)).count();
        assert!((2_300..2_700).contains(&both), "{both}");
        assert_ne!(Stream::new(8, [0, 0]).bits(0), one.bits(0));
        assert!(!one.is_among(0, 0.0) && one.is_among(0, 1.0));
    }

    #[test]
    fn what_is_below_stays_below() {
        assert_eq!((below(0.0, 5), below(0.999_999, 5), below(1.0, 5)), (0, 4, 4));
    }
}
