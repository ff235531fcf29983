//! Which images the curvature is the mean over.

use super::ScoringError;
use crate::data::Dataset;
use crate::influence::{Curvature, SolverOptions};

/// Images of the curvature where no number was given.
const SAMPLES: usize = 1_000;

/// Whose images the curvature is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CurvatureImages {
    /// The labelled images. After training to a loss near zero, hardly any curvature is left on them.
    #[value(alias = "labelled")]
    Labeled,
    /// Images of the pool, whose labels the Gauss-Newton matrix does not need.
    Pool,
    /// Half of each.
    Both,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CurvatureOptions {
    /// Whose images; the labelled ones where not given.
    pub images: Option<CurvatureImages>,
    /// How many at most.
    pub samples: Option<usize>,
}

/// The images that were settled on, spread evenly over the sets.
pub(super) struct Drawn {
    pub(super) labelled: Dataset,
    /// Positions in the pool.
    pub(super) pool: Vec<usize>,
}

impl CurvatureOptions {
    /// Settles on images.
    ///
    /// # Errors
    /// [`ScoringError::CurvatureOfPool`] where images without labels are asked for and the solver needs labels.
    pub(super) fn draw(
        &self,
        solver: &SolverOptions,
        labelled: &Dataset,
        pool: &Dataset,
    ) -> Result<Drawn, ScoringError> {
        let images = match (solver.curvature(), self.images) {
            (Curvature::GaussNewton, images) => images.unwrap_or(CurvatureImages::Labeled),
            (Curvature::Hessian | Curvature::EmpiricalFisher, None | Some(CurvatureImages::Labeled)) => {
                CurvatureImages::Labeled
            }
            (_, Some(CurvatureImages::Pool | CurvatureImages::Both)) => {
                return Err(ScoringError::CurvatureOfPool { solver: solver.solver() });
            }
        };
        let (of_labelled, of_pool) = shares(images, self.samples.unwrap_or(SAMPLES), labelled.len(), pool.len());
        Ok(Drawn { labelled: labelled.subset(&labelled.evenly(of_labelled))?, pool: pool.evenly(of_pool) })
    }
}

/// How many of `samples` come from the labelled images and from the pool; where one has too few for its half, the other makes
/// up for it.
fn shares(images: CurvatureImages, samples: usize, labelled: usize, pool: usize) -> (usize, usize) {
    match images {
        CurvatureImages::Labeled => (samples.min(labelled), 0),
        CurvatureImages::Pool => (0, samples.min(pool)),
        CurvatureImages::Both => {
            let of_pool = (samples / 2).max(samples.saturating_sub(labelled)).min(pool);
            (samples.saturating_sub(of_pool).min(labelled), of_pool)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_takes_half_of_each_and_makes_up_for_the_smaller_set() {
        use CurvatureImages::{Both, Labeled, Pool};
        assert_eq!(shares(Both, 512, 400, 5_000), (256, 256));
        assert_eq!(shares(Both, 512, 80, 5_000), (80, 432));
        assert_eq!(shares(Both, 512, 10_000, 100), (412, 100));
        assert_eq!(shares(Both, 512, 80, 100), (80, 100));
        assert_eq!(shares(Both, 1, 80, 100), (1, 0));
        assert_eq!(shares(Labeled, 512, 400, 5_000), (400, 0));
        assert_eq!(shares(Pool, 512, 400, 300), (0, 300));
    }
}
