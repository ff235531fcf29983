//! Uniformly at random: the floor that every strategy is compared with.
//!
//! The key of an image is drawn from its id and the seed alone (SHA-256 of both, as a number in `[0, 1)`), so a
//! selection does not depend on the order of the pool, its shards, or what else is in it: removing an image
//! leaves the order of the others as it was. Cost: none.

use sha2::{Digest, Sha256};

use super::strategy::{Needs, StrategyOptions, StrategyRow};

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "random",
    about: "uniformly at random from a seed: the floor to compare with",
    needs: Needs::Nothing,
    options: || StrategyOptions::Random(Random::default()),
};

/// Options of `random`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Random {
    /// Seed of the draw.
    pub seed: u64,
}

impl Random {
    pub(super) fn key(self, id: &str) -> f64 {
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(id.as_bytes()).finalize();
        let bits = digest.iter().take(8).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        // 53 bits, as many as a float64 holds.
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}
