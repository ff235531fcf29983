//! What the model is taken to believe, exactly.

use crate::place::{Graph, library, pair};
use isal_exporters::losses::{
    Huber, LOSS, Loss, OUTPUTS, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError,
};
use isal_onnx::Tensor;

/// What decode says of these outputs, at the oldest opset and at the default.
fn decoded(loss: &Loss, outputs: &Tensor) -> Tensor {
    let library = library();
    let [old, new] = [9, 17].map(|opset| {
        let model = pair(loss, outputs.dims(), opset).decode;
        let name = model.graph.outputs[0].name.clone();
        Graph::open(&library, &model).run(&[(OUTPUTS, outputs)]).remove(&name).expect("an annotation")
    });
    assert_eq!(old, new);
    new
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
