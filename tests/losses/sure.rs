//! A sure model: its influences are small, and must still be right.

use crate::place::{Graph, library, pair};
use isal_exporters::losses::{Loss, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy};
use isal_onnx::Tensor;
use isal_onnx::tangent::{Target, of_inputs};

/// How far the best class is ahead: up to where float32 still has its probability's complement.
const MARGINS: [f64; 6] = [0.5, 4.0, 9.0, 16.0, 30.0, 80.0];

/// The tangent of each image's loss under the model's own belief.
fn under_own_belief(loss: &Loss, outputs: &Tensor, direction: &Tensor) -> Vec<f64> {
    let library = library();
    let pair = pair(loss, outputs.dims(), 17);
    let mut annotations = Graph::open(&library, &pair.decode).run(&[(OUTPUTS, outputs)]);
    annotations.retain(|name, _| pair.loss.graph.inputs.iter().any(|input| input.name == *name));
    let of = of_inputs(&pair.loss, &[OUTPUTS], Target::Any).expect("made");
    let mut given = vec![(OUTPUTS, outputs), ("outputs.tangent", direction)];
    given.extend(annotations.iter().map(|(name, tensor)| (name.as_str(), tensor)));
    Graph::open(&library, &of).floats(&given, "loss.tangent")
}

fn tensor(dims: &[usize], values: &[f64]) -> Tensor {
    Tensor::new(dims, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
}

/// Rounding of a margin moves the probability by that much of itself; the rest is a few roundings.
fn close(found: f64, expected: f64, margin: f64, what: &str) {
    let allowed = (margin + 16.0) * 2f64.powi(-23);
    assert!((found / expected - 1.0).abs() < allowed, "{what}, margin {margin}: {found:e}, not {expected:e}");
}

#[test]
fn softmax_influence_keeps_its_digits_however_sure_the_model_is() {
    let images = MARGINS.len();
    // The third class is as far again behind. All tangents are of one size and the best class's is the largest.
    let scores: Vec<f64> = MARGINS.iter().flat_map(|m| [3.0, 3.0 + m, 3.0 - m]).collect();
    let along: Vec<f64> = MARGINS.iter().flat_map(|_| [0.5, 4.0, -1.5]).collect();
    let expected = |margin: f64| {
        // sum_c p_c (o'_c - o'_best), without a difference of large numbers.
        let [second, third] = [(-margin).exp(), (-2.0 * margin).exp()];
        (second * (0.5 - 4.0) + third * (-1.5 - 4.0)) / (1.0 + second + third)
    };
    let image = |dims: &[usize]| (tensor(dims, &scores), tensor(dims, &along));
    let (outputs, direction) = image(&[images, 3]);
    let softmax = under_own_belief(&Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default()), &outputs, &direction);
    let (outputs, direction) = image(&[images, 3, 1, 1]);
    let pixel = under_own_belief(&Loss::PixelCrossEntropy(PixelCrossEntropy::default()), &outputs, &direction);
    for (i, margin) in MARGINS.into_iter().enumerate() {
        close(softmax[i], expected(margin), margin, "an image");
        close(pixel[i], expected(margin), margin, "a pixel");
    }
}

#[test]
fn sigmoid_influence_keeps_its_digits_however_sure_the_model_is() {
    let loss = Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default());
    for sign in [1.0, -1.0] {
        let scores: Vec<f64> = MARGINS.iter().map(|m| sign * m).collect();
        let outputs = tensor(&[MARGINS.len()], &scores);
        let direction = tensor(&[MARGINS.len()], &[2.0; MARGINS.len()]);
        for (found, margin) in under_own_belief(&loss, &outputs, &direction).into_iter().zip(MARGINS) {
            // A yes becomes dearer with a lower score, a no with a higher one.
            close(found, -2.0 * sign / (1.0 + margin.exp()), margin, "a label");
        }
    }
}
