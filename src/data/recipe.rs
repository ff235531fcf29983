//! Preprocessing, the same everywhere: training, reference, pool and serving all call [`Recipe::apply`].
//!
//! The order is torchvision's: alpha and channels, resize, crop of the centre, then
//! `(x / 255 - mean) / std` in float32.

use ndarray::{Array4, ArrayView4, Axis, s};

use super::Image;
use super::geometry::{Geometry, between, geometry, largest, shorter};
use super::normaliser::Normaliser;
use super::placement::Placement;
use super::preprocess::{Alpha, Channels, Layout, Pad, Preprocess, Range, Resize, Size};
use super::resample::{self, Filter, Window};

/// Every step from a decoded image to the floats that a model takes, with nothing left open.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recipe {
    /// Colour channels.
    pub channels: Channels,
    /// Order of the axes.
    pub layout: Layout,
    /// How an image is brought to size.
    pub resize: Resize,
    /// Kernel of the resize.
    pub filter: Filter,
    /// Crop of the centre; black where the image is smaller.
    pub crop: Option<Size>,
    /// What fills an image up to `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<Pad>,
    /// Rows and columns that come out. An image of another size at the end is refused, one of a larger size where there is a pad.
    pub size: Size,
    /// Whether images come out in sizes of their own ([`Recipe::size_of`]), of which `size` is the largest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
    /// Range of the samples.
    pub range: Range,
    /// Subtracted, one a channel in the order of `channels`.
    pub mean: Vec<f32>,
    /// Divided by, one a channel.
    pub std: Vec<f32>,
    /// What becomes of transparency.
    pub alpha: Alpha,
}

/// A recipe that contradicts itself or the model, or an image that it cannot take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The model's input is no batch of images.
    #[error("the model's input has the shape {shape:?}, expected four axes with 1 or 3 channels")]
    InputShape {
        /// Its dims; `None` is free.
        shape: Vec<Option<usize>>,
    },
    /// Neither the axes nor the recipe tell channels from rows.
    #[error("the model's input shape {shape:?} leaves the order of its axes open: set `layout`")]
    LayoutUnknown {
        /// Its dims; `None` is free.
        shape: Vec<Option<usize>>,
    },
    /// The recipe's channels are not the model's.
    #[error("`channels = {channels:?}` gives {given} channels, the model takes {expected}")]
    Channels {
        /// The recipe's.
        channels: Channels,
        /// Their number.
        given: usize,
        /// What the model takes.
        expected: usize,
    },
    /// Nothing says how large an image must be.
    #[error("the model takes images of any size: set `resize` or `crop`")]
    SizeUnknown,
    /// The recipe's size is not the model's.
    #[error("the recipe makes images of {given} pixels, the model takes {expected}")]
    Size {
        /// What the recipe makes.
        given: Size,
        /// What the model takes.
        expected: Size,
    },
    /// A mean or standard deviation of the wrong length.
    #[error("`{key}` has {given} numbers, expected 1 or {expected}")]
    Length {
        /// `mean` or `std`.
        key: &'static str,
        /// Numbers given.
        given: usize,
        /// Number of channels.
        expected: usize,
    },
    /// Raw bytes in, scaled within the model, and a recipe that scales them as well.
    #[error("`{key}` scales what the model takes as raw bytes (uint8) and scales itself: remove it from the recipe")]
    RawBytes {
        /// `range`, `mean` or `std`.
        key: &'static str,
    },
    /// A number that nothing can be divided by, or that is none.
    #[error("`{key}` holds {value}, expected a finite number{}", if *key == "std" { " above zero" } else { "" })]
    Number {
        /// `mean` or `std`.
        key: &'static str,
        /// The number.
        value: f32,
    },
    /// A side of zero pixels.
    #[error("`{key}` asks for a side of 0 pixels")]
    ZeroSide {
        /// `resize` or `crop`.
        key: &'static str,
    },
    /// A side beyond any image.
    #[error("`{key}` asks for a side of {side} pixels, at most {limit} are made")]
    SideTooLong {
        /// `resize` or `crop`.
        key: &'static str,
        /// The side.
        side: usize,
        /// The limit.
        limit: usize,
    },
    /// Images that come out in their own aspect, for a model of one size.
    #[error(
        "`resize` keeps the aspect, so images come out in many sizes: say what fills them up, such as `pad = {{ value = 114 }}`"
    )]
    Pad,
    /// A crop and a pad.
    #[error("`crop` and `pad` both bring images to their size: take one")]
    CropAndPad,
    /// The image has another size, and the recipe does not resize.
    #[error("the image has {found} pixels, the recipe expects {expected} and does not resize")]
    ImageSize {
        /// Of the image.
        found: Size,
        /// Of the recipe.
        expected: Size,
    },
    /// The buffer for the result has another length.
    #[error("the buffer holds {found} numbers, an image gives {expected}")]
    Buffer {
        /// Its length.
        found: usize,
        /// Numbers of one image.
        expected: usize,
    },
}

/// Longest side that a recipe may ask for.
pub(super) const MAX_SIDE: usize = 16_384;

impl Recipe {
    /// The recipe for a model whose input has these dims (`None` is free).
    ///
    /// What `preprocess` leaves open: the layout follows from where 1 or 3 channels stand; one channel is grey,
    /// three (or a free number) RGB; a fixed height and width are met by an exact resize, or, where the recipe
    /// resizes the shorter side only, by a crop of the centre; the range is [0, 1], the mean 0, the standard
    /// deviation 1. A model with free height and width takes `sample` (the size of the data's first image) and
    /// then refuses images of other sizes.
    pub fn resolve(
        preprocess: &Preprocess,
        input: &[Option<usize>],
        sample: Option<Size>,
    ) -> Result<Self, RecipeError> {
        let &[_, second, third, fourth] = input else {
            return Err(RecipeError::InputShape { shape: input.to_vec() });
        };
        // An axis of 1 or 3 holds the channels; the stated number of channels decides between two such axes.
        let stated = |dim: Option<usize>| preprocess.channels.is_some_and(|channels| dim == Some(channels.count()));
        let colours = |dim: Option<usize>| matches!(dim, Some(1 | 3));
        let layout = match preprocess.layout {
            Some(layout) => layout,
            None if stated(second) => Layout::Nchw,
            None if stated(fourth) => Layout::Nhwc,
            None if colours(second) => Layout::Nchw,
            None if colours(fourth) => Layout::Nhwc,
            None if second.is_none() || fourth.is_none() => {
                return Err(RecipeError::LayoutUnknown { shape: input.to_vec() });
            }
            None => return Err(RecipeError::InputShape { shape: input.to_vec() }),
        };
        let (channel_dim, height, width) = match layout {
            Layout::Nchw => (second, third, fourth),
            Layout::Nhwc => (fourth, second, third),
        };
        let channels = match (preprocess.channels, channel_dim) {
            (Some(channels), Some(dim)) if channels.count() != dim => {
                return Err(RecipeError::Channels { channels, given: channels.count(), expected: dim });
            }
            (Some(channels), _) => channels,
            (None, Some(1)) => Channels::Grey,
            (None, Some(3) | None) => Channels::Rgb,
            (None, Some(_)) => return Err(RecipeError::InputShape { shape: input.to_vec() }),
        };
        let model_size = height.zip(width).map(|(height, width)| Size { height, width });
        let Geometry { resize, crop, pad, size } = geometry(preprocess, model_size, sample)?;
        // A model may fix one side alone.
        let expected = Size { height: height.unwrap_or(size.height), width: width.unwrap_or(size.width) };
        if expected != size {
            return Err(RecipeError::Size { given: size, expected });
        }
        Ok(Recipe {
            channels,
            layout,
            resize,
            filter: preprocess.filter.unwrap_or_default(),
            crop,
            pad,
            size,
            free: model_size.is_none() && pad.is_some_and(|pad| pad.divisor.is_some()),
            range: preprocess.range.unwrap_or(Range::Unit),
            mean: per_channel("mean", preprocess.mean.as_deref(), 0.0, channels)?,
            std: per_channel("std", preprocess.std.as_deref(), 1.0, channels)?,
            alpha: preprocess.alpha.unwrap_or(Alpha::Drop),
        })
    }

    /// The recipe as a table in which nothing is left open.
    pub fn spelt_out(&self) -> Preprocess {
        Preprocess {
            channels: Some(self.channels),
            layout: Some(self.layout),
            resize: Some(self.resize),
            filter: Some(self.filter),
            crop: self.crop,
            pad: self.pad,
            range: Some(self.range),
            mean: Some(self.mean.clone()),
            std: Some(self.std.clone()),
            alpha: Some(self.alpha),
        }
    }

    /// Numbers that one image gives.
    pub fn len(&self) -> usize {
        self.size.height * self.size.width * self.channels.count()
    }

    /// Never: a recipe always gives numbers.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Dims of a batch of `n` images, of the largest size where they come in several.
    pub fn batch_shape(&self, n: usize) -> (usize, usize, usize, usize) {
        self.shape_of(n, self.size)
    }

    /// Dims of a batch of `n` images of this size.
    pub(crate) fn shape_of(&self, n: usize, Size { height, width }: Size) -> (usize, usize, usize, usize) {
        match self.layout {
            Layout::Nchw => (n, self.channels.count(), height, width),
            Layout::Nhwc => (n, height, width, self.channels.count()),
        }
    }

    /// All steps: `image` to the floats of one model input, in `out`.
    pub fn apply(&self, image: &Image, out: &mut [f32]) -> Result<(), RecipeError> {
        let pixels = self.pixels(image)?;
        self.normalise(&pixels, out)
    }

    /// The steps on 8-bit samples: alpha, grey or colour, resize, crop. RGB stays RGB here, and what fills an image up is not there
    /// yet.
    pub fn pixels(&self, image: &Image) -> Result<Image, RecipeError> {
        self.pixels_of(image.clone())
    }

    /// [`Recipe::pixels`] of an image that nobody needs afterwards: what needs no step is not copied.
    pub(crate) fn pixels_of(&self, image: Image) -> Result<Image, RecipeError> {
        let image = colours(image, self.channels, self.alpha);
        let found = Size { height: image.height(), width: image.width() };
        let refused = RecipeError::ImageSize { found, expected: self.size };
        let target = self.resized(found);
        // A strip of an image (1 x 100,000) would grow without bound when its short side is stretched.
        if target.height > MAX_SIDE.max(found.height) || target.width > MAX_SIDE.max(found.width) {
            return Err(refused);
        }
        let image = if target == found {
            image
        } else {
            let window = kept(target, self.crop);
            resample::resize(&image, target.height, target.width, self.filter, &window)
                .ok_or_else(|| refused.clone())?
        };
        let image = match self.crop {
            Some(crop) if crop.height != image.height() || crop.width != image.width() => {
                centre_crop(&image, crop).ok_or_else(|| refused.clone())?
            }
            _ => image,
        };
        let fits = match self.pad {
            None => image.height() == self.size.height && image.width() == self.size.width,
            Some(_) => image.height() <= self.size.height && image.width() <= self.size.width,
        };
        if fits { Ok(image) } else { Err(refused) }
    }

    /// Where the pixels of an image of this size come to lie.
    pub fn placement(&self, stored: Size) -> Placement {
        let target = self.resized(stored);
        if let Some(pad) = self.pad {
            let size = self.filled(target);
            let across = pad.before(target.width, size.width) as f64;
            let down = pad.before(target.height, size.height) as f64;
            let scale = |have: usize, stored: usize| have as f64 / stored.max(1) as f64;
            let scale = [scale(target.width, stored.width), scale(target.height, stored.height)];
            return Placement { scale, offset: [across, down], stored, size };
        }
        let crop = self.crop.unwrap_or(target);
        let along = |stored: usize, have: usize, want: usize| {
            let padded = (want.saturating_sub(have) / 2) as f64;
            (have as f64 / stored.max(1) as f64, padded - half_to_even(have.saturating_sub(want)) as f64)
        };
        let across = along(stored.width, target.width, crop.width);
        let down = along(stored.height, target.height, crop.height);
        Placement { scale: [across.0, down.0], offset: [across.1, down.1], stored, size: self.size }
    }

    /// Rows and columns that an image comes out in.
    pub fn size_of(&self, stored: Size) -> Size {
        self.filled(self.resized(stored))
    }

    /// Rows and columns that an image of this size is filled up to.
    pub(super) fn filled(&self, Size { height, width }: Size) -> Size {
        match self.pad.and_then(|pad| pad.divisor).filter(|_| self.free) {
            Some(divisor) => Size { height: height.next_multiple_of(divisor), width: width.next_multiple_of(divisor) },
            None => self.size,
        }
    }

    /// The same with every image filled up to the largest size.
    pub fn of_one_size(&self) -> Recipe {
        Recipe { free: false, ..self.clone() }
    }

    /// Batches of images of several sizes as one, filled up to the largest of them.
    pub(crate) fn joined(&self, batches: &[ArrayView4<f32>]) -> Array4<f32> {
        let side = |axis: usize| batches.iter().map(|batch| batch.len_of(Axis(axis))).max().unwrap_or(0);
        let count = batches.iter().map(|batch| batch.len_of(Axis(0))).sum();
        let channels = self.layout.channel_axis();
        let mut all = Array4::zeros((count, side(1), side(2), side(3)));
        let normaliser = self.normaliser();
        for (channel, mut plane) in all.axis_iter_mut(Axis(channels)).enumerate() {
            plane.fill(normaliser.filling(channel));
        }
        let mut from = 0;
        for batch in batches {
            let [images, second, third, fourth] = [0, 1, 2, 3].map(|axis| batch.len_of(Axis(axis)));
            all.slice_mut(s![from..from + images, ..second, ..third, ..fourth]).assign(batch);
            from += images;
        }
        all
    }

    /// The size that the resize gives an image.
    fn resized(&self, found: Size) -> Size {
        match self.resize {
            Resize::None(_) => found,
            Resize::Exact(size) => size,
            Resize::ShorterSide { shorter_side } => shorter(found, shorter_side),
            Resize::Sides { shorter_side, longer_side } => between(found, shorter_side, longer_side),
            Resize::Within { within } => largest(found, within),
            Resize::Letterbox(_) => largest(found, self.size),
        }
    }

    /// The last step: 8-bit samples from [`Recipe::pixels`] to floats in the model's layout.
    pub fn normalise(&self, pixels: &Image, out: &mut [f32]) -> Result<(), RecipeError> {
        self.normaliser().apply(pixels, out)
    }

    /// The image of [`Recipe::pixels`] that [`Recipe::normalise`] makes these floats of; `None` where they come from none.
    pub(crate) fn image_of(&self, floats: &[f32]) -> Option<Image> {
        /// How far from a whole number a sample may lie: float16 rounds a normalised sample by a tenth at most.
        const WITHIN: f32 = 0.2;
        let Size { height, width } = self.size;
        let count = self.channels.count();
        let plane = height * width;
        if floats.len() != plane * count {
            return None;
        }
        let scale = match self.range {
            Range::Unit => 255.0,
            Range::Byte => 1.0,
        };
        let mut pixels = Vec::with_capacity(floats.len());
        for pixel in 0..plane {
            for sample in 0..count {
                // The channel of the model that takes this sample of a grey or RGB pixel.
                let channel = if self.channels == Channels::Bgr { count - 1 - sample } else { sample };
                let at = match self.layout {
                    Layout::Nchw => channel * plane + pixel,
                    Layout::Nhwc => pixel * count + channel,
                };
                let value = (floats.get(at)? * self.std.get(channel)? + self.mean.get(channel)?) * scale;
                let whole = value.round();
                if !(0.0..=255.0).contains(&whole) || (value - whole).abs() > WITHIN {
                    return None;
                }
                pixels.push(whole as u8);
            }
        }
        Image::new(height, width, count, pixels).ok()
    }

    /// The last step with its tables made once for many images.
    pub(crate) fn normaliser(&self) -> Normaliser {
        let tables = self.mean.iter().zip(&self.std).map(|(mean, std)| {
            std::array::from_fn(|sample| {
                let value = match self.range {
                    Range::Unit => sample as f32 / 255.0,
                    Range::Byte => sample as f32,
                };
                (value - mean) / std
            })
        });
        let (channels, layout, size, pad) = (self.channels, self.layout, self.size, self.pad);
        Normaliser { channels, layout, size, pad, len: self.len(), tables: tables.collect() }
    }
}

fn per_channel(
    key: &'static str,
    given: Option<&[f32]>,
    default: f32,
    channels: Channels,
) -> Result<Vec<f32>, RecipeError> {
    let expected = channels.count();
    let values = match given {
        None => vec![default; expected],
        Some(&[value]) => vec![value; expected],
        Some(values) if values.len() == expected => values.to_vec(),
        Some(values) => return Err(RecipeError::Length { key, given: values.len(), expected }),
    };
    match values.iter().find(|value| !value.is_finite() || (key == "std" && **value <= 0.0)) {
        Some(&value) => Err(RecipeError::Number { key, value }),
        None => Ok(values),
    }
}

/// Grey or RGB without alpha.
pub(crate) fn colours(image: Image, channels: Channels, alpha: Alpha) -> Image {
    let grey = channels == Channels::Grey;
    if (grey && image.channels() == 1) || (!grey && image.channels() == 3) {
        return image;
    }
    let mut pixels = Vec::with_capacity(image.height() * image.width() * channels.count());
    for pixel in image.pixels().chunks_exact(image.channels()) {
        let (rgb, opacity) = match *pixel {
            [v] => ([v; 3], 255),
            [v, a] => ([v; 3], a),
            [r, g, b] => ([r, g, b], 255),
            [r, g, b, a] => ([r, g, b], a),
            // `Image` has one to four channels.
            _ => continue,
        };
        let rgb = match alpha {
            Alpha::Over(ground) if opacity < 255 => over(rgb, opacity, ground),
            _ => rgb,
        };
        if grey {
            pixels.push(luma(rgb));
        } else {
            pixels.extend_from_slice(&rgb);
        }
    }
    // The count is right by construction; the original stands in for the branch that cannot happen.
    Image::new(image.height(), image.width(), channels.count(), pixels).unwrap_or(image)
}

/// `colour * a + ground * (1 - a)`, rounded.
fn over(rgb: [u8; 3], opacity: u8, ground: [u8; 3]) -> [u8; 3] {
    let a = u32::from(opacity);
    std::array::from_fn(|i| {
        let (colour, ground) = (rgb.get(i).copied().unwrap_or(0), ground.get(i).copied().unwrap_or(0));
        ((u32::from(colour) * a + u32::from(ground) * (255 - a) + 127) / 255) as u8
    })
}

/// ITU-R 601 luma with 16 fractional bits, as Pillow rounds it.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// Half of `n`, to the even neighbour where it is a half: how Python rounds, and with it torchvision.
fn half_to_even(n: usize) -> usize {
    let half = n / 2;
    if n % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

/// What a crop of the centre leaves of an image of this size.
fn kept(size: Size, crop: Option<Size>) -> Window {
    let crop = crop.unwrap_or(size);
    let middle = |have: usize, want: usize| {
        let skip = half_to_even(have.saturating_sub(want));
        skip..skip + have.min(want)
    };
    Window { rows: middle(size.height, crop.height), columns: middle(size.width, crop.width) }
}

/// The window of `size` at the centre; where the image is smaller it is padded with zeros first.
fn centre_crop(image: &Image, size: Size) -> Option<Image> {
    let channels = image.channels();
    // torchvision pads by half the difference, rounded down before the image, then crops.
    let pad = |have: usize, want: usize| want.saturating_sub(have) / 2;
    let skip = |have: usize, want: usize| half_to_even(have.saturating_sub(want));
    let (top, left) = (pad(image.height(), size.height), pad(image.width(), size.width));
    let (down, right) = (skip(image.height(), size.height), skip(image.width(), size.width));
    let copied = image.width().min(size.width) * channels;
    let stride = size.width * channels;
    let mut pixels = vec![0; size.height * stride];
    for (to, from) in pixels.chunks_exact_mut(stride).skip(top).zip(image.rows().skip(down)) {
        let to = to.get_mut(left * channels..left * channels + copied)?;
        to.copy_from_slice(from.get(right * channels..right * channels + copied)?);
    }
    Image::new(size.height, size.width, channels, pixels).ok()
}
