//! Tangents of a graph's inputs, where what is held stands still.

use crate::place::{Graph, library};
use isal_onnx::tangent::{HELD, Target, of_inputs};
use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};

/// loss = sum over the row of x y quality, quality = sigmoid(x): as the quality target of a detector.
fn model(held: &str) -> Model {
    let mut b = Builder::new("loss");
    let rows = ValueType::new(DataType::Float, ["N".into(), isal_onnx::Dim::from(2)]);
    let [x, y] = ["x", "y"].map(|name| b.input(name, rows.clone()));
    let quality = b.node("Sigmoid", [x]).outputs(["quality"]).value();
    let product = b.op("Mul", [x, y]);
    let product = b.op("Mul", [product, quality]);
    let axes = b.constant("axes", Tensor::new([1], &[1i64]));
    let loss = b.node("ReduceSum", [product, axes]).attr("keepdims", 0i64).value();
    b.output("loss", loss, Some(ValueType::new(DataType::Float, ["N"])));
    let mut model = Model::new(17, b.finish().expect("a graph"));
    model.metadata.insert(HELD.to_owned(), held.to_owned());
    model
}

#[test]
fn held_values_are_settings_and_every_moving_input_counts() {
    let (x, y, dx, dy) = ([0.5f32, -1.0, 2.0, 0.25], [1.0f32, 2.0, -1.0, 0.5], [1.0f32, -0.5, 0.25, 2.0], [0.5f32; 4]);
    let tensor = |values: &[f32; 4]| Tensor::new([2, 2], values);
    let (tx, ty, tdx, tdy) = (tensor(&x), tensor(&y), tensor(&dx), tensor(&dy));
    let library = library();
    // (held, inputs that move): the derivative by x counts the slope of the quality or not, that by y counts or not.
    for (held, moving, slope, by_x, by_y) in [
        ("", &["x"][..], 1.0, 1.0, 0.0),
        ("quality", &["x"], 0.0, 1.0, 0.0),
        ("quality", &["x", "y"], 0.0, 1.0, 1.0),
        ("", &["x", "y"], 1.0, 1.0, 1.0),
        ("x", &["x", "y"], 0.0, 0.0, 1.0),
    ] {
        let of = of_inputs(&model(held), moving, Target::Any).expect("made");
        let mut given = vec![("x", &tx), ("y", &ty), ("x.tangent", &tdx)];
        if moving.contains(&"y") {
            given.push(("y.tangent", &tdy));
        }
        let found = Graph::open(&library, &of).floats(&given, "loss.tangent");
        for (image, found) in found.into_iter().enumerate() {
            let one = |i: usize| {
                let [x, y, dx, dy] = [x[i], y[i], dx[i], dy[i]].map(f64::from);
                let q = 1.0 / (1.0 + (-x).exp());
                by_x * (y * q * dx + slope * x * y * q * (1.0 - q) * dx) + by_y * x * q * dy
            };
            let expected = one(2 * image) + one(2 * image + 1);
            // Sums of a few products in float32, of size 1.
            let error = (found - expected).abs();
            assert!(error < 2e-6, "held `{held}`, {moving:?}: {found} instead of {expected}");
        }
    }
}
