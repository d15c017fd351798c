//! Random numbers from a seed: `SplitMix64`, the same everywhere.

#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to below `below`.
    pub(super) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let below = u64::try_from(below.max(1)).unwrap();
        usize::try_from((mixed ^ (mixed >> 31)) % below).unwrap()
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.roll(100) < chance
    }

    pub(super) fn count(&mut self, from: u32, to: u32) -> u32 {
        from + u32::try_from(self.roll(usize::try_from(to - from).unwrap() + 1)).unwrap()
    }

    /// Takes one of them out, wherever it stands.
    pub(super) fn take<T>(&mut self, items: &mut Vec<T>) -> Option<T> {
        if items.is_empty() {
            return None;
        }
        let place = self.roll(items.len());
        Some(items.swap_remove(place))
    }
}
