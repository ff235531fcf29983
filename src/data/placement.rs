//! Where an image comes to lie in the input of a model, and boxes with it.

use super::preprocess::Size;

/// Where the pixels of an image come to lie in the model's input: `x * scale + offset` of a coordinate, which counts from the left
/// or top edge of the first pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Across and down; negative where the image is mirrored.
    pub scale: [f64; 2],
    /// Across and down, in pixels of the input.
    pub offset: [f64; 2],
    /// Of the image as it is stored.
    pub stored: Size,
    /// Of the input.
    pub size: Size,
}

impl Placement {
    /// Corners `[left, top, right, bottom]` of the stored image in the input.
    pub fn seen(&self, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let ([across, down], [x, y]) = (self.scale, self.offset);
        let (left, right) = if across < 0.0 { (right, left) } else { (left, right) };
        [left * across + x, top * down + y, right * across + x, bottom * down + y]
    }

    /// Corners in the input back in the stored image.
    pub fn stored(&self, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let ([across, down], [x, y]) = (self.scale, self.offset);
        let (left, right) = if across < 0.0 { (right, left) } else { (left, right) };
        [(left - x) / across, (top - y) / down, (right - x) / across, (bottom - y) / down]
    }

    /// The same of the image mirrored left and right before it is filled up.
    pub fn mirrored(&self) -> Placement {
        let ([across, down], [x, y]) = (self.scale, self.offset);
        // What a crop leaves of an image is mirrored as a whole; what fills it up stays where it is.
        let (first, last) = (x.max(0.0), (x + across * self.stored.width as f64).min(self.size.width as f64));
        Placement { scale: [-across, down], offset: [first + last - x, y], ..*self }
    }
}

/// Corners within an image of this size; `None` where nothing is left of them.
pub fn clipped([left, top, right, bottom]: [f64; 4], size: Size) -> Option<[f64; 4]> {
    let (width, height) = (size.width as f64, size.height as f64);
    let corners = [left.clamp(0.0, width), top.clamp(0.0, height), right.clamp(0.0, width), bottom.clamp(0.0, height)];
    let [left, top, right, bottom] = corners;
    (right > left && bottom > top).then_some(corners)
}
