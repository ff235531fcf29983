//! Images to choose a step on, and images to prove a graph on.

use super::InfluenceGraphError;
use crate::data::{Dataset, Image, Loader, LoaderOptions, Recipe, Resize, Size};
use crate::network::Network;
use crate::observe::Observer;
use isal_onnx::DataType;
use ndarray::{Array4, Axis};
use rand::{RngExt as _, SeedableRng as _};

/// Images that a step is chosen on, spread evenly over the data.
pub(super) const SAMPLE: usize = 256;
/// Fewer do not tell one ranking from another.
const LEAST: usize = 16;
/// Images of noise that a graph is proven on where no sample is given.
const PROOF: usize = 2;

/// Up to [`SAMPLE`] images of `data`, preprocessed. Those that cannot be used are left out and said.
pub(super) fn sample(
    data: &Dataset,
    recipe: &Recipe,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Array4<f32>, InfluenceGraphError> {
    let options =
        LoaderOptions { batch_size: 32, threads: (threads > 0).then_some(threads), ..LoaderOptions::default() };
    let mut loader = Loader::over(data.clone(), recipe.of_one_size(), data.spread(SAMPLE), &options)?;
    let (_, c, h, w) = recipe.batch_shape(0);
    let mut images = Array4::zeros((0, c, h, w));
    for batch in &mut loader {
        // Every batch has the recipe's shape.
        let _ = images.append(Axis(0), batch?.images.view());
    }
    for skipped in loader.into_skipped() {
        observer.say(&format!("warning: sample image left out: {}", crate::error_chain::in_one_line(&skipped.reason)));
    }
    let found = images.len_of(Axis(0));
    if found < LEAST {
        return Err(InfluenceGraphError::SmallSample { found, needed: LEAST });
    }
    Ok(images)
}

/// Noise in [0, 1) of the model's input size, or bytes where it takes those; `None` where that size is free.
pub(super) fn noise(network: &Network) -> Option<Array4<f32>> {
    let &[batch, a, b, c] = network.input.as_slice() else { return None };
    let bytes = network.input_type == DataType::Uint8;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    Some(Array4::from_shape_simple_fn((batch.unwrap_or(PROOF), a?, b?, c?), || {
        if bytes { f32::from(random.random::<u8>()) } else { random.random::<f32>() }
    }))
}

/// 8-bit images of noise `[N, H, W, C]` that a resize of `recipe` leaves as they are, and what they become.
pub(super) fn raw_noise(network: &Network, recipe: &Recipe) -> Result<(Array4<f32>, Array4<f32>), InfluenceGraphError> {
    let images = network.input.first().copied().flatten().unwrap_or(PROOF);
    // With margins where a crop takes them off.
    const MARGIN: usize = 5;
    let Size { height, width } = match (recipe.resize, recipe.crop) {
        (_, None) => recipe.size,
        (Resize::None(_), Some(crop)) => Size { height: crop.height + MARGIN, width: crop.width + MARGIN },
        (Resize::Exact(size), Some(_)) => size,
        (Resize::ShorterSide { shorter_side } | Resize::Sides { shorter_side, .. }, Some(_)) => {
            Size { height: shorter_side, width: shorter_side + MARGIN }
        }
        (Resize::Within { .. } | Resize::Letterbox(_), Some(_)) => recipe.size,
    };
    let channels = recipe.channels.count();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let (_, a, b, c) = recipe.batch_shape(images);
    let (mut raw, mut prepared) = (Vec::new(), vec![0.0; images * recipe.len()]);
    for into in prepared.chunks_exact_mut(recipe.len()) {
        let pixels: Vec<u8> = (0..height * width * channels).map(|_| random.random()).collect();
        raw.extend(pixels.iter().map(|sample| f32::from(*sample)));
        // As many samples as the image has by construction.
        if let Ok(image) = Image::new(height, width, channels, pixels) {
            recipe.apply(&image, into)?;
        }
    }
    let raw = Array4::from_shape_vec((images, height, width, channels), raw).unwrap_or_default();
    Ok((raw, Array4::from_shape_vec((images, a, b, c), prepared).unwrap_or_default()))
}
