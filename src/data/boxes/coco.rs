//! COCO's JSON of boxes (<https://cocodataset.org/#format-data>): `images`, `annotations`, `categories`, in any order.
//!
//! The file is read as it streams by, in one pass: outlines, captions and licences are passed over without being held, and
//! annotations may stand before their images. `bbox` is `[left, top, width, height]` in pixels. Classes are the categories in the
//! order of their ids, whatever gaps these have. A box of a category or an image that the file does not list is an error, as is a
//! category of id 0.
//!
//! The images are looked for by the first file names, beside the JSON and where COCO puts them: of `annotations/instances_PART.json`
//! in `PART/` and `images/PART/` beside `annotations/`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::lenient::Lenient;
use super::{BoxFlags, BoxProblem, Boxed, Dropped, Table, Units, drop_box, kept, malformed};
use crate::data::files::{Files, Labels, Listing};
use crate::data::manifest::meant;
use crate::data::names::Names;
use crate::data::{DataError, OpenOptions};

/// File names that images are looked for by.
const TRIED: usize = 16;
/// What stands before the part in the names of COCO's files.
const BEFORE_PART: [&str; 3] = ["instances_", "image_info_", "annotations_"];

/// Reads the file at `path` from `reader`.
pub(crate) fn read(path: &Path, reader: impl Read, options: &OpenOptions) -> Result<Boxed, DataError> {
    let refused = |problem| DataError::Boxes { path: path.to_path_buf(), problem };
    let mut coco = Coco::new(path);
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(Lenient::new(reader)));
    let read = Document(&mut coco).deserialize(&mut json).and_then(|()| json.end());
    if let Some(problem) = coco.problem.take() {
        return Err(refused(problem));
    }
    read.map_err(|error| refused(BoxProblem::Syntax(format!("it is not the JSON of a COCO file: {error}"))))?;
    coco.finish(path, options)
}

/// An image.
#[derive(Deserialize)]
struct ImageEntry {
    id: i64,
    file_name: String,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
}

/// A box.
#[derive(Deserialize)]
struct AnnotationEntry {
    image_id: i64,
    category_id: i64,
    #[serde(default)]
    bbox: Option<Numbers>,
    #[serde(default)]
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Flag,
    #[serde(default)]
    ignore: Flag,
    #[serde(default)]
    difficult: Flag,
}

/// A class.
#[derive(Deserialize)]
struct CategoryEntry {
    id: i64,
    name: String,
}

/// Four numbers; NaN for what is none, and all NaN where there are not four.
#[derive(Clone, Copy)]
struct Numbers([f64; 4]);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Four;
        impl<'de> Visitor<'de> for Four {
            type Value = Numbers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a box [left, top, width, height]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Numbers, A::Error> {
                let (mut numbers, mut count) = ([f64::NAN; 4], 0);
                while let Some(number) = items.next_element::<Option<f64>>()? {
                    numbers.get_mut(count).into_iter().for_each(|slot| *slot = number.unwrap_or(f64::NAN));
                    count += 1;
                }
                Ok(Numbers(if count == 4 { numbers } else { [f64::NAN; 4] }))
            }
        }
        from.deserialize_seq(Four)
    }
}

/// 0, 1, true, false or nothing.
#[derive(Clone, Copy, Default)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Truth(bool),
            Nothing(()),
        }
        Ok(Flag(match Written::deserialize(from)? {
            Written::Number(number) => number != 0.0,
            Written::Truth(truth) => truth,
            Written::Nothing(()) => false,
        }))
    }
}

/// What was read so far.
struct Coco {
    root: Option<PathBuf>,
    path: PathBuf,
    /// Position of each image by its id.
    places: HashMap<i64, u32>,
    names: Names,
    first_names: Vec<String>,
    sizes: Vec<[u32; 2]>,
    table: Table,
    /// Of each box the id of its image.
    images: Vec<i64>,
    categories: BTreeMap<i64, String>,
    /// Which lists there were.
    seen: [bool; 3],
    problem: Option<BoxProblem>,
}

impl Coco {
    fn new(path: &Path) -> Coco {
        Coco {
            root: None,
            path: path.to_path_buf(),
            places: HashMap::new(),
            names: Names::default(),
            first_names: Vec::new(),
            sizes: Vec::new(),
            table: Table::default(),
            images: Vec::new(),
            categories: BTreeMap::new(),
            seen: [false; 3],
            problem: None,
        }
    }

    fn add_image(&mut self, entry: ImageEntry) -> Result<(), BoxProblem> {
        let place =
            u32::try_from(self.names.len()).map_err(|_| BoxProblem::Syntax("it lists too many images".into()))?;
        if self.places.insert(entry.id, place).is_some() {
            return Err(BoxProblem::Twice { what: "the image id", which: entry.id.to_string() });
        }
        if self.first_names.len() < TRIED {
            self.first_names.push(entry.file_name.clone());
        }
        let root = self.root.get_or_insert_with(|| self.path.parent().unwrap_or(Path::new("")).to_path_buf());
        let name = meant(root, &entry.file_name).map_err(|problem| BoxProblem::Syntax(problem.to_string()))?;
        self.names.push(&name);
        let side = |side: Option<f64>| side.filter(|side| *side >= 1.0 && *side < 1e9).map_or(0, |side| side as u32);
        self.sizes.push([side(entry.width), side(entry.height)]);
        Ok(())
    }

    fn add_annotation(&mut self, entry: AnnotationEntry) -> Result<(), BoxProblem> {
        let annotation = self.images.len() + 1;
        let Numbers([left, top, width, height]) = entry.bbox.ok_or(BoxProblem::NoBox { annotation })?;
        let class = u32::try_from(entry.category_id).map_err(|_| BoxProblem::UnknownClass {
            place: format!("annotation {annotation}"),
            found: entry.category_id.to_string(),
            expected: "the ids of `categories`".to_owned(),
        })?;
        let corners = [kept(left), kept(top), kept(left + width), kept(top + height)];
        let flags = BoxFlags { crowd: entry.iscrowd.0, ignore: entry.ignore.0, difficult: entry.difficult.0 };
        self.table.push(corners, class, entry.area.filter(|area| area.is_finite()), flags);
        self.images.push(entry.image_id);
        Ok(())
    }

    fn add_category(&mut self, entry: CategoryEntry) -> Result<(), BoxProblem> {
        match self.categories.insert(entry.id, entry.name) {
            Some(_) => Err(BoxProblem::Twice { what: "the category id", which: entry.id.to_string() }),
            None => Ok(()),
        }
    }

    /// Remembers a problem, and ends the reading.
    fn checked<E: serde::de::Error>(&mut self, done: Result<(), BoxProblem>) -> Result<(), E> {
        done.map_err(|problem| {
            let error = E::custom(&problem);
            self.problem = Some(problem);
            error
        })
    }

    fn finish(mut self, path: &Path, options: &OpenOptions) -> Result<Boxed, DataError> {
        let refused = |problem| DataError::Boxes { path: path.to_path_buf(), problem };
        if let Some((_, missing)) = self.seen.iter().zip(["images", "annotations"]).find(|(seen, _)| !**seen) {
            // The lists of images of its test sets have categories and no annotations.
            if missing == "images" || !self.seen[2] {
                return Err(refused(BoxProblem::NotCoco { missing }));
            }
        }
        let classes = self.count_classes(options).map_err(refused)?;
        let root = image_folder(path, &self.first_names);
        self.names.shrink();
        let names = std::mem::take(&mut self.names);
        let listing =
            Listing { root, paths: names, ids: None, odd: BTreeMap::new(), labels: Labels::Absent, fields: None };
        let images = Files::new(listing, Vec::new(), options.decoding())?;
        let dropped = self.place(&images, options).map_err(refused)?;
        let unknown = if self.seen[1] { Vec::new() } else { vec![true; self.sizes.len()] };
        let Coco { sizes, table, .. } = self;
        Ok(Boxed { images, classes, numbered: false, units: Units::Pixels, table, sizes, unknown, dropped })
    }

    /// Turns the ids of categories into positions; gives the names in their order.
    fn count_classes(&mut self, options: &OpenOptions) -> Result<Vec<String>, BoxProblem> {
        if let Some(name) = self.categories.get(&0).filter(|_| !options.category_zero) {
            return Err(BoxProblem::CategoryZero { name: name.clone() });
        }
        let mut names = std::collections::HashSet::new();
        if let Some(name) = self.categories.values().find(|name| !names.insert(name.as_str())) {
            return Err(BoxProblem::Twice { what: "the category", which: name.clone() });
        }
        let places: HashMap<i64, u32> = self.categories.keys().copied().zip(0..).collect();
        for (annotation, class) in self.table.classes.iter_mut().enumerate() {
            *class = *places.get(&i64::from(*class)).ok_or_else(|| BoxProblem::UnknownClass {
                place: format!("annotation {}", annotation + 1),
                found: class.to_string(),
                expected: some_of(self.categories.keys()),
            })?;
        }
        Ok(std::mem::take(&mut self.categories).into_values().collect())
    }

    /// Gives each box its image, and drops those that are none.
    fn place(&mut self, images: &Files, options: &OpenOptions) -> Result<Dropped, BoxProblem> {
        use crate::data::Source as _;
        let mut dropped = Dropped::default();
        let mut largest = 0.0_f64;
        let ids = std::mem::take(&mut self.images);
        let mut places = Vec::with_capacity(ids.len());
        for (row, (id, corners)) in ids.iter().zip(&self.table.numbers).enumerate() {
            let unknown = BoxProblem::UnknownImage { annotation: row + 1, image: *id, images: self.sizes.len() };
            let place = *self.places.get(id).ok_or(unknown)?;
            let [width, height] = self.sizes.get(place as usize).copied().unwrap_or_default().map(f64::from);
            let why = malformed(*corners, Some([width, height]).filter(|_| width > 0.0 && height > 0.0));
            places.push(match why {
                None => place,
                Some(why) => {
                    let [left, top, right, bottom] = *corners;
                    let numbers = [left, top, kept(right - left), kept(bottom - top)];
                    drop_box(&mut dropped, options, images.id(place as usize), numbers, why)?;
                    Table::DROPPED
                }
            });
            // A comparison with NaN keeps what was there.
            largest = corners.iter().fold(largest, |most, x| most.max(*x));
        }
        if largest > 0.0 && largest <= 1.0 {
            return Err(BoxProblem::Fractions { largest });
        }
        self.table.group(self.sizes.len(), &places);
        Ok(dropped)
    }
}

/// The first few of many.
pub(super) fn some_of<T: fmt::Display>(all: impl ExactSizeIterator<Item = T>) -> String {
    const SHOWN: usize = 12;
    let more = if all.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", all.take(SHOWN).map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", "))
}

/// The folder of the images, by the first of their names.
fn image_folder(json: &Path, names: &[String]) -> PathBuf {
    let folder = json.parent().unwrap_or(Path::new("")).to_path_buf();
    let above = if folder.as_os_str().is_empty() { PathBuf::from("..") } else { folder.join("..") };
    let above = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(above, Path::to_path_buf);
    let stem = json.file_stem().unwrap_or_default().to_string_lossy();
    let stem = [".json", ".coco"].iter().find_map(|ending| stem.strip_suffix(ending)).unwrap_or(&stem);
    let part = BEFORE_PART.iter().find_map(|before| stem.strip_prefix(before)).unwrap_or(stem);
    let inner = ["", "images", "JPEGImages", part, &format!("images/{part}")].map(|place| folder.join(place));
    let beside = [part, &format!("images/{part}"), "images"].map(|place| above.join(place));
    let has_any = |root: &&PathBuf| names.iter().any(|name| root.join(name).is_file());
    inner.iter().chain(&beside).find(has_any).cloned().unwrap_or(folder)
}

/// The whole file.
struct Document<'a>(&'a mut Coco);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `images`, `annotations` and `categories`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Document(coco) = self;
        while let Some(key) = entries.next_key::<String>()? {
            let list = ["images", "annotations", "categories"].iter().position(|list| *list == key);
            if let Some(seen) = list.and_then(|list| coco.seen.get_mut(list))
                && std::mem::replace(seen, true)
            {
                return Err(A::Error::custom(format!("`{key}` occurs twice")));
            }
            match list {
                Some(0) => entries.next_value_seed(Each { coco: &mut *coco, add: Coco::add_image })?,
                Some(1) => entries.next_value_seed(Each { coco: &mut *coco, add: Coco::add_annotation })?,
                Some(_) => entries.next_value_seed(Each { coco: &mut *coco, add: Coco::add_category })?,
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A list of which each entry is taken as it comes.
struct Each<'a, T> {
    coco: &'a mut Coco,
    add: fn(&mut Coco, T) -> Result<(), BoxProblem>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Each<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<T>()? {
            let done = (self.add)(&mut *self.coco, item);
            self.coco.checked::<A::Error>(done)?;
        }
        Ok(())
    }
}
