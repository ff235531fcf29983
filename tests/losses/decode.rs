//! What the model is taken to believe, exactly.

use crate::place::{Graph, library, numbers, pair};
use isal_exporters::ModelOptions;
use isal_exporters::losses::{
    Huber, LOSS, Loss, OPSETS, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError,
};
use isal_onnx::Tensor;
use std::collections::BTreeMap;

/// What decode says of these outputs: the annotation, which is its first output, and the beliefs. At the oldest opset, at the
/// default and at the newest it is the same to the bit.
fn all_decoded(loss: &Loss, outputs: &Tensor) -> (Tensor, BTreeMap<String, Tensor>) {
    let library = library();
    let [old, default, new] = [*OPSETS.start(), ModelOptions::DEFAULT_OPSET, *OPSETS.end()].map(|opset| {
        let model = pair(loss, outputs.dims(), opset).decode;
        let mut found = Graph::open(&library, &model).run(&[(OUTPUTS, outputs)]);
        let annotation = found.remove(&model.graph.outputs[0].name).expect("an annotation");
        (annotation, found)
    });
    // Numbers that are none equal nothing: compared as text.
    for other in [old, new] {
        assert_eq!(format!("{other:?}"), format!("{default:?}"));
    }
    default
}

fn decoded(loss: &Loss, outputs: &Tensor) -> Tensor {
    all_decoded(loss, outputs).0
}

fn beliefs(loss: &Loss, outputs: &Tensor) -> BTreeMap<String, Vec<f64>> {
    all_decoded(loss, outputs).1.iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect()
}

fn loss_of(loss: &Loss, outputs: &Tensor, annotation: &Tensor) -> Vec<f64> {
    let model = pair(loss, outputs.dims(), 17).loss;
    let name = model.graph.inputs[1].name.clone();
    Graph::open(&library(), &model).floats(&[(OUTPUTS, outputs), (&name, annotation)], LOSS)
}

#[test]
fn the_likeliest_class_is_the_label_and_of_equals_the_first() {
    let loss = Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default());
    let scores = [0.5f32, 2.0, -1.0, 3.0, 1.0, 3.0, -7.0, -7.0, -7.0, -1e4, 1e4, 1e4];
    let expected = [0.0f32, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    assert_eq!(decoded(&loss, &Tensor::new([4, 3], &scores)), Tensor::new([4, 3], &expected));
    assert_eq!(decoded(&loss, &Tensor::new([2, 1], &[-3.0f32, 5.0])), Tensor::new([2, 1], &[1.0f32, 1.0]));
}

#[test]
fn the_top_classes_weigh_their_probabilities() {
    let top = |top_k| Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { top_k, ..SoftmaxCrossEntropy::default() });
    // Probabilities 1/8, 1/2, 1/8, 1/4: of the equal ones the first.
    let scores: Vec<f32> = [1.0f32, 4.0, 1.0, 2.0].iter().map(|x| x.ln()).collect();
    let scores = Tensor::new([1, 4], &scores);
    for (k, expected) in [(2, [0.0, 0.5, 0.0, 0.25]), (3, [0.125, 0.5, 0.0, 0.25]), (4, [0.125, 0.5, 0.125, 0.25])] {
        let found = decoded(&top(k), &scores).to_float64().expect("floats");
        for (found, expected) in found.iter().zip(expected) {
            // A softmax of four numbers: some roundings of the exponentials, the sum and the quotient.
            assert!((found - expected).abs() < 1e-6, "top {k}: {found}, not {expected}");
            assert_eq!(*found == 0.0, expected == 0.0, "top {k}");
        }
    }
    // Probabilities that round to the same are told apart by the scores.
    let sure = decoded(&top(2), &Tensor::new([1, 3], &[-2e4f32, -1e4, 1e4]));
    assert_eq!(sure, Tensor::new([1, 3], &[0.0f32, 0.0, 1.0]));
}

#[test]
fn a_score_above_zero_is_a_yes_and_what_is_unknown_costs_nothing() {
    let loss = Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default());
    let scores = [0.0f32, -0.0, 1e-30, -1e-30, 1e4, -1e4];
    let labels = [0.0f32, 0.0, 1.0, 0.0, 1.0, 0.0];
    for dims in [vec![2, 3], vec![6, 1], vec![6]] {
        assert_eq!(decoded(&loss, &Tensor::new(dims.clone(), &scores)), Tensor::new(dims, &labels));
    }
    let known = Tensor::new([2, 3], &[1.0f32, -1.0, -1.0, -1.0, -0.5, -7.0]);
    let found = loss_of(&loss, &Tensor::new([2, 3], &[0.0f32, 5.0, 1e4, -1e4, 3.0, 2.0]), &known);
    assert!((found[0] - 2f64.ln()).abs() < 1e-6, "{found:?}");
    assert_eq!(found[1], 0.0);
}

#[test]
fn each_pixel_has_its_likeliest_class_and_an_image_without_valid_pixels_costs_nothing() {
    let loss = Loss::PixelCrossEntropy(PixelCrossEntropy::default());
    // Classes 0, 1, 2 of the pixels of a 1x2 image: a tie of 0 and 2, and 1.
    let scores = Tensor::new([1, 3, 1, 2], &[4.0f32, -1.0, 3.0, 9.0, 4.0, 8.0]);
    assert_eq!(decoded(&loss, &scores), Tensor::new([1, 1, 2], &[0i64, 1]));
    for ignored in [255i64, -1, 3, i64::MAX] {
        let found = loss_of(&loss, &scores, &Tensor::new([1, 1, 2], &[ignored; 2]));
        assert_eq!(found, [0.0], "label {ignored}");
    }
    let weightless = PixelCrossEntropy { class_weights: Some(vec![0.0, 1.0, 1.0]), ..PixelCrossEntropy::default() };
    let found = loss_of(&Loss::PixelCrossEntropy(weightless), &scores, &Tensor::new([1, 1, 2], &[0i64, 0]));
    assert_eq!(found, [0.0]);
}

#[test]
fn an_output_is_its_own_target_and_costs_nothing() {
    for loss in [Loss::SquaredError(SquaredError), Loss::Huber(Huber::default())] {
        let outputs = Tensor::new([2, 3], &[0.5f32, -1e4, 1e4, 1e-30, -0.0, 7.0]);
        assert_eq!(decoded(&loss, &outputs), outputs);
        assert_eq!(loss_of(&loss, &outputs, &outputs), [0.0, 0.0]);
    }
}

/// Float32 through a softmax or a sigmoid of scores below 10: a few roundings of numbers of at most that size.
const ROUNDING: f64 = 1e-5;

fn hold(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < ROUNDING, "{what} of image {n}: {found}, not {expected}");
    }
}

/// The likeliest class, its probability, the entropy and the margin of these scores, in float64.
fn of_classes(scores: &[f64]) -> [f64; 4] {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
    let p: Vec<f64> = scores.iter().map(|x| (x - top).exp() / sum).collect();
    let best = scores.iter().position(|x| *x == top).expect("one");
    let second = p.iter().enumerate().filter(|(c, _)| *c != best).map(|(_, p)| *p).fold(0.0, f64::max);
    let entropy = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    [best as f64, p[best], entropy, p[best] - second]
}

/// Scores of every size, ties and near certainty among them.
fn scores(images: usize, each: usize) -> Vec<f32> {
    let mut scores = isal_exporters::seeded::uniform(3, "scores", images * each, -8.0..8.0);
    scores[..each].fill(0.5);
    scores[each] = 1e4;
    scores
}

#[test]
fn beliefs_of_one_class_are_those_of_its_softmax() {
    for top_k in [1, 2] {
        let loss = Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { top_k, ..SoftmaxCrossEntropy::default() });
        let scores = scores(20, 4);
        let found = beliefs(&loss, &Tensor::new([20, 4], &scores));
        let wide: Vec<f64> = scores.iter().map(|x| f64::from(*x)).collect();
        let expected: Vec<[f64; 4]> = wide.chunks(4).map(of_classes).collect();
        for (place, name) in ["pseudo_label", "confidence", "entropy", "margin"].into_iter().enumerate() {
            hold(name, &found[name], &expected.iter().map(|of| of[place]).collect::<Vec<_>>());
        }
        assert_eq!(found.len(), 4);
    }
}

/// Every labelling of three classes by itself.
#[test]
fn beliefs_of_several_labels_are_those_of_all_labellings() {
    let loss = Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default());
    let scores = scores(20, 3);
    let found = beliefs(&loss, &Tensor::new([20, 3], &scores));
    for (n, scores) in scores.chunks(3).enumerate() {
        let p: Vec<f64> = scores.iter().map(|x| 1.0 / (1.0 + (-f64::from(*x)).exp())).collect();
        let labelling =
            |bits: usize| p.iter().enumerate().map(|(c, p)| if bits >> c & 1 == 1 { *p } else { 1.0 - p }).product();
        let mut all: Vec<f64> = (0..8).map(labelling).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        let entropy: f64 = all.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        let positives = scores.iter().filter(|x| **x > 0.0).count() as f64;
        let expected =
            [("confidence", all[0]), ("margin", all[0] - all[1]), ("entropy", entropy), ("positives", positives)];
        for (name, expected) in expected {
            hold(&format!("{name}, image {n}"), &found[name][n..=n], &[expected]);
        }
    }
    let one = beliefs(&loss, &Tensor::new([3], &[2.0_f32, -1.0, -1e4]));
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    assert_eq!(one["pseudo_label"], [1.0, 0.0, 0.0]);
    hold("confidence", &one["confidence"], &[sigmoid(2.0), sigmoid(1.0), 1.0]);
    hold("margin", &one["margin"], &[2.0 * sigmoid(2.0) - 1.0, 2.0 * sigmoid(1.0) - 1.0, 1.0]);
    assert_eq!(one["entropy"][2], 0.0);
}

#[test]
fn beliefs_of_pixels_are_means() {
    let loss = Loss::PixelCrossEntropy(PixelCrossEntropy::default());
    let scores = scores(3, 4 * 6);
    let found = beliefs(&loss, &Tensor::new([3, 4, 2, 3], &scores));
    for (n, image) in scores.chunks(24).enumerate() {
        let pixels: Vec<[f64; 4]> = (0..6)
            .map(|pixel| of_classes(&(0..4).map(|c| f64::from(image[6 * c + pixel])).collect::<Vec<_>>()))
            .collect();
        for (place, name) in ["confidence", "entropy", "margin"].into_iter().enumerate() {
            let mean = pixels.iter().map(|of| of[place + 1]).sum::<f64>() / 6.0;
            hold(name, &found[name][n..=n], &[mean]);
        }
    }
}

#[test]
fn a_number_an_image_is_its_own_belief_and_several_have_none() {
    for loss in [Loss::SquaredError(SquaredError), Loss::Huber(Huber::default())] {
        for dims in [vec![3], vec![3, 1]] {
            let found = beliefs(&loss, &Tensor::new(dims, &[0.5_f32, -2.0, 7.0]));
            assert_eq!(found, BTreeMap::from([("value".to_owned(), vec![0.5, -2.0, 7.0])]));
        }
        assert!(beliefs(&loss, &Tensor::new([3, 2], &[0.0_f32; 6])).is_empty());
    }
}

/// Of what is certain: all of it, and no more. ONNX Runtime's Tanh may be a rounding of float32 off 1.
fn certain(found: &BTreeMap<String, Vec<f64>>, image: usize) {
    assert_eq!(found["confidence"][image], 1.0, "image {image}");
    assert_eq!(found["entropy"][image].to_bits(), 0.0_f64.to_bits(), "image {image}: 0, not -0");
    assert!((found["margin"][image] - 1.0).abs() <= f64::from(f32::EPSILON), "image {image}");
}

#[test]
fn what_is_certain_has_no_entropy_and_what_is_tied_no_margin() {
    let softmax = Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default());
    let scores = [1e4_f32, -1e4, 0.0, -1e4, -1e4, 1e4, 7.0, 7.0, 7.0, -1e4, 1e4, 1e4];
    let found = beliefs(&softmax, &Tensor::new([4, 3], &scores));
    assert_eq!(found["pseudo_label"], [0.0, 2.0, 0.0, 1.0]);
    (0..2).for_each(|image| certain(&found, image));
    assert_eq!(found["margin"][2..], [0.0, 0.0]);
    hold("confidence", &found["confidence"][2..], &[1.0 / 3.0, 0.5]);
    hold("entropy", &found["entropy"][2..], &[3f64.ln(), 2f64.ln()]);
    let found = beliefs(&softmax, &Tensor::new([2, 1], &[-1e4_f32, 3.0]));
    assert_eq!(found["pseudo_label"], [0.0, 0.0]);
    (0..2).for_each(|image| certain(&found, image));

    let pixel = Loss::PixelCrossEntropy(PixelCrossEntropy::default());
    // Of the first image both pixels are certain, of the second one of them and the other is tied.
    let scores = [1e4_f32, -1e4, -1e4, 1e4, 1e4, -2.0, -1e4, -2.0];
    let found = beliefs(&pixel, &Tensor::new([2, 2, 1, 2], &scores));
    certain(&found, 0);
    hold("confidence", &found["confidence"][1..], &[0.75]);
    hold("entropy", &found["entropy"][1..], &[2f64.ln() / 2.0]);
    hold("margin", &found["margin"][1..], &[0.5]);

    let sigmoid = Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default());
    let scores = [1e4_f32, -1e4, 1e4, -1e4, -1e4, -1e4, 1e4, 0.0, -1e4];
    let found = beliefs(&sigmoid, &Tensor::new([3, 3], &scores));
    assert_eq!(found["positives"], [2.0, 0.0, 1.0]);
    (0..2).for_each(|image| certain(&found, image));
    hold("confidence", &found["confidence"][2..], &[0.5]);
    hold("entropy", &found["entropy"][2..], &[2f64.ln()]);
    assert_eq!(found["margin"][2], 0.0);
    let found = beliefs(&sigmoid, &Tensor::new([3], &[1e4_f32, -1e4, 0.0]));
    assert_eq!(found["pseudo_label"], [1.0, 0.0, 0.0]);
    (0..2).for_each(|image| certain(&found, image));
    assert_eq!(found["margin"][2], 0.0);
}

#[test]
fn a_margin_keeps_its_digits_however_small_it_is() {
    // A power of two at each step, so that the scores differ by just as much.
    let steps: Vec<f32> = (1..20).map(|n| 2f32.powi(-n)).collect();
    // Roundings: of the sum of the two probabilities, of a hyperbolic tangent, of their product.
    let close = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 16.0 * f64::from(f32::EPSILON), "{found:e}, not {expected:e}");
    };
    let pairs: Vec<f32> = steps.iter().flat_map(|step| [1.0, 1.0 + step]).collect();
    let softmax = Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default());
    let found = beliefs(&softmax, &Tensor::new([steps.len(), 2], &pairs));
    let pixel = Loss::PixelCrossEntropy(PixelCrossEntropy::default());
    let of_pixel = beliefs(&pixel, &Tensor::new([steps.len(), 2, 1, 1], &pairs));
    let sigmoid = Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default());
    let of_one = beliefs(&sigmoid, &Tensor::new([steps.len()], &steps));
    let both: Vec<f32> = steps.iter().flat_map(|step| [-step, 9.0]).collect();
    let of_two = beliefs(&sigmoid, &Tensor::new([steps.len(), 2], &both));
    for (n, step) in steps.iter().map(|step| f64::from(*step)).enumerate() {
        let expected = (step / 2.0).tanh();
        close(found["margin"][n], expected);
        close(of_pixel["margin"][n], expected);
        close(of_one["margin"][n], expected);
        close(of_two["margin"][n], expected / (1.0 + (-9f64).exp()));
    }
}

#[test]
fn what_is_not_a_number_is_not_believed() {
    for loss in [
        Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy::default()),
        Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()),
        Loss::PixelCrossEntropy(PixelCrossEntropy::default()),
    ] {
        let pixels = matches!(loss, Loss::PixelCrossEntropy(_));
        let dims = if pixels { vec![1, 3, 1, 1] } else { vec![1, 3] };
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = beliefs(&loss, &Tensor::new(dims.clone(), &[1.0, wrong, 2.0]));
            for name in ["confidence", "entropy", "margin"] {
                // The sigmoid of an infinite score is as likely as can be; its entropy says that something is wrong.
                let limit = matches!(loss, Loss::SigmoidCrossEntropy(_)) && wrong.is_infinite() && name != "entropy";
                let number = found[name][0];
                assert!(number.is_nan() || limit, "{} of {wrong}: {name} is {number}", loss.name());
            }
        }
    }
}
