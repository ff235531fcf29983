//! The weight generator against its twin in Python (`tests/fixtures/seeded.py`).
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use isal_exporters::{build, seeded, zoo};
use isal_onnx::{DataType, Dim, Graph, Model, Tensor, ValueInfo, ValueType};

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn values_are_those_of_python_bit_for_bit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/seeded/values.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let seed = case["seed"].as_str().unwrap().parse().unwrap();
        let dims: Vec<usize> = serde_json::from_value(case["dims"].clone()).unwrap();
        let tensor = seeded::parameter(seed, name, &dims, case["gain"].as_f64().unwrap());
        assert_eq!(tensor.dims(), dims);
        if let Some(bits) = case["bits"].as_array() {
            let found: Vec<String> =
                tensor.to_vec::<f32>().unwrap().iter().map(|v| format!("{:08x}", v.to_bits())).collect();
            assert_eq!(found, bits.iter().map(|b| b.as_str().unwrap()).collect::<Vec<_>>(), "{name} at seed {seed}");
        }
        assert_eq!(format!("{:016x}", fnv1a(tensor.bytes())), case["fnv1a"].as_str().unwrap(), "{name}");
    }
}

/// A model with these inputs beside `images`, and the metadata that ask for them to be filled.
fn structure(inputs: &[(&str, &[usize])], seeded: &str) -> Model {
    let images = ValueInfo::new("images", ValueType::new(DataType::Float, [Dim::from("N"), Dim::from(3)]));
    let weights =
        inputs.iter().map(|(n, dims)| ValueInfo::new(*n, ValueType::new(DataType::Float, dims.iter().copied())));
    let graph = Graph { inputs: [images].into_iter().chain(weights).collect(), ..Graph::default() };
    let mut model = Model { graph, ..Model::default() };
    model.metadata.insert("isal.seed".to_owned(), "5".to_owned());
    model.metadata.insert("isal.seeded".to_owned(), seeded.to_owned());
    model
}

#[test]
fn fill_makes_initializers_of_the_listed_inputs_in_their_order() {
    let mut model = structure(
        &[("fc.weight", &[4, 3]), ("val_7", &[3, 4]), ("fc.bias", &[4]), ("bias_2", &[4])],
        "fc.bias,fc.weight,bias_2|fc.bias,val_7|fc.weight|transposed",
    );
    model.graph.initializers.insert("shape".to_owned(), Tensor::new([1], &[-1i64]));
    seeded::fill(&mut model).unwrap();
    let graph = &model.graph;
    assert_eq!(graph.inputs.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["images"]);
    assert_eq!(graph.initializers.keys().collect::<Vec<_>>(), ["fc.bias", "fc.weight", "bias_2", "val_7", "shape"]);
    let weight: Vec<f32> = graph.initializers["fc.weight"].to_vec().unwrap();
    assert_eq!(weight, seeded::parameter(5, "fc.weight", &[4, 3], 1.0).to_vec::<f32>().unwrap());
    let transposed: Vec<f32> = graph.initializers["val_7"].to_vec().unwrap();
    for (i, j) in (0..4).flat_map(|i| (0..3).map(move |j| (i, j))) {
        assert_eq!(transposed[j * 4 + i], weight[i * 3 + j], "({i}, {j})");
    }
    assert_eq!(graph.initializers["bias_2"], graph.initializers["fc.bias"]);
    assert_eq!(graph.initializers["val_7"].dims(), [3, 4]);
}

#[test]
fn relative_bias_depends_on_the_offset_between_two_tokens_alone() {
    let inputs: [(&str, &[usize]); 2] = [("bias", &[1, 2, 9, 9]), ("rows", &[81, 2])];
    let mut model = structure(&inputs, "bias|table|relative-bias,rows|table|relative-bias");
    seeded::fill(&mut model).unwrap();
    let bias: Vec<f32> = model.graph.initializers["bias"].to_vec().unwrap();
    let table: Vec<f32> = seeded::parameter(5, "table", &[25, 2], 1.0).to_vec().unwrap();
    let at = |head: usize, i: usize, j: usize| bias[(head * 9 + i) * 9 + j];
    for head in 0..2 {
        // No offset: the middle of the 5x5 table. One column to the left and one row up: the corner next to it.
        assert_eq!(at(head, 0, 0), table[12 * 2 + head]);
        assert_eq!(at(head, 8, 8), table[12 * 2 + head]);
        assert_eq!(at(head, 0, 4), table[6 * 2 + head]);
        assert_eq!(at(head, 0, 8), table[head]);
        assert_eq!(at(head, 8, 0), table[24 * 2 + head]);
    }
    let rows: Vec<f32> = model.graph.initializers["rows"].to_vec().unwrap();
    for (pair, head) in (0..81).flat_map(|pair| (0..2).map(move |head| (pair, head))) {
        assert_eq!(rows[pair * 2 + head], at(head, pair / 9, pair % 9), "pair {pair}, head {head}");
    }
}

#[test]
fn metadata_that_do_not_fit_are_refused_and_leave_the_model_alone() {
    let cases = [
        ("other", "no such input"),
        ("w,w", "filled twice"),
        ("w|w|upside-down", "neither `name`"),
        ("w|w|transposed", "a matrix is transposed"),
        ("w|w|relative-bias", "are neither [1, heads, w * w, w * w] nor [w^4, heads]"),
        ("images", "not all known"),
        ("huge", "more than 2 GiB"),
        ("", "no such input"),
    ];
    for (seeded, reason) in cases {
        let mut model = structure(&[("w", &[3]), ("huge", &[1 << 40, 1 << 40])], seeded);
        let before = model.clone();
        let error = seeded::fill(&mut model).unwrap_err().to_string();
        assert!(error.contains(reason), "`{seeded}` gave: {error}");
        assert_eq!(model, before);
    }
    let mut model = structure(&[("w", &[3])], "w");
    model.metadata.insert("isal.seed".to_owned(), "-1".to_owned());
    assert_eq!(
        seeded::fill(&mut model).unwrap_err().to_string(),
        "seeded weights: `isal.seed`: `-1` is not a number of the kind that stands there"
    );
    model.metadata.shift_remove("isal.seeded");
    assert_eq!(seeded::fill(&mut model).unwrap_err().to_string(), "seeded weights: `isal.seeded`: absent");
}

#[test]
fn overwriting_a_model_gives_every_weight_the_value_of_its_name() {
    let mut model = build("resnet8", &zoo()[1].defaults).unwrap();
    seeded::overwrite(&mut model, 3, 0.7);
    for (name, tensor) in &model.graph.initializers {
        assert_eq!(*tensor, seeded::parameter(3, name, tensor.dims(), 0.7), "{name}");
    }
}
