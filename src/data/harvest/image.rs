//! Requests as images.

use super::Form;
use crate::data::preprocess::Layout;
use crate::data::{DecodeError, Decoding, Image, Recipe, decode_as};
use half::f16;

/// The image that was sent. Files are decoded. Raw bytes `[H, W, C]` (or `[C, H, W]`, where the recipe says so) are pixels. Of floats
/// the recipe's mean and standard deviation are taken back; where no whole numbers from 0 to 255 come out, they are no image.
///
/// # Errors
/// [`DecodeError`] for what is no image.
pub fn image(form: &Form, bytes: Vec<u8>, recipe: Option<&Recipe>, decoding: &Decoding) -> Result<Image, DecodeError> {
    let (datatype, shape) = match form {
        Form::Encoded => return decode_as(&bytes, decoding),
        Form::Numbers { datatype, shape } => (datatype.as_str(), shape.as_slice()),
    };
    let no_image = |reason| DecodeError::Numbers { datatype: datatype.to_owned(), shape: shape.to_vec(), reason };
    let values: Vec<f32> = match datatype {
        "UINT8" => return pixels(shape, bytes, recipe).ok_or_else(|| no_image("are no image of 1 or 3 channels")),
        "FP16" => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        "FP32" => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        "FP64" => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        _ => return Err(no_image("are no image")),
    };
    let recipe = recipe.ok_or_else(|| no_image("were made by a preprocessing that is not known"))?;
    let (_, first, second, third) = recipe.batch_shape(1);
    let made = (shape == [first, second, third]).then(|| recipe.image_of(&values)).flatten();
    made.ok_or_else(|| no_image("are not what the model's preprocessing makes of an image"))
}

fn pixels(shape: &[usize], bytes: Vec<u8>, recipe: Option<&Recipe>) -> Option<Image> {
    let [first, second, third] = *shape else { return None };
    let by_channel = recipe.is_some_and(|recipe| recipe.layout == Layout::Nchw) || ![1, 3].contains(&third);
    if !by_channel {
        return Image::new(first, second, third, bytes).ok();
    }
    if ![1, 3].contains(&first) {
        return None;
    }
    let plane = second.checked_mul(third)?;
    let turned = (0..plane).flat_map(|at| (0..first).map(move |channel| channel * plane + at));
    let turned: Option<Vec<u8>> = turned.map(|at| bytes.get(at).copied()).collect();
    Image::new(second, third, first, turned?).ok()
}
