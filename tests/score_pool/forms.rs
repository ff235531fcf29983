//! Each engine on the same pool, with the same vector.

use crate::lenet;
use crate::place::{Place, stderr};
use isal::influence::spearman;
use isal::scores::ScoreTable;
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use std::collections::HashSet;

/// Influences in the order of the pool.
fn influences(place: &Place, out: &str) -> Vec<f64> {
    let rows = ScoreTable::read_parquet(&place.path(&format!("{out}/scores.parquet"))).expect("scores").rows;
    rows.iter().map(|row| row.influence.expect("an influence")).collect()
}

/// Images of the lowest tenth of one that are in that of the other.
fn lowest_tenth_alike(a: &[f64], b: &[f64]) -> f64 {
    let lowest = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
        order.into_iter().take(values.len() / 10).collect::<HashSet<usize>>()
    };
    let (a, b) = (lowest(a), lowest(b));
    a.intersection(&b).count() as f64 / a.len() as f64
}

#[test]
fn every_engine_gives_the_scores_of_the_native_one() {
    let place = Place::new();
    for engine in ["native", "paired", "tangent"] {
        place.score(&["--engine", engine, "--execution-provider", "cpu", "-o", engine]).assert().success();
    }
    let native = influences(&place, "native");
    let scale = native.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let worst = |found: &[f64]| found.iter().zip(&native).fold(0.0_f64, |a, (x, y)| a.max((x - y).abs())) / scale;
    let (paired, tangent) = (influences(&place, "paired"), influences(&place, "tangent"));
    // Both exact: only float32 is between them.
    assert!(worst(&tangent) <= lenet::ROUNDING, "{}", worst(&tangent));
    assert!(spearman(&paired, &native).expect("a rank") >= 0.9999, "{:?}", spearman(&paired, &native));
    assert!(lowest_tenth_alike(&paired, &native) >= 0.98, "one of sixty may swap at the edge");
    let graph = Model::read(place.path("tangent/influence.onnx")).expect("the graph that was run");
    assert_eq!(graph.metadata["isal.influence.target"], "cpu", "the provider that ran it");
    let run = place.json("tangent/run.json");
    assert!(run["provenance"]["engine"].as_str().is_some_and(|e| e.starts_with("tangent graph")), "{run}");
}

#[test]
fn another_form_or_rank_makes_a_new_graph_from_the_same_vector() {
    let place = Place::new();
    let rank = |form: &[&str]| {
        let mut arguments = form.to_vec();
        arguments.extend(["-o", "out"]);
        let said = stderr(place.score(&arguments).assert().success().get_output().clone());
        let run = place.json("out/run.json");
        let provenance = &run["provenance"];
        (provenance["rank of the direction"].as_str().map(str::to_owned), provenance["engine"].to_string(), said)
    };
    let exact = rank(&["--engine", "tangent"]);
    assert_eq!(exact.0.as_deref(), Some("exact"));
    let whole = influences(&place, "out");
    let cut = rank(&["--engine", "tangent", "--tangent-rank", "2"]);
    assert_eq!(cut.0.as_deref(), Some("2"));
    assert!(cut.2.contains("not solved again"), "{}", cut.2);
    let agreement = spearman(&influences(&place, "out"), &whole).expect("a rank");
    assert!((0.3..0.999_999).contains(&agreement), "rank 2 keeps a part: {agreement}");
    let paired = rank(&[]);
    assert!(paired.0.is_none() && paired.1.contains("paired"), "{paired:?}");
    let refused = place.score(&["--tangent-rank", "2", "-o", "out"]).assert().code(2).get_output().clone();
    assert!(stderr(refused).contains("--engine tangent"));
}

#[test]
fn another_difference_makes_a_new_graph_and_the_held_one_is_the_nearer() {
    let place = Place::new();
    place.score(&["--engine", "native", "-o", "native"]).assert().success();
    let exact = influences(&place, "native");
    let scale = exact.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let mut errors = Vec::new();
    for difference in ["one-sided", "held"] {
        let done = place.score(&["--difference", difference, "-o", "out"]).assert().success().get_output().clone();
        let run = place.json("out/run.json");
        assert_eq!(run["provenance"]["difference"], difference, "{run}");
        let said = String::from_utf8_lossy(&done.stdout).contains("paired graph, held at the kinks, against");
        assert_eq!(said, difference == "held");
        let found = influences(&place, "out");
        assert!(spearman(&found, &exact).expect("a rank") >= 0.9999, "{difference}");
        errors.push(found.iter().zip(&exact).fold(0.0_f64, |a, (x, y)| a.max((x - y).abs())) / scale);
    }
    // The one-sided one's worst errors are images at a kink.
    assert!(errors[1] < errors[0], "{errors:?}");
    let refused = place.score(&["--difference", "held", "--engine", "tangent", "-o", "out"]).assert().code(2);
    assert!(stderr(refused.get_output().clone()).contains("--engine paired"));
}

/// Images [N, 1, 28, 28] -> 32 waves along drawn directions -> logits [N, 10]: no kink anywhere, and so short a wave that a
/// step which float32 resolves is bent.
fn waves() -> Model {
    let mut state = 1_u64;
    let mut drawn = |count: usize, scale: f32| -> Vec<f32> {
        let draw = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            scale * ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
        };
        (0..count).map(draw).collect()
    };
    let dims =
        |rest: &[usize]| std::iter::once("N".into()).chain(rest.iter().map(|n| (*n).into())).collect::<Vec<Dim>>();
    let mut b = Builder::new("waves");
    let input = b.input("images", ValueType::new(DataType::Float, dims(&[1, 28, 28])));
    let into = b.initializer("into", Tensor::new([784, 32], &drawn(784 * 32, 0.05)));
    let out = b.initializer("out", Tensor::new([32, 10], &drawn(320, 0.3)));
    let frequency = b.initializer("frequency", Tensor::new([], &[1000.0_f32]));
    let flat = b.node("Flatten", [input]).attr("axis", 1).value();
    let along = b.node("MatMul", [flat, into]).value();
    let phase = b.node("Mul", [along, frequency]).value();
    let wave = b.node("Sin", [phase]).value();
    let logits = b.node("MatMul", [wave, out]).outputs(["logits"]).value();
    b.output("logits", logits, Some(ValueType::new(DataType::Float, dims(&[10]))));
    Model::new(17, b.finish().expect("a graph"))
}

#[test]
fn where_neither_one_sided_nor_held_is_close_central_is_tried_and_taken() {
    let place = Place::new();
    waves().write(place.path("model.onnx")).expect("written");
    let score = |arguments: &[&str]| {
        let done = place.score(arguments).args(["--solver", "identity"]).assert().success();
        stderr(done.get_output().clone())
    };
    score(&["--engine", "native", "-o", "native"]);
    let exact = influences(&place, "native");
    let agreement = |out: &str| spearman(&influences(&place, out), &exact).expect("a rank");
    score(&["--difference", "one-sided", "-o", "one-sided"]);
    assert!((0.999..0.9999).contains(&agreement("one-sided")), "{}", agreement("one-sided"));
    let said = score(&["-o", "out"]);
    assert!(said.contains("the central difference is taken") && said.contains("`--difference one-sided`"), "{said}");
    assert_eq!(place.json("out/run.json")["provenance"]["difference"], "central");
    assert!(agreement("out") >= 0.9999, "{}", agreement("out"));
    // The same command, once more, takes the graph that is there.
    let (before, again) = (place.read("out/influence.onnx"), score(&["-o", "out", "--strategy", "influence"]));
    assert!(!again.contains("choosing the step"), "{again}");
    assert_eq!(place.read("out/influence.onnx"), before);
}
