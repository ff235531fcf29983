//! Every built-in task in both forms of the influence graph.

use super::place::*;
use isal::runtime::Library;
use isal_exporters::losses::{self, Huber, Loss, PixelCrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy};
use isal_onnx::Model;
use isal_onnx::influence::{
    ClassOutputs, Direction, INFLUENCE, INFLUENCE_PER_CLASS, TangentOptions, TaskGraphs, tangent,
};
use isal_onnx::tangent::HELD;

#[test]
fn every_task_has_its_influences_in_both_forms() {
    let softmax = SoftmaxCrossEntropy { label_smoothing: 0.1, ..SoftmaxCrossEntropy::default() };
    let expected = SoftmaxCrossEntropy { top_k: 3, ..SoftmaxCrossEntropy::default() };
    for (what, loss, dims) in [
        ("one label", Loss::SoftmaxCrossEntropy(softmax), vec![5]),
        ("expected label", Loss::SoftmaxCrossEntropy(expected), vec![5]),
        ("several labels", Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), vec![5]),
        ("yes or no", Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), vec![]),
        ("a label a pixel", Loss::PixelCrossEntropy(PixelCrossEntropy::default()), vec![3, 6, 6]),
    ] {
        hold(what, &network(&dims), &task(&loss, &dims));
    }
    for (what, loss) in
        [("squares", Loss::SquaredError(losses::SquaredError)), ("Huber", Loss::Huber(Huber::default()))]
    {
        let dims = [2, 3];
        let mut task = task(&loss, &dims);
        let name = task.graphs.decode.graph.outputs[0].name.clone();
        task.graphs.decode = beside(&name, &dims);
        hold(what, &network(&dims), &task);
    }
}

/// The tangent of the loss graph against the influences under each class, which are written out.
#[test]
fn softmax_cross_entropy_weighs_the_influences_under_its_classes() {
    let (model, library) = (network(&[5]), Library::load(None).unwrap());
    let s = [direction()(&model)];
    for top_k in [1, 3] {
        let loss = Loss::SoftmaxCrossEntropy(SoftmaxCrossEntropy { top_k, ..SoftmaxCrossEntropy::default() });
        let task = task(&loss, &[5]);
        let classes = ClassOutputs { logits: "outputs".into(), classes: 5, per_class: true, embedding: false };
        let graphs = TaskGraphs { classes: Some(&classes), ..task.parts() };
        let built = tangent(&model, &s, &graphs, TangentOptions::default()).unwrap();
        let found = run(&library, &built, &[INFLUENCE, INFLUENCE_PER_CLASS, "pseudo_label.weights"]);
        let truth: Vec<f64> = found[1]
            .outer_iter()
            .zip(found[2].outer_iter())
            .map(|(classes, weights)| classes.iter().zip(&weights).map(|(i, w)| f64::from(*i) * f64::from(*w)).sum())
            .collect();
        let off = error(found[0].as_slice().unwrap(), &truth);
        assert!(off < 1e-6, "top {top_k}: {off:e}");
    }
}

/// A value that the model's own file holds stands still in the plugin and in both forms.
#[test]
fn a_value_that_the_model_holds_moves_in_no_form() {
    let mut model = network(&[5]);
    model.metadata.insert(HELD.to_owned(), "hidden".to_owned());
    let task = task(&Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), &[5]);
    hold("held", &model, &task);
    // Held, the first layer's part of the direction is nothing.
    let (library, s) = (Library::load(None).unwrap(), direction()(&model));
    let mut last = s.clone();
    last.shift_remove("w1");
    let graphs = task.parts();
    let of = |model: &Model, s: &Direction| {
        let built = tangent(model, std::slice::from_ref(s), &graphs, TangentOptions::default()).unwrap();
        run(&library, &built, &[INFLUENCE]).remove(0)
    };
    let held: Vec<f64> = of(&model, &s).iter().map(|x| f64::from(*x)).collect();
    let off = error(of(&network(&[5]), &last).as_slice().unwrap(), &held);
    assert!(off < 1e-5, "{off:e}: the directions are scaled differently, hence rounded differently");
    assert!(error(of(&network(&[5]), &s).as_slice().unwrap(), &held) > 1e-2);
    // So it is when the weights of that layer are held.
    model.metadata.insert(HELD.to_owned(), "w1".to_owned());
    hold("held weights", &model, &task);
    let off = error(of(&model, &s).as_slice().unwrap(), &held);
    assert!(off < 1e-5, "{off:e}: a direction without a moving part is scaled differently");
}

/// Two directions side by side are each what it is alone.
#[test]
fn several_directions_are_scored_in_one_run() {
    let (model, library) = (network(&[5]), Library::load(None).unwrap());
    let task = task(&Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), &[5]);
    let graphs = task.parts();
    let (first, mut second) = (direction()(&model), direction()(&model));
    second.shift_remove("w1");
    let of = |s: &[Direction]| {
        run(&library, &tangent(&model, s, &graphs, TangentOptions::default()).unwrap(), &[INFLUENCE]).remove(0)
    };
    let both = of(&[first.clone(), second.clone()]);
    assert_eq!(both.shape(), [IMAGES, 2]);
    for (column, alone) in [of(&[first]), of(&[second])].into_iter().enumerate() {
        let truth: Vec<f64> = alone.iter().map(|x| f64::from(*x)).collect();
        let found: Vec<f32> = (0..IMAGES).map(|n| both[[n, column]]).collect();
        assert!(error(&found, &truth) < 1e-6, "direction {column}");
    }
}

#[test]
fn graphs_that_do_not_fit_are_refused_by_name() {
    let model = network(&[5]);
    let task = task(&Loss::SigmoidCrossEntropy(SigmoidCrossEntropy::default()), &[5]);
    let s = [direction()(&model)];
    let refused = |loss: &Model, decode: &Model, value: &str, part: &str| {
        let bindings = [("outputs".to_owned(), value.to_owned())];
        let graphs = TaskGraphs { loss, decode, bindings: &bindings, classes: None };
        let error = tangent(&model, &s, &graphs, TangentOptions::default()).unwrap_err().to_string();
        assert!(error.contains(part), "expected `{part}` in `{error}`");
    };
    let (loss, decode) = (&task.graphs.loss, &task.graphs.decode);
    refused(loss, decode, "nothing", "`nothing`");
    refused(loss, &beside("targets", &[5]), "outputs", "its input `labels` is given nothing");
    let older = Model::new(13, decode.graph.clone());
    refused(loss, &older, "outputs", "opset 13");
    refused(loss, decode, "images", "no parameter in scope reaches `images`");
}
