//! The best approximation of a block by a product of two narrow factors.

use nalgebra::{DMatrix, SymmetricEigen};

/// `left` `[rows, rank]` times `right` `[rank, columns]`, both row-major.
pub(super) struct Factors {
    pub(super) rows: usize,
    pub(super) rank: usize,
    pub(super) left: Vec<f64>,
    pub(super) right: Vec<f64>,
}

/// Cuts a block of `dims`, as a matrix of the first axis by the rest, to its leading `rank` singular vectors: with M the
/// matrix and U the leading eigenvectors of M M^T, U times U^T M (the best approximation of this rank in the Frobenius
/// norm). `None` where the factors would cost more arithmetic than the block.
pub(super) fn cut(dims: &[usize], values: &[f64], rank: usize) -> Option<Factors> {
    let (rows, rest) = dims.split_first()?;
    let (rows, columns) = (*rows, rest.iter().product::<usize>());
    if rest.is_empty() || rank == 0 || rank * (rows + columns) >= rows * columns {
        return None;
    }
    let matrix = DMatrix::from_row_slice(rows, columns, values);
    let left = if rows <= columns {
        leading(&(&matrix * matrix.transpose()), rank)
    } else {
        // The smaller Gram matrix: its eigenvectors V give the left ones as M V, made orthonormal.
        let right = leading(&(matrix.transpose() * &matrix), rank);
        (&matrix * right).qr().q()
    };
    let right = left.transpose() * &matrix;
    let row_major = |m: &DMatrix<f64>| m.transpose().as_slice().to_vec();
    Some(Factors { rows, rank, left: row_major(&left), right: row_major(&right) })
}

/// Eigenvectors of the `count` largest eigenvalues, as columns.
fn leading(symmetric: &DMatrix<f64>, count: usize) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(symmetric.clone());
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    order.truncate(count);
    eigen.eigenvectors.select_columns(&order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(f: &Factors, columns: usize) -> DMatrix<f64> {
        DMatrix::from_row_slice(f.rows, f.rank, &f.left) * DMatrix::from_row_slice(f.rank, columns, &f.right)
    }

    /// A block of known singular values: 3 and 1 along orthogonal vectors.
    fn block(rows: usize, columns: usize) -> DMatrix<f64> {
        let axis = |n: usize, i: usize| DMatrix::from_fn(n, 1, |r, _| f64::from(u8::from(r == i)));
        axis(rows, 0) * axis(columns, 1).transpose() * 3.0 + axis(rows, 2) * axis(columns, 4).transpose()
    }

    #[test]
    fn a_block_is_cut_to_its_leading_singular_vectors_in_both_shapes() {
        for (rows, columns) in [(8, 20), (20, 8)] {
            let whole = block(rows, columns);
            let values = whole.transpose().as_slice().to_vec();
            let two = cut(&[rows, columns], &values, 2).expect("it pays");
            assert!((product(&two, columns) - &whole).norm() < 1e-12);
            // What is left out of rank 1 is the smaller singular value.
            let one = cut(&[rows, columns], &values, 1).expect("it pays");
            assert!(((product(&one, columns) - &whole).norm() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_block_that_would_not_get_smaller_stays_whole() {
        assert!(cut(&[4, 4], &[1.0; 16], 2).is_none());
        assert!(cut(&[16], &[1.0; 16], 2).is_none());
    }
}
