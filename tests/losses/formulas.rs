//! Random shapes and options: every loss is its formula in float64, and its tangent the formula's difference.

use crate::place::{Graph, library, numbers, pair};
use isal_exporters::losses::{
    Huber, LOSS, Loss, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError,
};
use isal_onnx::Tensor;
use isal_onnx::tangent::{Target, of_inputs};
use isal_onnx::testing::rounding::gamma;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The most numbers that any of the sums has, the functions' roundings included.
const ROUNDINGS: usize = 128;

struct Drawn {
    loss: Loss,
    outputs: Tensor,
    annotation: Tensor,
}

fn draw(random: &mut ChaCha8Rng) -> Drawn {
    let (images, classes) = (random.random_range(1..4), random.random_range(1..6));
    let mut floats = |count: usize, low: f32, high: f32| -> Vec<f32> {
        (0..count).map(|_| random.random_range(low..high)).collect()
    };
    let weights = floats(classes, 0.0, 3.0);
    let weights = (weights[0] < 2.0).then_some(weights);
    let (kind, smoothing, delta) = (floats(1, 0.0, 5.0)[0] as usize, floats(1, 0.0, 1.0)[0], floats(1, 0.1, 3.0)[0]);
    let (height, width) = (floats(1, 1.0, 5.0)[0] as usize, floats(1, 1.0, 5.0)[0] as usize);
    let dims = match kind {
        0 => vec![images, classes],
        1 if classes == 1 => vec![images],
        1 => vec![images, classes],
        2 => vec![images, classes, height, width],
        _ => [images, classes, height, width][..1 + floats(1, 0.0, 4.0)[0] as usize].to_vec(),
    };
    let count = dims.iter().product();
    let outputs = Tensor::new(dims.clone(), &floats(count, -6.0, 6.0));
    let annotation = match kind {
        0 => Tensor::new(dims.clone(), &floats(count, 0.0, 1.0)),
        // A third of them is unknown.
        1 => Tensor::new(dims.clone(), &floats(count, -0.5, 1.0)),
        // Some are no class.
        2 => {
            let labels: Vec<i64> =
                floats(images * height * width, 0.0, classes as f32 + 1.0).iter().map(|x| *x as i64).collect();
            Tensor::new([images, height, width], &labels)
        }
        _ => Tensor::new(dims.clone(), &floats(count, -6.0, 6.0)),
    };
    let loss = match kind {
        0 => Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy {
            label_smoothing: smoothing,
            class_weights: weights,
            top_k: 1,
        }),
        1 => Loss::SigmoidCrossEntropy(SigmoidCrossEntropy { pos_weight: weights, mean: smoothing < 0.5 }),
        2 => Loss::PixelCrossEntropy(PixelCrossEntropy {
            ignore: if smoothing < 0.5 { 0 } else { classes as i64 },
            class_weights: weights,
        }),
        3 => Loss::SquaredError(SquaredError),
        _ => Loss::Huber(Huber { delta }),
    };
    Drawn { loss, outputs, annotation }
}

fn weight(weights: &Option<Vec<f32>>, class: usize) -> f64 {
    weights.as_ref().map_or(1.0, |w| f64::from(w[class]))
}

/// Loss of one image from its outputs and annotation, classes first.
fn formula(loss: &Loss, classes: usize, o: &[f64], a: &[f64]) -> f64 {
    let logarithm = |o: &[f64], at: usize, step: usize| {
        let scores = || (0..classes).map(|c| o[c * step + at % step]);
        let top = scores().fold(f64::MIN, f64::max);
        o[at] - top - scores().map(|x| (x - top).exp()).sum::<f64>().ln()
    };
    match loss {
        Loss::SoftmaxCrossEntropy(of) => {
            let (smoothing, whole) = (f64::from(of.label_smoothing), a.iter().sum::<f64>());
            let share = smoothing / classes as f64 * whole;
            let one = |c| weight(&of.class_weights, c) * ((1.0 - smoothing) * a[c] + share) * -logarithm(o, c, 1);
            (0..classes).map(one).sum()
        }
        Loss::SigmoidCrossEntropy(of) => {
            let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
            let one = |c: usize| match a[c] {
                y if y < 0.0 => 0.0,
                y => weight(&of.pos_weight, c) * y * softplus(-o[c]) + (1.0 - y) * softplus(o[c]),
            };
            let sum: f64 = (0..classes).map(one).sum();
            if of.mean { sum / classes as f64 } else { sum }
        }
        Loss::PixelCrossEntropy(of) => {
            let (mut sum, mut whole) = (0.0, 0.0);
            for (pixel, label) in a.iter().enumerate().filter(|(_, y)| **y != of.ignore as f64 && **y < classes as f64)
            {
                let weight = weight(&of.class_weights, *label as usize);
                sum -= weight * logarithm(o, *label as usize * a.len() + pixel, a.len());
                whole += weight;
            }
            if whole > 0.0 { sum / whole } else { 0.0 }
        }
        Loss::SquaredError(_) => o.iter().zip(a).map(|(o, t)| (o - t).powi(2)).sum::<f64>() / o.len() as f64,
        Loss::Huber(of) => {
            let delta = f64::from(of.delta);
            let one = |d: f64| if d <= delta { d * d / 2.0 } else { delta * (d - delta / 2.0) };
            o.iter().zip(a).map(|(o, t)| one((o - t).abs())).sum::<f64>() / o.len() as f64
        }
    }
}

#[test]
fn losses_and_tangents_of_any_shape_are_their_formulas() {
    let library = library();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for round in 0..120 {
        let Drawn { loss, outputs, annotation } = draw(&mut random);
        let what = format!("round {round}, {loss:?}, {:?}", outputs.dims());
        let direction: Vec<f32> = (0..outputs.len()).map(|_| random.random_range(-1.0..1.0)).collect();
        let along = Tensor::new(outputs.dims(), &direction);
        let model = pair(&loss, outputs.dims(), [7, 12, 17, 28][round % 4]).loss;
        let name = model.graph.inputs[1].name.as_str();
        let of = of_inputs(&model, &[OUTPUTS], Target::Any).unwrap_or_else(|e| panic!("{what}: {e}"));
        let given = [(OUTPUTS, &outputs), (name, &annotation), ("outputs.tangent", &along)];
        let found = Graph::open(&library, &of).run(&given);
        let (losses, tangents) = (numbers(&found[LOSS]), numbers(&found["loss.tangent"]));
        let images = outputs.dims()[0];
        assert_eq!((losses.len(), tangents.len()), (images, images), "{what}");
        let classes = outputs.dims().get(1).copied().unwrap_or(1);
        let (o, a) = (numbers(&outputs), numbers(&annotation));
        let (row, known) = (o.len() / images, a.len() / images);
        for image in 0..images {
            let (o, a) = (&o[image * row..(image + 1) * row], &a[image * known..(image + 1) * known]);
            let at = |step: f64| {
                let own = &direction[image * row..(image + 1) * row];
                let moved: Vec<f64> = o.iter().zip(own).map(|(o, u)| o + step * f64::from(*u)).collect();
                formula(&loss, classes, &moved, a)
            };
            let expected = at(0.0);
            let error = (losses[image] - expected).abs();
            assert!(error <= gamma(ROUNDINGS) * (1.0 + expected), "{what}: {}, not {expected}", losses[image]);
            // A central difference in float64: its own error is some 1e-9, but for a Huber joint within a step, which none
            // of these outputs is near. A tangent is a sum of products no larger than 12, as outputs and targets are apart.
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let error = (tangents[image] - expected).abs();
            let largest = 24.0 * gamma(ROUNDINGS);
            assert!(error <= largest, "{what}: tangent {}, not {expected}", tangents[image]);
        }
    }
}
