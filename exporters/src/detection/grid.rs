//! Where the locations of a detector's heads lie.

use isal_onnx::Tensor;

/// The levels of a feature pyramid over an image of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Height and width of what the network sees.
    pub image: [usize; 2],
    /// Pixels from one location of a level to the next.
    pub strides: Vec<usize>,
}

impl Grid {
    /// The levels of which there are `locations` altogether: strides that double, from 4, 8 or 16 on.
    ///
    /// A stride-2 convolution rounds up, so a level has `ceil(height / stride) * ceil(width / stride)` locations.
    pub fn of(image: [usize; 2], locations: usize) -> Option<Grid> {
        Grid::all(image).find(|grid| grid.locations() == locations)
    }

    /// Every grid that a pyramid may have.
    pub(super) fn all(image: [usize; 2]) -> impl Iterator<Item = Grid> {
        [8, 4, 16, 2, 32].into_iter().flat_map(move |first: usize| {
            (1..=7).map(move |levels| Grid { image, strides: (0..levels).map(|level| first << level).collect() })
        })
    }

    /// Height and width of a level, in locations.
    pub fn size(&self, stride: usize) -> [usize; 2] {
        self.image.map(|side| side.div_ceil(stride))
    }

    /// Pixels from one location of a level to the next, down and across, as torchvision has it: the image's side over the level's,
    /// rounded down. Where a side is not a multiple of the stride, that is less than the stride.
    pub fn step(&self, stride: usize) -> [usize; 2] {
        let size = self.size(stride);
        [0, 1].map(|axis| self.image[axis] / size[axis].max(1))
    }

    /// How many locations each level has.
    pub fn counts(&self) -> Vec<usize> {
        self.strides.iter().map(|stride| self.size(*stride).iter().product()).collect()
    }

    /// How many locations there are.
    pub fn locations(&self) -> usize {
        self.counts().iter().sum()
    }

    /// A number of every location.
    fn numbers(&self, number: impl Fn(usize, [usize; 2]) -> f32) -> Vec<f32> {
        let number = &number;
        let of_level = |stride: &usize| {
            let ([height, width], stride) = (self.size(*stride), *stride);
            (0..height).flat_map(move |y| (0..width).map(move |x| number(stride, [x, y])))
        };
        self.strides.iter().flat_map(of_level).collect()
    }

    /// The same, `[1, L, 1]`.
    fn of_each(&self, number: impl Fn(usize, [usize; 2]) -> f32) -> Tensor {
        let numbers = self.numbers(number);
        Tensor::new([1, numbers.len(), 1], &numbers)
    }

    /// Where each location lies in the image, in pixels to the right, `[1, L, 1]`: the corner of its cell, as torchvision has it.
    pub(super) fn x(&self) -> Tensor {
        self.of_each(|stride, [x, _]| (x * self.step(stride)[1]) as f32)
    }

    /// As [`Grid::x`], in pixels down.
    pub(super) fn y(&self) -> Tensor {
        self.of_each(|stride, [_, y]| (y * self.step(stride)[0]) as f32)
    }

    /// The middle of each location's cell, in pixels to the right and down, `[1, 1, L]` each.
    pub(super) fn middles(&self) -> [Tensor; 2] {
        let middle = |stride: usize, cell: usize| (cell as f32 + 0.5) * stride as f32;
        let (across, down) =
            (self.numbers(|stride, [x, _]| middle(stride, x)), self.numbers(|stride, [_, y]| middle(stride, y)));
        [across, down].map(|numbers| Tensor::new([1, 1, numbers.len()], &numbers))
    }

    /// The stride of each location's level, `[1, L, 1]`.
    pub(super) fn stride(&self) -> Tensor {
        self.of_each(|stride, _| stride as f32)
    }

    /// Between which sizes a box belongs to the level of each location: 4 to 8 strides; the first level takes smaller ones too, the last
    /// larger ones (64, 128, 256, 512 for strides 8 to 128, as in section 3.2 of the paper).
    pub(super) fn ranges(&self) -> [Tensor; 2] {
        let (first, last) = (self.strides.first().copied(), self.strides.last().copied());
        let low = self.of_each(|stride, _| if Some(stride) == first { 0.0 } else { 4.0 * stride as f32 });
        let high = self.of_each(|stride, _| if Some(stride) == last { 1e8 } else { 8.0 * stride as f32 });
        [low, high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_their_number_of_locations() {
        // torchvision's fcos_resnet50_fpn at 800 x 1088: 100 * 136 + 50 * 68 + 25 * 34 + 13 * 17 + 7 * 9.
        assert_eq!(Grid::of([800, 1088], 18_134).expect("levels").strides, [8, 16, 32, 64, 128]);
        assert_eq!(Grid::of([64, 64], 256 + 64 + 16).expect("levels").strides, [4, 8, 16]);
        assert_eq!(Grid::of([64, 64], 335), None);
    }

    #[test]
    fn locations_go_by_rows_within_levels() {
        let grid = Grid { image: [8, 12], strides: vec![4, 8] };
        let floats = |t: Tensor| t.to_vec::<f32>().expect("floats");
        assert_eq!((grid.counts(), grid.step(8)), (vec![6, 2], [8, 6]));
        assert_eq!(floats(grid.x()), [0.0, 4.0, 8.0, 0.0, 4.0, 8.0, 0.0, 6.0]);
        assert_eq!(floats(grid.y()), [0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 0.0, 0.0]);
        assert_eq!(floats(grid.stride()), [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 8.0, 8.0]);
        let [low, high] = grid.ranges().map(floats);
        assert_eq!((low[0], low[6], high[0], high[6]), (0.0, 32.0, 32.0, 1e8));
    }
}
