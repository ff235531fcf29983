//! Training steps and state against the update rule written out on plain numbers.

use super::small::*;
use isal_plugin_tch::state::{Role, State};
use isal_plugin_tch::{Engine, Failure, Step};
use tch::{Kind, Tensor};

const PLAIN: Step = Step {
    learning_rate: 0.1,
    momentum: 0.0,
    weight_decay: 0.0,
    decay_all: false,
    clip_norm: None,
    bias_rate: 1.0,
    nesterov: false,
    seed: 5,
};

fn step(engine: &mut Engine, step: &Step) -> f64 {
    engine.train_step(&batch(), step).expect("a step").0
}

/// The state arrays of a role, joined.
fn state(engine: &Engine, role: Role) -> Vec<f64> {
    let all = engine.state().expect("the state");
    all.iter().filter(|s| s.role == role).flat_map(|s| entries(&s.value)).collect()
}

/// The small model without its BatchNormalization: training and evaluation mode are the same function, so the
/// gradient of a step is the one that `gradient` gives and the other tests prove.
fn without_statistics() -> isal_onnx::Model {
    let mut model = model();
    model.graph.nodes.retain(|n| n.op_type != "BatchNormalization");
    let relu = model.graph.nodes.iter_mut().find(|n| n.name == "relu1").expect("relu1");
    relu.inputs = vec!["c".to_owned()];
    model
}

fn plain_engine() -> Engine {
    let mut options = options(Kind::Double);
    options.parameters.retain(|p| !p.starts_with("bn."));
    Engine::load(&without_statistics(), &options).expect("it loads")
}

/// Each entry's gradient of the mean loss, and whether its parameter has two axes or more.
fn mean_gradient(engine: &Engine) -> Vec<f64> {
    let (_, gradient) = engine.gradient(&batch()).expect("a gradient");
    entries(gradient.entries()).iter().map(|g| g / IMAGES as f64).collect()
}

fn is_matrix(engine: &Engine) -> Vec<bool> {
    let places = &engine.layout().places;
    places.iter().flat_map(|p| std::iter::repeat_n(p.dims.len() >= 2, p.len as usize)).collect()
}

#[test]
fn steps_follow_the_update_rule_of_sgd_with_momentum_decay_and_nesterov() {
    for (momentum, nesterov, weight_decay, decay_all, clip_norm, bias_rate) in [
        (0.0, false, 0.0, false, None, 1.0),
        (0.9, false, 0.05, false, None, 1.0),
        (0.9, true, 0.05, true, None, 1.0),
        (0.0, false, 0.1, true, None, 1.0),
        // As detectors are trained: the gradient cut to a norm that it exceeds, and one that it does not.
        (0.9, false, 0.05, false, Some(1e-3), 2.0),
        (0.9, true, 0.05, false, Some(1e6), 2.0),
    ] {
        let rule = Step { momentum, nesterov, weight_decay, decay_all, clip_norm, bias_rate, ..PLAIN };
        let mut engine = plain_engine();
        let matrix = is_matrix(&engine);
        let mut theta = state(&engine, Role::Parameter);
        let mut buffer: Option<Vec<f64>> = None;
        for i in 0..3 {
            // The learning rate may differ from step to step.
            let rule = Step { learning_rate: 0.1 / f64::from(i + 1), ..rule };
            let mut gradient = mean_gradient(&engine);
            if let Some(most) = clip_norm {
                let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
                gradient.iter_mut().for_each(|g| *g *= (most / (norm + 1e-6)).min(1.0));
            }
            step(&mut engine, &rule);
            let g: Vec<f64> = (0..theta.len())
                .map(|i| gradient[i] + if decay_all || matrix[i] { weight_decay * theta[i] } else { 0.0 })
                .collect();
            let b: Vec<f64> = match &buffer {
                Some(b) => b.iter().zip(&g).map(|(b, g)| momentum * b + g).collect(),
                None => g.clone(),
            };
            for i in 0..theta.len() {
                let by = if nesterov { g[i] + momentum * b[i] } else { b[i] };
                theta[i] -= rule.learning_rate * if matrix[i] { by } else { bias_rate * by };
            }
            let error = relative(&state(&engine, Role::Parameter), &theta);
            assert!(error <= 1e-13, "{rule:?}, step {i}: relative error {error:e}");
            if momentum > 0.0 {
                let error = relative(&state(&engine, Role::Momentum), &b);
                assert!(error <= 1e-13, "{rule:?}, step {i}: relative error {error:e} of the buffer");
                buffer = Some(b);
            } else {
                assert!(state(&engine, Role::Momentum).is_empty());
            }
        }
    }
}

/// In training mode the batch's own mean and variance are used and the running ones move by ONNX's rule,
/// `new = old * momentum + batch * (1 - momentum)` with the population's variance; `momentum` is 0.9 here.
#[test]
fn training_mode_uses_and_moves_batch_statistics() {
    let mut trained = engine(Kind::Double);
    let before = (state(&trained, Role::Statistic), trained.forward(&unlabelled(images())).expect("a forward pass"));
    // The convolution's outputs, by a model that ends there.
    let mut cut = model();
    cut.graph.outputs[0].name = "c".to_owned();
    cut.graph.outputs[0].value_type = None;
    let mut cut_options = options(Kind::Double);
    cut_options.parameters = vec!["conv.weight".to_owned()];
    cut_options.loss = None;
    let cut = Engine::load(&cut, &cut_options).expect("it loads");
    let convolved = &cut.forward(&unlabelled(images())).expect("a forward pass")[0].1;
    let (channels, per_channel) = (3, IMAGES * 9);
    let values = entries(&convolved.transpose(0, 1).contiguous());

    let still = Step { learning_rate: 0.0, ..PLAIN };
    let (_, in_training) = trained.train_step(&batch(), &still).expect("a step");
    let mut expected = (Vec::new(), Vec::new());
    for (c, values) in values.chunks(per_channel).enumerate() {
        let mean = values.iter().sum::<f64>() / per_channel as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / per_channel as f64;
        expected.0.push(0.9 * before.0[c] + 0.1 * mean);
        expected.1.push(0.9 * before.0[channels + c] + 0.1 * variance);
    }
    let error = relative(&state(&trained, Role::Statistic), &[expected.0, expected.1].concat());
    assert!(error <= 1e-13, "relative error {error:e}");
    // Batch and stored statistics differ, so must the outputs; and evaluation now uses the moved ones.
    let apart = relative(&entries(&in_training[0].1), &entries(&before.1[0].1));
    assert!(apart > 1e-3, "training mode gave the outputs of evaluation mode");
    let after = trained.forward(&unlabelled(images())).expect("a forward pass");
    assert!(relative(&entries(&after[0].1), &entries(&before.1[0].1)) > 1e-6);
}

#[test]
fn steps_lower_the_loss_and_a_restored_state_goes_on_bit_for_bit() {
    let rule = Step { momentum: 0.9, weight_decay: 1e-4, ..PLAIN };
    let mut whole = engine(Kind::Float);
    let losses: Vec<f64> = (0..30).map(|_| step(&mut whole, &rule)).collect();
    assert!(losses[29] < 0.8 * losses[0], "{losses:?}");

    let mut first = engine(Kind::Float);
    for _ in 0..15 {
        step(&mut first, &rule);
    }
    let saved = first.state().expect("the state");
    let mut second = engine(Kind::Float);
    second.set_state(&saved).expect("the state fits");
    let rest: Vec<f64> = (0..15).map(|_| step(&mut second, &rule)).collect();
    assert_eq!(rest, losses[15..]);
    for role in [Role::Parameter, Role::Statistic, Role::Momentum] {
        assert_eq!(state(&second, role), state(&whole, role), "{role:?}");
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut engine = engine(Kind::Double);
    let before = state(&engine, Role::Parameter);
    let array =
        |name: &str, role, values: &[f64]| State { name: name.to_owned(), role, value: Tensor::from_slice(values) };
    let good = || array("conv.bias", Role::Parameter, &[9.0, 9.0, 9.0]);
    let cases = [
        array("conv.bias", Role::Parameter, &[1.0]),
        array("conv.bias", Role::Statistic, &[1.0, 2.0, 3.0]),
        array("bn.mean", Role::Parameter, &[1.0, 2.0, 3.0]),
        array("nothing", Role::Momentum, &[1.0]),
        array("bn.mean", Role::Statistic, &[1.0, f64::NAN, 3.0]),
    ];
    for bad in cases {
        let name = bad.name.clone();
        assert!(engine.set_state(&[good(), bad]).is_err(), "{name}");
        assert_eq!(state(&engine, Role::Parameter), before, "{name}");
    }
    engine.set_state(&[good()]).expect("it fits");
    assert_ne!(state(&engine, Role::Parameter), before);
}

/// A loss that is not finite must not reach the weights.
#[test]
fn a_step_that_would_poison_the_weights_is_refused() {
    let mut engine = engine(Kind::Float);
    let before = state(&engine, Role::Parameter);
    let huge = images() * 1e38;
    let error = engine.train_step(&labelled(huge, targets_tensor()), &PLAIN).expect_err("the loss overflows");
    assert!(matches!(error, Failure::NotFinite { .. }), "{error}");
    assert_eq!(state(&engine, Role::Parameter), before);
}
