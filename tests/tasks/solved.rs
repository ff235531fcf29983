//! From annotations to influences through the solver, on a task with several labels an image: a linear model, whose gradient,
//! Hessian and influences are written out here on plain numbers.

use super::place::{float, weights};
use isal::influence::{
    Annotations, ConjugateGradient, Damping, InMemory, Problem, SolverOptions, reference_gradient, solve, unobserved,
};
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::task;
use isal_exporters::seeded;
use isal_onnx::{Builder, Model};
use ndarray::{Array2, Array4};

const PIXELS: usize = 9;
const TAGS: usize = 4;
const LAMBDA: f64 = 0.02;

fn linear() -> Model {
    let mut b = Builder::new("linear");
    let x = b.input("images", float(&[1, 3, 3]));
    let w = b.initializer("w", weights("w", &[PIXELS, TAGS], 0.8));
    let flat = b.node("Flatten", [x]).attr("axis", 1).value();
    let outputs = b.node("MatMul", [flat, w]).outputs(["scores"]).value();
    let squashed = b.node("Sigmoid", [outputs]).outputs(["tags"]).value();
    b.output("tags", squashed, Some(float(&[TAGS])));
    Model::new(17, b.finish().unwrap())
}

/// Pixels of an image, and of each tag `(p, y)` where it is known.
type Row = (Vec<f64>, Vec<Option<(f64, f64)>>);

struct Set {
    images: Array4<f32>,
    labels: Array2<f32>,
}

/// Tags of which a tenth are unknown.
fn set(name: &str, images: usize) -> Set {
    let pixels = seeded::uniform(5, &format!("{name}.pixels"), images * PIXELS, -1.5..1.5);
    let drawn = seeded::uniform(5, &format!("{name}.tags"), images * TAGS, 0.0..1.0);
    let tag = |x: &f32| if *x < 0.1 { -1.0 } else { f32::from(u8::from(*x < 0.5)) };
    Set {
        images: Array4::from_shape_vec((images, 1, 3, 3), pixels).unwrap(),
        labels: Array2::from_shape_vec((images, TAGS), drawn.iter().map(tag).collect()).unwrap(),
    }
}

impl Set {
    fn samples(&self) -> InMemory {
        InMemory::new(self.images.clone(), Annotations::numbers("labels", self.labels.clone()), 7).unwrap()
    }

    /// Of each image its pixels, and of each tag `(p, y)` where it is known.
    fn rows(&self, w: &[f64]) -> Vec<Row> {
        let image = |n: usize| -> Vec<f64> {
            self.images.index_axis(ndarray::Axis(0), n).iter().map(|x| f64::from(*x)).collect()
        };
        (0..self.labels.nrows())
            .map(|n| {
                let x = image(n);
                let tags = (0..TAGS).map(|c| {
                    let score: f64 = x.iter().enumerate().map(|(i, x)| x * w[i * TAGS + c]).sum();
                    let y = f64::from(self.labels[[n, c]]);
                    (y >= 0.0).then(|| (1.0 / (1.0 + (-score).exp()), y))
                });
                (x.clone(), tags.collect())
            })
            .collect()
    }
}

/// `x (p - y)` of one image: the gradient of its loss, summed over the known tags.
fn gradient((x, tags): &Row) -> Vec<f64> {
    let entry = |i: usize, c: usize| tags[c].map_or(0.0, |(p, y)| x[i] * (p - y));
    (0..PIXELS * TAGS).map(|at| entry(at / TAGS, at % TAGS)).collect()
}

/// Mean of `x x^T p (1 - p)` over the images, tag by tag, times `u`.
fn hessian_times(rows: &[Row], u: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; u.len()];
    for (x, tags) in rows {
        for (c, tag) in tags.iter().enumerate() {
            let Some((p, _)) = tag else { continue };
            let along: f64 = x.iter().enumerate().map(|(i, x)| x * u[i * TAGS + c]).sum();
            x.iter()
                .enumerate()
                .for_each(|(i, x)| product[i * TAGS + c] += p * (1.0 - p) * along * x / rows.len() as f64);
        }
    }
    product
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn influences_of_several_labels_are_those_of_the_written_out_hessian() {
    let model = linear();
    // The Sigmoid at the end is seen through.
    let (task, bound) = task::built_in(&model, "sigmoid-cross-entropy", &[]).unwrap();
    assert_eq!(bound[0].value, "scores");
    let options = LoadOptions {
        parameters: vec!["w".to_owned()],
        task: Some(task),
        precision: Precision::Float64,
        ..LoadOptions::default()
    };
    let mut engine = PluginEngine::from_model(&Plugin::find(None).unwrap(), &model, &options).unwrap();
    let (labelled, reference, pool) = (set("labelled", 60), set("reference", 25), set("pool", 40));
    let w: Vec<f64> = model.graph.initializers["w"].to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();

    let v = reference_gradient(&mut engine, &mut reference.samples(), &mut unobserved).unwrap().vector;
    let mut mean = vec![0.0; w.len()];
    for row in reference.rows(&w) {
        mean.iter_mut().zip(gradient(&row)).for_each(|(sum, g)| *sum += g / 25.0);
    }
    let found = engine.download_float64(&v).unwrap();
    assert!(largest(&found.iter().zip(&mean).map(|(a, b)| a - b).collect::<Vec<_>>()) < 1e-12 * largest(&mean));

    let solver = SolverOptions::CgGaussNewton(ConjugateGradient {
        damping: Damping::Fixed(LAMBDA),
        settled: 1.0,
        tolerance: 1e-10,
        accepted_residual: 1e-9,
        ..ConjugateGradient::default()
    });
    let mut samples = labelled.samples();
    let problem = Problem {
        engine: &mut engine,
        samples: &mut samples,
        held_out: None,
        v: &v,
        sample: None,
        observer: &mut unobserved,
    };
    let s = solve(problem, &solver).unwrap().s;
    let s_entries = engine.download_float64(&s).unwrap();
    // (H + lambda I) s = v, with H written out.
    let left = hessian_times(&labelled.rows(&w), &s_entries);
    let residual: Vec<f64> = left.iter().zip(&s_entries).zip(&mean).map(|((h, s), v)| h + LAMBDA * s - v).collect();
    assert!(largest(&residual) < 1e-8 * largest(&mean), "{:e}", largest(&residual));

    let labels = Annotations::numbers("labels", pool.labels.clone());
    let (_, along) = engine.loss_derivatives(pool.images.view(), &labels, &s).unwrap();
    let truth: Vec<f64> =
        pool.rows(&w).iter().map(|row| gradient(row).iter().zip(&s_entries).map(|(g, s)| g * s).sum()).collect();
    let off = along.iter().zip(&truth).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(off < 1e-10 * largest(&truth), "{off:e}");
}
