//! Execution providers: what is said of those that are not there, and what a run on the one that is gives.

use crate::place::{Place, stderr};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use ndarray::Array4;

#[test]
fn a_provider_that_is_not_there_is_named_with_what_is_and_what_to_do() {
    let place = Place::new();
    for (provider, package) in [
        ("cuda", "onnxruntime-gpu"),
        ("tensorrt", "onnxruntime-gpu"),
        ("migraphx", "onnxruntime-migraphx"),
        ("directml", "onnxruntime-directml"),
        ("openvino", "onnxruntime-openvino"),
        ("coreml", "macOS"),
    ] {
        let library = Library::load(None).expect("ONNX Runtime");
        let names = ExecutionProvider::built_in(&library).expect("a list");
        if names.iter().any(|name| name.to_lowercase().starts_with(provider)) {
            continue;
        }
        let command = ["--strategy", "entropy", "-o", "out", "--execution-provider", provider];
        let said = stderr(place.score(&command).assert().code(3).get_output().clone());
        assert!(said.contains(&format!("execution provider `{provider}` is not in this build")), "{said}");
        assert!(said.contains("CPUExecutionProvider") && said.contains(library.version()), "{said}");
        assert!(said.contains(package) && said.contains("--execution-provider cpu"), "{said}");
    }
}

#[test]
fn a_provider_is_tried_on_a_convolution_and_the_cpu_computes_it() {
    let library = Library::load(None).expect("ONNX Runtime");
    ExecutionProvider::Cpu.start(&library).expect("the sum of 100 that it is asked for");
}

#[test]
fn auto_says_in_one_line_what_it_took_and_a_provider_by_name_says_nothing() {
    let place = Place::new();
    let lines = |provider: &str| {
        let command = ["--strategy", "entropy", "-o", provider, "--execution-provider", provider];
        let said = stderr(place.score(&command).assert().success().get_output().clone());
        said.lines().filter(|line| line.contains("execution-provider")).map(str::to_owned).collect::<Vec<_>>()
    };
    let auto = lines("auto");
    let taken = place.json("auto/run.json")["provenance"]["execution provider"].as_str().expect("text").to_owned();
    assert!(matches!(auto.as_slice(), [line] if line.contains(&format!("auto` takes {taken}: "))), "{auto:?}");
    assert!(lines("cpu").is_empty());
    assert_eq!(place.json("cpu/run.json")["provenance"]["execution provider"], "cpu");
}

#[test]
fn outputs_that_are_not_asked_for_change_nothing_in_those_that_are() {
    let place = Place::new();
    place.score(&["-o", "out"]).assert().success();
    let library = Library::load(None).expect("ONNX Runtime");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &place.path("out/influence.onnx"), options).expect("a session");
    let outputs = session.outputs();
    assert_eq!(
        (&outputs[..2], &outputs[6..]),
        (&["logits".into(), "pseudo_label.weights".into()][..], &["influence".into()][..])
    );
    let images = |seed: usize| Array4::from_shape_fn((5, 1, 28, 28), |(n, _, h, w)| ((n + seed) * h % (w + 3)) as f32);
    let (first, second) = (images(1), images(2));
    let both = session.run(first.view(), &["logits", "influence"]).expect("both");
    assert_eq!((both[0].shape(), both[1].shape()), (&[5, 10][..], &[5][..]));
    // Another batch in between: an answer must not be a view of memory that the next run writes.
    let other = session.run(second.view(), &["influence"]).expect("another batch");
    assert_ne!(other[0], both[1]);
    let turned = session.run(first.view(), &["influence", "logits"]).expect("turned round");
    assert_eq!((&turned[0], &turned[1]), (&both[1], &both[0]));
    assert_eq!(session.run(first.view(), &["influence"]).expect("one"), both[1..]);
    let error = session.run(first.view(), &["boxes"]).expect_err("no such output").to_string();
    assert!(error.contains("no output `boxes`"), "{error}");
}
