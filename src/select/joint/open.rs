//! The candidates of a design that may join what is labelled, or leave it again, with what is known of each.

use super::lanes::{Group, LANES, Lane, Room, triangle};
use super::last_layer::{Factors, Sizes};
use super::linear::BLOCK;
use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::slice::ParallelSliceMut as _;

/// Whether an image joins what is labelled, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Join,
    Leave,
}

impl Step {
    pub(super) fn sign(self) -> f64 {
        match self {
            Step::Join => 1.0,
            Step::Leave => -1.0,
        }
    }

    /// The gain of an image that joined or left, which is never the next.
    fn closed(self) -> f64 {
        self.sign() * f64::NEG_INFINITY
    }
}

/// The images that may join or leave, with their `K` and `T`; several side by side (lanes.rs).
pub(super) struct Open<'a> {
    factors: &'a Factors,
    sizes: Sizes,
    step: Step,
    /// Their places among the factors.
    places: Vec<usize>,
    /// Their features, `[d, n]`, and zeros behind the last.
    h: Array2<f64>,
    /// Their beliefs, `C` entries a group; the lower triangles of `K` and `T`; the gains, an entry a group.
    p: Vec<Lane>,
    k: Vec<Lane>,
    t: Vec<Lane>,
    gains: Vec<Lane>,
    /// Those that are closed.
    closed: usize,
}

impl<'a> Open<'a> {
    /// The images at these places, with `A^-1` and `A^-1 F A^-1` as they are.
    pub(super) fn new(
        (inverse, through): (&Array2<f64>, &Array2<f64>),
        factors: &'a Factors,
        places: Vec<usize>,
        step: Step,
    ) -> Open<'a> {
        let sizes = factors.sizes();
        let groups = places.len().div_ceil(LANES);
        let none = vec![[0.0; LANES]; groups * triangle(sizes.classes)];
        let mut open = Open {
            factors,
            sizes,
            step,
            places: Vec::new(),
            h: Array2::zeros((0, 0)),
            p: Vec::new(),
            k: none.clone(),
            t: none,
            gains: Vec::new(),
            closed: 0,
        };
        open.read(places);
        let (mut k, mut t) = (std::mem::take(&mut open.k), std::mem::take(&mut open.t));
        for (r, out) in [(inverse, &mut k), (through, &mut t)] {
            let blocks = out.par_chunks_mut(BLOCK / LANES * triangle(sizes.classes)).enumerate();
            blocks.for_each(|(block, out)| open.quadratic(r, block * BLOCK, out));
        }
        (open.k, open.t) = (k, t);
        open.each_group(None);
        open
    }

    /// Takes features and beliefs of the images at these places.
    fn read(&mut self, places: Vec<usize>) {
        let Sizes { classes, width } = self.sizes;
        let groups = places.len().div_ceil(LANES);
        self.h = Array2::zeros((width, groups * LANES));
        self.p = vec![[0.0; LANES]; groups * classes];
        self.gains = vec![[self.step.closed(); LANES]; groups];
        for (row, place) in places.iter().enumerate() {
            self.h.column_mut(row).assign(&self.factors.h.row(*place));
            for (class, p) in self.factors.p.row(*place).iter().enumerate() {
                self.p[row / LANES * classes + class][row % LANES] = *p;
            }
            self.gains[row / LANES][row % LANES] = 0.0;
        }
        self.places = places;
    }

    /// `M' (h' R_ab h) M` of the images from `start` on, into their lower triangles.
    fn quadratic(&self, r: &Array2<f64>, start: usize, out: &mut [Lane]) {
        let Sizes { classes, width } = self.sizes;
        let images = (self.places.len() - start).min(BLOCK);
        let h = self.factors.h.select(Axis(0), &self.places[start..start + images]);
        let mut q = vec![0.0; images * classes * classes];
        for a in 0..classes {
            let rows = h.dot(&r.slice(s![a * width..(a + 1) * width, ..(a + 1) * width]));
            for (image, (row, h)) in rows.axis_iter(Axis(0)).zip(h.axis_iter(Axis(0))).enumerate() {
                let q = &mut q[image * classes * classes..(image + 1) * classes * classes];
                for b in 0..=a {
                    let entry = row.slice(s![b * width..(b + 1) * width]).dot(&h);
                    q[a * classes + b] = entry;
                    q[b * classes + a] = entry;
                }
            }
        }
        for (image, q) in q.chunks_exact_mut(classes * classes).enumerate() {
            let p = self.factors.p.row(self.places[start + image]).to_vec();
            between(q, &p);
            let out = &mut out[image / LANES * triangle(classes)..];
            let entries = (0..classes).flat_map(|i| (0..=i).map(move |j| i * classes + j));
            entries.zip(out).for_each(|(entry, out)| out[image % LANES] = q[entry]);
        }
    }

    /// What joining gains, or leaving costs, row by row; infinite of those that are closed.
    pub(super) fn gains(&self) -> impl Iterator<Item = f64> {
        self.gains.as_flattened().iter().copied()
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// The place of the image at a row.
    pub(super) fn place(&self, row: usize) -> usize {
        self.places[row]
    }

    /// The row of the image at a place, unless it is closed.
    pub(super) fn row_of(&self, place: usize) -> Option<usize> {
        let row = self.places.iter().position(|known| *known == place)?;
        self.gains[row / LANES][row % LANES].is_finite().then_some(row)
    }

    /// Features and beliefs of the image at a row.
    pub(super) fn image(&self, row: usize) -> (ArrayView1<'a, f64>, ArrayView1<'a, f64>) {
        let place = self.places[row];
        (self.factors.h.row(place), self.factors.p.row(place))
    }

    /// `K` and `T` of the image at a row, `[C, C]`.
    pub(super) fn matrices(&self, row: usize) -> (Array2<f64>, Array2<f64>) {
        let classes = self.sizes.classes;
        let whole = |lower: &[Lane]| {
            Array2::from_shape_fn((classes, classes), |(i, j)| {
                let (i, j) = (i.max(j), i.min(j));
                lower[row / LANES * triangle(classes) + triangle(i) + j][row % LANES]
            })
        };
        (whole(&self.k), whole(&self.t))
    }

    /// The image at a row is never the next again.
    pub(super) fn close(&mut self, row: usize) {
        self.gains[row / LANES][row % LANES] = self.step.closed();
        self.closed += 1;
    }

    /// What a step changes: `K` by `V' Y` and `T` by `V' Y` and `V' Z`, of `Y` and `Z` `[C d, C]`.
    pub(super) fn follow(&mut self, y: &Array2<f64>, z: &Array2<f64>) {
        if self.closed > BLOCK.max(self.places.len() / 8) {
            self.forget();
        }
        let Sizes { classes, width } = self.sizes;
        // A row for each pair of a class and a column, first of Y and then of Z.
        let mut pairs = Array2::zeros((2 * classes * classes, width));
        for (side, of) in [y, z].into_iter().enumerate() {
            for class in 0..classes {
                let start = (side * classes + class) * classes;
                let block = of.slice(s![class * width..(class + 1) * width, ..]);
                pairs.slice_mut(s![start..start + classes, ..]).assign(&block.t());
            }
        }
        self.each_group(Some(pairs.view()));
    }

    /// Changes every group by `pairs`, if any, and computes its gains.
    fn each_group(&mut self, pairs: Option<ArrayView2<f64>>) {
        let classes = self.sizes.classes;
        let (entries, sign, h) = (triangle(classes), self.step.sign(), &self.h);
        let groups = BLOCK / LANES;
        let blocks = self.k.par_chunks_mut(groups * entries).zip(self.t.par_chunks_mut(groups * entries));
        let blocks = blocks.zip(self.p.par_chunks_mut(groups * classes)).zip(self.gains.par_chunks_mut(groups));
        blocks.enumerate().for_each_init(
            || (Array2::zeros((2 * classes * classes, BLOCK)), Room::new(classes)),
            |(by_feature, room), (block, (((k, t), p), gains))| {
                if let Some(pairs) = &pairs {
                    let h = h.slice(s![.., block * BLOCK..(block * BLOCK + gains.len() * LANES)]);
                    let mut out = by_feature.slice_mut(s![.., ..h.ncols()]);
                    general_mat_mul(1.0, pairs, &h, 0.0, &mut out);
                }
                let of_groups = k.chunks_exact_mut(entries).zip(t.chunks_exact_mut(entries));
                let of_groups = of_groups.zip(p.chunks_exact(classes)).zip(gains);
                for (number, (((k, t), p), gains)) in of_groups.enumerate() {
                    let mut group = Group { p, k, t, gains };
                    match by_feature.as_slice().filter(|_| pairs.is_some()) {
                        Some(by_feature) => group.follow(by_feature, BLOCK, number * LANES, sign, room),
                        None => group.gain(sign, room),
                    }
                }
            },
        );
    }

    /// Gives up those that are closed.
    fn forget(&mut self) {
        let entries = triangle(self.sizes.classes);
        let still: Vec<usize> =
            (0..self.places.len()).filter(|row| !self.gains[row / LANES][row % LANES].is_infinite()).collect();
        let groups = still.len().div_ceil(LANES);
        let of = |lower: &[Lane]| {
            let mut kept = vec![[0.0; LANES]; groups * entries];
            for (to, from) in still.iter().enumerate() {
                for entry in 0..entries {
                    kept[to / LANES * entries + entry][to % LANES] =
                        lower[from / LANES * entries + entry][from % LANES];
                }
            }
            kept
        };
        (self.k, self.t) = (of(&self.k), of(&self.t));
        let places = still.iter().map(|row| self.places[*row]).collect();
        self.read(places);
        self.closed = 0;
    }
}

/// `M' Q M` in the place of a symmetric `Q`, `[C, C]` by rows.
fn between(q: &mut [f64], p: &[f64]) {
    let classes = p.len();
    for column in 0..classes {
        let mean: f64 = (0..classes).map(|row| p[row] * q[row * classes + column]).sum();
        for row in 0..classes {
            q[row * classes + column] = p[row].sqrt() * (q[row * classes + column] - mean);
        }
    }
    for row in q.chunks_exact_mut(classes) {
        let mean: f64 = row.iter().zip(p).map(|(q, p)| q * p).sum();
        row.iter_mut().zip(p).for_each(|(q, p)| *q = p.sqrt() * (*q - mean));
    }
}
