//! A network with one tanh layer in float64, its second derivatives written out by hand (Pearlmutter, Fast exact
//! multiplication by the Hessian, 1994): the smallest model whose Hessian is indefinite on the way to a minimum.

use isal::influence::{Annotations, Curvature, EngineError, GradientEngine, Jvp, Parameter};
use ndarray::{Array2, ArrayView4, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dense::dot;
use super::logistic::{Sample, samples};

/// `o = W2 [tanh(W1 [x, 1]), 1]`, parameters joined as W1 then W2.
#[derive(Clone)]
pub struct Mlp {
    inputs: usize,
    hidden: usize,
    classes: usize,
    pub theta: Vec<f64>,
    parameters: Vec<Parameter>,
}

/// What a forward pass leaves behind for a sample.
struct Pass {
    /// `[x, 1]`.
    x: Vec<f64>,
    /// `[tanh z, 1]`.
    h: Vec<f64>,
    p: Vec<f64>,
    outputs: Vec<f64>,
}

fn with_one(x: &[f64]) -> Vec<f64> {
    x.iter().copied().chain([1.0]).collect()
}

fn matvec(m: &[f64], x: &[f64]) -> Vec<f64> {
    m.chunks(x.len()).map(|row| dot(row, x)).collect()
}

/// `M^T r` without the last column, the bias.
fn back(m: &[f64], r: &[f64], columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; columns - 1];
    for (row, r) in m.chunks(columns).zip(r) {
        out.iter_mut().zip(row).for_each(|(o, m)| *o += m * r);
    }
    out
}

fn add_outer(into: &mut [f64], r: &[f64], x: &[f64]) {
    for (row, r) in into.chunks_mut(x.len()).zip(r) {
        row.iter_mut().zip(x).for_each(|(m, x)| *m += r * x);
    }
}

impl Mlp {
    pub fn new(inputs: usize, hidden: usize, classes: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut layer = |rows: usize, columns: usize| -> Vec<f64> {
            let width = (3.0 / columns as f64).sqrt();
            (0..rows * columns).map(|_| rng.random_range(-width..width)).collect()
        };
        let theta = [layer(hidden, inputs + 1), layer(classes, hidden + 1)].concat();
        let parameters = vec![
            Parameter { name: "hidden".to_owned(), shape: vec![hidden, inputs + 1] },
            Parameter { name: "head".to_owned(), shape: vec![classes, hidden + 1] },
        ];
        Mlp { inputs, hidden, classes, theta, parameters }
    }

    fn layers<'a>(&self, theta: &'a [f64]) -> (&'a [f64], &'a [f64]) {
        theta.split_at(self.hidden * (self.inputs + 1))
    }

    fn pass(&self, x: &[f64]) -> Pass {
        let (w1, w2) = self.layers(&self.theta);
        let x = with_one(x);
        let h = with_one(&matvec(w1, &x).into_iter().map(f64::tanh).collect::<Vec<f64>>());
        let outputs = matvec(w2, &h);
        let highest = outputs.iter().copied().fold(f64::MIN, f64::max);
        let e: Vec<f64> = outputs.iter().map(|o| (o - highest).exp()).collect();
        let sum: f64 = e.iter().sum();
        let p = e.into_iter().map(|e| e / sum).collect();
        Pass { x, h, p, outputs }
    }

    /// `Rh` (without the one) and `Ro` along `v`.
    fn along(&self, pass: &Pass, v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let ((v1, v2), (_, w2)) = (self.layers(v), self.layers(&self.theta));
        let mut rh: Vec<f64> = matvec(v1, &pass.x).iter().zip(&pass.h).map(|(rz, h)| rz * (1.0 - h * h)).collect();
        rh.push(0.0);
        let ro = matvec(v2, &pass.h).iter().zip(matvec(w2, &rh)).map(|(a, b)| a + b).collect();
        (rh, ro)
    }

    pub fn loss(&self, sample: &Sample) -> f64 {
        self.pass(&sample.x).p.iter().zip(&sample.w).map(|(p, w)| if *w == 0.0 { 0.0 } else { -w * p.ln() }).sum()
    }

    pub fn mean_loss(&self, set: &[Sample]) -> f64 {
        set.iter().map(|s| self.loss(s)).sum::<f64>() / set.len() as f64
    }

    pub fn add_gradient(&self, sample: &Sample, weight: f64, into: &mut [f64]) {
        let pass = self.pass(&sample.x);
        let total: f64 = sample.w.iter().sum();
        let r: Vec<f64> = pass.p.iter().zip(&sample.w).map(|(p, w)| weight * (total * p - w)).collect();
        let (_, w2) = self.layers(&self.theta);
        let delta: Vec<f64> =
            back(w2, &r, self.hidden + 1).iter().zip(&pass.h).map(|(d, h)| d * (1.0 - h * h)).collect();
        let (g1, g2) = into.split_at_mut(self.hidden * (self.inputs + 1));
        add_outer(g2, &r, &pass.h);
        add_outer(g1, &delta, &pass.x);
    }

    fn add_curvature(&self, curvature: Curvature, sample: &Sample, v: &[f64], into: &mut [f64]) {
        let pass = self.pass(&sample.x);
        let ((_, v2), (_, w2)) = (self.layers(v), self.layers(&self.theta));
        let total: f64 = sample.w.iter().sum();
        let (rh, ro) = self.along(&pass, v);
        let mean = dot(&pass.p, &ro);
        let rr: Vec<f64> = pass.p.iter().zip(&ro).map(|(p, o)| total * p * (o - mean)).collect();
        let columns = self.hidden + 1;
        let mut delta: Vec<f64> = back(w2, &rr, columns).iter().zip(&pass.h).map(|(d, h)| d * (1.0 - h * h)).collect();
        let (g1, g2) = into.split_at_mut(self.hidden * (self.inputs + 1));
        add_outer(g2, &rr, &pass.h);
        if curvature == Curvature::Hessian {
            let r: Vec<f64> = pass.p.iter().zip(&sample.w).map(|(p, w)| total * p - w).collect();
            add_outer(g2, &r, &rh);
            let (by_v2, by_w2) = (back(v2, &r, columns), back(w2, &r, columns));
            for (i, d) in delta.iter_mut().enumerate() {
                let h = pass.h[i];
                *d += by_v2[i] * (1.0 - h * h) - 2.0 * by_w2[i] * h * rh[i];
            }
        }
        add_outer(g1, &delta, &pass.x);
    }

    /// `steps` of gradient descent on the mean loss of `set` plus `extra / n`.
    pub fn descend(&mut self, set: &[Sample], extra: Option<&Sample>, rate: f64, steps: usize) {
        let weight = 1.0 / set.len() as f64;
        for _ in 0..steps {
            let mut gradient = vec![0.0; self.theta.len()];
            set.iter().chain(extra).for_each(|s| self.add_gradient(s, weight, &mut gradient));
            self.theta.iter_mut().zip(&gradient).for_each(|(t, g)| *t -= rate * g);
        }
    }
}

impl GradientEngine for Mlp {
    type Vector = Vec<f64>;

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>, EngineError> {
        let zero = vec![0.0; self.theta.len()];
        Ok(self.jvp(images, &zero)?.outputs)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, annotations: &Annotations) -> Result<(f64, Vec<f64>), EngineError> {
        let set = samples(images, annotations);
        let mut gradient = vec![0.0; self.theta.len()];
        set.iter().for_each(|s| self.add_gradient(s, 1.0, &mut gradient));
        Ok((set.iter().map(|s| self.loss(s)).sum(), gradient))
    }

    fn curvature_product(
        &mut self,
        curvature: Curvature,
        images: ArrayView4<f32>,
        annotations: &Annotations,
        v: &Vec<f64>,
    ) -> Result<Vec<f64>, EngineError> {
        let mut product = vec![0.0; v.len()];
        samples(images, annotations).iter().for_each(|s| self.add_curvature(curvature, s, v, &mut product));
        Ok(product)
    }

    fn jvp(&mut self, images: ArrayView4<f32>, s: &Vec<f64>) -> Result<Jvp, EngineError> {
        let mut outputs = Array2::zeros((images.len_of(Axis(0)), self.classes));
        let mut tangents = outputs.clone();
        for (n, image) in images.outer_iter().enumerate() {
            let x: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
            let pass = self.pass(&x);
            let (_, along) = self.along(&pass, s);
            for c in 0..self.classes {
                outputs[[n, c]] = pass.outputs[c] as f32;
                tangents[[n, c]] = along[c] as f32;
            }
        }
        Ok(Jvp { outputs, tangents })
    }

    fn zeros(&mut self) -> Result<Vec<f64>, EngineError> {
        Ok(vec![0.0; self.theta.len()])
    }

    fn copy(&mut self, v: &Vec<f64>) -> Result<Vec<f64>, EngineError> {
        Ok(v.clone())
    }

    fn dot(&mut self, a: &Vec<f64>, b: &Vec<f64>) -> Result<f64, EngineError> {
        Ok(dot(a, b))
    }

    fn axpy(&mut self, alpha: f64, x: &Vec<f64>, y: &mut Vec<f64>) -> Result<(), EngineError> {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
        Ok(())
    }

    fn scale(&mut self, alpha: f64, x: &mut Vec<f64>) -> Result<(), EngineError> {
        x.iter_mut().for_each(|x| *x *= alpha);
        Ok(())
    }

    fn download(&mut self, v: &Vec<f64>) -> Result<Vec<f32>, EngineError> {
        Ok(v.iter().map(|&x| x as f32).collect())
    }

    fn upload(&mut self, entries: &[f32]) -> Result<Vec<f64>, EngineError> {
        Ok(entries.iter().map(|&x| f64::from(x)).collect())
    }
}

#[test]
fn second_derivatives_match_central_differences_of_the_gradient() {
    let mut model = Mlp::new(5, 4, 3, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let x: Vec<f64> = (0..5).map(|_| rng.random_range(-1.0..1.0)).collect();
    let sample = Sample { x, w: vec![0.0, 0.7, 0.5] };
    let v: Vec<f64> = (0..model.theta.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut product = vec![0.0; v.len()];
    model.add_curvature(Curvature::Hessian, &sample, &v, &mut product);
    let theta = model.theta.clone();
    let mut gradient_at = |step: f64| {
        model.theta = theta.iter().zip(&v).map(|(t, v)| t + step * v).collect();
        let mut gradient = vec![0.0; v.len()];
        model.add_gradient(&sample, 1.0, &mut gradient);
        (gradient, model.loss(&sample))
    };
    let step = 1e-5;
    let ((above, loss_above), (below, loss_below), (here, _)) =
        (gradient_at(step), gradient_at(-step), gradient_at(0.0));
    let slope = (loss_above - loss_below) / (2.0 * step);
    assert!((slope - dot(&here, &v)).abs() < 1e-9, "{slope}");
    for ((above, below), exact) in above.iter().zip(&below).zip(&product) {
        assert!(((above - below) / (2.0 * step) - exact).abs() < 1e-8, "{exact}");
    }
}
