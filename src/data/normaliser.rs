//! The last step of a recipe: 8-bit samples become floats, by tables, in the model's layout, within what fills the image up.

use super::preprocess::{Channels, Filling, Layout, Pad, Size};
use super::{Image, RecipeError};

/// What every 8-bit sample becomes, by channel of the model.
pub(crate) struct Normaliser {
    pub(super) channels: Channels,
    pub(super) layout: Layout,
    pub(super) size: Size,
    pub(super) pad: Option<Pad>,
    pub(super) len: usize,
    pub(super) tables: Vec<[f32; 256]>,
}

impl Normaliser {
    pub(crate) fn apply(&self, pixels: &Image, out: &mut [f32]) -> Result<(), RecipeError> {
        match self.pad {
            Some(pad) if pixels.height() < self.size.height || pixels.width() < self.size.width => {
                self.padded(pixels, &pad, out)
            }
            _ => self.whole(pixels, out),
        }
    }

    /// Floats of an image that is filled up to a size of its own.
    pub(crate) fn own_size(&self, pixels: &Image, size: Size) -> Result<Vec<f32>, RecipeError> {
        let len = size.height * size.width * self.channels.count();
        let mut floats = vec![0.0; len];
        Normaliser { size, len, tables: self.tables.clone(), ..*self }.apply(pixels, &mut floats)?;
        Ok(floats)
    }

    /// What fills an image up in a channel of the model's.
    pub(super) fn filling(&self, channel: usize) -> f32 {
        match self.pad.map(|pad| pad.value) {
            Some(Filling::Sample(sample)) => self.tables.get(channel).map_or(0.0, |table| table[usize::from(sample)]),
            _ => 0.0,
        }
    }

    /// An image that is smaller than the input, within what fills it up.
    fn padded(&self, pixels: &Image, pad: &Pad, out: &mut [f32]) -> Result<(), RecipeError> {
        let refused = || RecipeError::Buffer { found: out.len(), expected: self.len };
        let (channels, small) = (self.channels.count(), Size { height: pixels.height(), width: pixels.width() });
        let room = small.height <= self.size.height && small.width <= self.size.width;
        if out.len() != self.len || !room || pixels.channels() != channels {
            return Err(refused());
        }
        let mut inner = vec![0.0; small.height * small.width * channels];
        let own = Normaliser { size: small, pad: None, len: inner.len(), tables: self.tables.clone(), ..*self };
        own.whole(pixels, &mut inner)?;
        let (top, left) = (pad.before(small.height, self.size.height), pad.before(small.width, self.size.width));
        match self.layout {
            Layout::Nchw => {
                let planes = out.chunks_exact_mut(self.size.height * self.size.width).enumerate();
                for ((channel, plane), inner) in planes.zip(inner.chunks_exact(small.height * small.width)) {
                    plane.fill(self.filling(channel));
                    put_rows(plane, self.size.width, inner, small.width, top, left);
                }
            }
            Layout::Nhwc => {
                for pixel in out.chunks_exact_mut(channels) {
                    pixel.iter_mut().enumerate().for_each(|(channel, to)| *to = self.filling(channel));
                }
                let (wide, narrow) = (self.size.width * channels, small.width * channels);
                put_rows(out, wide, &inner, narrow, top, left * channels);
            }
        }
        Ok(())
    }

    fn whole(&self, pixels: &Image, out: &mut [f32]) -> Result<(), RecipeError> {
        let fits = out.len() == self.len && pixels.pixels().len() == self.len;
        if !fits || pixels.channels() != self.channels.count() {
            return Err(RecipeError::Buffer { found: out.len(), expected: self.len });
        }
        match (self.tables.as_slice(), self.channels) {
            ([r, g, b], Channels::Rgb) => self.colour(pixels, [(0, r), (1, g), (2, b)], out),
            ([b, g, r], Channels::Bgr) => self.colour(pixels, [(2, b), (1, g), (0, r)], out),
            ([table], _) => {
                for (to, sample) in out.iter_mut().zip(pixels.pixels()) {
                    *to = table[usize::from(*sample)];
                }
            }
            _ => return Err(RecipeError::Buffer { found: out.len(), expected: self.len }),
        }
        Ok(())
    }

    /// `from[c]` is the sample of a pixel that the model's channel `c` takes, and its table.
    fn colour(&self, pixels: &Image, from: [(usize, &[f32; 256]); 3], out: &mut [f32]) {
        let (pixels, _) = pixels.pixels().as_chunks::<3>();
        match self.layout {
            Layout::Nchw => {
                for (plane, (sample, table)) in out.chunks_exact_mut(pixels.len().max(1)).zip(from) {
                    for (to, pixel) in plane.iter_mut().zip(pixels) {
                        *to = table[usize::from(pixel[sample])];
                    }
                }
            }
            Layout::Nhwc => {
                for (to, pixel) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    *to = from.map(|(sample, table)| table[usize::from(pixel[sample])]);
                }
            }
        }
    }
}

/// Copies the rows of a small array of floats into a larger one.
fn put_rows(to: &mut [f32], stride: usize, from: &[f32], narrow: usize, top: usize, left: usize) {
    for (to, from) in to.chunks_exact_mut(stride).skip(top).zip(from.chunks_exact(narrow)) {
        to.iter_mut().skip(left).zip(from).for_each(|(to, from)| *to = *from);
    }
}
