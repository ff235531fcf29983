//! What an influence predicts, done: a linear model of several labels is trained to its minimum, a pool image added under its
//! believed labels, the model trained again, and the change of the reference loss measured.

use super::compose::{self, CLASSES, Picture, SIDE};
use super::dense::{Cholesky, dot};
use isal::influence::{
    Annotations, ConjugateGradient, Damping, InMemory, Problem, SolverOptions, reference_gradient, solve, spearman,
    unobserved,
};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::task;
use isal_onnx::{Builder, DataType, Model, Tensor, ValueType};
use ndarray::{Array2, Array4};
use rayon::prelude::*;

/// Pictures are seen at a quarter of their size.
const SEEN: usize = 14;
const PIXELS: usize = SEEN * SEEN;
/// The ridge of the training objective; its curvature is the lambda that makes the prediction exact to first order.
const RIDGE: f64 = 0.01;

/// Pixels of each picture and 1, and which classes it shows.
struct Set {
    rows: Vec<Vec<f64>>,
    labels: Vec<[f64; CLASSES]>,
}

impl Set {
    fn of(pictures: &[Picture]) -> Set {
        let seen = |picture: &Picture| {
            let side = SEEN as u32;
            let small = image::imageops::resize(&picture.image, side, side, image::imageops::FilterType::Triangle);
            assert_eq!(picture.image.width(), SIDE);
            small.pixels().map(|pixel| f64::from(f32::from(pixel.0[0]) / 255.0)).chain([1.0]).collect()
        };
        let labels = |picture: &Picture| std::array::from_fn(|c| f64::from(u8::from(picture.classes.contains(&c))));
        Set { rows: pictures.iter().map(seen).collect(), labels: pictures.iter().map(labels).collect() }
    }

    fn images(&self) -> Array4<f32> {
        let pixels = self.rows.iter().flat_map(|row| row[..PIXELS].iter().map(|x| *x as f32)).collect();
        Array4::from_shape_vec((self.rows.len(), 1, SEEN, SEEN), pixels).expect("the shape fits")
    }

    fn samples(&self) -> InMemory {
        let labels = Array2::from_shape_fn((self.rows.len(), CLASSES), |(n, c)| self.labels[n][c] as f32);
        InMemory::new(self.images(), Annotations::numbers("labels", labels), 64).expect("as many of each")
    }
}

/// Weights of one class: one of each pixel and one beside.
type Weights = Vec<f64>;

fn probability(w: &Weights, x: &[f64]) -> f64 {
    1.0 / (1.0 + (-dot(w, x)).exp())
}

/// Mean loss of a class over these pictures, of `n` the weight of each, and the ridge: gradient.
fn gradient(pictures: &[(&[f64], f64)], n: f64, w: &Weights) -> Vec<f64> {
    let mut gradient: Vec<f64> = w.iter().map(|w| RIDGE * w).collect();
    for (x, y) in pictures {
        let off = (probability(w, x) - y) / n;
        gradient.iter_mut().zip(*x).for_each(|(entry, x)| *entry += off * x);
    }
    gradient
}

/// Its second derivative.
fn curvature(pictures: &[(&[f64], f64)], n: f64, w: &Weights) -> Cholesky {
    let mut hessian = Array2::from_diag_elem(w.len(), RIDGE);
    for (x, _) in pictures {
        let p = probability(w, x);
        for (i, a) in x.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let scaled = p * (1.0 - p) * a / n;
            hessian.row_mut(i).iter_mut().zip(*x).for_each(|(entry, b)| *entry += scaled * b);
        }
    }
    Cholesky::of(&hessian)
}

impl Set {
    fn of_class(&self, class: usize) -> Vec<(&[f64], f64)> {
        self.rows.iter().zip(&self.labels).map(|(x, y)| (x.as_slice(), y[class])).collect()
    }

    /// The minimum for a class, by Newton, and the curvature there.
    fn minimum(&self, class: usize) -> (Weights, Cholesky) {
        let (pictures, n) = (self.of_class(class), self.rows.len() as f64);
        let mut w = vec![0.0; PIXELS + 1];
        for _ in 0..30 {
            let step = curvature(&pictures, n, &w).solve(&gradient(&pictures, n, &w));
            w.iter_mut().zip(&step).for_each(|(w, step)| *w -= step);
        }
        let there = curvature(&pictures, n, &w);
        (w, there)
    }

    /// The minimum with one picture more, at the weight of one of these; near the first, whose curvature does for both.
    fn minimum_with(&self, class: usize, extra: (&[f64], f64), (first, curvature): &(Weights, Cholesky)) -> Weights {
        let mut pictures = self.of_class(class);
        pictures.push(extra);
        let mut w = first.clone();
        for _ in 0..100 {
            let step = curvature.solve(&gradient(&pictures, self.rows.len() as f64, &w));
            w.iter_mut().zip(&step).for_each(|(w, step)| *w -= step);
            if dot(&step, &step) < 1e-22 {
                return w;
            }
        }
        panic!("no minimum was found")
    }
}

fn mean_loss(weights: &[Weights], set: &Set) -> f64 {
    let of = |x: &Vec<f64>, y: &[f64; CLASSES]| -> f64 {
        let one = |(w, y): (&Weights, &f64)| {
            let score = dot(w, x) * if *y > 0.5 { -1.0 } else { 1.0 };
            score.max(0.0) + (-score.abs()).exp().ln_1p()
        };
        weights.iter().zip(y).map(one).sum()
    };
    set.rows.iter().zip(&set.labels).map(|(x, y)| of(x, y)).sum::<f64>() / set.rows.len() as f64
}

/// The linear model as ONNX.
fn onnx(weights: &[Weights]) -> Model {
    let float = |dims: &[isal_onnx::Dim]| ValueType { data_type: DataType::Float, shape: Some(dims.to_vec()) };
    let mut b = Builder::new("linear");
    let x = b.input("images", float(&["N".into(), 1.into(), SEEN.into(), SEEN.into()]));
    let matrix: Vec<f32> = weights.iter().flat_map(|w| w[..PIXELS].iter().map(|w| *w as f32)).collect();
    let w = b.initializer("w", Tensor::new([CLASSES, PIXELS], &matrix));
    let biases: Vec<f32> = weights.iter().map(|w| w[PIXELS] as f32).collect();
    let bias = b.initializer("b", Tensor::new([CLASSES], &biases));
    let flat = b.node("Flatten", [x]).attr("axis", 1).value();
    let scores = b.node("Gemm", [flat, w, bias]).attr("transB", 1).outputs(["scores"]).value();
    b.output("scores", scores, Some(float(&["N".into(), CLASSES.into()])));
    Model::new(17, b.finish().expect("a graph"))
}

#[test]
fn influence_predicts_the_change_that_adding_each_pool_image_makes() {
    let table = compose::table();
    let [labelled, reference, pool] =
        [(11, 300), (12, 300), (13, 150)].map(|(seed, count)| Set::of(&compose::pictures(&table, seed, count)));
    let minima: Vec<(Weights, Cholesky)> = (0..CLASSES).into_par_iter().map(|class| labelled.minimum(class)).collect();
    let minimum: Vec<Weights> = minima.iter().map(|(weights, _)| weights.clone()).collect();

    let model = onnx(&minimum);
    let (task, _) = task::built_in(&model, "sigmoid-cross-entropy", &[]).expect("a task");
    let load = LoadOptions {
        parameters: vec!["w".to_owned(), "b".to_owned()],
        task: Some(task),
        precision: Precision::Float64,
        ..LoadOptions::default()
    };
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let mut engine = PluginEngine::from_model(&plugin, &model, &load).expect("an engine");
    let (mut samples, mut held) = (labelled.samples(), reference.samples());
    let v = reference_gradient(&mut engine, &mut held, &mut unobserved).expect("a gradient").vector;
    let options = SolverOptions::CgGaussNewton(ConjugateGradient {
        damping: Damping::Fixed(RIDGE),
        tolerance: 1e-6,
        ..ConjugateGradient::default()
    });
    let problem = Problem {
        engine: &mut engine,
        samples: &mut samples,
        held_out: None,
        v: &v,
        sample: None,
        observer: &mut unobserved,
    };
    let s = solve(problem, &options).expect("a solution").s;

    let before = mean_loss(&minimum, &reference);
    let mut believed = Set { rows: pool.rows.clone(), labels: pool.labels.clone() };
    for (x, y) in believed.rows.iter().zip(&mut believed.labels) {
        *y = std::array::from_fn(|c| f64::from(u8::from(dot(&minimum[c], x) > 0.0)));
    }
    assert_ne!(believed.labels, pool.labels);
    for (name, set) in [("believed", &believed), ("true", &pool)] {
        let labels = set.samples();
        let (_, along) = engine.loss_derivatives(set.images().view(), labels.annotations(), &s).expect("derivatives");
        let predicted: Vec<f64> = along.iter().map(|derivative| -derivative / labelled.rows.len() as f64).collect();
        let measured: Vec<f64> = (0..set.rows.len())
            .into_par_iter()
            .map(|n| {
                let again =
                    |class: usize| labelled.minimum_with(class, (&set.rows[n], set.labels[n][class]), &minima[class]);
                mean_loss(&(0..CLASSES).map(again).collect::<Vec<_>>(), &reference) - before
            })
            .collect();
        let agreement = spearman(&predicted, &measured).expect("ranks");
        let slope = dot(&predicted, &measured) / dot(&predicted, &predicted);
        println!("{name} labels: Spearman {agreement:.4} over {} pictures, slope {slope:.3}", measured.len());
        assert!(agreement >= 0.95, "{name} labels: Spearman {agreement:.4}");
        // First order: the slope is one but for the curvature that the added picture itself brings, of order 1/n.
        assert!((slope - 1.0).abs() < 0.25, "{name} labels: slope {slope:.3}");
    }
}
