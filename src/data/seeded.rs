//! Random numbers that are the same on every machine.
//!
//! ChaCha8 is specified to the bit; what libraries change between versions is how a range or a shuffle is
//! drawn from it, so those two are written out here. The stream's seed is a SHA-256 of a purpose and the
//! numbers that pick it, so that two purposes never share a stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of random numbers picked by a purpose and some numbers (a seed, an epoch, an index).
pub(crate) struct Seeded(ChaCha8Rng);

impl Seeded {
    pub(crate) fn new(purpose: &str, numbers: &[u64]) -> Self {
        let mut hash = Sha256::new();
        hash.update((purpose.len() as u64).to_le_bytes());
        hash.update(purpose.as_bytes());
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        Seeded(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// Uniform in `0..n`, without the bias of a plain remainder; 0 where `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n < 2 {
            return 0;
        }
        // Values past the last whole multiple of n would make the small remainders likelier.
        let last = u64::MAX - (u64::MAX % n + 1) % n;
        loop {
            let value = self.0.next_u64();
            if value <= last {
                return (value % n) as usize;
            }
        }
    }

    /// Uniform in `[0, 1)`, in steps of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Either with probability one half.
    pub(crate) fn coin(&mut self) -> bool {
        self.0.next_u64() >> 63 == 1
    }

    /// Fisher-Yates: every order equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn below_is_uniform() {
        // 60,000 draws of 6 faces: each count has standard deviation sqrt(n p (1-p)) = 91; 5 of them bound it.
        let mut counts = [0_i64; 6];
        let mut random = Seeded::new("test", &[1]);
        for _ in 0..60_000 {
            counts[random.below(6)] += 1;
        }
        for count in counts {
            assert!((count - 10_000).abs() < 460, "{counts:?}");
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_that_depends_on_every_number() {
        let order = |numbers: &[u64]| {
            let mut items: Vec<usize> = (0..100).collect();
            Seeded::new("test", numbers).shuffle(&mut items);
            items
        };
        let mut sorted = order(&[1, 2]);
        assert_eq!(sorted, order(&[1, 2]));
        assert_ne!(sorted, order(&[2, 2]));
        assert_ne!(sorted, order(&[1, 3]));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
