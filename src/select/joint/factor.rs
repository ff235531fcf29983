//! Rows of a Cholesky factor over the candidates, a column for each known point: what their prior covariances lose by these.

use super::linear::BLOCK;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

/// Columns of a block, from which products of large matrices are made.
const COLUMNS: usize = 256;

/// `[N, known]` in float32, by blocks of columns.
pub(super) struct Factor {
    blocks: Vec<Array2<f32>>,
}

impl Factor {
    pub(super) fn new(blocks: Vec<Array2<f32>>) -> Factor {
        Factor { blocks }
    }

    /// Adds columns, given as rows: `[columns, N]`.
    pub(super) fn add(&mut self, columns: ArrayView2<f64>) {
        let columns = columns.t().mapv(|x| x as f32);
        match self.blocks.pop() {
            Some(last) if last.ncols() + columns.ncols() <= COLUMNS => {
                self.blocks.push(concatenate(Axis(1), &[last.view(), columns.view()]).unwrap_or_default());
            }
            last => {
                self.blocks.extend(last);
                self.blocks.push(columns.as_standard_layout().into_owned());
            }
        }
    }

    /// `covariance -= F_rows F'`, `[rows, N]`.
    pub(super) fn take_from(&self, rows: &[usize], covariance: &mut Array2<f64>) {
        let own: Vec<Array2<f64>> =
            self.blocks.iter().map(|block| block.select(Axis(0), rows).mapv(f64::from)).collect();
        let parts = covariance.axis_chunks_iter_mut(Axis(1), BLOCK).into_par_iter();
        parts.enumerate().for_each(|(number, mut part)| {
            let start = number * BLOCK;
            for (own, block) in own.iter().zip(&self.blocks) {
                let others = block.slice(s![start..start + part.ncols(), ..]).mapv(f64::from);
                general_mat_mul(-1.0, own, &others.t(), 1.0, &mut part);
            }
        });
    }

    /// Gives up all but these candidates.
    pub(super) fn keep(&mut self, still: &[usize]) {
        self.blocks.par_iter_mut().for_each(|block| *block = block.select(Axis(0), still));
    }
}
