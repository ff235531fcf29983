//! Small margins more often than large ones, by chance: images are drawn without replacement with odds `(1 - margin)^beta`
//! (Kirsch et al., Stochastic batch acquisition, arXiv 2106.12059: the power form of the margin).
//!
//! Drawing so is taking the highest of `beta log(1 - margin) + G`, `G` a Gumbel number of each image's own (Vieira,
//! Gumbel-max trick, 2014), which here comes from the image's id and the seed alone. Of many images alike, all of small
//! margin, a plain `margin` takes the smallest and their likes; this spreads. Cost: one forward pass. When not to use: with
//! a budget of a few images, where the noise counts most.

use super::random::Random;
use super::strategy::{First, Needs, StrategyOptions, StrategyRow};
use crate::scores::belief;

pub(super) const ROW: StrategyRow = StrategyRow {
    name: "power-margin",
    about: "small margins more often than large ones, so that a batch is not all alike",
    needs: Needs::Belief { name: belief::MARGIN, first: First::Lowest },
    options: || StrategyOptions::PowerMargin(PowerMargin::default()),
};

/// Options of `power-margin`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PowerMargin {
    /// Seed of the draw.
    pub seed: u64,
    /// How much small margins are preferred: 0 is a uniform draw, more and more a plain `margin`.
    pub beta: f64,
}

impl Default for PowerMargin {
    fn default() -> Self {
        PowerMargin { seed: 0, beta: 3.0 }
    }
}

impl PowerMargin {
    /// Minus `beta log(1 - margin) + G`: the lowest are drawn.
    pub(super) fn key(self, id: &str, margin: f64) -> f64 {
        // In (0, 1), so that both logarithms are finite.
        let uniform = (Random { seed: self.seed }.key(id) + 2f64.powi(-54)).min(1.0 - 2f64.powi(-54));
        // An image of which the model is certain comes last, and is still ordered by chance among such.
        let open = if margin >= 1.0 { f64::MIN_POSITIVE } else { 1.0 - margin };
        -(self.beta * open.ln() - (-uniform.ln()).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first drawn of three images is each of them with its odds over their sum.
    #[test]
    fn images_are_drawn_with_the_odds_of_their_margins() {
        const DRAWS: u64 = 30_000;
        for beta in [0.0, 1.0, 3.0] {
            let margins = [0.1, 0.5, 0.9];
            let odds = margins.map(|margin: f64| (1.0 - margin).powf(beta));
            let mut drawn = [0.0_f64; 3];
            for seed in 0..DRAWS {
                let key = |n: usize| PowerMargin { seed, beta }.key(&n.to_string(), margins[n]);
                let first = (0..3).min_by(|a, b| key(*a).total_cmp(&key(*b))).expect("three");
                drawn[first] += 1.0 / DRAWS as f64;
            }
            for (found, odds_of_one) in drawn.iter().zip(odds) {
                let expected = odds_of_one / odds.iter().sum::<f64>();
                // A share of 30,000 draws has a standard deviation below 0.003.
                assert!((found - expected).abs() < 0.015, "beta {beta}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn certain_images_come_last_and_what_is_not_a_number_stays_so() {
        let key = |margin| PowerMargin::default().key("a", margin);
        assert!(key(1.0).is_finite() && key(1.0) > key(0.999_999));
        assert!(key(f64::NAN).is_nan());
    }
}
