//! Whether the scores have settled: a solve is for the order of a pool, and is done when that order stands.
//!
//! A residual says little about an order: how much of it matters depends on the images. So the influences of a sample of the
//! pool are computed at checkpoints of the recursion, and the solve ends once two of them agree. Checkpoints are an eighth of
//! the iterations apart: where the recursion is slow, so are they, and what is left to come is then of the size of what
//! changed between them, not many times more.

use super::InfluenceError;
use super::engine::GradientEngine;
use super::rank_agreement::{lowest_tenth, spearman};

/// The influences of a sample of the pool along a vector.
pub type SampleInfluences<'a, E> =
    dyn FnMut(&mut E, &<E as GradientEngine>::Vector) -> Result<Vec<f64>, InfluenceError> + 'a;

/// Rank agreement of two checkpoints at which the order stands, where no other is asked for.
pub(super) const STANDS: f64 = 0.9999;
/// Share of the lowest tenth at one checkpoint that must be in it at the next.
const STAYS: f64 = 0.95;
/// Residual from which on checkpoints are worth their cost.
const BEGIN: f64 = 0.1;

/// How far the influences of a sample of the pool had settled at the end of a solve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settled {
    /// Images of the sample.
    pub images: usize,
    /// Iterations between the last two checkpoints.
    pub iterations: usize,
    /// Rank correlation of the influences at them; absent where it means nothing.
    pub spearman: Option<f64>,
    /// Share of the lowest tenth of the first that is in the lowest tenth of the second.
    pub lowest_tenth: f64,
}

impl Settled {
    fn stands(&self, agreement: f64) -> bool {
        // Nothing is asked of the order at 1, which few images may reach by chance.
        agreement < 1.0 && self.spearman.is_some_and(|spearman| spearman >= agreement) && self.lowest_tenth >= STAYS
    }
}

impl std::fmt::Display for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Settled { images, iterations, spearman, lowest_tenth } = self;
        let spearman = spearman.map_or_else(|| "not to be had".to_owned(), |spearman| format!("{spearman:.6}"));
        let stay = 100.0 * lowest_tenth;
        write!(
            f,
            "over the last {iterations} iterations the influences of {images} pool images rank alike: Spearman {spearman}, {stay:.0} % of the lowest tenth stay in it"
        )
    }
}

/// The checkpoints of a solve.
pub(super) struct Checkpoints<'a, 'b, E: GradientEngine> {
    sample: Option<&'a mut SampleInfluences<'b, E>>,
    /// Rank agreement at which the order stands.
    agreement: f64,
    /// Most iterations.
    most: usize,
    last: Option<(usize, Vec<f64>)>,
    pub settled: Option<Settled>,
}

impl<'a, 'b, E: GradientEngine> Checkpoints<'a, 'b, E> {
    pub fn of(sample: Option<&'a mut SampleInfluences<'b, E>>, agreement: f64, most: usize) -> Self {
        Checkpoints { sample, agreement, most, last: None, settled: None }
    }

    /// Whether a checkpoint is due after `iteration` with this residual. The last eighth always has one, so
    /// that a solve that runs out of iterations can tell how much still changed.
    pub fn due(&self, iteration: usize, residual: f64) -> bool {
        let apart = |last: usize| (last / 8).max(2);
        self.sample.is_some()
            && (residual < BEGIN || iteration >= self.most - self.most / 8)
            && self.last.as_ref().is_none_or(|(last, _)| iteration >= last + apart(*last))
    }

    /// Compares the influences along `s` with those of the last checkpoint; whether they rank so much alike that the order
    /// stands.
    pub fn stands(&mut self, engine: &mut E, s: &E::Vector, iteration: usize) -> Result<bool, InfluenceError> {
        let Some(sample) = &mut self.sample else { return Ok(false) };
        if self.last.as_ref().is_none_or(|(last, _)| *last != iteration) {
            let influences = sample(engine, s)?;
            if let Some((before, last)) = &self.last {
                self.settled = Some(Settled {
                    images: influences.len(),
                    iterations: iteration - before,
                    spearman: spearman(last, &influences),
                    lowest_tenth: lowest_tenth(last, &influences),
                });
            }
            self.last = Some((iteration, influences));
        }
        Ok(self.settled.is_some_and(|settled| settled.stands(self.agreement)))
    }
}
