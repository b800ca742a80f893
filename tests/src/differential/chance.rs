//! Chance that can be repeated: xorshift64*.

/// A source of numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed, which may be small: neighbours are made unlike.
    pub fn new(seed: u64) -> Chance {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Chance((mixed ^ (mixed >> 31)) | 1)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % count
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The seed that every random test can be told, and tells.
///
/// # Panics
///
/// If `PGSHUNT_SEED` is no number.
pub fn seed(otherwise: u64) -> u64 {
    let seed = std::env::var("PGSHUNT_SEED");
    let seed = seed.map_or(otherwise, |seed| seed.parse().expect("PGSHUNT_SEED is a number"));
    println!("PGSHUNT_SEED={seed}");
    seed
}
