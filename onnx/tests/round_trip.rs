//! Reading what was written gives the model back, for random models and for fields nobody knows.

mod messages;

use isal_onnx::{Attribute, DataType, Dim, Graph, Model, Node, Tensor, ValueInfo, ValueType};
use messages::*;
use onnx_protobuf::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    // Names may hold anything but nothing at all.
    "[a-zA-Zäß0-9_./:%-]{1,12}"
}

fn data_type() -> impl Strategy<Value = DataType> {
    proptest::sample::select(DataType::ALL.to_vec())
}

fn tensor() -> impl Strategy<Value = Tensor> {
    (data_type(), vec(0usize..4, 0..4)).prop_flat_map(|(data_type, dims)| {
        let count: usize = dims.iter().product();
        let bytes = data_type.byte_len(count).unwrap_or(0);
        let strings = if data_type == DataType::String { count } else { 0 };
        (vec(any::<u8>(), bytes), vec(vec(any::<u8>(), 0..5), strings)).prop_map(move |(bytes, strings)| {
            let made = match data_type {
                DataType::String => Tensor::strings("t", dims.clone(), strings),
                _ => Tensor::from_bytes("t", dims.clone(), data_type, bytes),
            };
            made.expect("as many bytes as the dims ask for")
        })
    })
}

fn dim() -> impl Strategy<Value = Dim> {
    prop_oneof![(0usize..100).prop_map(Dim::Known), text().prop_map(Dim::Symbol), Just(Dim::Unknown)]
}

fn value_type() -> impl Strategy<Value = ValueType> {
    (data_type(), proptest::option::of(vec(dim(), 0..4))).prop_map(|(data_type, shape)| ValueType { data_type, shape })
}

fn attribute(depth: u32) -> BoxedStrategy<Attribute> {
    // Floats that are equal to themselves.
    let float = || any::<i32>().prop_map(|n| n as f32 / 256.0);
    let plain = prop_oneof![
        float().prop_map(Attribute::Float),
        any::<i64>().prop_map(Attribute::Int),
        vec(any::<u8>(), 0..8).prop_map(Attribute::String),
        tensor().prop_map(Attribute::Tensor),
        vec(float(), 0..4).prop_map(Attribute::Floats),
        vec(any::<i64>(), 0..4).prop_map(Attribute::Ints),
        vec(vec(any::<u8>(), 0..4), 0..3).prop_map(Attribute::Strings),
        vec(tensor(), 0..3).prop_map(Attribute::Tensors),
    ];
    if depth == 0 {
        return plain.boxed();
    }
    prop_oneof![
        8 => plain,
        1 => graph(depth - 1).prop_map(|g| Attribute::Graph(Box::new(g))),
        1 => vec(graph(depth - 1), 0..3).prop_map(Attribute::Graphs),
    ]
    .boxed()
}

/// Nodes that read what came before and each make a value or two.
fn graph(depth: u32) -> BoxedStrategy<Graph> {
    let node =
        (text(), text(), vec(any::<prop::sample::Index>(), 0..3), vec((text(), attribute(depth)), 0..4), 1usize..3);
    (text(), vec(value_type(), 1..3), vec(tensor(), 0..3), vec(node, 0..5), vec(value_type(), 0..3))
        .prop_map(move |(name, inputs, initializers, nodes, inner)| {
            let mut graph = Graph { name, ..Graph::default() };
            // Numbered within the depth: a name may come again in a graph around or below.
            for (i, t) in inputs.into_iter().enumerate() {
                graph.inputs.push(ValueInfo::new(format!("in{depth}.{i}"), t));
            }
            for (i, t) in initializers.into_iter().enumerate() {
                graph.initializers.insert(format!("w{depth}.{i}"), t);
            }
            let mut made: Vec<String> =
                graph.inputs.iter().map(|v| v.name.clone()).chain(graph.initializers.keys().cloned()).collect();
            for (i, (name, op, reads, attributes, outputs)) in nodes.into_iter().enumerate() {
                let inputs: Vec<String> = reads.iter().map(|r| r.get(&made).clone()).collect();
                let outputs: Vec<String> = (0..outputs).map(|k| format!("v{depth}.{i}.{k}")).collect();
                made.extend(outputs.iter().cloned());
                let mut node = Node::new(&op, name, inputs, outputs);
                node.domain = "test".to_owned();
                node.attributes.extend(attributes);
                graph.nodes.push(node);
            }
            for (i, t) in inner.into_iter().enumerate() {
                if let Some(value) = made.get(i) {
                    graph.value_types.insert(value.clone(), t);
                }
            }
            let last = made.pop().unwrap_or_default();
            graph.outputs.push(ValueInfo { name: last, value_type: None });
            graph
        })
        .boxed()
}

fn any_model() -> impl Strategy<Value = Model> {
    (graph(2), vec((text(), text()), 0..3), 7i64..=24).prop_map(|(graph, metadata, opset)| {
        let mut model = Model::new(opset, graph);
        model.opsets.insert("test".to_owned(), 1);
        model.metadata.extend(metadata);
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_and_what_is_read_is_written(model in any_model()) {
        let bytes = model.to_bytes().expect("writes");
        let back = Model::from_bytes(&bytes, None).expect("reads");
        prop_assert_eq!(&back, &model);
        prop_assert_eq!(back.to_bytes().expect("writes"), bytes);
        prop_assert_eq!(back.sha256(), model.sha256());
    }

    #[test]
    fn nodes_in_any_order_are_sorted_the_same_way_back(model in any_model(), seed in any::<u64>()) {
        let mut shuffled = model.clone();
        let count = shuffled.graph.nodes.len() as u64;
        for i in (1..count).rev() {
            shuffled.graph.nodes.swap(i as usize, (seed.rotate_left(i as u32) % (i + 1)) as usize);
        }
        shuffled.graph.sort().expect("no cycle");
        let mut made: std::collections::HashSet<String> = shuffled.graph.inputs.iter().map(|v| v.name.clone()).collect();
        made.extend(shuffled.graph.initializers.keys().cloned());
        for node in &shuffled.graph.nodes {
            prop_assert!(node.inputs.iter().all(|i| made.contains(i)), "{} comes too early", node.outputs[0]);
            made.extend(node.outputs.iter().cloned());
        }
        let sorted = shuffled.graph.clone();
        shuffled.graph.sort().expect("no cycle");
        prop_assert_eq!(sorted, shuffled.graph, "a sorted graph stays as it is");
    }
}

/// Field 2000 as a varint, which `onnx.proto` has nowhere.
fn unknown() -> protobuf::SpecialFields {
    let mut fields = protobuf::SpecialFields::new();
    fields.mut_unknown_fields().add_varint(2000, 7);
    fields
}

#[test]
fn what_the_typed_form_does_not_hold_survives() {
    let mut graph = identity();
    let note =
        |text: &str| StringStringEntryProto { key: "k".to_owned(), value: text.to_owned(), ..Default::default() };
    graph.doc_string = "a graph".to_owned();
    graph.metadata_props.push(note("graph"));
    graph.special_fields = unknown();
    let node = &mut graph.node[0];
    node.doc_string = "a node".to_owned();
    node.overload = "o".to_owned();
    node.metadata_props.push(note("node"));
    node.special_fields = unknown();
    node.attribute.push(AttributeProto {
        name: "a".to_owned(),
        type_: attribute_proto::AttributeType::INT.into(),
        i: 3,
        doc_string: "an attribute".to_owned(),
        special_fields: unknown(),
        ..Default::default()
    });
    node.attribute.push(AttributeProto {
        name: "t".to_owned(),
        type_: attribute_proto::AttributeType::TENSOR.into(),
        t: Some(TensorProto {
            name: "inner".to_owned(),
            data_type: 1,
            dims: vec![1],
            raw_data: vec![0; 4],
            doc_string: "a tensor".to_owned(),
            ..Default::default()
        })
        .into(),
        ..Default::default()
    });
    node.attribute.push(AttributeProto {
        name: "type".to_owned(),
        type_: attribute_proto::AttributeType::TYPE_PROTO.into(),
        tp: Some(TypeProto { denotation: "IMAGE".to_owned(), ..Default::default() }).into(),
        ..Default::default()
    });
    graph.initializer.push(TensorProto {
        name: "w".to_owned(),
        data_type: 1,
        dims: vec![1],
        raw_data: vec![0; 4],
        doc_string: "weights".to_owned(),
        special_fields: unknown(),
        ..Default::default()
    });
    graph.input[0].doc_string = "an input".to_owned();
    // An initializer that is listed as an input too, with a type.
    graph.input.push(value("w"));
    let sequence = type_proto::Sequence { elem_type: Some(TypeProto::default()).into(), ..Default::default() };
    let sequence = TypeProto { value: Some(type_proto::Value::SequenceType(sequence)), ..Default::default() };
    graph.value_info.push(ValueInfoProto { name: "s".to_owned(), type_: Some(sequence).into(), ..Default::default() });
    graph.quantization_annotation.push(TensorAnnotation { tensor_name: "w".to_owned(), ..Default::default() });
    let mut message = model(graph);
    message.producer_name = "somebody".to_owned();
    message.doc_string = "a model".to_owned();
    message.special_fields = unknown();

    let read = Model::from_bytes(&bytes(&message), None).expect("reads");
    assert_eq!(read.graph.inputs.len(), 1, "an initializer is no input");
    let written = ModelProto::parse_from_bytes(&read.to_bytes().expect("writes")).expect("parses");
    assert_eq!(written, message);
}

#[test]
fn old_files_list_their_initializers_as_inputs() {
    let mut graph = identity();
    graph.initializer.push(TensorProto {
        name: "w".to_owned(),
        data_type: 1,
        dims: vec![1],
        raw_data: vec![0; 4],
        ..Default::default()
    });
    let mut message = model(graph);
    message.ir_version = 3;
    let read = Model::from_bytes(&bytes(&message), None).expect("reads");
    let written = ModelProto::parse_from_bytes(&read.to_bytes().expect("writes")).expect("parses");
    let names: Vec<&str> = written.graph.input.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["x", "w"], "runtimes want them there before IR version 4");
}
