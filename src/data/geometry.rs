//! To which size an image is brought, and how.

use super::RecipeError;
use super::preprocess::{Pad, Preprocess, Resize, Size};
use super::recipe::MAX_SIDE;

/// How an image is brought to the size of the input.
pub(super) struct Geometry {
    pub(super) resize: Resize,
    pub(super) crop: Option<Size>,
    pub(super) pad: Option<Pad>,
    pub(super) size: Size,
}

/// Resize, crop, pad and final size, from what was written and what the model wants.
pub(super) fn geometry(
    preprocess: &Preprocess,
    model: Option<Size>,
    sample: Option<Size>,
) -> Result<Geometry, RecipeError> {
    let letterbox = matches!(preprocess.resize, Some(Resize::Letterbox(_)));
    let pad = preprocess.pad.or(letterbox.then_some(Pad::LETTERBOX));
    let (resize, crop) = match (preprocess.resize, preprocess.crop, model) {
        _ if pad.is_some() => (preprocess.resize, preprocess.crop),
        (Some(Resize::ShorterSide { .. }), None, Some(model)) => (preprocess.resize, Some(model)),
        (None, None, Some(model)) => (Some(Resize::Exact(model)), None),
        (resize, crop, _) => (resize, crop),
    };
    let resize = resize.unwrap_or(Resize::NONE);
    let sides = match resize {
        Resize::None(_) => vec![],
        Resize::Exact(size) => vec![size.height, size.width],
        Resize::ShorterSide { shorter_side } => vec![shorter_side],
        Resize::Sides { shorter_side, longer_side } => vec![shorter_side, longer_side],
        Resize::Within { within } => vec![within.height, within.width],
        Resize::Letterbox(_) => vec![],
    };
    let cropped = crop.iter().flat_map(|size| [size.height, size.width]);
    for (key, side) in sides.into_iter().map(|side| ("resize", side)).chain(cropped.map(|side| ("crop", side))) {
        if side == 0 {
            return Err(RecipeError::ZeroSide { key });
        }
        if side > MAX_SIDE {
            return Err(RecipeError::SideTooLong { key, side, limit: MAX_SIDE });
        }
    }
    let keeps_aspect = matches!(resize, Resize::Sides { .. } | Resize::Within { .. } | Resize::Letterbox(_));
    if crop.is_some() && pad.is_some() {
        return Err(RecipeError::CropAndPad);
    }
    if keeps_aspect && crop.is_none() && pad.is_none() {
        return Err(RecipeError::Pad);
    }
    let divisor = pad.and_then(|pad| pad.divisor);
    if divisor == Some(0) {
        return Err(RecipeError::ZeroSide { key: "pad" });
    }
    let up = |Size { height, width }: Size| {
        let up = |side: usize| side.next_multiple_of(divisor.unwrap_or(1));
        Size { height: up(height), width: up(width) }
    };
    let size = match (crop, resize) {
        (Some(crop), _) => crop,
        (None, Resize::Exact(size)) if pad.is_none() => size,
        (None, Resize::Within { within }) => model.unwrap_or(up(within)),
        (None, Resize::Letterbox(_)) => model.ok_or(RecipeError::SizeUnknown)?,
        // No image comes out larger, however it stands.
        (None, Resize::Sides { shorter_side, longer_side }) => {
            let most = longer_side.max(shorter_side);
            model.unwrap_or(up(Size { height: most, width: most }))
        }
        (None, Resize::Exact(size)) => model.unwrap_or(size),
        (None, Resize::None(_)) => model.or(sample).ok_or(RecipeError::SizeUnknown)?,
        (None, Resize::ShorterSide { shorter_side }) => match (pad, model) {
            (Some(_), Some(model)) => model,
            // Nothing says how long the longer side may become.
            (Some(pad), None) if pad.divisor.is_some() => return Err(RecipeError::SizeUnknown),
            _ => shorter(sample.ok_or(RecipeError::SizeUnknown)?, shorter_side),
        },
    };
    Ok(Geometry { resize, crop, pad, size })
}

/// The shorter side at `side`, as torchvision resizes classifiers' images.
pub(super) fn shorter(size: Size, side: usize) -> Size {
    let Size { height, width } = size;
    if width <= height {
        Size { height: side * height / width.max(1), width: side }
    } else {
        Size { height: side, width: side * width / height.max(1) }
    }
}

/// The shorter side at `least`, or the longer one at `most`, whichever is smaller: torchvision's detectors, whose scale is a float32.
pub(super) fn between(size: Size, least: usize, most: usize) -> Size {
    let Size { height, width } = size;
    let ratio = |side: usize, of: usize| side as f32 / of.max(1) as f32;
    let scale = f64::from(ratio(least, height.min(width)).min(ratio(most, height.max(width))));
    let scaled = |side: usize| ((side as f64 * scale).floor() as usize).max(1);
    Size { height: scaled(height), width: scaled(width) }
}

/// The largest size of the same aspect within another, rounded as Python rounds.
pub(super) fn largest(size: Size, within: Size) -> Size {
    let Size { height, width } = size;
    let ratio = |side: usize, of: usize| side as f64 / of.max(1) as f64;
    let scale = ratio(within.height, height).min(ratio(within.width, width));
    let scaled = |side: usize, most: usize| ((side as f64 * scale).round_ties_even() as usize).clamp(1, most.max(1));
    Size { height: scaled(height, within.height), width: scaled(width, within.width) }
}
