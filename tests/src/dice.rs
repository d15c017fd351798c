//! Random numbers that are the same everywhere: `SplitMix64`, small and seeded.

/// A generator; the seed is its state.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// A whole word.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index below `len`; 0 when there is none.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len.max(1) as u64)).unwrap()
    }

    pub(crate) fn small(&mut self, below: u64) -> i64 {
        i64::try_from(self.roll(below)).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}
