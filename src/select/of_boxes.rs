//! Detectors, image by image: by the entropies of the pseudo-boxes, and by how far these stay where they are under noise.
//!
//! The entropy of a box is that of its class scores, over the classes the sum of the entropies of yes and no; `entropy` takes the
//! sum over the boxes of an image, which prefers crowded ones, the mean and the largest do not (Roy et al., BMVC 2018; Haussmann et
//! al., arXiv 2004.04699). Localisation stability (Kao et al., Localization-aware active learning for object detection, arXiv
//! 1801.05124, sections 3.2 and 3.3) is computed where the model is run ([`crate::sweep::Stability`]). Cost: one forward pass
//! for the entropies, eight for the stability. When not to use: counted in boxes (`isal compare --against boxes`), the sum is often
//! no better than random; the stability says nothing of objects that a model does not find at all, so it needs a model
//! that finds most.

use super::strategy::{First, Needs, NoOptions, StrategyOptions, StrategyRow};
use crate::scores::belief;

pub(super) const MEAN_ENTROPY: StrategyRow = StrategyRow {
    name: "mean-entropy",
    about: "of detectors: highest mean entropy of the pseudo-boxes first",
    needs: Needs::Belief { name: belief::MEAN_ENTROPY, first: First::Highest },
    options: || StrategyOptions::MeanEntropy(NoOptions {}),
};

pub(super) const MAX_ENTROPY: StrategyRow = StrategyRow {
    name: "max-entropy",
    about: "of detectors: highest entropy of any pseudo-box first",
    needs: Needs::Belief { name: belief::MAX_ENTROPY, first: First::Highest },
    options: || StrategyOptions::MaxEntropy(NoOptions {}),
};

pub(super) const STABILITY: StrategyRow = StrategyRow {
    name: "localisation-stability",
    about: "of detectors: pseudo-boxes that move most under noise first",
    needs: Needs::Belief { name: belief::STABILITY, first: First::Lowest },
    options: || StrategyOptions::LocalisationStability(NoOptions {}),
};

pub(super) const STABILITY_CONFIDENCE: StrategyRow = StrategyRow {
    name: "localisation-stability-confidence",
    about: "of detectors: pseudo-boxes that are unsure and move under noise first",
    needs: Needs::Belief { name: belief::UNSURE_AND_UNSTABLE, first: First::Highest },
    options: || StrategyOptions::LocalisationStabilityConfidence(NoOptions {}),
};
