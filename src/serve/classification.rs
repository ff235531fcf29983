//! The classification extension: the highest elements of an output as texts `value:index[:label]`.

use super::datatype::Datatype;
use super::refusal::Refusal;
use super::tensor::Tensor;
use crate::runtime::joined;

/// The `count` highest elements of each row, the highest first, of equal ones the first first: BYTES `[N, count]`, or
/// `[count]` of the whole tensor where the model has no batch axis.
///
/// # Errors
/// [`Refusal::Parameter`] for an output of texts.
pub(super) fn highest(tensor: &Tensor, count: usize, batched: bool, labels: &[String]) -> Result<Tensor, Refusal> {
    let numbers = numbers(tensor).ok_or_else(|| Refusal::Parameter {
        name: "classification".to_owned(),
        reason: format!("output `{}` is {}, which has no highest element", tensor.name, tensor.datatype),
    })?;
    let rows = if batched { tensor.shape.first().copied().unwrap_or(1) } else { 1 };
    let in_row = numbers.len().checked_div(rows).unwrap_or(0);
    let count = count.min(in_row);
    let mut texts = Vec::with_capacity(rows * count);
    for row in numbers.chunks_exact(in_row.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // NaN is the lowest of all.
        let key = |at: &usize| if row[*at].is_nan() { f64::NEG_INFINITY } else { row[*at] };
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
        for at in order.into_iter().take(count) {
            let value = match tensor.datatype {
                Datatype::Fp32 | Datatype::Fp16 | Datatype::Bf16 => (row[at] as f32).to_string(),
                _ => row[at].to_string(),
            };
            texts.push(match labels.get(at) {
                Some(label) => format!("{value}:{at}:{label}"),
                None => format!("{value}:{at}"),
            });
        }
    }
    let shape = if batched { vec![rows, count] } else { vec![count] };
    let data = joined(texts.iter().map(String::as_bytes));
    Ok(Tensor { name: tensor.name.clone(), datatype: Datatype::Bytes, shape, data })
}

/// The elements of a tensor of numbers.
pub(super) fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    let data = tensor.data.as_ref();
    Some(match tensor.datatype {
        Datatype::Bytes => return None,
        Datatype::Bool | Datatype::Uint8 => each(data, |b| f64::from(u8::from_le_bytes(b))),
        Datatype::Int8 => each(data, |b| f64::from(i8::from_le_bytes(b))),
        Datatype::Uint16 => each(data, |b| f64::from(u16::from_le_bytes(b))),
        Datatype::Int16 => each(data, |b| f64::from(i16::from_le_bytes(b))),
        Datatype::Uint32 => each(data, |b| f64::from(u32::from_le_bytes(b))),
        Datatype::Int32 => each(data, |b| f64::from(i32::from_le_bytes(b))),
        Datatype::Uint64 => each(data, |b| u64::from_le_bytes(b) as f64),
        Datatype::Int64 => each(data, |b| i64::from_le_bytes(b) as f64),
        Datatype::Fp16 => each(data, |b| half::f16::from_le_bytes(b).to_f64()),
        Datatype::Bf16 => each(data, |b| half::bf16::from_le_bytes(b).to_f64()),
        Datatype::Fp32 => each(data, |b| f64::from(f32::from_le_bytes(b))),
        Datatype::Fp64 => each(data, f64::from_le_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Texts;

    #[test]
    fn the_highest_of_each_row_come_with_place_and_label() {
        let values = [0.25_f32, 2.0, f32::NAN, -1.0, 3.5, 3.5];
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
        let tensor = Tensor { name: "y".into(), datatype: Datatype::Fp32, shape: vec![2, 3], data };
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let texts = |tensor: &Tensor| -> Vec<String> {
            Texts(&tensor.data).map(|t| String::from_utf8_lossy(t.expect("whole")).into_owned()).collect()
        };
        let two = highest(&tensor, 2, true, &labels).expect("numbers");
        assert_eq!((two.shape.as_slice(), two.datatype), (&[2, 2][..], Datatype::Bytes));
        assert_eq!(texts(&two), ["2:1:dog", "0.25:0:cat", "3.5:1:dog", "3.5:2"]);
        let whole = highest(&tensor, 99, false, &[]).expect("numbers");
        assert_eq!(whole.shape, [6]);
        assert_eq!(texts(&whole)[..3], ["3.5:4", "3.5:5", "2:1"]);
        assert!(highest(&two, 1, true, &[]).is_err(), "texts have no order");
    }
}
