//! A "model" whose curvature is any symmetric matrix and whose gradient any vector: what no real model gives
//! on demand (a chosen spectrum, a NaN at a chosen product, float32 arithmetic).

use isal::influence::{Annotations, Curvature, EngineError, GradientEngine, InMemory, Jvp, Parameter};
use ndarray::{Array2, Array4, ArrayView4};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dense::dot;

pub struct Matrix {
    /// The Hessian of every sample.
    pub hessian: Array2<f64>,
    /// Added to the Hessian of a sample, times the sample's first pixel.
    pub per_sample: Array2<f64>,
    /// The gradient of every sample.
    pub gradient: Vec<f64>,
    /// Vectors are rounded to float32 after every operation.
    pub float32: bool,
    /// The product, counted from 1, that comes back with a NaN.
    pub nan_at: Option<usize>,
    pub products: usize,
    parameters: Vec<Parameter>,
}

impl Matrix {
    pub fn new(hessian: Array2<f64>, gradient: Vec<f64>) -> Self {
        let parameters = vec![Parameter { name: "w".to_owned(), shape: vec![gradient.len()] }];
        let per_sample = Array2::zeros(hessian.raw_dim());
        Matrix { hessian, per_sample, gradient, float32: false, nan_at: None, products: 0, parameters }
    }

    /// `Q diag(spectrum) Q^T` with `Q` a product of random reflections, and a random gradient.
    pub fn with_spectrum(spectrum: &[f64], seed: u64) -> Self {
        let n = spectrum.len();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut a = Array2::from_diag(&ndarray::arr1(spectrum));
        for _ in 0..3 {
            let mut u: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            let norm = dot(&u, &u).sqrt();
            u.iter_mut().for_each(|x| *x /= norm);
            let reflection = Array2::from_shape_fn((n, n), |(i, j)| f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j]);
            a = reflection.dot(&a).dot(&reflection);
        }
        let symmetric = 0.5 * (&a + &a.t());
        Matrix::new(symmetric, (0..n).map(|_| rng.random_range(-1.0..1.0)).collect())
    }

    /// `||(H + lambda I) s - v|| / ||v||` in float64.
    pub fn residual(&self, s: &[f64], lambda: f64) -> f64 {
        let product = times(&self.hessian, s);
        let r: Vec<f64> = product.iter().zip(s).zip(&self.gradient).map(|((p, s), v)| p + lambda * s - v).collect();
        (dot(&r, &r) / dot(&self.gradient, &self.gradient)).sqrt()
    }

    fn round(&self, mut v: Vec<f64>) -> Vec<f64> {
        if self.float32 {
            v.iter_mut().for_each(|x| *x = f64::from(*x as f32));
        }
        v
    }
}

/// `n` samples whose first pixels are -1, 1, -1, ...: a mean of zero for an even `n`.
pub fn dummies(n: usize) -> InMemory {
    of_pixels(&(0..n).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect::<Vec<f32>>())
}

/// Samples of one pixel each.
pub fn of_pixels(pixels: &[f32]) -> InMemory {
    let images = Array4::from_shape_fn((pixels.len(), 1, 1, 1), |(i, ..)| pixels[i]);
    InMemory::new(images, Annotations::numbers("weights", Array2::zeros((pixels.len(), 2))), 3).unwrap()
}

fn times(a: &Array2<f64>, v: &[f64]) -> Vec<f64> {
    a.outer_iter().map(|row| row.iter().zip(v).map(|(a, v)| a * v).sum()).collect()
}

impl GradientEngine for Matrix {
    type Vector = Vec<f64>;

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&mut self, images: ArrayView4<f32>) -> Result<Array2<f32>, EngineError> {
        Ok(Array2::zeros((images.dim().0, 2)))
    }

    fn gradient(&mut self, images: ArrayView4<f32>, _: &Annotations) -> Result<(f64, Vec<f64>), EngineError> {
        let n = images.dim().0 as f64;
        Ok((n, self.round(self.gradient.iter().map(|g| n * g).collect())))
    }

    fn curvature_product(
        &mut self,
        _: Curvature,
        images: ArrayView4<f32>,
        _: &Annotations,
        v: &Vec<f64>,
    ) -> Result<Vec<f64>, EngineError> {
        self.products += 1;
        let pixels: f64 = images.iter().map(|&x| f64::from(x)).sum();
        let n = images.dim().0 as f64;
        let (common, own) = (times(&self.hessian, v), times(&self.per_sample, v));
        let mut product: Vec<f64> = common.iter().zip(own).map(|(a, b)| n * a + pixels * b).collect();
        if self.nan_at == Some(self.products) {
            product[0] = f64::NAN;
        }
        Ok(self.round(product))
    }

    fn jvp(&mut self, images: ArrayView4<f32>, _: &Vec<f64>) -> Result<Jvp, EngineError> {
        let zero = Array2::zeros((images.dim().0, 2));
        Ok(Jvp { outputs: zero.clone(), tangents: zero })
    }

    fn zeros(&mut self) -> Result<Vec<f64>, EngineError> {
        Ok(vec![0.0; self.gradient.len()])
    }

    fn copy(&mut self, v: &Vec<f64>) -> Result<Vec<f64>, EngineError> {
        Ok(v.clone())
    }

    fn dot(&mut self, a: &Vec<f64>, b: &Vec<f64>) -> Result<f64, EngineError> {
        Ok(dot(a, b))
    }

    fn axpy(&mut self, alpha: f64, x: &Vec<f64>, y: &mut Vec<f64>) -> Result<(), EngineError> {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
        *y = self.round(std::mem::take(y));
        Ok(())
    }

    fn scale(&mut self, alpha: f64, x: &mut Vec<f64>) -> Result<(), EngineError> {
        x.iter_mut().for_each(|x| *x *= alpha);
        *x = self.round(std::mem::take(x));
        Ok(())
    }

    fn download(&mut self, v: &Vec<f64>) -> Result<Vec<f32>, EngineError> {
        Ok(v.iter().map(|&x| x as f32).collect())
    }

    fn upload(&mut self, entries: &[f32]) -> Result<Vec<f64>, EngineError> {
        Ok(entries.iter().map(|&x| f64::from(x)).collect())
    }
}
