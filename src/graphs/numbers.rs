//! The numbers of a tensor as float64, and how far two tensors are apart.

use isal_onnx::{DataType, Tensor};

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

/// The elements of a tensor of numbers or booleans; `None` for strings and types that Rust has no number for.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    fn wide<T: isal_onnx::Element>(tensor: &Tensor, f: impl Fn(T) -> f64) -> Option<Vec<f64>> {
        Some(tensor.to_vec::<T>()?.into_iter().map(f).collect())
    }
    match tensor.data_type() {
        DataType::Float => wide::<f32>(tensor, f64::from),
        DataType::Double => tensor.to_vec::<f64>(),
        DataType::Float16 => wide::<half::f16>(tensor, f64::from),
        DataType::Bfloat16 => wide::<half::bf16>(tensor, f64::from),
        DataType::Int8 => wide::<i8>(tensor, f64::from),
        DataType::Int16 => wide::<i16>(tensor, f64::from),
        DataType::Int32 => wide::<i32>(tensor, f64::from),
        // Past 2^53 neighbours fall together; equality is judged on the bytes, not here.
        DataType::Int64 => wide::<i64>(tensor, |x| x as f64),
        DataType::Uint8 => wide::<u8>(tensor, f64::from),
        DataType::Uint16 => wide::<u16>(tensor, f64::from),
        DataType::Uint32 => wide::<u32>(tensor, f64::from),
        DataType::Uint64 => wide::<u64>(tensor, |x| x as f64),
        DataType::Bool => Some(tensor.bytes().iter().map(|b| f64::from(u8::from(*b != 0))).collect()),
        _ => None,
    }
}
