//! `isal export influence` as a user runs it, held against closed forms, the plugin's derivative and plain ONNX Runtime.

#[path = "../fixtures/classes.rs"]
mod classes;
#[path = "../solvers/contraction.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with tests of the solvers")]
mod contraction;
mod large;
#[path = "../score_pool/lenet.rs"]
mod lenet;
mod place;

use contraction::{PseudoLabels, scores};
use isal::influence::{GradientEngine as _, spearman};
use isal::plugin::{LoadOptions, Plugin, PluginEngine};
use isal::task::Task;
use isal_onnx::influence::{INFLUENCE, INFLUENCE_PER_CLASS, InfluenceMetadata};
use isal_onnx::testing::rounding::{gamma, over_a_step};
use isal_onnx::{ExternalData, Tensor, WriteOptions};
use ndarray::ArrayD;
use place::{CLASSES, Place};

/// Terms of a class score of the linear model, all below 1.
const TERMS: usize = 13;

/// `-(softmax(o) - onehot(label)) . o'` in float64.
fn influence(o: &[f64], o_dot: &[f64], label: usize) -> f64 {
    let sum: f64 = o.iter().map(|x| x.exp()).sum();
    let p = o.iter().map(|x| x.exp() / sum);
    -p.zip(o_dot).enumerate().map(|(c, (p, d))| (p - f64::from(u8::from(c == label))) * d).sum::<f64>()
}

fn top(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best })
}

fn rows(array: &ArrayD<f32>) -> Vec<Vec<f64>> {
    array.outer_iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

#[test]
fn two_vectors_and_every_class_are_the_closed_form_of_a_linear_model() {
    let place = Place::linear();
    for seed in [3, 4] {
        place.vector(&format!("s{seed}"), "all", seed);
    }
    let told = place.export(&["--vector", "s3", "--vector", "s4", "--step", "1e-2", "--per-class", "-o", "i.onnx"]);
    assert_eq!((&told["schema"], &told["proof"]["bit_for_bit"]), (&"isal-export/1".into(), &true.into()));
    let arrays = place.run("i.onnx", &["logits", INFLUENCE, INFLUENCE_PER_CLASS]);
    let n = place.images().len_of(ndarray::Axis(0));
    assert_eq!((arrays[1].shape(), arrays[2].shape()), (&[n, 2][..], &[n, 2, CLASSES][..]));
    let o = rows(&place.run("model.onnx", &["logits"])[0]);
    let model = place.model("model.onnx");
    for (d, seed) in [3, 4].into_iter().enumerate() {
        // An influence is a mean of differences less one of them.
        let tolerance = 2.0 * over_a_step(TERMS, TERMS as f64, place.step(&model, "all", seed, 1e-2));
        let o_dot = place.linear_outputs(&place.blocks(&model, "all", seed));
        for n in 0..n {
            for c in 0..CLASSES {
                let (found, exact) = (f64::from(arrays[2][[n, d, c]]), influence(&o[n], &o_dot[n], c));
                assert!(
                    (found - exact).abs() < tolerance,
                    "image {n}, direction {d}, class {c}: {found} against {exact}"
                );
            }
            let exact = influence(&o[n], &o_dot[n], top(&o[n]));
            assert!((f64::from(arrays[1][[n, d]]) - exact).abs() < tolerance, "image {n}, direction {d}");
        }
    }
}

#[test]
fn the_step_is_chosen_against_the_plugins_derivative_and_the_file_ranks_as_it_does() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let told = place.export(&["--vector", "s", "--sample", "pool", "-o", "i.onnx"]);
    assert_eq!(told["judged_by"], "the plugin's exact derivative");
    assert!(told["agreement"]["spearman"].as_f64().is_some_and(|r| r >= 0.999), "{told}");
    assert_eq!(told["proof"]["bit_for_bit"], true);

    // Images that the step was not chosen on.
    let images = place.images();
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let model = place.model("model.onnx");
    let parameters = model.graph.parameters(&isal_onnx::Scope::Weights).expect("parameters");
    let load = LoadOptions {
        parameters,
        task: Some(Task::single_label("logits", CLASSES, 1, model.opset()).expect("a task")),
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&plugin, &model, &load).expect("an engine");
    let s = engine.upload(&place.blocks(&model, "weights", 5).concat()).expect("uploaded");
    let exact = scores(&mut engine, images.view(), &s, PseudoLabels::ArgMax).influence;
    let found: Vec<f64> = place.run("i.onnx", &[INFLUENCE])[0].iter().map(|x| f64::from(*x)).collect();
    let rank = spearman(&found, &exact).expect("ranks");
    assert!(rank > 0.999, "{rank}");
    assert_eq!(place.run("i.onnx", &["logits"]), place.run("model.onnx", &["logits"]));
}

#[test]
fn held_at_the_kinks_a_long_step_ranks_images_that_a_free_one_shuffles() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let export = |difference: &str, step: &str| {
        place.export(&["--vector", "s", "--sample", "pool", "--step", step, "--difference", difference, "-o", "i.onnx"])
    };
    // So long that some image crosses a kink of one of its Relu, and short enough that the smooth parts hardly bend.
    let (free, held) = (export("one-sided", "1e-4"), export("held", "1e-4"));
    let worst = |told: &serde_json::Value| told["agreement"]["worst"].as_f64().expect("a worst error");
    assert!(rank(&held) >= 0.9999 && worst(&held) < 0.5 * worst(&free), "held {held}, free {free}");
    assert_eq!((&held["difference"], &held["proof"]["bit_for_bit"]), (&"held".into(), &true.into()));
    let said = InfluenceMetadata::of(&place.model("i.onnx")).expect("properties");
    assert_eq!(said.get("difference"), Some("held"));

    // At a step that is too long for the one-sided difference, left to itself it takes the held one.
    let refused = place
        .command(&["--vector", "s", "--sample", "pool", "--step", "1e-3", "--difference", "one-sided", "-o", "no.onnx"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(3) && text.contains("0.999 is needed") && text.contains("held"), "{text}");
    let chosen = export("auto", "1e-3");
    assert_eq!(chosen["difference"], "held");
    assert!(rank(&chosen) >= 0.999, "{chosen}");
}

#[test]
fn gradient_embeddings_are_what_the_last_layers_gradient_is_the_product_of() {
    let place = Place::linear();
    place.vector("s", "all", 3);
    place.export(&["--vector", "s", "--step", "1e-2", "--embedding", "-o", "i.onnx"]);
    let names = ["logits", "gradient_embedding_residual", "gradient_embedding_features"];
    let arrays = place.run("i.onnx", &names).iter().map(rows).collect::<Vec<_>>();
    let pixels = place.images().as_slice().expect("in order");
    for (n, o) in arrays[0].iter().enumerate() {
        let sum: f64 = o.iter().map(|x| x.exp()).sum();
        for (c, found) in arrays[1][n].iter().enumerate() {
            let exact = o[c].exp() / sum - f64::from(u8::from(c == top(o)));
            assert!(
                (found - exact).abs() < gamma(TERMS) * TERMS as f64,
                "image {n}, class {c}: {found} against {exact}"
            );
        }
        // The last layer is the only one: its features are the pixels.
        let exact: Vec<f64> = pixels[n * 12..][..12].iter().map(|x| f64::from(*x)).collect();
        assert_eq!(arrays[2][n], exact);
    }
}

/// What `export` told without a plugin.
fn without_plugin(place: &Place, arguments: &[&str]) -> serde_json::Value {
    let output = place.command(arguments).env("ISAL_PLUGIN", "none").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn rank(told: &serde_json::Value) -> f64 {
    told["agreement"]["spearman"].as_f64().expect("a number")
}

#[test]
fn without_the_plugin_the_tangent_graph_chooses_the_step_that_the_plugin_chooses() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let exact = place.export(&["--vector", "s", "--sample", "pool", "-o", "exact.onnx"]);
    let told = without_plugin(&place, &["--vector", "s", "--sample", "pool", "-o", "i.onnx"]);
    assert_eq!(told["judged_by"], "the exact tangent graph");
    assert_eq!(told["relative_step"], exact["relative_step"]);
    assert!((rank(&told) - rank(&exact)).abs() < 1e-5, "{} {}", rank(&told), rank(&exact));
}

#[test]
fn without_any_derivative_neighbouring_steps_choose_one_as_good() {
    let place = Place::digits();
    place.behind_a_branch();
    place.vector("s", "weights", 5);
    let told = without_plugin(&place, &["--vector", "s", "--sample", "pool", "-o", "i.onnx"]);
    assert_eq!(told["judged_by"], "the steps beside it");
    // What it claims is no better than what the exact derivative says of the same step.
    let step = told["relative_step"].to_string();
    let plain = Place::digits();
    plain.vector("s", "weights", 5);
    let same = plain.export(&["--vector", "s", "--sample", "pool", "--step", &step, "-o", "same.onnx"]);
    assert_eq!(same["judged_by"], "the plugin's exact derivative");
    assert!(rank(&told) <= rank(&same), "claims {} of {}", rank(&told), rank(&same));
    assert!(rank(&same) >= 0.999, "{}", rank(&same));
}

#[test]
fn the_tangent_form_takes_no_step_and_a_cut_one_is_told_how_exact_it_is() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let exact = place.export(&["--vector", "s", "--form", "tangent", "--sample", "pool", "-o", "t.onnx"]);
    assert_eq!((&exact["form"], &exact["relative_step"]), (&"tangent".into(), &serde_json::Value::Null));
    assert!(rank(&exact) >= place.least_rank("t.onnx", lenet::ROUNDING), "{exact}");
    assert_eq!(exact["proof"]["bit_for_bit"], true);
    let cut = ["1", "60"].map(|r| {
        let cut = place.export(&["--vector", "s", "--tangent-rank", r, "--sample", "pool", "-o", "cut.onnx"]);
        assert_eq!((&cut["form"], &cut["metadata"]["rank"]), (&"tangent".into(), &r.into()));
        rank(&cut)
    });
    // A vector of drawn numbers has no leading part to speak of, but sixty of its directions are more than one.
    assert!(cut[0] + 0.2 < cut[1] && cut[1] < rank(&exact), "{cut:?}");
    let alone = without_plugin(&place, &["--vector", "s", "--form", "tangent", "-o", "t.onnx"]);
    assert!(alone["agreement"].is_null(), "nothing to compare with: {alone}");
    let paired = place.export(&["--vector", "s", "--sample", "pool", "-o", "p.onnx"]);
    assert_eq!(paired["form"], "paired");
}

#[test]
fn a_tangent_graph_for_the_cpu_is_another_one_with_the_same_influences() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let any = place.export(&["--vector", "s", "--form", "tangent", "--sample", "pool", "-o", "any.onnx"]);
    let cpu = place.export(&["--vector", "s", "--for-cpu", "--sample", "pool", "-o", "cpu.onnx"]);
    assert_eq!((&any["metadata"]["target"], &cpu["metadata"]["target"]), (&"any".into(), &"cpu".into()));
    assert!(cpu["form"] == "tangent" && cpu["proof"]["bit_for_bit"] == true, "{cpu}");
    assert!(rank(&cpu) >= place.least_rank("cpu.onnx", lenet::ROUNDING), "{cpu}");
    // A mask for each Relu between convolutions: by comparison in the one, by Tanh in the other. The belief `margin` takes one
    // Tanh in both.
    let count = |name: &str, op: &str| place.model(name).graph.nodes.iter().filter(|n| n.op_type == op).count();
    assert!(count("any.onnx", "Tanh") == 1 && count("cpu.onnx", "Tanh") > 1);
    assert!(count("cpu.onnx", "Greater") < count("any.onnx", "Greater"));
    let [any, cpu] = ["any.onnx", "cpu.onnx"].map(|name| place.run(name, &[INFLUENCE]).remove(0));
    let scale = any.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    assert!(any.iter().zip(&cpu).all(|(a, b)| f64::from((a - b).abs()) <= lenet::ROUNDING * f64::from(scale)));
    for form in ["paired", "shadow"] {
        let refused = ["--vector", "s", "--step", "1e-4", "--form", form, "--for-cpu", "-o", "no.onnx"];
        let output = place.command(&refused).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains("`--for-cpu`, which is the tangent form's"), "{text}");
    }
}

#[test]
fn weights_that_are_no_float32_get_the_tangent_form() {
    let place = Place::linear();
    place.in_half();
    place.vector("s", "all", 3);
    let told = place.export(&["--vector", "s", "-o", "i.onnx"]);
    assert_eq!(told["form"], "tangent");
    let arrays = place.run("i.onnx", &["logits", INFLUENCE]);
    let (o, o_dot) = (rows(&arrays[0]), place.linear_outputs(&place.blocks(&place.model("model.onnx"), "all", 3)));
    for n in 0..o.len() {
        let (found, exact) = (f64::from(arrays[1][[n]]), influence(&o[n], &o_dot[n], top(&o[n])));
        // The direction is kept in float16: 5e-4 of each of thirteen terms of size one.
        assert!((found - exact).abs() < 5e-3, "image {n}: {found} against {exact}");
    }
}

#[test]
fn the_file_says_where_it_comes_from() {
    let place = Place::digits();
    let s = place.vector("s", "head", 6);
    place.export(&[
        "--vector",
        "s",
        "--sample",
        "pool",
        "--expected-top-k",
        "3",
        "--difference",
        "central",
        "-o",
        "i.onnx",
    ]);
    let said = InfluenceMetadata::of(&place.model("i.onnx")).expect("properties");
    let model = place.model("model.onnx");
    for (key, value) in [
        ("form", "paired"),
        ("difference", "central"),
        ("model sha256", &model.sha256()),
        ("s sha256", &s.sha256()),
        ("scope", "head"),
        ("solver", "cg-gauss-newton"),
        ("lambda", "3e-1"),
        ("reference sha256", &"ef".repeat(32)),
        ("pseudo-labels", "expected gradient over the 3 most likely classes"),
        ("isal", env!("CARGO_PKG_VERSION")),
        ("sign", isal::scores::SIGN),
    ] {
        assert_eq!(said.get(key), Some(value), "{key}");
    }
    let task = said.get("task").expect("a task");
    assert!(task.starts_with("softmax-cross-entropy (outputs = logits; "), "{task}");
    let number = |key: &str| said.get(key).and_then(|text| text.parse::<f64>().ok()).expect("a number");
    assert!(number("spearman") >= 0.999 && number("worst error") < 0.1 && number("relative step") > 0.0);
    let classes: Vec<String> = serde_json::from_str(said.get("classes").expect("classes")).expect("a list");
    assert_eq!(classes.len(), 10);
}

#[test]
fn an_exported_graph_scores_a_pool_alone() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    place.export(&["--vector", "s", "--sample", "pool", "-o", "i.onnx"]);
    let arguments = ["score", "pool", "--influence", "i.onnx", "--pool", "pool", "--budget", "5", "--scores", "s.csv"];
    place.isal(&arguments).args(["-o", "out"]).env("ISAL_PLUGIN", "none").assert().success();
    let influences = place.influences("s.csv");
    assert_eq!(influences.len(), 200);
    assert!(influences.iter().all(|influence| influence.is_finite()));
}

#[test]
fn a_shadow_model_beside_the_served_one_gives_the_paired_graphs_influence() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    let told = place.export(&["--vector", "s", "--form", "shadow", "--step", "1e-4", "-o", "shadow.onnx"]);
    place.export(&["--vector", "s", "--step", "1e-4", "-o", "i.onnx"]);
    let (model, made) = (place.model("model.onnx"), place.model("shadow.onnx"));
    let mut same = made.graph.clone();
    same.initializers.clone_from(&model.graph.initializers);
    assert_eq!(same, model.graph, "the same graph and names, other weights");
    let said = InfluenceMetadata::of(&made).expect("properties");
    let step: f64 = said.get("step").and_then(|text| text.parse().ok()).expect("a step");
    assert_eq!((said.get("form"), told["step"].as_f64()), (Some("shadow"), Some(step)));
    let formula = "d = (o~ - o) / step; influence = d[argmax(o)] - sum(softmax(o) * d)";
    assert_eq!((said.get("formula"), &told["formula"]), (Some(formula), &formula.into()));

    let (o, shifted) =
        (rows(&place.run("model.onnx", &["logits"])[0]), rows(&place.run("shadow.onnx", &["logits"])[0]));
    let paired = &place.run("i.onnx", &[INFLUENCE])[0];
    let scale = paired.iter().fold(0.0f32, |scale, x| scale.max(x.abs()));
    let mut negative = 0;
    for (n, (o, shifted)) in o.iter().zip(&shifted).enumerate() {
        // The formula, word for word.
        let d: Vec<f64> = shifted.iter().zip(o).map(|(a, b)| (a - b) / step).collect();
        let sum: f64 = o.iter().map(|x| x.exp()).sum();
        let found = d[top(o)] - o.iter().zip(&d).map(|(o, d)| o.exp() / sum * d).sum::<f64>();
        // Both take the same difference; the graph contracts it in float32, whose rounding is 1e-7 of each of ten terms.
        assert!((found - f64::from(paired[[n]])).abs() < 1e-5 * f64::from(scale), "image {n}: {found} {}", paired[[n]]);
        negative += usize::from(found < 0.0);
    }
    assert!(negative > 0 && negative < o.len(), "both signs occur: {negative} of {}", o.len());
}

#[test]
fn an_influence_graph_with_its_data_beside_it_computes_the_same() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    place.export(&["--vector", "s", "--step", "1e-4", "-o", "i.onnx"]);
    // What `Model::write` does past 2 GB, here for every tensor of a kilobyte or more.
    let options = WriteOptions { external: ExternalData::Always, ..WriteOptions::default() };
    place.model("i.onnx").write_with(place.path("apart.onnx"), &options).expect("written");
    let data = std::fs::metadata(place.path("apart.onnx.data")).expect("data beside it").len();
    let structure = std::fs::metadata(place.path("apart.onnx")).expect("a file").len();
    let weights: usize = place.model("i.onnx").graph.initializers.values().map(|t| t.bytes().len()).sum();
    assert!(
        data as usize > weights * 9 / 10 && (structure as usize) < weights / 4,
        "{structure} and {data} of {weights}"
    );
    let outputs = ["logits", INFLUENCE];
    assert_eq!(place.run("apart.onnx", &outputs), place.run("i.onnx", &outputs));
    let (whole, apart) = (place.model("i.onnx"), place.model("apart.onnx"));
    assert_eq!((whole.graph, whole.metadata), (apart.graph, apart.metadata));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let place = Place::digits();
    place.vector("s", "weights", 5);
    place.vector("head", "head", 6);
    place.isal(&["model", "new", "lenet", "--seed", "4", "-o", "other.onnx"]).assert().success();
    let refused = |arguments: &[&str]| {
        let output = place.command(arguments).output().expect("it runs");
        assert!(!place.path("no.onnx").exists(), "{arguments:?} wrote a file");
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = refused(&["--vector", "s", "-o", "no.onnx"]);
    assert!(code == 2 && text.contains("`--sample DATA`") && text.contains("`--step 3e-5`"), "{code}: {text}");
    let (code, text) = refused(&["--vector", "s", "--vector", "head", "--step", "1e-4", "-o", "no.onnx"]);
    assert!(code == 2 && text.contains("`head` is over scope `head`"), "{code}: {text}");
    let (code, text) = refused(&["--vector", "s", "--step", "0.3", "--sample", "pool", "-o", "no.onnx"]);
    assert!(code == 3 && text.contains("0.999 is needed") && text.contains("hint: "), "{code}: {text}");
    let (code, text) =
        refused(&["--vector", "s", "--vector", "s", "--form", "shadow", "--step", "1e-4", "-o", "no.onnx"]);
    assert!(code == 2 && text.contains("one shadow model each"), "{code}: {text}");
    let mut other = place.isal(&["export", "influence", "--model", "other.onnx", "--vector", "s", "--step", "1e-4"]);
    let output = other.args(["-o", "no.onnx"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains(&place.model("other.onnx").sha256()), "{text}");
}

#[test]
fn what_does_not_stand_the_proof_leaves_what_was_there() {
    let place = Place::linear();
    place.vector("s", "weights", 5);
    place.export(&["--vector", "s", "--step", "1e-3", "-o", "i.onnx"]);
    let before = std::fs::read(place.path("i.onnx")).expect("written");
    // Twelve products of this size have no sum in float32.
    let mut model = place.model("model.onnx");
    let w = &model.graph.initializers["w"];
    let large = Tensor::new(w.dims().to_vec(), &vec![3e38_f32; w.to_vec::<f32>().expect("float32").len()]);
    model.graph.initializers.insert("w".to_owned(), large);
    model.write(place.path("model.onnx")).expect("written");
    place.vector("s", "weights", 5);
    let output = place.command(&["--vector", "s", "--step", "1e-3", "-o", "i.onnx"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && text.contains("of `i.onnx` is not finite"), "{text}");
    assert_eq!(std::fs::read(place.path("i.onnx")).expect("still there"), before);
    let left = std::fs::read_dir(place.path("")).expect("a folder").flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".isal-")));
}

#[test]
fn a_model_that_ends_in_softmax_has_a_formula_of_its_own() {
    let place = Place::linear();
    place.end_in_softmax();
    place.vector("s", "all", 3);
    let told = place.export(&["--vector", "s", "--form", "shadow", "--step", "1e-2", "-o", "shadow.onnx"]);
    let step = told["step"].as_f64().expect("a step");
    assert_eq!(told["formula"], "d = (log(p~) - log(p)) / step; influence = d[argmax(p)] - sum(p * d)");
    let (p, shifted) = (rows(&place.run("model.onnx", &["p"])[0]), rows(&place.run("shadow.onnx", &["p"])[0]));
    let model = place.model("model.onnx");
    let o = place.linear_outputs(&place.weights(&model, "all"));
    let o_dot = place.linear_outputs(&place.blocks(&model, "all", 3));
    for n in 0..p.len() {
        let d: Vec<f64> = shifted[n].iter().zip(&p[n]).map(|(a, b)| (a.ln() - b.ln()) / step).collect();
        let found = d[top(&p[n])] - p[n].iter().zip(&d).map(|(p, d)| p * d).sum::<f64>();
        let exact = influence(&o[n], &o_dot[n], top(&o[n]));
        // Over the step go the roundings of the logits, and of p and what they are divided by: a p that is small is as exact.
        let tolerance = 2.0 * over_a_step(2 * TERMS, TERMS as f64, step);
        assert!((found - exact).abs() < tolerance, "image {n}: {found} against {exact}");
    }
}
