//! Shape inference against truths that come from elsewhere: shapes that ONNX Runtime saw and onnx's own
//! inference agrees with (`fixtures/make.py`), and the outputs that the `onnx` wheel's test cases declare.

mod fixtures;

use isal_onnx::{Dim, Expr, Model, ReadOptions, Tensor, ValueType, ops};
use std::path::{Path, PathBuf};

/// `N*64` and `64*N` are one size.
fn same_dim(a: &Dim, b: &Dim) -> bool {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) => a == b,
        (Dim::Symbol(a), Dim::Symbol(b)) => Expr::parse(a).same(&Expr::parse(b)),
        _ => false,
    }
}

fn same_type(inferred: Option<&ValueType>, truth: &ValueType) -> bool {
    let Some(inferred) = inferred else { return false };
    match (&inferred.shape, &truth.shape) {
        (Some(a), Some(b)) => {
            inferred.data_type == truth.data_type && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_dim(a, b))
        }
        _ => false,
    }
}

#[test]
fn every_value_of_exported_classifiers_gets_the_shape_it_has_when_run() {
    let (mut values, mut failures) = (0, Vec::new());
    for path in fixtures::paths() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut model = Model::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let truth = std::mem::take(&mut model.graph.value_types);
        let outputs = model.graph.outputs.clone();
        for output in &mut model.graph.outputs {
            output.value_type = None;
        }
        if let Err(e) = model.infer_shapes() {
            failures.push(format!("{name}: {e}"));
            continue;
        }
        let outputs = outputs.into_iter().filter_map(|v| Some((v.name, v.value_type?)));
        for (value, t) in truth.into_iter().chain(outputs) {
            values += 1;
            let inferred = model.graph.value_type(&value);
            if !same_type(inferred.as_ref(), &t) {
                let found = inferred.map_or("nothing".to_owned(), |t| t.to_string());
                failures.push(format!("{name}: `{value}` is {t}, inferred {found}"));
            }
        }
    }
    let shown = failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {values} values differ:\n{shown}", failures.len());
    assert!(values > 2000, "{values} values");
}

/// Operators whose output shape depends on the values of the input beyond what inference follows, or
/// that have no tensor type; their cases need only not be contradicted.
const SEEN_ONLY_WHEN_RUN: &[&str] = &[
    "NonZero",
    "Unique",
    "NonMaxSuppression",
    "Compress",
    "Loop",
    "Scan",
    "StringSplit",
    "StringNormalizer",
    "TfIdfVectorizer",
    "ImageDecoder",
    "SequenceMap",
    "SequenceAt",
    "ConcatFromSequence",
    "SplitToSequence",
    "OptionalGetElement",
    "GatherND",
    "Range",
];

#[test]
fn backend_cases_get_the_output_types_they_declare() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../.toolchain/venv/lib/python3.11/site-packages/onnx/backend/test/data");
    let options = ReadOptions { opsets: 1..=99, ..ReadOptions::default() };
    let (mut claimed, mut exactly, mut failures) = (0, 0, Vec::new());
    for folder in ["node", "simple", "pytorch-converted", "pytorch-operator"] {
        let mut cases: Vec<PathBuf> = std::fs::read_dir(data.join(folder))
            .expect("the test data is there")
            .map(|e| e.expect("readable").path())
            .filter(|p| p.join("model.onnx").exists())
            .collect();
        cases.sort();
        for folder in cases {
            let case = folder.file_name().expect("a folder").to_string_lossy().into_owned();
            let mut model =
                Model::read_with(folder.join("model.onnx"), &options).unwrap_or_else(|e| panic!("{case}: {e}"));
            let in_table = model.graph.nodes.iter().all(|n| n.domain.is_empty() && ops::find(&n.op_type).is_some());
            if !in_table || model.graph.outputs.iter().any(|v| v.value_type.is_none()) {
                continue;
            }
            claimed += 1;
            constant_inputs(&mut model, &folder);
            let declared = model.graph.outputs.clone();
            for output in &mut model.graph.outputs {
                output.value_type = None;
            }
            model.graph.value_types.clear();
            if let Err(e) = model.infer_shapes() {
                failures.push(format!("{case}: {e}"));
                continue;
            }
            let dynamic = model.graph.nodes.iter().any(|n| SEEN_ONLY_WHEN_RUN.contains(&n.op_type.as_str()));
            let mut all_exact = true;
            for (i, output) in declared.iter().enumerate() {
                let declared = output.value_type.as_ref().expect("filtered above");
                let mut truth = declared.clone();
                // What comes out in the end, where the case has it.
                if let Some(t) = tensor(&folder.join(format!("test_data_set_0/output_{i}.pb"))) {
                    truth.shape = Some(t.dims().iter().map(|d| Dim::Known(*d)).collect());
                }
                let inferred = model.graph.value_type(&output.name);
                let shown = inferred.as_ref().map_or("nothing".to_owned(), ToString::to_string);
                let is_exact = inferred.as_ref().is_some_and(|t| exact(t, &truth));
                all_exact &= is_exact;
                let fine = is_exact || (dynamic && inferred.as_ref().is_none_or(|t| compatible(t, &truth)));
                if !fine {
                    failures.push(format!("{case}: `{}` is {truth}, inferred {shown}", output.name));
                }
            }
            exactly += usize::from(all_exact);
        }
    }
    println!("{exactly} of {claimed} cases exactly");
    assert!(failures.is_empty(), "{} outputs of {claimed} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(claimed >= 1700 && exactly >= 1600, "{exactly} of {claimed}");
}

/// Makes the inputs of the case constants, as they are in a model that computes its shapes from constants.
fn constant_inputs(model: &mut Model, folder: &Path) {
    let inputs = std::mem::take(&mut model.graph.inputs);
    for (i, input) in inputs.into_iter().enumerate() {
        match tensor(&folder.join(format!("test_data_set_0/input_{i}.pb"))) {
            Some(t) if input.value_type.is_some() => {
                model.graph.initializers.insert(input.name, t);
            }
            _ => model.graph.inputs.push(input),
        }
    }
}

fn tensor(path: &Path) -> Option<Tensor> {
    Tensor::from_message(&std::fs::read(path).ok()?).ok().map(|(_, t)| t)
}

/// Nothing inferred contradicts what is declared.
fn compatible(inferred: &ValueType, truth: &ValueType) -> bool {
    inferred.data_type == truth.data_type
        && match (&inferred.shape, &truth.shape) {
            (Some(a), Some(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| match (a, b) {
                        (Dim::Known(a), Dim::Known(b)) => a == b,
                        _ => true,
                    })
            }
            _ => true,
        }
}

/// Everything declared is inferred.
fn exact(inferred: &ValueType, truth: &ValueType) -> bool {
    compatible(inferred, truth)
        && match (&inferred.shape, &truth.shape) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| match b {
                Dim::Known(_) => a == b,
                _ => true,
            }),
        }
}
