//! Encoded images as an input: JPEG, PNG and the like as BYTES `[N]` where the model takes `[N, C, H, W]`.
//!
//! The preprocessing is that of training and of a sweep: the one that an influence graph carries, or that of the `.toml`
//! beside a model. Without one the model takes numbers alone.

use super::datatype::Datatype;
use super::limits::Limits;
use super::model::Version;
use super::refusal::Refusal;
use super::tensor::Tensor;
use crate::data::{Recipe, decode};
use crate::runtime::Texts;
use bytes::Bytes;
use half::f16;
use std::sync::Arc;

/// Whether these are the first bytes of an image.
pub(super) fn is_encoded(data: &[u8]) -> bool {
    let starts: [&[u8]; 6] = [b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"RIFF", b"II*\0"];
    starts.iter().any(|start| data.starts_with(start))
}

/// Decodes images among the inputs; the others stay as they are.
///
/// # Errors
/// [`Refusal::Image`] and [`Refusal::Recipe`], with which image.
pub(super) async fn decoded(
    version: &Arc<Version>,
    mut inputs: Vec<Tensor>,
    limits: &Limits,
) -> Result<Vec<Tensor>, Refusal> {
    let Some(recipe) = &version.recipe else { return Ok(inputs) };
    let [input] = inputs.as_mut_slice() else { return Ok(inputs) };
    let port = version.signature.inputs.iter().find(|port| port.name == input.name);
    let Some(port) = port.filter(|port| input.datatype == Datatype::Bytes && port.datatype != Datatype::Bytes) else {
        return Ok(inputs);
    };
    let [count] = input.shape[..] else {
        let found = input.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let expected = "[N], an encoded image each".to_owned();
        return Err(Refusal::Shape { name: input.name.clone(), found, expected });
    };
    if !(1..=version.signature.max_batch).contains(&count) {
        return Err(Refusal::Rows { rows: count, limit: version.signature.max_batch });
    }
    let (recipe, name, data, datatype) = (recipe.clone(), input.name.clone(), input.data.clone(), port.datatype);
    let limits = crate::data::Limits {
        file_bytes: limits.image_bytes,
        pixels: limits.image_pixels,
        memory_bytes: limits.image_pixels.saturating_mul(8),
        ..crate::data::Limits::default()
    };
    // Decoding takes milliseconds: not on the threads that answer everybody.
    let work = tokio::task::spawn_blocking(move || pixels(&name, &data, datatype, &recipe, &limits));
    let data = work.await.map_err(|e| Refusal::Failed { reason: e.to_string() })??;
    let (_, second, third, fourth) = version.recipe.as_ref().map_or((1, 0, 0, 0), |recipe| recipe.batch_shape(1));
    *input =
        Tensor { name: input.name.clone(), datatype: port.datatype, shape: vec![count, second, third, fourth], data };
    Ok(inputs)
}

fn pixels(
    name: &str,
    data: &[u8],
    datatype: Datatype,
    recipe: &Recipe,
    limits: &crate::data::Limits,
) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    let mut floats = vec![0_f32; recipe.len()];
    for (at, file) in Texts(data).enumerate() {
        let file = file.map_err(|source| Refusal::Texts { name: name.to_owned(), source })?;
        let image = decode(file, limits).map_err(|source| Refusal::Image { name: name.to_owned(), at, source })?;
        let refused = |source| Refusal::Recipe { name: name.to_owned(), at, source };
        recipe.apply(&image, &mut floats).map_err(refused)?;
        match datatype {
            Datatype::Fp32 => out.extend(floats.iter().flat_map(|value| value.to_le_bytes())),
            Datatype::Fp64 => out.extend(floats.iter().flat_map(|value| f64::from(*value).to_le_bytes())),
            Datatype::Fp16 => out.extend(floats.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
            // A model of raw bytes: its recipe gives them as whole numbers.
            Datatype::Uint8 => out.extend(floats.iter().map(|value| *value as u8)),
            other => {
                let reason = format!("the model takes images as {other}, which encoded images are not turned into");
                return Err(Refusal::Data { name: name.to_owned(), reason });
            }
        }
    }
    Ok(out.into())
}
