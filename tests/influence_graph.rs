//! Influence graphs on ONNX Runtime against derivatives known in closed form.
//!
//! Multinomial logistic regression has `o = x W + b`, so `o' = x W' + b'` along `(W', b')` exactly, and a difference of
//! any step gives it but for rounding. What is left to test is everything else: the copies, the contraction at every
//! opset, several directions, the stand-in outputs.

#[path = "fixtures/classes.rs"]
mod classes;

use classes::Classes;
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_onnx::influence::{
    Difference, Direction, EMBEDDING_FEATURES, EMBEDDING_RESIDUAL, INFLUENCE, INFLUENCE_PER_CLASS, Paired,
    TangentOptions,
};
use isal_onnx::testing::rounding::{Float32, gamma, moved_model, over_a_step};
use isal_onnx::{Builder, DataType, Model, Node, Scope, Tensor, ValueType};
use ndarray::{Array2, Array4, ArrayD};

const FEATURES: usize = 12;
const CLASSES: usize = 5;
const SAMPLES: usize = 9;

/// Numbers in [-1, 1) that depend on `seed` alone.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

/// Images [N, 3, 2, 2] -> Flatten -> Gemm -> logits, with a Softmax behind it as a second output.
fn model(opset: i64) -> Model {
    let mut b = Builder::new("logistic");
    let shape = vec!["N".into(), 3.into(), 2.into(), 2.into()];
    let images = b.input("images", ValueType { data_type: DataType::Float, shape: Some(shape) });
    let w = b.initializer("w", Tensor::new([FEATURES, CLASSES], &numbers(1, FEATURES * CLASSES)));
    let bias = b.initializer("b", Tensor::new([CLASSES], &numbers(2, CLASSES)));
    let flat = b.node("Flatten", [images]).attr("axis", 1).value();
    let logits = b.node("Gemm", [flat, w, bias]).outputs(["logits"]).value();
    let p = b.node("Softmax", [logits]).attr("axis", 1).outputs(["p"]).value();
    let scores = || Some(ValueType { data_type: DataType::Float, shape: Some(vec!["N".into(), CLASSES.into()]) });
    b.output("logits", logits, scores());
    b.output("p", p, scores());
    let mut model = Model::new(opset, b.finish().expect("a graph"));
    model.ir_version = 8;
    model
}

fn direction(seed: u64) -> Direction {
    Direction::from([
        ("w".to_owned(), Tensor::new([FEATURES, CLASSES], &numbers(seed, FEATURES * CLASSES))),
        ("b".to_owned(), Tensor::new([CLASSES], &numbers(seed + 100, CLASSES))),
    ])
}

fn images() -> Array4<f32> {
    Array4::from_shape_vec((SAMPLES, 3, 2, 2), numbers(7, SAMPLES * FEATURES)).expect("the shape fits")
}

/// Influence of every sample under every class label, straight from the definition `-(p - onehot) . o'`, in float64.
fn exact_per_class(direction: &Direction) -> (Array2<f64>, Array2<f64>) {
    let x = Array2::from_shape_vec((SAMPLES, FEATURES), images().into_raw_vec_and_offset().0).expect("fits");
    let x = x.mapv(f64::from);
    let weights = |tensor: &Tensor, shape: (usize, usize)| {
        let values = tensor.to_vec::<f32>().expect("float32").into_iter().map(f64::from).collect();
        Array2::from_shape_vec(shape, values).expect("fits")
    };
    let affine = |w: &Tensor, b: &Tensor| x.dot(&weights(w, (FEATURES, CLASSES))) + weights(b, (1, CLASSES));
    let model = model(17);
    let o = affine(&model.graph.initializers["w"], &model.graph.initializers["b"]);
    let o_dot = affine(&direction["w"], &direction["b"]);
    let mut p = o.mapv(f64::exp);
    for mut row in p.rows_mut() {
        let sum = row.sum();
        row.mapv_inplace(|v| v / sum);
    }
    let mut influence = Array2::zeros((SAMPLES, CLASSES));
    for n in 0..SAMPLES {
        for label in 0..CLASSES {
            let t: f64 = (0..CLASSES).map(|c| (p[[n, c]] - f64::from(u8::from(c == label))) * o_dot[[n, c]]).sum();
            influence[[n, label]] = -t;
        }
    }
    (influence, p)
}

/// `sum over the K most likely classes of p_c I_c`; K = 1 is the arg-max alone, of weight one.
fn expected(influence: &Array2<f64>, p: &Array2<f64>, n: usize, k: usize) -> f64 {
    let mut order: Vec<usize> = (0..CLASSES).collect();
    order.sort_by(|a, b| p[[n, *b]].total_cmp(&p[[n, *a]]));
    if k == 1 { influence[[n, order[0]]] } else { order[..k].iter().map(|c| p[[n, *c]] * influence[[n, *c]]).sum() }
}

fn run(model: &Model, outputs: &[&str]) -> Vec<ArrayD<f32>> {
    run_on(model, &images(), outputs)
}

fn run_on(model: &Model, images: &Array4<f32>, outputs: &[&str]) -> Vec<ArrayD<f32>> {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    model.write(&path).expect("written");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &path, options).expect("ONNX Runtime takes the graph");
    session.run(images.view(), outputs).expect("it runs")
}

fn options(top_k: usize, per_class: bool) -> Classes {
    Classes { logits: "logits".to_owned(), classes: CLASSES, top_k, per_class, embedding: false }
}

/// What the terms of a class score add up to, at most, as magnitudes: features and weights below 1 and a bias.
const SIZE: f64 = (FEATURES + 1) as f64;

/// Relative step of the pairs.
const STEP: f64 = 1e-2;

/// Rounding of a pair's influences: the weights' length over that of the direction turns the step into one of its own, and an
/// influence is a mean of differences less one of them.
fn tolerance(s: &Direction) -> f64 {
    let length = |tensors: Vec<&Tensor>| -> f64 {
        let numbers = tensors.into_iter().filter_map(Tensor::to_float64).flatten();
        numbers.map(|x| x * x).sum::<f64>().sqrt()
    };
    let model = model(17);
    let weights = length(s.keys().map(|name| &model.graph.initializers[name.as_str()]).collect());
    2.0 * over_a_step(FEATURES + 1, SIZE, STEP * weights / length(s.values().collect()))
}

#[test]
fn paired_influence_is_the_closed_form_at_every_opset_and_for_every_pseudo_label() {
    let s = direction(3);
    let (exact, p) = exact_per_class(&s);
    let plain = run(&model(17), &["logits", "p"]);
    // Between them, what the model believes besides.
    let outputs = ["logits", "p", "pseudo_label.weights", INFLUENCE, INFLUENCE_PER_CLASS];
    for opset in [7, 8, 9, 10, 11, 12, 13, 17, 21] {
        for difference in [Difference::OneSided, Difference::Held, Difference::Central] {
            for top_k in [1, 3] {
                let how = Paired { relative_step: STEP, difference };
                let built = options(top_k, true).paired(&model(opset), std::slice::from_ref(&s), how).expect("built");
                let names: Vec<&str> = built.graph.outputs.iter().map(|o| o.name.as_str()).collect();
                assert_eq!([&names[..3], &names[7..]].concat(), outputs);
                let arrays = run(&built, &["logits", "p", INFLUENCE, INFLUENCE_PER_CLASS]);
                let case = format!("opset {opset}, {difference:?}, K = {top_k}");
                match difference {
                    Difference::OneSided | Difference::Held => {
                        assert_eq!(arrays[..2], plain[..], "{case}: outputs bit for bit")
                    }
                    Difference::Central => assert!((&arrays[0] - &plain[0]).iter().all(|x| x.abs() < 1e-4), "{case}"),
                }
                assert_eq!(arrays[2].shape(), [SAMPLES], "{case}");
                for n in 0..SAMPLES {
                    let (found, wanted) = (f64::from(arrays[2][[n]]), expected(&exact, &p, n, top_k));
                    assert!((found - wanted).abs() < tolerance(&s), "{case}, sample {n}: {found} against {wanted}");
                    for c in 0..CLASSES {
                        let found = f64::from(arrays[3][[n, c]]);
                        assert!((found - exact[[n, c]]).abs() < tolerance(&s), "{case}, sample {n}, class {c}");
                    }
                }
            }
        }
    }
}

#[test]
fn several_directions_stand_side_by_side() {
    let directions = [direction(3), direction(4), direction(5)];
    for opset in [11, 17] {
        let how = Paired { relative_step: STEP, difference: Difference::OneSided };
        let built = options(1, true).paired(&model(opset), &directions, how).expect("built");
        let arrays = run(&built, &[INFLUENCE, INFLUENCE_PER_CLASS]);
        assert_eq!(arrays[0].shape(), [SAMPLES, 3]);
        assert_eq!(arrays[1].shape(), [SAMPLES, 3, CLASSES]);
        for (d, s) in directions.iter().enumerate() {
            let (exact, p) = exact_per_class(s);
            for n in 0..SAMPLES {
                let wanted = expected(&exact, &p, n, 1);
                assert!((f64::from(arrays[0][[n, d]]) - wanted).abs() < tolerance(s), "direction {d}, sample {n}");
                assert!((f64::from(arrays[1][[n, d, 2]]) - exact[[n, 2]]).abs() < tolerance(s));
            }
        }
    }
}

/// Rounding of a tangent's influences: of a sum of two products with the features, and of the mean over the classes.
fn exact() -> f64 {
    2.0 * gamma(2 * FEATURES + CLASSES) * SIZE
}

#[test]
fn tangent_influence_is_the_closed_form_at_every_opset_and_for_every_pseudo_label() {
    let directions = [direction(3), direction(4)];
    let plain = run(&model(17), &["logits", "p"]);
    for opset in [7, 8, 9, 10, 11, 12, 13, 17, 21] {
        for top_k in [1, 3] {
            let how = TangentOptions::default();
            let built = options(top_k, true).tangent(&model(opset), &directions, how).expect("built");
            let arrays = run(&built, &["logits", "p", INFLUENCE, INFLUENCE_PER_CLASS]);
            assert_eq!(arrays[..2], plain[..], "opset {opset}: outputs bit for bit");
            for (d, s) in directions.iter().enumerate() {
                let (truth, p) = exact_per_class(s);
                for n in 0..SAMPLES {
                    let (found, wanted) = (f64::from(arrays[2][[n, d]]), expected(&truth, &p, n, top_k));
                    assert!((found - wanted).abs() < exact(), "opset {opset}, sample {n}: {found} against {wanted}");
                    for c in 0..CLASSES {
                        let found = f64::from(arrays[3][[n, d, c]]);
                        assert!((found - truth[[n, c]]).abs() < exact(), "opset {opset}, sample {n}, class {c}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_direction_of_low_rank_is_kept_whole_and_a_full_one_is_cut_to_its_best_part() {
    // An outer product: rank 1 says all of it.
    let (rows, columns) = (numbers(5, FEATURES), numbers(6, CLASSES));
    let outer: Vec<f32> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
    let s = Direction::from([("w".to_owned(), Tensor::new([FEATURES, CLASSES], &outer))]);
    let influence = |rank, s: &Direction| {
        let how = TangentOptions { rank, ..TangentOptions::default() };
        let built = options(1, false).tangent(&model(17), std::slice::from_ref(s), how).expect("built");
        (built.graph.initializers.contains_key("s/w/left"), run(&built, &[INFLUENCE]).remove(0))
    };
    let (whole, cut) = (influence(None, &s), influence(Some(1), &s));
    assert!(!whole.0 && cut.0, "the cut graph has factors");
    assert!((&whole.1 - &cut.1).iter().all(|x| f64::from(x.abs()) < exact()));
    let full = Direction::from([("w".to_owned(), Tensor::new([FEATURES, CLASSES], &numbers(8, FEATURES * CLASSES)))]);
    let apart = (&influence(None, &full).1 - &influence(Some(1), &full).1).iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    assert!(apart > 1e-2, "rank 1 of a full direction leaves something out, found {apart}");
}

#[test]
fn convolutions_and_dense_layers_go_through_the_factors_of_a_direction_of_rank_one() {
    let made = isal_exporters::ModelOptions { input: [1, 28, 28], classes: 10, seed: 5, opset: 17, batch_norm: false };
    let model = isal_exporters::build("lenet", &made).expect("built");
    let mut s = Direction::new();
    for (seed, name) in (1_u64..).zip(model.graph.parameters(&Scope::Weights).expect("weights")) {
        let dims = model.graph.initializers[name.as_str()].dims().to_vec();
        let (rows, columns) = (numbers(seed, dims[0]), numbers(seed + 50, dims[1..].iter().product()));
        let outer: Vec<f32> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
        s.insert(name, Tensor::new(dims, &outer));
    }
    let images = Array4::from_shape_vec((6, 1, 28, 28), numbers(9, 6 * 784)).expect("the shape fits");
    let options = Classes {
        logits: model.graph.outputs[0].name.clone(),
        classes: 10,
        top_k: 1,
        per_class: false,
        embedding: false,
    };
    let influence = |rank| {
        let built = options
            .tangent(&model, std::slice::from_ref(&s), TangentOptions { rank, ..TangentOptions::default() })
            .expect("built");
        let cut = built.graph.initializers.keys().filter(|name| name.ends_with("/left")).count();
        (cut, run_on(&built, &images, &[INFLUENCE]).remove(0))
    };
    let (whole, narrow) = (influence(None), influence(Some(1)));
    assert_eq!((whole.0, narrow.0), (0, s.len()), "every layer is cut");
    let float32 = Float32::measure(|draw| {
        let Some(draw) = draw else { return Ok::<_, ()>(whole.1.iter().copied().collect()) };
        let how = TangentOptions { rank: None, ..TangentOptions::default() };
        let names: Vec<String> = s.keys().cloned().collect();
        let moved = moved_model(&model, &names, draw);
        let built = options.tangent(&moved, std::slice::from_ref(&s), how).expect("built");
        Ok(run_on(&built, &images, &[INFLUENCE]).remove(0).into_iter().collect())
    });
    let narrow: Vec<f64> = narrow.1.iter().map(|x| f64::from(*x)).collect();
    let off = float32.expect("influences").off(&narrow);
    assert!(off <= 1.0, "{off} times what float32 explains: rank 1 says all of it");
}

#[test]
fn the_gradient_embedding_is_the_gradient_of_the_loss_by_the_last_layer() {
    let options = Classes { embedding: true, ..options(1, false) };
    let built = options.tangent(&model(17), &[direction(3)], TangentOptions::default()).expect("built");
    let arrays = run(&built, &["p", EMBEDDING_RESIDUAL, EMBEDDING_FEATURES]);
    assert_eq!(arrays[2].shape(), [SAMPLES, FEATURES]);
    let images = images();
    for n in 0..SAMPLES {
        let p: Vec<f32> = (0..CLASSES).map(|c| arrays[0][[n, c]]).collect();
        let best = (0..CLASSES).max_by(|a, b| p[*a].total_cmp(&p[*b])).expect("a class");
        for (f, feature) in images.index_axis(ndarray::Axis(0), n).iter().enumerate() {
            assert_eq!(arrays[2][[n, f]], *feature, "what goes into the last layer is the image itself here");
            for (c, p) in p.iter().enumerate() {
                let wanted = (p - f32::from(u8::from(c == best))) * feature;
                assert!((arrays[1][[n, c]] * arrays[2][[n, f]] - wanted).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn a_node_without_a_tangent_rule_is_named_with_the_way_out() {
    let mut model = model(17);
    let gemm = model.graph.nodes.iter().position(|n| n.op_type == "Gemm").expect("it is there");
    model.graph.nodes[gemm].outputs[0] = "before".to_owned();
    let det = Node::new("CustomScale", "odd", ["before"], ["logits"]);
    model.graph.nodes.insert(gemm + 1, Node { domain: "example".to_owned(), ..det });
    model.opsets.insert("example".to_owned(), 1);
    let error = options(1, false).tangent(&model, &[direction(3)], TangentOptions::default()).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("`odd`") && text.contains("CustomScale") && text.contains("--engine paired"), "{text}");
}

#[test]
fn a_direction_that_does_not_fit_is_refused_by_name() {
    let how = Paired { relative_step: 1e-3, difference: Difference::OneSided };
    let attempt = |s: Direction| options(1, false).paired(&model(17), &[s], how).expect_err("refused").to_string();
    let unknown = attempt(Direction::from([("v".to_owned(), Tensor::new([1], &[1.0f32]))]));
    assert!(unknown.contains("`v`"), "{unknown}");
    let shape = attempt(Direction::from([("b".to_owned(), Tensor::new([2], &[1.0f32; 2]))]));
    assert!(shape.contains("[2]") && shape.contains("[5]"), "{shape}");
    let zero = attempt(Direction::from([("b".to_owned(), Tensor::new([5], &[0.0f32; 5]))]));
    assert!(zero.contains("no length"), "{zero}");
}
