//! Masks that people gave: held against the image that they are of, and kept in the folder of the run.

use crate::data::{Limits, Mask, Size};
use crate::durable;
use crate::rounds::RoundsError;
use crate::rounds::label::Label;
use crate::rounds::state::Layout;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The label of pixels that do not count.
const IGNORE: u8 = 255;

/// The mask at `path` of an image of this size, where it lies.
///
/// # Errors
/// In words what is wrong: no PNG of class numbers, another size than the image, numbers that are no class.
pub(super) fn look_at(path: &Path, size: Size, classes: usize) -> Result<Label, String> {
    let of = |what: String| format!("has the mask `{}`, which {what}", path.display());
    let mask = Mask::read(path, &Limits::default()).map_err(|error| of(error.to_string()))?;
    let (width, height) = (mask.width(), mask.height());
    if (width, height) != (size.width, size.height) {
        let Size { width: across, height: down } = size;
        return Err(of(format!("is of {width} x {height} pixels, and the image of {across} x {down}")));
    }
    if let Some(label) = mask.labels().iter().find(|label| **label != IGNORE && usize::from(**label) >= classes) {
        let last = classes.saturating_sub(1);
        return Err(of(format!("has the label {label}, expected 0 to {last} for the classes, or {IGNORE}")));
    }
    let bytes = std::fs::read(path).map_err(|error| of(format!("cannot be read: {error}")))?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mask = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Ok(Label::Mask { mask: mask.display().to_string(), sha256 })
}

/// Keeps a mask in the folder of the round, under its hash; other labels stay as they are.
pub(in crate::rounds) fn kept(label: Label, layout: &Layout, round: usize) -> Result<Label, RoundsError> {
    let Label::Mask { mask, sha256 } = label else { return Ok(label) };
    let from = Path::new(&mask);
    let bytes = std::fs::read(from).map_err(|source| RoundsError::Read { path: from.to_path_buf(), source })?;
    let folder = layout.round(round).join("masks");
    durable::make_folder(&folder)?;
    let to = folder.join(format!("{sha256}.png"));
    durable::write_bytes(&to, &bytes)?;
    let inside = to.strip_prefix(layout.0).unwrap_or(&to);
    Ok(Label::Mask { mask: inside.display().to_string(), sha256 })
}
