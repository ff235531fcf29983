//! Strategies that choose jointly, and what they go by.

use crate::digits;
use crate::place::{Place, files, stderr};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const JOINT: [&str; 10] = [
    "influence-batch",
    "influence-kernel",
    "bait",
    "badge",
    "core-set",
    "uncertainty-herding",
    "epig",
    "flqmi",
    "typiclust",
    "prob-cover",
];

fn selected(place: &Place, out: &str) -> Vec<String> {
    let selection = place.json(&format!("{out}/selection.json"));
    let ids = selection["selected"].as_array().expect("a list").iter();
    ids.map(|selected| selected["id"].as_str().expect("an id").to_owned()).collect()
}

fn with_reference() -> Place {
    let place = Place::new();
    digits::write(&place.path("reference"), 100, 3);
    place
}

#[test]
fn every_joint_strategy_chooses_images_of_the_pool_once_and_says_by_what() {
    let place = with_reference();
    let pool: HashSet<String> = files(&place.path("pool")).into_iter().map(|(id, _)| id).collect();
    for strategy in JOINT {
        let out = format!("out-{strategy}");
        let more = ["--strategy", strategy, "--reference", "reference", "-o", &out];
        let printed =
            place.score(&more).env("ISAL_PLUGIN", "/nowhere/plugin.so").assert().success().get_output().clone();
        let printed = String::from_utf8_lossy(&printed.stdout).replace('\n', " ");
        assert!(printed.contains("Chosen among 600 candidates"), "{strategy}: {printed}");
        let serves_it = strategy.starts_with("influence") || ["epig", "flqmi"].contains(&strategy);
        assert_eq!(printed.contains("30 images of the reference set"), serves_it, "{printed}");
        let chosen = selected(&place, &out);
        let distinct: HashSet<&String> = chosen.iter().collect();
        assert_eq!((chosen.len(), distinct.len()), (20, 20), "{strategy}");
        assert!(chosen.iter().all(|id| pool.contains(id)), "{strategy}");
        let run = place.json(&format!("{out}/run.json"));
        assert_eq!(run["provenance"]["candidates"], "600", "{strategy}");
        assert!(run["provenance"]["features"].as_str().expect("features").contains("84 numbers"), "{strategy}");
        let selection = place.json(&format!("{out}/selection.json"));
        assert_eq!((&selection["strategy"]["strategy"], &selection["pool"]), (&strategy.into(), &600.into()));
    }
    let target = |strategy: &str| place.json(&format!("out-{strategy}/run.json"))["provenance"]["target"].clone();
    assert_eq!(target("influence-batch"), "30 images of the reference set");
    assert_eq!(target("bait"), "600 images of the pool");
    assert!(target("core-set").is_null());
}

/// The same choice by NumPy from what ONNX Runtime gives Python, by the objective's own matrices.
const GREEDY: &str = "
import sys, numpy, onnx, onnxruntime
from onnx import utils
model, features, folder = sys.argv[1:]
loaded = onnx.load(model)
loaded.graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, None))
session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=['CPUExecutionProvider'])
logits = session.get_outputs()[0].name
def read(name):
    images = numpy.fromfile(f'{folder}/{name}.f32', '<f4').reshape(-1, 1, 28, 28)
    o, h = session.run([logits, features], {session.get_inputs()[0].name: images})
    e = numpy.exp(o.astype('f8') - o.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True), numpy.c_[h.astype('f8'), numpy.ones(len(h))]
def roots(p, h):
    s = numpy.sqrt(p)
    m = numpy.eye(p.shape[1]) * s[:, None, :] - p[:, :, None] * s[:, None, :]
    return numpy.einsum('ncj,ni->ncij', m, h).reshape(len(p), -1, p.shape[1])
labelled, target, pool = (roots(*read(name)) for name in ['labeled', 'target', 'pool'])
a = numpy.eye(pool.shape[1]) + numpy.einsum('nak,nbk->ab', labelled, labelled, optimize=True)
f = numpy.einsum('nak,nbk->ab', target, target, optimize=True) / len(target)
for _ in range(int(open(f'{folder}/budget').read())):
    inverse = numpy.linalg.inv(a)
    through = inverse @ f @ inverse
    k = numpy.einsum('nak,nak->n', pool, pool) * 0
    best, chosen = -1, None
    for n, v in enumerate(pool):
        gain = numpy.trace(numpy.linalg.solve(numpy.eye(v.shape[1]) + v.T @ inverse @ v, v.T @ through @ v))
        if gain > best:
            best, chosen = gain, n
    print(chosen, repr(float(best)))
    a = a + pool[chosen] @ pool[chosen].T
    pool[chosen] = 0
";

/// FLQMI by NumPy: the whole gradients of the last layer, their cosines, and the objective of every batch.
const MUTUAL_INFORMATION: &str = "
def gradients(name, labels):
    p, h = read(name)
    r = p - numpy.eye(p.shape[1])[p.argmax(1) if labels is None else labels]
    g = numpy.einsum('nc,nj->ncj', r, h).reshape(len(p), -1)
    return g / numpy.linalg.norm(g, axis=1, keepdims=True)
s = (1 + gradients('pool', None) @ gradients('target', numpy.repeat(numpy.arange(10), 3)).T) / 2
objective = lambda chosen: s[chosen].max(0).sum() + s[chosen].max(1).sum() if chosen else 0.0
chosen = []
for _ in range(int(open(f'{folder}/budget').read())):
    with_ = [objective(chosen + [n]) if n not in chosen else -1 for n in range(len(s))]
    print(numpy.argmax(with_), repr(float(max(with_) - objective(chosen))))
    chosen.append(int(numpy.argmax(with_)))
";

/// The images of a folder as the model takes them, float32 from 0 to 1, in the order of their ids.
fn pixels(folder: &Path) -> (Vec<String>, Vec<u8>) {
    let mut ids = Vec::new();
    let mut bytes = Vec::new();
    for (id, path) in files(folder) {
        ids.push(id);
        let image = image::open(path).expect("an image").to_luma8();
        bytes.extend(image.into_raw().into_iter().flat_map(|x| (f32::from(x) / 255.0).to_le_bytes()));
    }
    (ids, bytes)
}

#[test]
fn influence_batch_bait_and_flqmi_choose_what_numpy_chooses_by_the_written_out_objective() {
    let place = with_reference();
    fs::remove_dir_all(place.path("pool")).expect("removed");
    digits::write(&place.path("pool"), 10, 15);
    let scratch = tempfile::tempdir().expect("a temporary folder");
    for name in ["labeled", "pool"] {
        fs::write(scratch.path().join(format!("{name}.f32")), pixels(&place.path(name)).1).expect("written");
    }
    fs::write(scratch.path().join("budget"), "6").expect("written");
    let (ids, _) = pixels(&place.path("pool"));
    for (strategy, target, sets) in [
        ("influence-batch", "reference", &["reference"][..]),
        ("bait", "pool", &["pool"]),
        ("bait", "pool+reference", &["pool", "reference"]),
        ("flqmi", "reference", &["reference"]),
    ] {
        // Simply one set: each image of the one and of the other counts alike.
        let target_images: Vec<u8> = sets.iter().flat_map(|set| pixels(&place.path(set)).1).collect();
        fs::write(scratch.path().join("target.f32"), target_images).expect("written");
        let out = format!("{strategy}-{target}");
        let more = ["--strategy", strategy, "--target", target, "--reference", "reference", "-o", &out];
        place.score(&more).assert().success();
        let described = place.json(&format!("{out}/run.json"))["provenance"]["features"].clone();
        let features = described.as_str().expect("a text").split('`').nth(1).expect("a name").to_owned();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/venv/bin/python");
        let mut python = Command::new(&program);
        let (reading, greedy) = GREEDY.split_once("def roots").expect("both parts");
        let program_text = match strategy {
            "flqmi" => reading.to_owned() + MUTUAL_INFORMATION,
            _ => format!("{reading}def roots{greedy}"),
        };
        python.args(["-c", &program_text]).arg(place.path("model.onnx")).arg(&features).arg(scratch.path());
        let output = python.output().unwrap_or_else(|e| panic!("{}: {e}: run `make test`", program.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = String::from_utf8(output.stdout).expect("text");
        let selection = place.json(&format!("{out}/selection.json"));
        let lines: Vec<&str> = expected.lines().collect();
        assert_eq!(lines.len(), 6);
        for (line, chosen) in lines.iter().zip(selection["selected"].as_array().expect("a list")) {
            let (n, gain) = line.split_once(' ').expect("two numbers");
            let (n, gain): (usize, f64) = (n.parse().expect("a place"), gain.parse().expect("a number"));
            assert_eq!(chosen["id"].as_str(), Some(ids[n].as_str()), "{strategy}");
            // Both have float32 features and class scores of ONNX Runtime, in batches of their own.
            assert!((-chosen["score"].as_f64().expect("a number") / gain - 1.0).abs() < 1e-4, "{strategy}: {line}");
        }
    }
}

#[test]
fn a_larger_budget_begins_with_the_smaller_one_and_embeds_nothing_again() {
    let place = with_reference();
    for strategy in ["influence-batch", "core-set", "uncertainty-herding"] {
        let more = ["--strategy", strategy, "--reference", "reference", "-o", strategy];
        place.score(&more).assert().success();
        let first = selected(&place, strategy);
        let parts = || -> Vec<String> {
            let reading = fs::read_dir(place.path(strategy).join("embeddings")).expect("listed").next();
            let folder = reading.expect("a folder").expect("a folder").path();
            let named = |entry: std::io::Result<fs::DirEntry>| {
                let entry = entry.expect("a file");
                let written = entry.metadata().and_then(|data| data.modified()).expect("a time");
                format!("{:?} {written:?}", entry.file_name())
            };
            let mut names: Vec<String> = fs::read_dir(folder).expect("listed").map(named).collect();
            names.sort();
            names
        };
        let before = parts();
        let mut again =
            place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"]);
        again.args(["--budget", "30", "--batch-size", "8", "--threads", "1"]).args(more).assert().success();
        assert_eq!(selected(&place, strategy)[..20], first, "{strategy}");
        assert_eq!(parts(), before, "{strategy}");
    }
}

#[test]
fn a_target_needs_no_labels_and_features_may_be_another_networks() {
    let place = with_reference();
    // The reference images without their classes, in one folder.
    fs::create_dir(place.path("target")).expect("a folder");
    for (id, path) in files(&place.path("reference")) {
        fs::copy(path, place.path("target").join(id.replace('/', "-"))).expect("copied");
    }
    fs::copy(place.path("model.onnx"), place.path("encoder.onnx")).expect("copied");
    let of = |out: &str, more: &[&str]| {
        place.score(&["--strategy", "influence-batch", "-o", out]).args(more).assert().success();
        (selected(&place, out), place.json(&format!("{out}/run.json"))["provenance"].clone())
    };
    let (by_reference, provenance) = of("reference-given", &["--reference", "reference"]);
    let features = provenance["features"].as_str().expect("a text").split('`').nth(1).expect("a name").to_owned();
    let (by_target, provenance) = of("target-given", &["--target", "target"]);
    assert_eq!(by_target, by_reference, "the same images, and no label of them is used");
    assert_eq!(provenance["target"], "30 images of the target set");
    let encoder = format!("encoder.onnx:{features}");
    let (by_encoder, provenance) = of("encoder", &["--target", "target", "--features", &encoder]);
    assert_eq!(by_encoder, by_reference, "the same features from another file");
    assert!(provenance["features"].as_str().expect("a text").contains("encoder.onnx"));
    let (by_logits, _) = of("value", &["--target", "target", "--features", "logits"]);
    assert_ne!(by_logits, by_reference);
    let (by_pool, provenance) = of("pool-target", &["--target", "pool"]);
    assert_eq!(provenance["target"], "600 images of the pool");
    assert_ne!(by_pool, by_reference);
    let (without, _) = of("without", &[]);
    assert_eq!(without, by_pool, "without a reference set the pool itself is served");
}

#[test]
fn bait_serves_the_pool_with_target_images_added_and_refuses_to_serve_them_alone() {
    let place = with_reference();
    let of = |out: &str, more: &[&str]| {
        place.score(&["-o", out]).args(more).assert().success();
        let provenance = place.json(&format!("{out}/run.json"))["provenance"]["target"].clone();
        (selected(&place, out), provenance.as_str().map(str::to_owned).expect("a target"))
    };
    fs::create_dir(place.path("reference-again")).expect("a folder");
    for (id, path) in files(&place.path("reference")) {
        fs::copy(path, place.path("reference-again").join(id.replace('/', "-"))).expect("copied");
    }
    fs::write(place.path("strategy.toml"), "strategy = \"bait\"\ntarget = \"pool+reference\"\n").expect("written");
    let (bait, served) = of("bait", &["--strategy", "strategy.toml", "--reference", "reference"]);
    assert_eq!(served, "630 images of the pool and the reference set");
    let both = ["--strategy", "influence-batch", "--target", "pool+reference", "--reference", "reference"];
    assert_eq!(of("batch", &both).0, bait, "one rule with one target");
    let (by_target, served) = of("target", &["--strategy", "strategy.toml", "--target", "reference-again"]);
    assert_eq!((by_target, served.as_str()), (bait, "630 images of the pool and the target set"));
    for (more, said) in [
        (["--strategy", "bait", "--target", "reference"], "strategy `bait` does not serve `--target reference`"),
        (["--strategy", "bait", "--target", "pool+reference"], "there is none: give `--reference`"),
    ] {
        let refused = stderr(place.score(&["-o", "refused"]).args(more).assert().code(2).get_output().clone());
        assert!(refused.contains(said), "{refused}");
    }
    fs::write(place.path("strategy.toml"), "strategy = \"bait\"\ntarget = \"reference\"\n").expect("written");
    let refused = place.score(&["-o", "refused", "--strategy", "strategy.toml"]).assert().code(2).get_output().clone();
    let refused = stderr(refused);
    assert!(refused.contains("expected `pool` or `pool+reference`"), "{refused}");
}

/// The labels of a pool that has them are not known yet: without them the choice is the same, also where a rule uses labels of
/// its target.
#[test]
fn labels_of_the_pool_have_no_part_in_a_choice() {
    let place = with_reference();
    fs::create_dir(place.path("flat")).expect("a folder");
    for (id, path) in files(&place.path("pool")) {
        fs::copy(path, place.path("flat").join(id.replace('/', "-"))).expect("copied");
    }
    for strategy in ["influence-kernel", "influence-batch"] {
        let text = match strategy {
            "influence-kernel" => "target = \"pool\"\nlabels = true\nshortlist = { images = 600 }",
            _ => "target = \"pool\"\ncalibrate = true\nshortlist = { images = 600 }",
        };
        fs::write(place.path("strategy.toml"), format!("strategy = \"{strategy}\"\n{text}\n")).expect("written");
        let scores = |pool: &str| {
            let out = format!("{strategy}-{pool}");
            let mut command =
                place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", pool]);
            command.args(["--budget", "10", "--strategy", "strategy.toml", "-o", &out]).assert().success();
            selected(&place, &out).into_iter().map(|id| id.replace('/', "-")).collect::<Vec<_>>()
        };
        assert_eq!(scores("pool"), scores("flat"), "{strategy}");
    }
}

#[test]
fn a_shortlist_is_drawn_or_the_first_by_margin_or_influence_and_only_drawn_ones_are_looked_at() {
    let place = with_reference();
    for (by, looked_at) in [("random", 100), ("margin", 600), ("influence", 600)] {
        let text = format!("strategy = \"bait\"\nshortlist = {{ by = \"{by}\", images = 100 }}\n");
        fs::write(place.path("strategy.toml"), text).expect("written");
        place.score(&["--strategy", "strategy.toml", "--reference", "reference", "-o", by]).assert().success();
        assert_eq!(place.json(&format!("{by}/run.json"))["provenance"]["candidates"], "100");
        let scores = isal::scores::ScoreTable::read_parquet(&place.path(by).join("scores.parquet")).expect("scores");
        assert_eq!(scores.rows.len(), looked_at);
        if by != "random" {
            let key = |row: &isal::scores::ScoreRow| match by {
                "margin" => row.beliefs[3],
                _ => row.influence.expect("an influence"),
            };
            let mut rows: Vec<(f64, &String)> = scores.rows.iter().map(|row| (key(row), &row.id)).collect();
            rows.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
            let unsure: HashSet<&String> = rows.iter().take(100).map(|(_, id)| *id).collect();
            assert!(selected(&place, by).iter().all(|id| unsure.contains(id)));
        }
    }
}

#[test]
fn filters_keep_to_classes_sources_and_distances_whatever_the_strategy() {
    let place = with_reference();
    let chosen = |out: &str, more: &[&str]| {
        place.score(&["--reference", "reference", "-o", out]).args(more).assert().success();
        place.json(&format!("{out}/selection.json"))["selected"].as_array().expect("a list").clone()
    };
    let most = |selected: &[serde_json::Value], by: &dyn Fn(&serde_json::Value) -> String| -> usize {
        let mut counts = std::collections::HashMap::new();
        selected.iter().for_each(|image| *counts.entry(by(image)).or_insert(0) += 1);
        counts.values().copied().max().unwrap_or(0)
    };
    let class = |image: &serde_json::Value| image["pseudo_label"].to_string();
    let source = |image: &serde_json::Value| {
        image["id"].as_str().expect("an id").split('/').next().map(str::to_owned).expect("a folder")
    };
    for strategy in ["influence", "entropy", "random", "influence-batch", "core-set", "badge"] {
        let plain = chosen(&format!("plain-{strategy}"), &["--strategy", strategy]);
        let by_source = chosen(&format!("source-{strategy}"), &["--strategy", strategy, "--per-source", "3"]);
        assert_eq!((by_source.len(), most(&by_source, &source) <= 3), (20, true), "{strategy}");
        let by_class = chosen(&format!("class-{strategy}"), &["--strategy", strategy, "--per-class", "4"]);
        assert!(most(&by_class, &class) <= 4, "{strategy}");
        if most(&plain, &source) > 3 && !["badge", "influence-batch", "core-set"].contains(&strategy) {
            // Of one source the first three of the strategy's own order.
            let firsts = |selected: &[serde_json::Value]| -> Vec<String> {
                let mut kept = Vec::new();
                for image in selected {
                    if kept.iter().filter(|id: &&String| id.starts_with(&format!("{}/", source(image)))).count() < 3 {
                        kept.push(image["id"].as_str().expect("an id").to_owned());
                    }
                }
                kept
            };
            let (expected, found) = (firsts(&plain), firsts(&by_source));
            assert_eq!(
                found[..expected.len().min(found.len())],
                expected[..expected.len().min(found.len())],
                "{strategy}"
            );
        }
    }
}

#[test]
fn near_duplicates_are_passed_over() {
    let place = with_reference();
    let chosen = |out: &str, more: &[&str]| {
        place.score(&["--strategy", "entropy", "-o", out]).args(more).assert().success();
        selected(&place, out)
    };
    // Each of the first ten again, with one pixel a shade lighter: other content, nearly the same features.
    for id in &chosen("first", &[])[..10] {
        let path = place.path("pool").join(id);
        let mut image = image::open(&path).expect("an image").to_luma8();
        image.put_pixel(14, 14, image::Luma([image.get_pixel(14, 14).0[0] ^ 1]));
        image.save(path.with_extension("again.png")).expect("written");
    }
    let pairs = |ids: &[String]| {
        let again = |id: &String| ids.contains(&id.replace(".png", ".again.png"));
        ids.iter().filter(|id| again(id)).count()
    };
    assert!(pairs(&chosen("plain", &[])) >= 5, "alike in features, alike in entropy");
    let apart = chosen("apart", &["--apart", "1e-5"]);
    assert_eq!(pairs(&apart), 0, "{apart:?}");
    let run = place.json("apart/run.json");
    let passed = run["provenance"]["passed over by filters"].as_str().expect("a text").parse::<usize>();
    assert!(passed.expect("a number") >= 5);
    assert_eq!(run["provenance"]["filters"], "{\"apart\":0.00001}");
}

#[test]
fn select_goes_by_the_reference_set_with_its_labels_where_it_is_given_and_else_by_batches() {
    let place = with_reference();
    let data = ["select", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"];
    for (more, strategy) in [
        (&["--reference", "reference"][..], "influence-kernel"),
        (&["--target", "reference/"], "influence-batch"),
        (&["--reference", "reference", "--target", "pool"], "influence-batch"),
        (&[], "influence-batch"),
    ] {
        let mut select = place.isal(&[&data, more].concat());
        select.args(["--budget", "20", "--batch-size", "8", "--threads", "1", "-o", "next"]).assert().success();
        assert_eq!(place.json("next/selection.json")["strategy"]["strategy"], strategy, "{more:?}");
        place.score(&[&["--strategy", strategy, "-o", "out"], more].concat()).assert().success();
        assert_eq!(selected(&place, "next"), selected(&place, "out"), "{more:?}");
        for folder in ["next", "out"] {
            fs::remove_dir_all(place.path(folder)).expect("it is there");
        }
    }
}

#[test]
fn what_a_joint_strategy_cannot_go_by_is_said_with_exit_code_2() {
    let place = with_reference();
    place.score(&["-o", "made"]).assert().success();
    let refused = |command: &mut assert_cmd::Command, words: &[&str]| {
        let output = command.output().expect("it runs");
        let code = output.status.code();
        let said = stderr(output);
        assert_eq!(code, Some(2), "{said}");
        for word in words {
            assert!(said.contains(word), "`{word}`: {said}");
        }
    };
    let strategy = ["--strategy", "influence-batch", "-o", "out"];
    refused(place.score(&strategy).args(["--features", "nothing"]), &["`nothing`", "--features"]);
    refused(place.score(&strategy).args(["--features", "nowhere.onnx"]), &["nowhere.onnx"]);
    refused(&mut place.score(&["--strategy", "margin", "--target", "pool", "-o", "out"]), &["`margin`", "--target"]);
    let mut alone = place.isal(&["score", "pool", "--influence", "made/influence.onnx", "--pool", "pool"]);
    refused(alone.args(["--budget", "5"]).args(strategy), &["--model"]);
    let mut without = place.isal(&["score", "pool", "--model", "model.onnx", "--pool", "pool", "--budget", "5"]);
    refused(without.args(strategy), &["--labeled"]);
    fs::write(place.path("strategy.toml"), "strategy = \"influence-batch\"\ndamping = -1.0\n").expect("written");
    refused(&mut place.score(&["--strategy", "strategy.toml", "-o", "out"]), &["`damping`", "-1"]);
    for number in ["1/2", "2/2"] {
        place
            .score(&["--strategy", "entropy", "--shard", number, "-o", &format!("s{}", &number[..1])])
            .assert()
            .success();
    }
    refused(place.isal(&["score", "merge", "s1", "s2", "--budget", "5"]).args(strategy), &["isal score pool"]);
}
