//! Tangents of 3x3 convolutions by Winograd's algorithm, as ONNX Runtime computes them, against the sums that they stand for.
//!
//! A first convolution, 1x1, gives the second one's input a tangent. The truth is added up in float64, term by term.

use indexmap::IndexMap;
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal_onnx::tangent::{Target, tangents};
use isal_onnx::testing::uniform;
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use ndarray::{Array, Array4, ArrayD, ArrayView4, Ix4};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// How much more than a plain convolution Winograd's algorithm may round, both as this machine computes them. A tile's
/// transforms add and subtract up to sixteen pixels and three by three weights before they are multiplied.
const GROWTH: f64 = 16.0;
const IMAGES: usize = 2;
const COLOURS: usize = 2;

/// A 1x1 convolution from two colours to `channels`, then the convolution in question.
struct Case {
    channels: usize,
    outputs: usize,
    image: [usize; 2],
    pads: [i64; 4],
    stride: i64,
    dilation: i64,
    group: i64,
}

/// What is taken for Winograd's algorithm where nothing else is said.
const SMALL: Case = Case { channels: 256, outputs: 256, image: [4, 4], pads: [1; 4], stride: 1, dilation: 1, group: 1 };

impl Case {
    fn dims(&self) -> [(&'static str, Vec<usize>); 3] {
        let per_group = self.channels / self.group as usize;
        let w = vec![self.outputs, per_group, 3, 3];
        [("spread", vec![self.channels, COLOURS, 1, 1]), ("w", w), ("b", vec![self.outputs])]
    }

    fn tensors(&self, seed: u64) -> IndexMap<String, Tensor> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let narrow = |t: Tensor| {
            Tensor::new(t.dims(), &t.to_float64().expect("floats").iter().map(|x| *x as f32).collect::<Vec<_>>())
        };
        self.dims().into_iter().map(|(name, dims)| (name.to_owned(), narrow(uniform(&dims, &mut random)))).collect()
    }

    fn model(&self) -> Model {
        let mut b = Builder::new("convolutions");
        let dims: Vec<Dim> = ["N".into(), COLOURS.into(), self.image[0].into(), self.image[1].into()].into();
        let images = b.input("images", ValueType::new(DataType::Float, dims));
        let weights = self.tensors(1);
        let [spread, w, bias] = ["spread", "w", "b"].map(|name| b.initializer(name, weights[name].clone()));
        let x = b.node("Conv", [images, spread]).value();
        let y = b.node("Conv", [x, w, bias]).attr("pads", self.pads.to_vec()).attr("group", self.group);
        let y = y.attr("strides", vec![self.stride; 2]).attr("dilations", vec![self.dilation; 2]);
        let y = y.outputs(["y"]).value();
        b.output("y", y, None);
        Model::new(17, b.finish().expect("a graph"))
    }

    /// `w * x' + w' * x + b'` at unit stride, with `x` and `x'` made by the first convolution.
    fn truth(&self, images: ArrayView4<f32>, directions: &IndexMap<String, Tensor>) -> Array4<f64> {
        let of = |tensors: &IndexMap<String, Tensor>, name: &str| {
            Array::from_shape_vec(tensors[name].dims().to_vec(), tensors[name].to_float64().expect("floats"))
                .expect("fits")
        };
        let weights = self.tensors(1);
        let [height, width] = self.image;
        let spread = |by: ArrayD<f64>| {
            Array4::from_shape_fn((IMAGES, self.channels, height, width), |(n, c, y, x)| {
                (0..COLOURS).map(|k| by[[c, k, 0, 0]] * f64::from(images[[n, k, y, x]])).sum::<f64>()
            })
        };
        let pairs = [
            (spread(of(&weights, "spread")), of(directions, "w")),
            (spread(of(directions, "spread")), of(&weights, "w")),
        ];
        let bias = of(directions, "b");
        let [top, left, bottom, right] = self.pads.map(|pad| pad as usize);
        let output = (IMAGES, self.outputs, height + top + bottom - 2, width + left + right - 2);
        Array4::from_shape_fn(output, |(n, m, y, x)| {
            let mut sum = bias[m];
            for (u, v) in (0..9).map(|at| (at / 3, at % 3)) {
                let row = (y + u).checked_sub(top).filter(|row| *row < height);
                let column = (x + v).checked_sub(left).filter(|column| *column < width);
                let (Some(row), Some(column)) = (row, column) else { continue };
                for (x, w) in &pairs {
                    sum += (0..self.channels).map(|c| x[[n, c, row, column]] * w[[m, c, u, v]]).sum::<f64>();
                }
            }
            sum
        })
    }
}

/// The tangent of `y`, and the model's own `y`.
fn run(model: &Model, directions: &IndexMap<String, Tensor>, images: &Array4<f32>, target: Target) -> [Array4<f32>; 2] {
    let moved = tangents(model, directions, &["y"], target).expect("a rule");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    moved.write(&path).expect("written");
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let options = SessionOptions { provider: ExecutionProvider::Cpu, threads: 1 };
    let mut session = Session::open(&library, &path, options).expect("it loads");
    let found = session.run(images.view(), &["tangent_of_y", "y"]).expect("it runs");
    let [tangent, own] = &found[..] else { panic!("two outputs") };
    [tangent, own].map(|array| array.clone().into_dimensionality::<Ix4>().expect("four axes"))
}

fn products(model: &Model, directions: &IndexMap<String, Tensor>, target: Target) -> usize {
    let moved = tangents(model, directions, &["y"], target).expect("a rule");
    moved.graph.nodes.iter().filter(|node| node.op_type == "MatMul").count()
}

fn images(case: &Case) -> Array4<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let dims = [IMAGES, COLOURS, case.image[0], case.image[1]];
    let values = uniform(&dims, &mut random).to_float64().expect("floats");
    Array::from_shape_vec(dims, values.iter().map(|x| *x as f32).collect()).expect("fits")
}

#[test]
fn the_tangent_is_the_sum_it_stands_for_at_every_size_and_padding() {
    for (channels, image, pads) in [
        (256, [4, 4], [1; 4]),
        (256, [8, 8], [1; 4]),
        // Odd outputs: a last tile that reaches beyond the padding.
        (512, [7, 7], [1; 4]),
        (512, [5, 8], [1; 4]),
        (256, [6, 8], [0; 4]),
        (256, [4, 5], [2, 0, 1, 3]),
    ] {
        let case = Case { channels, outputs: channels, image, pads, ..SMALL };
        let (model, images) = (case.model(), images(&case));
        let all = case.tensors(2);
        let sets = [&["spread", "w", "b"][..], &["w"], &["spread"], &["w", "b"], &["spread", "b"]];
        // The truth of many channels takes its time.
        for &moving in sets.iter().take(if channels == 256 { 5 } else { 1 }) {
            let part = all.iter().filter(|(name, _)| moving.contains(&name.as_str()));
            let directions: IndexMap<String, Tensor> = part.map(|(name, t)| (name.clone(), t.clone())).collect();
            // Three products of matrices, and one a kernel.
            let kernels = usize::from(moving.contains(&"w")) + usize::from(moving.contains(&"spread"));
            assert_eq!(products(&model, &directions, Target::Cpu), 3 + kernels, "{image:?} {moving:?}");
            assert_eq!(products(&model, &directions, Target::Any), 0, "{image:?} {moving:?}");
            let still = |(name, t): (&String, &Tensor)| {
                let zeros = Tensor::new(t.dims(), &vec![0.0_f32; t.len()]);
                (name.clone(), directions.get(name).cloned().unwrap_or(zeros))
            };
            let truth = case.truth(images.view(), &all.iter().map(still).collect());
            let [tangent, own] = run(&model, &directions, &images, Target::Cpu);
            let [plain, as_ever] = run(&model, &directions, &images, Target::Any);
            let error = |found: &Array4<f32>| {
                let apart = found.iter().zip(&truth).map(|(found, wanted)| (f64::from(*found) - wanted).abs());
                apart.fold(0.0_f64, |a, x| if x.is_nan() { x } else { a.max(x) })
            };
            let (ours, theirs) = (error(&tangent), error(&plain));
            println!("{image:?} {moving:?}: {:.1} times the error of a plain convolution", ours / theirs);
            assert!(
                ours <= GROWTH * theirs,
                "{image:?} {moving:?}: off by {ours:e}, a plain convolution by {theirs:e}"
            );
            assert_eq!(own, as_ever, "the model's own output stays bit for bit");
        }
    }
}

#[test]
fn what_would_not_pay_or_is_no_such_convolution_stays_one() {
    for case in [
        Case { stride: 2, ..SMALL },
        Case { dilation: 2, pads: [2; 4], ..SMALL },
        Case { group: 2, ..SMALL },
        Case { channels: 64, ..SMALL },
        Case { outputs: 64, ..SMALL },
        Case { image: [16, 16], ..SMALL },
        Case { image: [1, 1], ..SMALL },
        Case { image: [1 << 40, 4], ..SMALL },
    ] {
        let directions = case.tensors(2);
        assert_eq!(products(&case.model(), &directions, Target::Cpu), 0);
    }
}

#[test]
fn sizes_that_no_image_has_are_no_harm() {
    for case in [
        Case { image: [0, 4], pads: [2, 1, 2, 1], ..SMALL },
        Case { image: [0, 0], ..SMALL },
        Case { pads: [i64::MAX, 1, 1, 1], ..SMALL },
        Case { pads: [-9, 1, 1, 1], ..SMALL },
    ] {
        // A graph without the algorithm, or a refusal of the convolution itself.
        if let Ok(moved) = tangents(&case.model(), &case.tensors(2), &["y"], Target::Cpu) {
            assert!(moved.graph.nodes.iter().all(|node| node.op_type != "MatMul"));
        }
    }
}

#[test]
fn half_precision_is_convolved_as_ever() {
    let half = |t: &Tensor| Tensor::floats(DataType::Float16, t.dims(), &t.to_float64().expect("floats"));
    let mut model = SMALL.model();
    model.graph.initializers.values_mut().for_each(|t| *t = half(t));
    model.graph.inputs[0].value_type.as_mut().expect("a type").data_type = DataType::Float16;
    let directions: IndexMap<String, Tensor> =
        SMALL.tensors(2).iter().map(|(name, t)| (name.clone(), half(t))).collect();
    assert_eq!(products(&model, &directions, Target::Cpu), 0);
}
