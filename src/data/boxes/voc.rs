//! Pascal VOC: an XML file an image.
//!
//! A folder with `JPEGImages` and `Annotations`, whose parts are the lists of `ImageSets/Main` that are not of one class; or a folder
//! in which XML files lie beside the images of their names, as LabelImg writes them. `xmin` to `ymax` count pixels from 1 and the last
//! one is inside, so a box is `[xmin - 1, ymin - 1, xmax, ymax]`. Classes are the names of all objects of the part, sorted, as those
//! of VOC are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use quick_xml::events::Event;
use quick_xml::reader::Reader;
use rayon::prelude::*;

use super::{BoxFlags, BoxProblem, Boxed, Dropped, Table, Units, drop_box, kept, malformed, text_of};
use crate::data::files::{Files, Labels, Listing};
use crate::data::folder::has_image_ending;
use crate::data::names::Names;
use crate::data::{DataError, OpenOptions, Source as _};

/// The folder of the images.
pub(crate) const IMAGES: &str = "JPEGImages";
const ANNOTATIONS: &str = "Annotations";
const LISTS: &str = "ImageSets/Main";
/// Bytes of one file of annotations, and of a list.
const MAX_BYTES: u64 = 16 << 20;
/// Files that are read at a time.
const AT_ONCE: usize = 4096;

/// Whether these subfolders make such a data set.
pub(crate) fn is_voc(folders: &[String]) -> bool {
    [IMAGES, ANNOTATIONS].iter().all(|name| folders.iter().any(|folder| folder == name))
}

/// Opens the folder at `root`, which has [`IMAGES`].
pub(crate) fn open(root: &Path, options: &OpenOptions) -> Result<Boxed, DataError> {
    let lists = lists(&root.join(LISTS))?;
    let files = files_by_stem(&root.join(IMAGES))?;
    let stems: Vec<String> = match (lists.is_empty(), &options.part) {
        (true, None) => files.keys().cloned().collect(),
        _ => {
            let part = options.choose_part(root, lists.iter().map(String::as_str))?;
            listed(&root.join(LISTS).join(format!("{part}.txt")))?
        }
    };
    read(root, &root.join(IMAGES), &root.join(ANNOTATIONS), stems, &files, options)
}

/// Opens a folder of images with XML files beside them.
pub(crate) fn open_beside(root: &Path, options: &OpenOptions) -> Result<Boxed, DataError> {
    let files = files_by_stem(root)?;
    let stems = files.keys().cloned().collect();
    read(root, root, root, stems, &files, options)
}

/// Names of the lists that are not of one class: `train` and `val`, and not `cat_train`.
fn lists(folder: &Path) -> Result<Vec<String>, DataError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let name = entry.map_err(DataError::io(folder))?.file_name().to_string_lossy().into_owned();
        all.extend(name.strip_suffix(".txt").map(str::to_owned));
    }
    let of_class = |name: &&String| name.rsplit_once('_').is_some_and(|(_, part)| all.contains(part));
    Ok(all.iter().filter(|name| !of_class(name)).cloned().collect())
}

/// The first words of the lines of a list.
fn listed(path: &Path) -> Result<Vec<String>, DataError> {
    let text = text_of(path, MAX_BYTES)?;
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(words.map(str::to_owned).collect())
}

/// Names of the images in a folder, without what lies in its subfolders, by what stands before the ending.
fn files_by_stem(folder: &Path) -> Result<BTreeMap<String, String>, DataError> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let name = entry.map_err(DataError::io(folder))?.file_name().to_string_lossy().into_owned();
        let path = Path::new(&name);
        if has_image_ending(path) && !name.starts_with('.') {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(stem, name);
        }
    }
    Ok(files)
}

/// Reads the annotations of the images of these names. One without its file is an image of which nothing is said.
fn read(
    root: &Path,
    image_folder: &Path,
    xml_folder: &Path,
    stems: Vec<String>,
    files: &BTreeMap<String, String>,
    options: &OpenOptions,
) -> Result<Boxed, DataError> {
    let mut names = Names::default();
    let (mut sizes, mut unknown) = (Vec::new(), Vec::new());
    let (mut table, mut places) = (Table::default(), Vec::new());
    let mut classes: HashMap<String, u32> = HashMap::new();
    let mut dropped = Dropped::default();
    let mut largest = 0.0_f64;
    for chunk in stems.chunks(AT_ONCE) {
        let of_file = |stem: &String| -> Result<Option<Annotation>, DataError> {
            let path = xml_folder.join(format!("{stem}.xml"));
            if !path.is_file() {
                return Ok(None);
            }
            let refused = |problem| DataError::Boxes { path: path.clone(), problem };
            annotation(&text_of(&path, MAX_BYTES)?).map(Some).map_err(refused)
        };
        let read: Vec<Result<Option<Annotation>, DataError>> = chunk.par_iter().map(of_file).collect();
        for (stem, read) in chunk.iter().zip(read) {
            let place = u32::try_from(sizes.len()).unwrap_or(Table::DROPPED);
            // A listed image that is not there fails when it is loaded.
            let file = files.get(stem).cloned().unwrap_or_else(|| format!("{stem}.jpg"));
            names.push(&file);
            let found = read?;
            unknown.push(found.is_none());
            let Annotation { size, objects } = found.unwrap_or_default();
            sizes.push(size);
            for object in objects {
                let new = u32::try_from(classes.len()).unwrap_or(u32::MAX);
                let class = *classes.entry(object.name).or_insert(new);
                let [left, top, right, bottom] = object.corners;
                let corners = [kept(left - 1.0), kept(top - 1.0), kept(right), kept(bottom)];
                largest = object.corners.iter().fold(largest, |most, x| most.max(*x));
                let known = Some(size.map(f64::from)).filter(|size| size.iter().all(|side| *side > 0.0));
                if let Some(why) = malformed(corners, known) {
                    let path = xml_folder.join(format!("{stem}.xml"));
                    let refused = |problem| DataError::Boxes { path, problem };
                    drop_box(&mut dropped, options, file.clone(), object.corners, why).map_err(refused)?;
                    continue;
                }
                let flags = BoxFlags { difficult: object.difficult, ..BoxFlags::default() };
                table.push(corners, class, None, flags);
                places.push(place);
            }
        }
    }
    if largest > 0.0 && largest <= 1.0 {
        let problem = BoxProblem::Fractions { largest };
        return Err(DataError::Boxes { path: root.to_path_buf(), problem });
    }
    table.group(sizes.len(), &places);
    let classes = sorted(&mut table, classes);
    names.shrink();
    let root = image_folder.to_path_buf();
    let listing = Listing { root, paths: names, ids: None, odd: BTreeMap::new(), labels: Labels::Absent, fields: None };
    let images = Files::new(listing, Vec::new(), options.decoding())?;
    debug_assert_eq!(images.len(), sizes.len());
    Ok(Boxed { images, classes, numbered: false, units: Units::Pixels, table, sizes, unknown, dropped })
}

/// The names in their order, by which the boxes then count.
fn sorted(table: &mut Table, found: HashMap<String, u32>) -> Vec<String> {
    let mut names: Vec<(String, u32)> = found.into_iter().collect();
    names.sort_unstable();
    let mut places = vec![0; names.len()];
    for (place, (_, old)) in (0..).zip(&names) {
        places.get_mut(*old as usize).into_iter().for_each(|slot| *slot = place);
    }
    for class in &mut table.classes {
        *class = places.get(*class as usize).copied().unwrap_or(*class);
    }
    names.into_iter().map(|(name, _)| name).collect()
}

/// What a file says of its image.
#[derive(Debug, Default, PartialEq)]
struct Annotation {
    /// Width and height; 0 where it does not say.
    size: [u32; 2],
    objects: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq)]
struct Object {
    name: String,
    difficult: bool,
    /// xmin, ymin, xmax, ymax.
    corners: [f64; 4],
}

/// Reads one file. Parts of objects (heads, hands) are passed over.
fn annotation(text: &str) -> Result<Annotation, BoxProblem> {
    const SIDES: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];
    let mut reader = Reader::from_str(text);
    let mut found = Annotation::default();
    let mut path: Vec<String> = Vec::new();
    let (mut name, mut difficult, mut corners) = (None::<String>, false, [None::<f64>; 4]);
    let mut value = String::new();
    let mut root = false;
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(|error| BoxProblem::Syntax(format!("byte {at}: {error}")))?;
        match event {
            Event::Start(start) => {
                path.push(start.name().0.to_owned());
                value.clear();
                root |= path == ["annotation"];
                if path.len() > 64 {
                    return Err(BoxProblem::Syntax(format!("byte {at}: elements within elements without end")));
                }
            }
            Event::Text(text) => value.push_str(&text.xml10_content()),
            Event::CData(data) => value.push_str(&data.xml10_content()),
            Event::GeneralRef(entity) => value.push_str(&resolved(&entity, at)?),
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                let text = value.trim();
                match names[..] {
                    ["annotation", "size", side @ ("width" | "height")] => {
                        let place = usize::from(side == "height");
                        found.size[place] = number(text, side)?.clamp(0.0, 1e9) as u32;
                    }
                    ["annotation", "object", "name"] => name = Some(text.to_owned()),
                    ["annotation", "object", "difficult"] => difficult = number(text, "flag")? != 0.0,
                    ["annotation", "object", "bndbox", side] => {
                        if let Some(place) = SIDES.iter().position(|known| *known == side) {
                            corners[place] = Some(number(text, side)?);
                        }
                    }
                    ["annotation", "object"] => {
                        let name = name.take().ok_or(BoxProblem::Element { within: "object", missing: "name" })?;
                        let mut numbers = [0.0; 4];
                        for ((slot, corner), missing) in numbers.iter_mut().zip(corners).zip(SIDES) {
                            *slot = corner.ok_or(BoxProblem::Element { within: "object", missing })?;
                        }
                        found.objects.push(Object { name, difficult, corners: numbers });
                        (difficult, corners) = (false, [None; 4]);
                    }
                    _ => {}
                }
                path.pop();
                value.clear();
            }
            Event::Eof if !path.is_empty() => {
                return Err(BoxProblem::Syntax("it ends within an element".to_owned()));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match root {
        true => Ok(found),
        false => Err(BoxProblem::Syntax("it has no element `annotation`: it is no Pascal VOC file".to_owned())),
    }
}

/// The characters of `&amp;` and the like.
fn resolved(entity: &quick_xml::events::BytesRef, at: u64) -> Result<String, BoxProblem> {
    let refused = |what: String| BoxProblem::Syntax(format!("byte {at}: {what}"));
    if let Some(character) = entity.resolve_char_ref().map_err(|error| refused(error.to_string()))? {
        return Ok(character.to_string());
    }
    let name = entity.xml10_content();
    quick_xml::escape::resolve_predefined_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| refused(format!("the entity `&{name};` is not known")))
}

fn number(text: &str, what: &str) -> Result<f64, BoxProblem> {
    text.parse().map_err(|_| BoxProblem::Number {
        place: format!("`{what}`"),
        found: text.chars().take(40).collect(),
        expected: "number",
    })
}

/// The subfolder of a download that holds the data set, where it is the only one there.
pub(crate) fn inner(path: &Path, folders: &[String]) -> Option<PathBuf> {
    match folders {
        [only] if only == "VOCdevkit" || only.starts_with("VOC20") => Some(path.join(only)),
        _ => None,
    }
}
