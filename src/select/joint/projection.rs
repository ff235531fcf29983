//! Features and classes cut to what a dense matrix over both can hold.

use super::linear::product;
use crate::data::Seeded;
use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array2, ArrayView2, Axis, s};

/// Images that principal components are taken of, at most.
const IMAGES: usize = 10_000;
/// Directions beyond those wanted, which make the wanted ones exact sooner.
const SPARE: usize = 8;
/// Passes of the subspace iteration.
const PASSES: usize = 6;
/// Classes beyond which they are dealt into groups.
const CLASSES: usize = 64;

/// The features' leading principal directions about zero, `[F, k]`, orthonormal: what a ridge of equal damping sees most of.
/// By subspace iteration from a fixed start (Halko, Martinsson and Tropp, SIAM Review 2011, algorithm 4.4); `None` where the
/// features are no more than `k` wide.
pub(super) fn principal(features: &[ArrayView2<f32>], k: usize) -> Option<Array2<f64>> {
    let width = features.first().map_or(0, |f| f.ncols());
    if width <= k {
        return None;
    }
    let all: usize = features.iter().map(|f| f.nrows()).sum();
    let every = all.div_ceil(IMAGES).max(1);
    let rows = features.iter().flat_map(|f| f.axis_iter(Axis(0))).step_by(every);
    let rows: Vec<f64> = rows.flat_map(|row| row.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()).collect();
    let x = Array2::from_shape_vec((rows.len() / width, width), rows).ok()?;
    let taken = (k + SPARE).min(width);
    let mut random = Seeded::new("principal directions", &[]);
    let mut q = orthonormal(&Array2::from_shape_fn((width, taken), |_| random.unit() - 0.5));
    for _ in 0..PASSES {
        q = orthonormal(&product(x.t(), product(x.view(), q.view()).view()));
    }
    // Within the subspace the directions are exact.
    let seen = product(x.view(), q.view());
    let moment = product(seen.t(), seen.view());
    let eigen = SymmetricEigen::new(DMatrix::from_row_slice(taken, taken, moment.as_slice()?));
    let mut order: Vec<usize> = (0..taken).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let turn = Array2::from_shape_fn((taken, k), |(i, j)| eigen.eigenvectors[(i, order[j])]);
    Some(product(q.view(), turn.view()))
}

fn orthonormal(columns: &Array2<f64>) -> Array2<f64> {
    let (rows, width) = columns.dim();
    let q = DMatrix::from_fn(rows, width, |i, j| columns[[i, j]]).qr().q();
    Array2::from_shape_fn((rows, width), |(i, j)| q[(i, j)])
}

/// Features along these directions; as they are where there are none.
pub(super) fn along(features: &Array2<f32>, directions: Option<&Array2<f64>>) -> Array2<f64> {
    let features = features.mapv(f64::from);
    match directions {
        Some(directions) => product(features.view(), directions.view()),
        None => features,
    }
}

/// How many groups the beliefs of so many classes are dealt into.
pub(super) fn groups(classes: usize) -> usize {
    classes.min(CLASSES)
}

/// Beliefs about groups of classes, `[N, groups]`: sums over the classes of each, which are dealt in turns.
pub(super) fn grouped(p: Array2<f64>) -> Array2<f64> {
    let (images, classes) = p.dim();
    let groups = groups(classes);
    if groups == classes {
        return p;
    }
    let mut grouped = Array2::zeros((images, groups));
    for class in 0..classes {
        let mut group = grouped.slice_mut(s![.., class % groups]);
        group += &p.column(class);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directions_are_those_of_the_whole_eigen_decomposition() {
        let mut random = Seeded::new("projection test", &[]);
        // Scales 1, 1/2, 1/3, ... along a rotated frame.
        let frame = orthonormal(&Array2::from_shape_fn((20, 20), |_| random.unit() - 0.5));
        let scaled = Array2::from_shape_fn((500, 20), |(_, j)| (random.unit() - 0.5) / (1 + j) as f64);
        let x = scaled.dot(&frame.t()).mapv(|x| x as f32);
        let found = principal(&[x.slice(s![..200, ..]), x.slice(s![200.., ..])], 4).expect("cut");
        let wide = x.mapv(f64::from);
        let moment = wide.t().dot(&wide);
        let eigen = SymmetricEigen::new(DMatrix::from_fn(20, 20, |i, j| moment[[i, j]]));
        let mut values: Vec<f64> = eigen.eigenvalues.iter().copied().collect();
        values.sort_by(|a, b| b.total_cmp(a));
        let kept = found.t().dot(&moment).dot(&found);
        for (place, value) in values.iter().take(4).enumerate() {
            assert!((kept[[place, place]] / value - 1.0).abs() < 1e-6, "{place}");
        }
        assert!((found.t().dot(&found) - Array2::<f64>::eye(4)).iter().all(|x| x.abs() < 1e-10));
        assert!(principal(&[x.view()], 20).is_none());
    }

    #[test]
    fn groups_keep_all_of_the_belief() {
        let p = Array2::from_elem((2, 130), 1.0 / 130.0);
        let grouped = grouped(p);
        assert_eq!(grouped.dim(), (2, 64));
        assert!((grouped.sum() - 2.0).abs() < 1e-12 && (grouped[[0, 0]] - 3.0 / 130.0).abs() < 1e-12);
    }
}
