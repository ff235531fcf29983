//! Which difference the paired form takes.

use isal_onnx::influence::Difference;

/// Which difference the paired form takes, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PairedDifference {
    /// One-sided where that ranks the sample well enough (Spearman 0.9999), else the better of one-sided and held.
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
    /// The differences to try, cheapest first.
    pub fn candidates(self) -> &'static [Difference] {
        match self {
            PairedDifference::Auto => &[Difference::OneSided, Difference::Held],
            PairedDifference::OneSided => &[Difference::OneSided],
            PairedDifference::Held => &[Difference::Held],
            PairedDifference::Central => &[Difference::Central],
        }
    }
}
