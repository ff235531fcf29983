//! 3x3 convolutions over small images by Winograd's minimal filtering F(2x2, 3x3): 16 multiplications for four outputs of a
//! channel pair instead of 36.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1: with a tile d of 4x4
//! numbers, of which every second row and column begins one, and a kernel g,
//! `Y = A^T [(G g G^T) * (B^T d B)] A` are the tile's 2x2 outputs. Over an image of few pixels the transforms of all tiles,
//! padding included, are one matrix each, so that the convolution is three matrix products:
//!
//! ```text
//! x [N, C, H, W] -> [HW, N C];  to tiles [16 T, HW] x [HW, N C]
//!   -> [16, T N, C] x kernels [16, C, M]
//!   -> [16 T, N M];  from tiles [H'W', 16 T] x [16 T, N M] -> [N, M, H', W']
//! ```
//!
//! The kernels are transformed in the graph, from constants, which a runtime does when it loads it.

use super::{At, Target, Term};
use crate::{Attribute, DataType, Dim};

/// B^T.
const TO_TILE: [[f64; 4]; 4] =
    [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
/// G.
const OF_KERNEL: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
/// A^T.
const FROM_TILE: [[f64; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

/// Fewer channels than this, and putting the numbers in order costs what the arithmetic saves.
const CHANNELS: usize = 256;
/// The largest share of the direct arithmetic that pays. With `CHANNELS` from ratios that ONNX Runtime's CPU provider
/// takes in float32: an estimated 0.47 is 0.6 of the time, 0.67 is 0.9, 0.8 is none less.
const SHARE: f64 = 0.7;

/// The longest side of a small image. None longer has paid, and what is known of a file's sizes may be anything.
const SIDE: usize = 32;

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// Of all convolutions that are added up.
    channels: usize,
    image: [usize; 2],
    outputs: usize,
    output: [usize; 2],
    /// Zeros above and left of the image.
    pads: [usize; 2],
}

impl Sizes {
    fn of(at: &At<'_>, convolutions: usize) -> Option<Sizes> {
        let ones = |name: &str| at.node.ints(name).is_none_or(|given| given.iter().all(|n| *n == 1));
        let explicit = at.node.string("auto_pad").is_none_or(|given| given == "NOTSET");
        if at.node.op_type != "Conv" || !ones("strides") || !ones("dilations") || !explicit {
            return None;
        }
        let known = |dims: &[Dim]| dims.iter().map(Dim::known).collect::<Option<Vec<usize>>>();
        let (input, weight) = (known(at.shape(0)?.get(1..)?)?, known(&at.shape(1)?)?);
        let output = known(at.output_shape(0)?.get(2..)?)?;
        let (&[channels, height, width], &[outputs, per_group, 3, 3]) = (&input[..], &weight[..]) else { return None };
        let pads = at.node.ints("pads").unwrap_or(&[0; 4]).iter().map(|pad| usize::try_from(*pad).ok());
        let &[top, left, _, _] = &pads.collect::<Option<Vec<usize>>>()?[..] else { return None };
        let (image, output) = ([height, width], <[usize; 2]>::try_from(output).ok()?);
        let small = image.iter().chain(&output).all(|side| (1..=SIDE).contains(side));
        let channels = channels.checked_mul(convolutions).filter(|_| small && per_group == channels)?;
        Some(Sizes { channels, image, outputs, output, pads: [top, left] })
    }

    /// Tiles down and across.
    fn tiles(&self) -> [usize; 2] {
        self.output.map(|n| n.div_ceil(2))
    }

    fn pays(&self) -> bool {
        let product = |of: [usize; 2]| (of[0] * of[1]) as f64;
        let (c, m) = (self.channels as f64, self.outputs as f64);
        let (image, output) = (product(self.image), product(self.output));
        let winograd = 16.0 * product(self.tiles()) * (c * m + image * c + output * m);
        self.channels.min(self.outputs) >= CHANNELS && winograd <= SHARE * 9.0 * c * m * output
    }

    /// `[16 T, HW]`: the numbers of all tiles from those of the image.
    fn tiles_of_image(&self) -> Vec<f64> {
        let ([down, across], [height, width]) = (self.tiles(), self.image);
        let mut matrix = vec![0.0; 16 * down * across * height * width];
        let mut row = matrix.chunks_exact_mut(height * width);
        for p in 0..16 {
            for tile in 0..down * across {
                let row = row.next().unwrap_or_default();
                // Row u and column v of the tile are rows and columns of the image that begin before it by the padding.
                for (u, v) in (0..16).map(|at| (at / 4, at % 4)) {
                    let y = (2 * (tile / across) + u).checked_sub(self.pads[0]).filter(|y| *y < height);
                    let x = (2 * (tile % across) + v).checked_sub(self.pads[1]).filter(|x| *x < width);
                    if let (Some(y), Some(x)) = (y, x) {
                        row[y * width + x] += TO_TILE[p / 4][u] * TO_TILE[p % 4][v];
                    }
                }
            }
        }
        matrix
    }

    /// `[H'W', 16 T]`: the outputs from the products of all tiles.
    fn outputs_of_tiles(&self) -> Vec<f64> {
        let [down, across] = self.tiles();
        let tiles = down * across;
        let mut matrix = Vec::with_capacity(16 * tiles * self.output[0] * self.output[1]);
        for (y, x) in (0..self.output[0]).flat_map(|y| (0..self.output[1]).map(move |x| (y, x))) {
            let own = (y / 2) * across + x / 2;
            for p in 0..16 {
                let factor = FROM_TILE[y % 2][p / 4] * FROM_TILE[x % 2][p % 4];
                matrix.extend((0..tiles).map(|tile| if tile == own { factor } else { 0.0 }));
            }
        }
        matrix
    }
}

/// `[9, 16]`: a kernel's 16 numbers from its own nine.
fn of_kernel() -> Vec<f64> {
    let places = (0..9).flat_map(|uv| (0..16).map(move |ab| (uv, ab)));
    places.map(|(uv, ab)| OF_KERNEL[ab / 4][uv / 3] * OF_KERNEL[ab % 4][uv % 3]).collect()
}

/// The sum of the node's convolutions of each `x` with its `w`, without a bias, by Winograd's algorithm; `None` where they are to
/// be computed directly. Their channels stand side by side, so that products and outputs are made once.
pub(crate) fn convolve<'a>(at: &At<'a>, pairs: &[(Term<'a>, Term<'a>)]) -> Option<Term<'a>> {
    let (x, _) = pairs.first()?;
    let precise = matches!(x.data_type(), DataType::Float | DataType::Double);
    if at.target() != Target::Cpu || !precise {
        return None;
    }
    let sizes = Sizes::of(at, pairs.len()).filter(Sizes::pays)?;
    let int = |n: usize| i64::try_from(n).ok();
    let (pixels, tiles) = (sizes.image[0] * sizes.image[1], 16 * sizes.tiles()[0] * sizes.tiles()[1]);
    let places = sizes.output[0] * sizes.output[1];
    let name = |what: &str| {
        let Sizes { image, output, pads, .. } = sizes;
        format!("{what}_{}x{}_{}x{}_{}_{}", image[0], image[1], output[0], output[1], pads[0], pads[1])
    };
    let tiles_of_image = x.table(&name("tiles_of_image"), &[tiles, pixels], || sizes.tiles_of_image());
    let outputs_of_tiles = x.table(&name("outputs_of_tiles"), &[places, tiles], || sizes.outputs_of_tiles());
    let of_kernel = x.table("of_kernel", &[9, 16], of_kernel);
    let transposed =
        |term: Term<'a>, order: [i64; 3]| term.with("Transpose", &[], vec![("perm", Attribute::Ints(order.to_vec()))]);
    let times = |a: Term<'a>, b: Term<'a>| a.with("MatMul", &[b], vec![]);
    let joined = |terms: Vec<Term<'a>>| match terms[..] {
        [one] => one,
        _ => terms[0].with("Concat", &terms[1..], vec![("axis", Attribute::Int(1))]),
    };

    let kernel = |w: Term<'a>| transposed(times(w.reshaped(&[0, 0, 9]), of_kernel), [2, 1, 0]);
    let kernels = joined(pairs.iter().map(|(_, w)| kernel(*w)).collect());
    let images = joined(pairs.iter().map(|(x, _)| *x).collect());
    let columns = transposed(images.reshaped(&[0, int(sizes.channels)?, int(pixels)?]), [2, 0, 1]);
    let of_tiles = times(tiles_of_image, columns.reshaped(&[int(pixels)?, -1]));
    let products = times(of_tiles.reshaped(&[16, -1, int(sizes.channels)?]), kernels);
    let outputs = times(outputs_of_tiles, products.reshaped(&[int(tiles)?, -1]));
    let rows = transposed(outputs.reshaped(&[int(places)?, -1, int(sizes.outputs)?]), [1, 2, 0]);
    Some(rows.reshaped(&[0, int(sizes.outputs)?, int(sizes.output[0])?, int(sizes.output[1])?]))
}
