//! What a model believes of an image, in columns that are the task's own.

/// A column of beliefs: one number an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct BeliefColumn {
    /// Its name, as the decode graph has it.
    pub name: String,
    /// What its numbers are.
    pub kind: BeliefKind,
}

/// What the numbers of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BeliefKind {
    /// Any number.
    Number,
    /// The number of a class, or a count.
    Whole,
}

impl BeliefColumn {
    /// A column of any numbers.
    pub fn number(name: &str) -> BeliefColumn {
        BeliefColumn { name: name.to_owned(), kind: BeliefKind::Number }
    }

    /// A column of classes or counts.
    pub fn whole(name: &str) -> BeliefColumn {
        BeliefColumn { name: name.to_owned(), kind: BeliefKind::Whole }
    }
}

/// Names of beliefs that strategies and reports know; what they mean is for the task to say (`docs/TASKS.md`).
pub mod belief {
    /// The likeliest class.
    pub const PSEUDO_LABEL: &str = "pseudo_label";
    /// Probability of the pseudo-label.
    pub const CONFIDENCE: &str = "confidence";
    /// Entropy of the prediction, in nats.
    pub const ENTROPY: &str = "entropy";
    /// Of a detector, the mean over its pseudo-boxes of the entropy of their class scores, in nats.
    pub const MEAN_ENTROPY: &str = "mean_entropy";
    /// The largest of them.
    pub const MAX_ENTROPY: &str = "max_entropy";
    /// Of a detector, how far its pseudo-boxes stay where they are under noise, from 0 to 1.
    pub const STABILITY: &str = "localisation_stability";
    /// How unsure it is of its least sure pseudo-box, less their stability.
    pub const UNSURE_AND_UNSTABLE: &str = "unsure_and_unstable";
    /// How many pseudo boxes there are, under any of these names.
    pub const BOXES: [&str; 3] = ["boxes", "found", "detections"];
    /// Probability of the pseudo-label less that of the next likeliest.
    pub const MARGIN: &str = "margin";
}
