//! How far two tensors are apart.

/// How far the numbers of two tensors of one shape are apart.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Distance {
    /// Largest difference of two entries; NaN where one alone is no number.
    pub max_abs: f64,
    /// Euclidean norm of the difference over that of the first; infinite when the first is zero.
    pub relative: f64,
    /// Sum of squares of the difference.
    #[serde(skip)]
    pub squares: f64,
    /// Sum of squares of the first.
    #[serde(skip)]
    pub first_squares: f64,
}

impl Distance {
    /// Between two columns of numbers; a place where both are NaN is alike.
    pub fn between(a: &[f64], b: &[f64]) -> Distance {
        let (mut max_abs, mut squares, mut first_squares) = (0.0_f64, 0.0, 0.0);
        for (x, y) in a.iter().zip(b) {
            first_squares += x * x;
            // Equal infinities, and two NaN, are no difference.
            if x == y || (x.is_nan() && y.is_nan()) {
                continue;
            }
            let apart = (x - y).abs();
            max_abs = if apart.is_nan() { f64::NAN } else { max_abs.max(apart) };
            squares += apart * apart;
        }
        Distance { max_abs, relative: ratio(squares, first_squares), squares, first_squares }
    }

    /// Of several tensors taken as one vector.
    pub fn joined(distances: impl Iterator<Item = Distance>) -> Distance {
        let (mut max_abs, mut squares, mut first_squares) = (0.0_f64, 0.0, 0.0);
        for one in distances {
            max_abs = if one.max_abs.is_nan() { f64::NAN } else { max_abs.max(one.max_abs) };
            squares += one.squares;
            first_squares += one.first_squares;
        }
        Distance { max_abs, relative: ratio(squares, first_squares), squares, first_squares }
    }
}

fn ratio(squares: f64, first_squares: f64) -> f64 {
    if squares == 0.0 { 0.0 } else { (squares / first_squares).sqrt() }
}
