//! Boxes of fixed sizes around every location of a feature pyramid, which a detector's head moves and stretches.

use super::Grid;
use crate::{Error, Result};
use isal_onnx::{Model, Tensor};

/// Metadata property of a model: the sizes of its anchors in pixels, `32, 40, 50; 64, 80, 101`, a group for each level.
const SIZES: &str = "isal.anchors.sizes";
/// Metadata property of a model: the ratios of height to width that each size comes in, `0.5, 1, 2`.
const RATIOS: &str = "isal.anchors.ratios";

/// The anchors of a detector, as torchvision's `AnchorGenerator` makes them: around each location every ratio of every size of its
/// level, the ratios in the outer loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// Sizes of each level, in pixels: an anchor of ratio 1 is a square of that side. As many of every level.
    pub sizes: Vec<Vec<f32>>,
    /// Height over width.
    pub ratios: Vec<f32>,
}

impl Anchors {
    /// One size a level, each twice the one before it.
    pub fn doubling(first: f32, levels: usize) -> Anchors {
        let size = |level| vec![first * (1u32 << level) as f32];
        Anchors { sizes: (0..levels).map(size).collect(), ratios: vec![0.5, 1.0, 2.0] }
    }

    /// Those of RetinaNet (arXiv 1708.02002, section 4): 32 to 512 pixels, each in three parts of an octave, rounded down as
    /// torchvision does.
    pub fn retinanet() -> Anchors {
        let octaves = |size: &Vec<f32>| {
            let part = |n: i32| (f64::from(size[0]) * 2f64.powf(f64::from(n) / 3.0)).floor() as f32;
            (0..3).map(part).collect()
        };
        let single = Anchors::doubling(32.0, 5);
        Anchors { sizes: single.sizes.iter().map(octaves).collect(), ..single }
    }

    /// What a model's metadata say of its anchors; `None` where they say nothing.
    ///
    /// # Errors
    /// [`Error::Anchors`] for a property that is no list of numbers, or is there without the other.
    pub fn of_model(model: &Model) -> Result<Option<Anchors>> {
        let said = |key: &str| model.metadata.get(key).map(String::as_str);
        if said(SIZES).is_none() && said(RATIOS).is_none() {
            return Ok(None);
        }
        let wrong = |key, expected| {
            let found = said(key).map_or("missing".to_owned(), |text| format!("`{text}`"));
            Error::Anchors { key, found, expected }
        };
        let numbers = |text: &str| -> Option<Vec<f32>> {
            let number = |part: &str| part.trim().parse().ok().filter(|x: &f32| x.is_finite() && *x > 0.0);
            text.split(',').map(number).collect()
        };
        let levels = |text: &str| text.split(';').map(numbers).collect::<Option<Vec<_>>>();
        let sizes = said(SIZES).and_then(levels).filter(|levels| levels.iter().all(|l| l.len() == levels[0].len()));
        let sizes = sizes.ok_or_else(|| wrong(SIZES, "as many sizes of each level, as in `32, 40; 64, 80`"))?;
        let ratios = said(RATIOS).and_then(numbers).ok_or_else(|| wrong(RATIOS, "numbers as in `0.5, 1, 2`"))?;
        Ok(Some(Anchors { sizes, ratios }))
    }

    /// As metadata properties.
    pub(super) fn properties(&self) -> [(&'static str, String); 2] {
        let listed = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let levels: Vec<String> = self.sizes.iter().map(|level| listed(level)).collect();
        [(SIZES, levels.join("; ")), (RATIOS, listed(&self.ratios))]
    }

    /// How many there are around a location.
    pub fn per_location(&self) -> usize {
        self.sizes.first().map_or(0, Vec::len) * self.ratios.len()
    }

    /// The grid of locations around which there are `count` anchors altogether; `None` where no strides that double give it.
    pub fn grid(&self, image: [usize; 2], count: usize) -> Option<Grid> {
        let each = self.per_location();
        if each == 0 || !count.is_multiple_of(each) {
            return None;
        }
        Grid::all(image).find(|grid| grid.strides.len() == self.sizes.len() && grid.locations() * each == count)
    }

    /// How many each level has.
    pub(super) fn counts(&self, grid: &Grid) -> Vec<usize> {
        grid.counts().iter().map(|locations| locations * self.per_location()).collect()
    }

    /// The corners of those of a level around the middle of none: left, top, right, bottom, in whole pixels.
    fn cell(&self, level: usize) -> Vec<[f32; 4]> {
        let sizes = self.sizes.get(level).map_or(&[][..], Vec::as_slice);
        let one = |ratio: f32, size: f32| {
            let tall = ratio.sqrt();
            let half = |side: f32| (side * size / 2.0).round_ties_even();
            let (x, y) = (half(1.0 / tall), half(tall));
            [-x, -y, x, y]
        };
        self.ratios.iter().flat_map(|ratio| sizes.iter().map(move |size| one(*ratio, *size))).collect()
    }

    /// The left, top, right and bottom sides of all anchors of an image, level after level, row after row.
    pub(super) fn sides(&self, grid: &Grid) -> [Vec<f32>; 4] {
        let mut sides: [Vec<f32>; 4] = Default::default();
        for (level, stride) in grid.strides.iter().enumerate() {
            let cell = self.cell(level);
            let ([height, width], [down, across]) = (grid.size(*stride), grid.step(*stride));
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let place = [x * across, y * down, x * across, y * down];
                for corners in &cell {
                    for ((of, at), corner) in sides.iter_mut().zip(place).zip(corners) {
                        of.push(at as f32 + corner);
                    }
                }
            }
        }
        sides
    }

    /// The same as tensors, `[1, L, 1]` each.
    pub(super) fn tensors(&self, grid: &Grid) -> [Tensor; 4] {
        self.sides(grid).map(|side| Tensor::new([1, side.len(), 1], &side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_papers() {
        assert_eq!(Anchors::doubling(32.0, 5).sizes.concat(), [32.0, 64.0, 128.0, 256.0, 512.0]);
        let octaves = Anchors::retinanet().sizes;
        assert_eq!((&octaves[0][..], &octaves[4][..]), (&[32.0, 40.0, 50.0][..], &[512.0, 645.0, 812.0][..]));
    }

    /// torchvision: `AnchorGenerator(((32,),), ((0.5, 1.0, 2.0),))`, its cell rounded, and its steps of an image of 64 x 96 pixels
    /// whose coarsest level is 1 x 2.
    #[test]
    fn corners_are_those_of_torchvision() {
        let anchors = Anchors::doubling(32.0, 5);
        assert_eq!(
            anchors.cell(0),
            [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]
        );
        let grid = anchors.grid([64, 96], 3 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3 + 2)).expect("strides 4 to 64");
        assert_eq!(grid.strides, [4, 8, 16, 32, 64]);
        let [left, top, ..] = anchors.sides(&grid);
        let last = left.len() - 1;
        assert_eq!((left[last] - left[last - 3], top[last] - top[last - 3]), (48.0, 0.0));
        assert_eq!((left[3] - left[0], top[3 * 24] - top[0]), (4.0, 4.0));
    }

    #[test]
    fn metadata_say_what_they_were_given() {
        let mut model = Model::default();
        let of_model = |model: &Model| Anchors::of_model(model).map_err(|error| error.to_string());
        assert_eq!(of_model(&model), Ok(None));
        let anchors = Anchors { sizes: vec![vec![16.0, 20.5], vec![32.0, 41.0]], ratios: vec![0.5, 1.0] };
        model.metadata.extend(anchors.properties().map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(of_model(&model), Ok(Some(anchors)));
        for (sizes, part) in [("16, 20; 32", "as many sizes"), ("16, x", "`16, x`"), ("", "is ``")] {
            model.metadata.insert(SIZES.to_owned(), sizes.to_owned());
            let refused = of_model(&model).expect_err("no sizes");
            assert!(refused.contains(part), "{refused}");
        }
        model.metadata.shift_remove(SIZES);
        assert!(of_model(&model).is_err_and(|refused| refused.contains("missing")));
    }
}
