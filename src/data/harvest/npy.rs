//! One array as numpy stores it: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, version 1.0.

use super::Form;

/// Where the data begins: at a multiple of this.
const ALIGNMENT: usize = 64;

/// The `.npy` file of numbers; `None` for an image file, and for types that numpy has not (BF16, texts).
pub fn npy(form: &Form, bytes: &[u8]) -> Option<Vec<u8>> {
    let Form::Numbers { datatype, shape } = form else { return None };
    let described = match datatype.as_str() {
        "BOOL" => "|b1",
        "UINT8" => "|u1",
        "UINT16" => "<u2",
        "UINT32" => "<u4",
        "UINT64" => "<u8",
        "INT8" => "|i1",
        "INT16" => "<i2",
        "INT32" => "<i4",
        "INT64" => "<i8",
        "FP16" => "<f2",
        "FP32" => "<f4",
        "FP64" => "<f8",
        _ => return None,
    };
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let mut head = format!("{{'descr': '{described}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let before = b"\x93NUMPY\x01\x00".len() + 2;
    while !(before + head.len() + 1).is_multiple_of(ALIGNMENT) {
        head.push(' ');
    }
    head.push('\n');
    let length = u16::try_from(head.len()).ok()?;
    Some([b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], head.as_bytes(), bytes].concat())
}
