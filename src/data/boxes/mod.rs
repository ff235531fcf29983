//! Images with boxes: what COCO, Pascal VOC and YOLO files say, as one data set.
//!
//! A box is held as its file has it, corners in pixels of the stored image (VOC's count from 1 and include the last pixel: one is taken
//! off the first) or, in YOLO files, centre and sides as fractions. Coordinates are kept to a millionth of a pixel, so that sums and
//! differences of decimals come back exactly. Boxes that are none (empty, outside of their image, no numbers) are dropped and counted,
//! or refused ([`OpenOptions::strict_boxes`]).
//!
//! [`Source::fields`] gives `boxes` (`[x1, y1, x2, y2]` in pixels), `labels` (positions in [`Source::classes`]), `width`, `height`,
//! where any box has one the flags `crowd`, `ignore` and `difficult`, and of COCO `areas`. An image that the files say nothing of has none.
//!
//! Memory: some 45 bytes a box and 20 an image, besides names.

pub(super) mod coco;
mod convert;
mod lenient;
mod problem;
pub(super) mod voc;
pub(super) mod yolo;

pub(crate) use convert::coco_box;
pub use convert::{BoxForm, ConvertError, Converted, convert};
pub use problem::{BoxProblem, Dropped, DroppedBox, Malformed};

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::TableProblem;
use super::files::Files;
use super::{DataError, Image, OpenOptions, Size, Source};

/// Boxes that are told of by name; the others are counted.
const SHOWN: usize = 200;

/// A box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarkedBox {
    /// Left, top, right and bottom in pixels of the stored image.
    pub corners: [f64; 4],
    /// Position of its class.
    pub class: u32,
    /// Pixels of what is in it, where the file says so.
    pub area: Option<f64>,
    /// What else is said of it.
    pub flags: BoxFlags,
}

/// What is said of a box besides where it is and what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoxFlags {
    /// It is around many objects that were not told apart (COCO's `iscrowd`).
    pub crowd: bool,
    /// To be left out of training.
    pub ignore: bool,
    /// Hard to recognise (VOC's `difficult`).
    pub difficult: bool,
}

impl BoxFlags {
    fn named(self, name: &str) -> bool {
        match name {
            "crowd" => self.crowd,
            "ignore" => self.ignore,
            _ => self.difficult,
        }
    }

    /// All three in a number.
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.crowd) | u8::from(self.ignore) << 1 | u8::from(self.difficult) << 2
    }

    /// Out of that number.
    pub(crate) fn of(bits: u8) -> BoxFlags {
        BoxFlags { crowd: bits & 1 != 0, ignore: bits & 2 != 0, difficult: bits & 4 != 0 }
    }
}

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    /// Corners in pixels.
    Pixels,
    /// Centre, width and height as fractions of the sides of the image.
    Fractions,
}

/// The boxes of all images, in columns.
#[derive(Default)]
struct Table {
    numbers: Vec<[f64; 4]>,
    classes: Vec<u32>,
    /// NaN where nothing is said; empty where nothing is said of any.
    areas: Vec<f64>,
    flags: Vec<u8>,
    /// Boxes by image, in the order of the file within one.
    order: Vec<u32>,
    /// Where in `order` those of each image begin, and the end.
    starts: Vec<u32>,
}

impl Table {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn push(&mut self, numbers: [f64; 4], class: u32, area: Option<f64>, flags: BoxFlags) {
        if area.is_some() && self.areas.is_empty() {
            self.areas.resize(self.len(), f64::NAN);
        }
        if area.is_some() || !self.areas.is_empty() {
            self.areas.push(area.unwrap_or(f64::NAN));
        }
        self.numbers.push(numbers);
        self.classes.push(class);
        self.flags.push(flags.bits());
    }

    /// Groups the boxes by image: `image[box]` is the position of its image, [`Table::DROPPED`] of one that is left out.
    fn group(&mut self, images: usize, image: &[u32]) {
        let mut starts = vec![0_u32; images + 1];
        let kept = |at: &&u32| (**at as usize) < images;
        for at in image.iter().filter(kept) {
            starts[*at as usize + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; starts.last().map_or(0, |end| *end as usize)];
        for (row, at) in (0_u32..).zip(image).filter(|(_, at)| (**at as usize) < images) {
            let place = &mut next[*at as usize];
            order[*place as usize] = row;
            *place += 1;
        }
        (self.order, self.starts) = (order, starts);
    }

    /// No image.
    const DROPPED: u32 = u32::MAX;

    /// Rows of the boxes of an image.
    fn rows(&self, image: usize) -> &[u32] {
        let ends = self.starts.get(image).zip(self.starts.get(image + 1));
        ends.and_then(|(start, end)| self.order.get(*start as usize..*end as usize)).unwrap_or_default()
    }

    fn get(&self, row: u32) -> Option<MarkedBox> {
        let row = row as usize;
        Some(MarkedBox {
            corners: *self.numbers.get(row)?,
            class: *self.classes.get(row)?,
            area: self.areas.get(row).copied().filter(|area| !area.is_nan()),
            flags: BoxFlags::of(*self.flags.get(row)?),
        })
    }
}

/// Image files with boxes.
pub struct Boxed {
    images: Files,
    classes: Vec<String>,
    numbered: bool,
    units: Units,
    table: Table,
    /// Width and height as the files say, where they do.
    sizes: Vec<[u32; 2]>,
    /// Images of which the files say nothing.
    unknown: Vec<bool>,
    dropped: Dropped,
}

impl Boxed {
    /// The boxes of an image in pixels; `None` where nothing is said of it.
    pub(super) fn boxes(&self, index: usize) -> Option<(Option<Size>, Vec<MarkedBox>)> {
        if index >= self.images.len() || self.unknown.get(index).copied().unwrap_or(false) {
            return None;
        }
        let said = self.sizes.get(index).filter(|size| size.iter().all(|side| *side > 0));
        let size = said.map(|[width, height]| Size { height: *height as usize, width: *width as usize });
        let boxes = self.table.rows(index).iter().filter_map(|row| self.table.get(*row));
        match self.units {
            Units::Pixels => Some((size, boxes.collect())),
            Units::Fractions => {
                let size = size.or_else(|| self.images.size(index).ok())?;
                let pixels = |marked: MarkedBox| MarkedBox { corners: in_pixels(marked.corners, size), ..marked };
                Some((Some(size), boxes.map(pixels).collect()))
            }
        }
    }
}

/// Corners in pixels of a box whose centre and sides are fractions of an image.
fn in_pixels([x, y, width, height]: [f64; 4], size: Size) -> [f64; 4] {
    let (across, down) = (size.width as f64, size.height as f64);
    [(x - width / 2.0) * across, (y - height / 2.0) * down, (x + width / 2.0) * across, (y + height / 2.0) * down]
        .map(kept)
}

/// A coordinate to a millionth of a pixel: decimals of up to six places that went through a sum come back as they were.
pub(crate) fn kept(x: f64) -> f64 {
    const PLACES: f64 = 1e6;
    if x.abs() < 1e9 { (x * PLACES).round() / PLACES } else { x }
}

/// What is wrong with these corners in an image of this size.
fn malformed([left, top, right, bottom]: [f64; 4], size: Option<[f64; 2]>) -> Option<Malformed> {
    let outside = |[width, height]: [f64; 2]| right <= 0.0 || bottom <= 0.0 || left >= width || top >= height;
    if [left, top, right, bottom].iter().any(|x| !x.is_finite()) {
        Some(Malformed::NotNumbers)
    } else if right <= left || bottom <= top {
        Some(Malformed::Empty)
    } else {
        size.is_some_and(outside).then_some(Malformed::Outside)
    }
}

/// Notes a box that is none, or refuses it.
fn drop_box(
    dropped: &mut Dropped,
    options: &OpenOptions,
    image: String,
    numbers: [f64; 4],
    why: Malformed,
) -> Result<(), BoxProblem> {
    let found = DroppedBox { image, numbers, why };
    if options.strict_boxes {
        return Err(BoxProblem::Malformed(found));
    }
    dropped.boxes += 1;
    if dropped.first.len() < SHOWN {
        dropped.first.push(found);
    }
    Ok(())
}

/// A file of text of at most so many bytes.
fn text_of(path: &Path, limit: u64) -> Result<String, DataError> {
    let refused = |problem| DataError::Boxes { path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(refused(BoxProblem::TooLarge { limit }));
    }
    String::from_utf8(bytes).map_err(|error| refused(BoxProblem::Syntax(format!("it is no UTF-8: {error}"))))
}

/// Class names that are their numbers.
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

impl Source for Boxed {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn id(&self, index: usize) -> String {
        self.images.id(index)
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn numbered(&self) -> bool {
        self.numbered
    }

    fn stamp(&self, index: usize) -> u64 {
        self.images.stamp(index)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.images.path(index)
    }

    fn size(&self, index: usize) -> Result<Size, DataError> {
        self.images.size(index)
    }

    fn fields(&self, index: usize) -> Option<Map<String, Value>> {
        let (size, boxes) = self.boxes(index)?;
        let mut fields = Map::new();
        fields.insert("boxes".to_owned(), boxes.iter().map(|marked| json!(marked.corners)).collect());
        fields.insert("labels".to_owned(), boxes.iter().map(|marked| json!(marked.class)).collect());
        for name in ["crowd", "ignore", "difficult"] {
            let flags: Vec<bool> = boxes.iter().map(|marked| marked.flags.named(name)).collect();
            if flags.contains(&true) {
                fields.insert(name.to_owned(), json!(flags));
            }
        }
        if !boxes.is_empty() && boxes.iter().all(|marked| marked.area.is_some()) {
            fields.insert("areas".to_owned(), boxes.iter().map(|marked| json!(marked.area)).collect());
        }
        if let Some(Size { height, width }) = size {
            fields.insert("width".to_owned(), json!(width));
            fields.insert("height".to_owned(), json!(height));
        }
        Some(fields)
    }

    fn beside(&self, index: usize, written: &str) -> Result<PathBuf, TableProblem> {
        self.images.beside(index, written)
    }

    fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    fn marked(&self, index: usize) -> Option<Vec<MarkedBox>> {
        Some(self.boxes(index)?.1)
    }

    fn load(&self, index: usize) -> Result<Image, DataError> {
        self.images.load(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_by_image_in_the_order_of_the_file() {
        let mut table = Table::default();
        for class in 0..6 {
            let area = (class == 3).then_some(7.0);
            table.push([f64::from(class); 4], class, area, BoxFlags { crowd: class == 1, ..BoxFlags::default() });
        }
        table.group(4, &[2, 0, 2, 3, Table::DROPPED, 0]);
        let of = |image| table.rows(image).iter().map(|row| table.get(*row).expect("a box")).collect::<Vec<_>>();
        let classes = |image| of(image).iter().map(|marked| marked.class).collect::<Vec<_>>();
        assert_eq!([classes(0), classes(1), classes(2), classes(3)], [vec![1, 5], vec![], vec![0, 2], vec![3]]);
        assert_eq!((of(3)[0].area, of(0)[1].area), (Some(7.0), None));
        assert!(of(0)[0].flags.crowd && !of(0)[1].flags.crowd);
        assert!(table.rows(4).is_empty());
    }

    #[test]
    fn decimals_come_back_from_a_sum() {
        for (x, width) in [(0.1, 0.2), (199.84, 77.71), (431.999999, 0.000001), (1e5, 0.3)] {
            let right = kept(x + width);
            assert_eq!(kept(right - x), width, "{x} {width}");
        }
    }
}
