//! Which difference the paired form takes.

use isal_onnx::influence::Difference;

/// Which difference the paired form takes, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PairedDifference {
    /// One-sided where that ranks the sample well enough (Spearman 0.9999); else held, if that is better; and in a sweep,
    /// where held is not close enough either, central, if that is better still.
    #[default]
    Auto,
    /// Against the model itself, whose outputs stay bit for bit: the cheapest.
    OneSided,
    /// One-sided, with the second weight setting held on the model's own side of every kink (Relu, MaxPool and their
    /// kin): more exact, at the price of a mask for each.
    Held,
    /// Between a step ahead and a step back, whose mean stands in for the prediction.
    Central,
}

impl PairedDifference {
    /// The differences to try for a file that answers in the model's place, cheapest first: those that keep its outputs
    /// bit for bit, unless another is asked for.
    pub fn candidates(self) -> &'static [Difference] {
        match self {
            PairedDifference::Auto => &[Difference::OneSided, Difference::Held],
            PairedDifference::OneSided => &[Difference::OneSided],
            PairedDifference::Held => &[Difference::Held],
            PairedDifference::Central => &[Difference::Central],
        }
    }

    /// The differences to try for a sweep, cheapest first. Its predictions choose the pseudo-labels alone, so a mean will do
    /// where that ranks the images better.
    pub fn candidates_of_sweep(self) -> &'static [Difference] {
        match self {
            PairedDifference::Auto => &[Difference::OneSided, Difference::Held, Difference::Central],
            other => other.candidates(),
        }
    }
}
