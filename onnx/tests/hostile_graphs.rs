//! Well-formed bytes of a graph that makes no sense: the error names the node, operator and opset.

mod messages;

use isal_onnx::{Error, Model};
use messages::*;
use onnx_protobuf::*;

#[test]
fn a_cycle_is_named() {
    let mut graph = identity();
    graph.node = vec![node("Add", &["x", "b"], &["a"]), node("Neg", &["a"], &["b"]), node("Relu", &["b"], &["y"])];
    graph.node[0].name = "first".to_owned();
    assert_eq!(
        refusal(graph).to_string(),
        "graph `g`: a cycle: `first` (`Add`) reads from `#1` (`Neg`) reads from `first` (`Add`)"
    );
}

#[test]
fn a_cycle_through_a_branch_is_seen() {
    let inner = GraphProto { output: vec![value("y")], ..Default::default() };
    let branch = |name: &str| AttributeProto {
        name: name.to_owned(),
        type_: attribute_proto::AttributeType::GRAPH.into(),
        g: Some(inner.clone()).into(),
        ..Default::default()
    };
    let mut graph = identity();
    graph.node = vec![node("If", &["x"], &["y"])];
    graph.node[0].attribute = vec![branch("then_branch"), branch("else_branch")];
    assert_eq!(refusal(graph).to_string(), "graph `g`: a cycle: `#0` (`If`) reads from `#0` (`If`)");
}

#[test]
fn values_are_made_once_and_read_only_when_made() {
    let case = |change: &dyn Fn(&mut GraphProto)| {
        let mut graph = identity();
        change(&mut graph);
        refusal(graph).to_string()
    };
    assert_eq!(
        case(&|g| g.node[0].input[0] = "z".to_owned()),
        "node `#0` (`Identity`, opset 17): input `z` is made by no node and is no input or initializer"
    );
    assert_eq!(case(&|g| g.output[0].name = "z".to_owned()), "graph `g`: output `z` is made by no node");
    assert_eq!(
        case(&|g| g.node.push(node("Neg", &["x"], &["y"]))),
        "graph `g`: `y` is made by node `#0` and by node `#1`"
    );
    assert_eq!(
        case(&|g| g.node[0].output[0] = "x".to_owned()),
        "graph `g`: `x` is made as an input or initializer and by node `#0`"
    );
    assert_eq!(case(&|g| g.input.push(value("x"))), "graph `g`: `x` is an input or initializer twice");
    assert_eq!(
        case(&|g| {
            let t = TensorProto { name: "w".to_owned(), data_type: 1, dims: vec![0], ..Default::default() };
            g.initializer = vec![t.clone(), t];
        }),
        "graph `g`: initializer `w` is given twice"
    );
}

#[test]
fn nodes_are_held_to_their_operators() {
    let case = |node: NodeProto| {
        let mut graph = identity();
        graph.node = vec![node];
        refusal(graph).to_string()
    };
    let mut foreign = node("Identity", &["x"], &["y"]);
    foreign.domain = "com.example".to_owned();
    assert_eq!(
        case(foreign),
        "node `#0` (`com.example.Identity`, opset 0): the model imports no operator set of domain `com.example`"
    );
    let mut flatten = node("Flatten", &["x"], &["y"]);
    flatten.attribute.push(AttributeProto {
        name: "axis".to_owned(),
        type_: attribute_proto::AttributeType::FLOAT.into(),
        f: 1.0,
        ..Default::default()
    });
    assert_eq!(case(flatten), "node `#0` (`Flatten`, opset 17): attribute `axis` is Float, expected Int");
    assert_eq!(case(node("Add", &["x"], &["y"])), "node `#0` (`Add`, opset 17): 1 inputs, expected 2 to 2");
    assert_eq!(case(node("Gelu", &["x"], &["y"])), "node `#0` (`Gelu`, opset 17): the operator came with opset 20");
    assert_eq!(case(node("", &["x"], &["y"])), "node `#0` (``, opset 17): it has no operator");
}

#[test]
fn operator_sets_outside_the_range_are_refused() {
    for version in [1, 6, 29, 1000, i64::MAX] {
        let mut model = model(identity());
        model.opset_import[0].version = version;
        let error = Model::from_bytes(&bytes(&model), None).expect_err("refused");
        assert_eq!(error.to_string(), format!("opset {version}: expected one of 7 to 28"));
    }
}

#[test]
fn attributes_without_a_value_or_twice_are_refused() {
    use attribute_proto::AttributeType::*;
    for kind in [TENSOR, GRAPH] {
        let mut graph = identity();
        let attribute = AttributeProto { name: "a".to_owned(), type_: kind.into(), ..Default::default() };
        graph.node[0].attribute.push(attribute);
        assert!(matches!(refusal(graph), Error::Malformed { .. }), "{kind:?}");
    }
    let mut graph = identity();
    let attribute = AttributeProto { name: "a".to_owned(), type_: INT.into(), ..Default::default() };
    graph.node[0].attribute = vec![attribute.clone(), attribute];
    assert_eq!(refusal(graph).to_string(), "not an ONNX model: node `` (`Identity`): attribute `a` is set twice");
}

fn with_initializer(change: impl Fn(&mut TensorProto)) -> GraphProto {
    let mut t = TensorProto { name: "w".to_owned(), data_type: 1, dims: vec![2], ..Default::default() };
    t.float_data = vec![1.0, 2.0];
    change(&mut t);
    GraphProto { initializer: vec![t], ..identity() }
}

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let case = |change: fn(&mut TensorProto)| refusal(with_initializer(change)).to_string();
    assert_eq!(case(|t| t.dims = vec![3]), "tensor `w` (Float [3]): expected 12 bytes of data, found 8");
    assert_eq!(case(|t| t.dims = vec![-1]), "tensor `w`: dims [-1] are not sizes");
    assert_eq!(case(|t| t.dims = vec![1 << 62, 4]), "tensor `w`: dims [4611686018427387904, 4] are not sizes");
    assert_eq!(case(|t| t.raw_data = vec![0; 8]), "tensor `w`: data in `raw_data` and in `float_data`");
    assert_eq!(case(|t| t.data_type = 7), "tensor `w`: Int64 data in `float_data`, expected `int64_data`");
    assert_eq!(case(|t| t.data_type = 99), "tensor `w`: element type 99 is unknown");
    assert_eq!(
        case(|t| t.segment = Some(Default::default()).into()),
        "tensor `w`: it is cut into segments, which no runtime reads"
    );
    assert_eq!(
        case(|t| {
            *t = TensorProto { name: "w".to_owned(), data_type: 2, dims: vec![1], ..Default::default() };
            t.int32_data = vec![300];
        }),
        "tensor `w`: 300 does not fit Uint8"
    );
}

#[test]
fn huge_dims_without_data_take_no_memory() {
    for dims in [vec![1 << 40], vec![1 << 30, 1 << 30], vec![i64::MAX]] {
        let graph = with_initializer(|t| {
            t.float_data = Vec::new();
            t.dims = dims.clone();
        });
        assert!(matches!(refusal(graph), Error::TensorSize { .. } | Error::Tensor { .. }), "{dims:?}");
    }
}
