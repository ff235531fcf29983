//! The focal loss (Lin et al., arXiv 1708.02002): `-alpha_t (1 - p_t)^2 log p_t`.

use crate::losses::draft::Draft;
use isal_onnx::Value;

/// Share of the loss that a class has where it is.
const ALPHA: f32 = 0.25;

/// The focal loss of every location and class, `[N, L, C]`, of the scores `cls`; a location without a box has the label -1.
pub(super) fn focal(g: &mut Draft, cls: Value, classes: usize, label: Value) -> Value {
    let label = g.unsqueeze(label, 2);
    let numbers = g.class_numbers("class_numbers", classes, &[1, 1, classes]);
    let hit = g.op("Equal", [label, numbers]);
    // Of a class that is there the loss is that of its score, of one that is not that of the score turned round.
    let (one, against) = (g.number(1.0), g.number(-1.0));
    let sign = g.op("Where", [hit, one, against]);
    let score = g.op("Mul", [cls, sign]);
    let unlikely = g.op("Neg", [score]);
    let (wrong, entropy) = (g.op("Sigmoid", [unlikely]), g.op("Softplus", [unlikely]));
    let squared = g.op("Mul", [wrong, wrong]);
    let weighted = g.op("Mul", [squared, entropy]);
    let (there, elsewhere) = (g.number(ALPHA), g.number(1.0 - ALPHA));
    let alpha = g.op("Where", [hit, there, elsewhere]);
    g.op("Mul", [alpha, weighted])
}
