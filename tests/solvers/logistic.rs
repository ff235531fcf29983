//! Multinomial logistic regression in float64: a convex model whose gradients and Hessian are closed formulas,
//! behind the trait that solvers see.

use isal::influence::{Annotations, Curvature, EngineError, GradientEngine, Jvp, Parameter};
use ndarray::{Array2, ArrayView4, Axis};

use super::dense::{Cholesky, dot};

/// `o_c = sum_f W[c, f] x_f + b_c`, parameters joined as W then b.
#[derive(Clone)]
pub struct Logistic {
    pub classes: usize,
    pub features: usize,
    pub theta: Vec<f64>,
    parameters: Vec<Parameter>,
}

/// A sample as the model sees it, with its label's one-hot row.
pub struct Sample {
    pub x: Vec<f64>,
    pub w: Vec<f64>,
}

pub fn samples(images: ArrayView4<f32>, annotations: &Annotations) -> Vec<Sample> {
    let weights = annotations.rows("weights").expect("class weights");
    let rows = images.outer_iter().zip(weights.outer_iter());
    rows.map(|(image, w)| Sample {
        x: image.iter().map(|&x| f64::from(x)).collect(),
        w: w.iter().map(|&x| f64::from(x)).collect(),
    })
    .collect()
}

impl Logistic {
    pub fn new(classes: usize, features: usize) -> Self {
        let parameters = vec![
            Parameter { name: "head.weight".to_owned(), shape: vec![classes, features] },
            Parameter { name: "head.bias".to_owned(), shape: vec![classes] },
        ];
        Logistic { classes, features, theta: vec![0.0; classes * (features + 1)], parameters }
    }

    /// The outputs, or their derivative, that `theta` gives for `x`: the model is linear.
    pub fn outputs(&self, theta: &[f64], x: &[f64]) -> Vec<f64> {
        let (w, b) = theta.split_at(self.classes * self.features);
        w.chunks(self.features).zip(b).map(|(row, b)| dot(row, x) + b).collect()
    }

    pub fn probabilities(&self, x: &[f64]) -> Vec<f64> {
        let o = self.outputs(&self.theta, x);
        let highest = o.iter().copied().fold(f64::MIN, f64::max);
        let e: Vec<f64> = o.iter().map(|o| (o - highest).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|e| e / sum).collect()
    }

    pub fn loss(&self, sample: &Sample) -> f64 {
        self.probabilities(&sample.x)
            .iter()
            .zip(&sample.w)
            .map(|(p, w)| if *w == 0.0 { 0.0 } else { -w * p.ln() })
            .sum()
    }

    /// Adds the gradient of one sample's loss: `(W p_c - w_c) [x, 1]`.
    pub fn add_gradient(&self, sample: &Sample, weight: f64, gradient: &mut [f64]) {
        let total: f64 = sample.w.iter().sum();
        let p = self.probabilities(&sample.x);
        let r: Vec<f64> = p.iter().zip(&sample.w).map(|(p, w)| weight * (total * p - w)).collect();
        self.add_outer(&r, &sample.x, gradient);
    }

    /// Adds `J^T r` for one sample.
    fn add_outer(&self, r: &[f64], x: &[f64], into: &mut [f64]) {
        let (w, b) = into.split_at_mut(self.classes * self.features);
        for ((row, b), r) in w.chunks_mut(self.features).zip(b).zip(r) {
            row.iter_mut().zip(x).for_each(|(entry, x)| *entry += r * x);
            *b += r;
        }
    }

    pub fn gradient_of(&self, sample: &Sample) -> Vec<f64> {
        let mut gradient = vec![0.0; self.theta.len()];
        self.add_gradient(sample, 1.0, &mut gradient);
        gradient
    }

    pub fn mean_gradient(&self, samples: &[Sample]) -> Vec<f64> {
        let mut gradient = vec![0.0; self.theta.len()];
        samples.iter().for_each(|s| self.add_gradient(s, 1.0 / samples.len() as f64, &mut gradient));
        gradient
    }

    /// `(1/n) sum kron(diag p - p p^T, [x,1][x,1]^T) + ridge I`, entry by entry.
    pub fn hessian(&self, samples: &[Sample], ridge: f64) -> Array2<f64> {
        let (c, f) = (self.classes, self.features);
        let at = |class: usize, feature: usize| if feature < f { class * f + feature } else { c * f + class };
        let mut h = Array2::zeros((self.theta.len(), self.theta.len()));
        for sample in samples {
            let p = self.probabilities(&sample.x);
            let x: Vec<f64> = sample.x.iter().copied().chain([1.0]).collect();
            for a in 0..c {
                for b in 0..c {
                    let q = (f64::from(u8::from(a == b)) * p[a] - p[a] * p[b]) / samples.len() as f64;
                    for (i, xi) in x.iter().enumerate() {
                        for (j, xj) in x.iter().enumerate() {
                            h[[at(a, i), at(b, j)]] += q * xi * xj;
                        }
                    }
                }
            }
        }
        h.diag_mut().iter_mut().for_each(|d| *d += ridge);
        h
    }

    /// Gradient of `(1/n) sum_i l_i + extra / n + ridge/2 ||theta||^2`.
    fn objective_gradient(&self, samples: &[Sample], extra: Option<&Sample>, ridge: f64) -> Vec<f64> {
        let mut gradient = self.mean_gradient(samples);
        if let Some(extra) = extra {
            self.add_gradient(extra, 1.0 / samples.len() as f64, &mut gradient);
        }
        gradient.iter_mut().zip(&self.theta).for_each(|(g, t)| *g += ridge * t);
        gradient
    }

    /// Newton's method with this inverse Hessian kept fixed, until the gradient's norm is below 1e-12.
    pub fn descend(&mut self, samples: &[Sample], extra: &Sample, ridge: f64, inverse: &Cholesky) {
        for _ in 0..500 {
            let gradient = self.objective_gradient(samples, Some(extra), ridge);
            if dot(&gradient, &gradient).sqrt() < 1e-12 {
                return;
            }
            let direction = inverse.solve(&gradient);
            self.theta.iter_mut().zip(direction).for_each(|(t, d)| *t -= d);
        }
        panic!("not retrained in 500 steps");
    }

    /// Trains to the minimum and returns the Hessian's factors there.
    pub fn train(&mut self, samples: &[Sample], ridge: f64) -> Cholesky {
        for _ in 0..100 {
            let gradient = self.objective_gradient(samples, None, ridge);
            let inverse = Cholesky::of(&self.hessian(samples, ridge));
            if dot(&gradient, &gradient).sqrt() < 1e-12 {
                return inverse;
            }
            let direction = inverse.solve(&gradient);
            // Halve the step while it does not lower the gradient, far from the minimum.
            let before = self.theta.clone();
            let mut t = 1.0;
            loop {
                self.theta = before.iter().zip(&direction).map(|(x, d)| x - t * d).collect();
                let after = self.objective_gradient(samples, None, ridge);
                if dot(&after, &after) < dot(&gradient, &gradient) || t < 1e-4 {
                    break;
                }
                t *= 0.5;
            }
        }
        panic!("not trained");
    }
}

impl GradientEngine for Logistic {
    type Vector = Vec<f64>;

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>, EngineError> {
        let zero = vec![0.0; self.theta.len()];
        Ok(self.jvp(images, &zero)?.outputs)
    }

    fn gradient(&mut self, images: ArrayView4<f32>, annotations: &Annotations) -> Result<(f64, Vec<f64>), EngineError> {
        let samples = samples(images, annotations);
        let mut gradient = vec![0.0; self.theta.len()];
        samples.iter().for_each(|s| self.add_gradient(s, 1.0, &mut gradient));
        Ok((samples.iter().map(|s| self.loss(s)).sum(), gradient))
    }

    /// Hessian and Gauss-Newton matrix are the same, since the outputs are linear in the parameters.
    fn curvature_product(
        &mut self,
        curvature: Curvature,
        images: ArrayView4<f32>,
        annotations: &Annotations,
        v: &Vec<f64>,
    ) -> Result<Vec<f64>, EngineError> {
        let mut product = vec![0.0; v.len()];
        for sample in samples(images, annotations) {
            if curvature == Curvature::EmpiricalFisher {
                let gradient = self.gradient_of(&sample);
                self.add_gradient(&sample, dot(&gradient, v), &mut product);
                continue;
            }
            let p = self.probabilities(&sample.x);
            let d = self.outputs(v, &sample.x);
            let mean = dot(&p, &d);
            let r: Vec<f64> = p.iter().zip(&d).map(|(p, d)| p * (d - mean)).collect();
            self.add_outer(&r, &sample.x, &mut product);
        }
        Ok(product)
    }

    fn jvp(&mut self, images: ArrayView4<f32>, s: &Vec<f64>) -> Result<Jvp, EngineError> {
        let mut outputs = Array2::zeros((images.len_of(Axis(0)), self.classes));
        let mut tangents = outputs.clone();
        for (n, image) in images.outer_iter().enumerate() {
            let x: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
            for c in 0..self.classes {
                outputs[[n, c]] = self.outputs(&self.theta, &x)[c] as f32;
                tangents[[n, c]] = self.outputs(s, &x)[c] as f32;
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
