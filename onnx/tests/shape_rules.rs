//! Shape rules one by one: symbols that are carried through, and what is said when sizes do not fit.

use isal_onnx::{Builder, DataType, Dim, Graph, Model, Node, Tensor, Value, ValueInfo, ValueType};

fn float(dims: impl IntoIterator<Item = Dim>) -> ValueType {
    ValueType { data_type: DataType::Float, shape: Some(dims.into_iter().collect()) }
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::new(dims, &vec![0.0f32; dims.iter().product()])
}

/// The type of what `build` makes of an input of this shape, as text, or the error.
fn infer(dims: &[Dim], build: impl FnOnce(&mut Builder, Value) -> Value) -> String {
    infer_at(17, dims, build)
}

fn infer_at(opset: i64, dims: &[Dim], build: impl FnOnce(&mut Builder, Value) -> Value) -> String {
    let mut b = Builder::new("g");
    let x = b.input("x", float(dims.iter().cloned()));
    let y = build(&mut b, x);
    b.output("y", y, None);
    let mut model = Model::new(opset, b.finish().expect("a graph"));
    match model.infer_shapes() {
        Ok(()) => model.graph.value_type("y").map_or("nothing".to_owned(), |t| t.to_string()),
        Err(e) => e.to_string(),
    }
}

fn image() -> [Dim; 4] {
    ["N".into(), 3.into(), "H".into(), "W".into()]
}

fn ints(b: &mut Builder, values: &[i64]) -> Value {
    b.constant("ints", Tensor::new([values.len()], values))
}

#[test]
fn a_convolution_over_symbols_divides_them() {
    let shape = infer(&image(), |b, x| {
        let w = b.initializer("w", zeros(&[8, 3, 3, 3]));
        b.node("Conv", [x, w]).attr("strides", vec![2, 2]).attr("pads", vec![1, 1, 1, 1]).value()
    });
    assert_eq!(shape, "Float [N, 8, floor((H + 1)/2), floor((W + 1)/2)]");
    let shape = infer(&image(), |b, x| {
        let w = b.initializer("w", zeros(&[8, 3, 1, 1]));
        b.op("Conv", [x, w])
    });
    assert_eq!(shape, "Float [N, 8, H, W]");
}

#[test]
fn channels_that_do_not_fit_are_named() {
    let error = infer(&image(), |b, x| {
        let w = b.initializer("w", zeros(&[8, 4, 3, 3]));
        b.node("Conv", [x, w]).name("layer3/conv").value()
    });
    assert_eq!(error, "node `layer3/conv` (`Conv`, opset 17): weight expects 4 channels, input 0 has 3");
    let error = infer(&["N".into(), 5.into()], |b, x| {
        let w = b.initializer("w", zeros(&[8, 4]));
        b.node("Gemm", [x, w]).attr("transB", 1).name("fc").value()
    });
    assert_eq!(error, "node `fc` (`Gemm`, opset 17): weight expects 4 features, input 0 has 5");
}

#[test]
fn windows_that_do_not_fit_are_named() {
    let small = ["N".into(), 3.into(), 4.into(), 4.into()];
    let error = infer(&small, |b, x| b.node("MaxPool", [x]).attr("kernel_shape", vec![7, 7]).name("pool").value());
    assert_eq!(error, "node `pool` (`MaxPool`, opset 17): a window of 7 does not fit spatial axis 0, padded 4 + 0");
    for (name, value) in [("strides", vec![0, 1]), ("dilations", vec![1, -1]), ("strides", vec![1])] {
        let error = infer(&small, |b, x| {
            b.node("MaxPool", [x]).attr("kernel_shape", vec![2, 2]).attr(name, value).name("pool").value()
        });
        assert!(error.starts_with(&format!("node `pool` (`MaxPool`, opset 17): `{name}` has ")), "{error}");
    }
}

#[test]
fn a_last_window_beyond_the_input_is_left_out_of_a_ceiling_pool() {
    // 5 wide, window 1, stride 3: positions 0 and 3; a third at 6 would lie outside.
    let pool = |size: usize, kernel: i64, stride: i64, pad: i64| {
        infer(&[1.into(), 1.into(), size.into()], |b, x| {
            b.node("MaxPool", [x])
                .attr("kernel_shape", vec![kernel])
                .attr("strides", vec![stride])
                .attr("pads", vec![pad, pad])
                .attr("ceil_mode", 1)
                .value()
        })
    };
    assert_eq!(pool(5, 1, 3, 0), "Float [1, 1, 2]");
    assert_eq!(pool(6, 3, 2, 0), "Float [1, 1, 3]");
    assert_eq!(pool(4, 2, 3, 1), "Float [1, 1, 2]", "a third would start in the padding after");
}

#[test]
fn reshape_follows_sizes_computed_in_the_graph() {
    // What exporters write for `x.view(x.size(0), -1)`.
    let shape = infer(&image(), |b, x| {
        let shape = b.op("Shape", [x]);
        let zero = b.constant("zero", Tensor::scalar(0i64));
        let batch = b.node("Gather", [shape, zero]).attr("axis", 0).value();
        let axes = ints(b, &[0]);
        let batch = b.op("Unsqueeze", [batch, axes]);
        let rest = ints(b, &[-1]);
        let target = b.node("Concat", [batch, rest]).attr("axis", 0).value();
        b.op("Reshape", [x, target])
    });
    assert_eq!(shape, "Float [N, 3*H*W]");
    let windows = infer(&["N".into(), 56.into(), 56.into(), 96.into()], |b, x| {
        let target = ints(b, &[-1, 7, 7, 96]);
        b.op("Reshape", [x, target])
    });
    assert_eq!(windows, "Float [64*N, 7, 7, 96]");
    let error = infer(&["N".into(), 6.into()], |b, x| {
        let target = ints(b, &[-1, -1]);
        b.node("Reshape", [x, target]).name("view").value()
    });
    assert_eq!(error, "node `view` (`Reshape`, opset 17): -1 on two axes");
    let error = infer(&[2.into(), 6.into()], |b, x| {
        let target = ints(b, &[5, -1]);
        b.node("Reshape", [x, target]).name("view").value()
    });
    assert_eq!(error, "node `view` (`Reshape`, opset 17): 12 elements do not divide by the 5 of [5, 1]");
}

#[test]
fn slices_of_symbols_are_known_where_the_symbol_cannot_matter() {
    let slice = |dims: &[Dim], start: i64, end: i64, step: i64| {
        infer(dims, |b, x| {
            let inputs = [start, end, 0, step].map(|n| ints(b, &[n]));
            b.op("Slice", [x, inputs[0], inputs[1], inputs[2], inputs[3]])
        })
    };
    let n: [Dim; 1] = ["N".into()];
    assert_eq!(slice(&n, 0, i64::MAX, 1), "Float [N]");
    assert_eq!(slice(&n, 0, i64::MAX, 2), "Float [floor((N + 1)/2)]");
    assert_eq!(slice(&n, -1, i64::MIN, -1), "Float [N]");
    assert_eq!(slice(&n, 0, 5, 1), "Float [?]", "N may be less than 5");
    assert_eq!(slice(&["N + 8".into()], 2, 5, 1), "Float [3]");
    assert_eq!(slice(&["N + 8".into()], 0, -3, 1), "Float [N + 5]");
    assert_eq!(slice(&[10.into()], 8, 1, -3), "Float [3]");
    assert_eq!(slice(&[10.into()], 7, 3, 1), "Float [0]");
}

#[test]
fn shapes_that_do_not_broadcast_are_shown() {
    let error = infer(&image(), |b, x| {
        let w = b.initializer("w", zeros(&[4, 1, 1]));
        b.node("Add", [x, w]).name("add").value()
    });
    assert_eq!(error, "node `add` (`Add`, opset 17): shapes [N, 3, H, W] and [4, 1, 1] do not broadcast");
    let two_symbols = infer(&["N".into(), "M".into()], |b, x| {
        let t = b.op("Transpose", [x]);
        b.op("Add", [x, t])
    });
    assert_eq!(two_symbols, "Float [?, ?]", "equal or one of them 1, nobody knows");
}

#[test]
fn types_that_differ_are_named() {
    let error = infer(&image(), |b, x| {
        let w = b.constant("w", Tensor::scalar(1i64));
        b.node("Mul", [x, w]).name("mul").value()
    });
    assert_eq!(error, "node `mul` (`Mul`, opset 17): input 1 is Int64, input 0 is Float");
}

#[test]
fn what_the_file_declares_is_believed_or_contradicted_out_loud() {
    let build = |declared: ValueType| {
        let graph = Graph {
            name: "g".to_owned(),
            inputs: vec![ValueInfo::new("x", float(["N".into(), 4.into()]))],
            outputs: vec![ValueInfo::new("y", declared)],
            nodes: vec![Node::new("Relu", "relu", ["x"], ["h"]), Node::new("Custom", "", ["h"], ["y"])],
            ..Graph::default()
        };
        let mut model = Model::new(17, graph);
        model.graph.nodes[1].domain = "com.example".to_owned();
        model.opsets.insert("com.example".to_owned(), 1);
        model
    };
    let mut model = build(float(["N".into(), 7.into()]));
    model.infer_shapes().expect("nothing known of the last node");
    assert_eq!(model.graph.value_type("y").expect("declared").to_string(), "Float [N, 7]");
    model.graph.value_types.insert("h".to_owned(), float(["N".into(), 5.into()]));
    let error = model.infer_shapes().expect_err("Relu changes no size").to_string();
    assert_eq!(error, "node `relu` (`Relu`, opset 17): output `h`: it is [N, 4], declared [N, 5]");
}

#[test]
fn a_bound_symbol_gives_numbers_everywhere() {
    let mut b = Builder::new("g");
    let x = b.input("x", float(image()));
    let pooled = b.op("GlobalAveragePool", [x]);
    let flat = b.op("Flatten", [pooled]);
    b.output("y", flat, None);
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.infer_shapes().expect("shapes");
    assert_eq!(model.graph.value_type("y").expect("a type").to_string(), "Float [N, 3]");
    model.bind("N", 8);
    model.infer_shapes().expect("shapes");
    assert_eq!(model.graph.value_type("x").expect("a type").to_string(), "Float [8, 3, H, W]");
    assert_eq!(model.graph.value_type("y").expect("a type").to_string(), "Float [8, 3]");
}

#[test]
fn both_branches_of_an_if_are_looked_at() {
    let branch = |outputs: [usize; 2]| {
        let mut b = Builder::new("branch");
        let w = b.initializer("w", zeros(&outputs));
        let y = b.op("Identity", [w]);
        b.output("out", y, None);
        isal_onnx::Attribute::Graph(Box::new(b.finish().expect("a graph")))
    };
    let shape = |condition: Option<bool>| {
        infer(&["N".into()], |b, x| {
            let c = match condition {
                Some(c) => b.constant(
                    "c",
                    Tensor::from_bytes("c", vec![], DataType::Bool, vec![u8::from(c)]).expect("a boolean"),
                ),
                None => b.op("IsNaN", [x]),
            };
            b.node("If", [c]).attr("then_branch", branch([2, 3])).attr("else_branch", branch([2, 5])).value()
        })
    };
    assert_eq!(shape(None), "Float [2, ?]");
    assert_eq!(shape(Some(true)), "Float [2, 3]");
    assert_eq!(shape(Some(false)), "Float [2, 5]");
}

#[test]
fn axes_moved_from_attributes_to_inputs() {
    let dims = ["N".into(), 3.into(), 4.into()];
    let by_attribute =
        infer_at(12, &dims, |b, x| b.node("ReduceSum", [x]).attr("axes", vec![1]).attr("keepdims", 0).value());
    let by_input = infer_at(13, &dims, |b, x| {
        let axes = ints(b, &[1]);
        b.node("ReduceSum", [x, axes]).attr("keepdims", 0).value()
    });
    assert_eq!((by_attribute.as_str(), by_input.as_str()), ("Float [N, 4]", "Float [N, 4]"));
    let by_attribute = infer_at(9, &dims, |b, x| {
        b.node("Slice", [x]).attr("starts", vec![1]).attr("ends", vec![3]).attr("axes", vec![2]).value()
    });
    assert_eq!(by_attribute, "Float [N, 3, 2]");
}
