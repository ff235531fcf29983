//! YOLO's text files: of each image one of its name, whose lines are a class and centre, width and height as fractions of the image
//! (`0 0.5 0.5 0.2 0.1`), or a class and the corners of an outline, whose box is taken.
//!
//! `data.yaml` names the classes and the folders or lists of images of its parts; without it, a folder with `images` and `labels`, and
//! perhaps `classes.txt`. The labels of `.../images/a.jpg` lie at `.../labels/a.txt`. An image without such a file shows nothing, as
//! its trainers have it, unless no image has one.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use rayon::prelude::*;
use serde::Deserialize;

use super::coco::some_of;
use super::{BoxFlags, BoxProblem, Boxed, Dropped, Malformed, Table, Units, drop_box, numbers};
use crate::data::files::{Files, Labels, Listing};
use crate::data::folder::{self, has_image_ending};
use crate::data::manifest::meant;
use crate::data::names::Names;
use crate::data::{DataError, OpenOptions, Source as _};

pub(crate) const IMAGES: &str = "images";
const LABELS: &str = "labels";
/// Files that name classes in a folder without `data.yaml`.
const CLASSES: [&str; 3] = ["classes.txt", "labels/classes.txt", "obj.names"];
/// Bytes of one file of labels, or of classes.
const MAX_BYTES: u64 = 16 << 20;
/// Files that are read at a time.
const AT_ONCE: usize = 4096;
/// Beyond this a coordinate is a pixel, not a fraction: outlines may leave their image a little.
const MOST: f64 = 2.0;

/// Whether these subfolders make such a data set.
pub(crate) fn is_yolo(folders: &[&String]) -> bool {
    [IMAGES, LABELS].iter().all(|name| folders.iter().any(|folder| folder == name))
}

/// The description of a data set among these files.
pub(crate) fn description(files: &[String]) -> Option<&str> {
    ["data.yaml", "data.yml", "dataset.yaml"].into_iter().find(|name| files.iter().any(|file| file == name))
}

#[derive(Deserialize, PartialEq)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ClassNames {
    List(Vec<Name>),
    Numbered(IndexMap<u32, Name>),
}

/// A name that may look like a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl Name {
    fn text(self) -> String {
        match self {
            Name::Text(text) => text,
            Name::Number(number) => number.to_string(),
            Name::Truth(truth) => truth.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct Description {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    train: Option<OneOrMany>,
    #[serde(default)]
    val: Option<OneOrMany>,
    #[serde(default)]
    test: Option<OneOrMany>,
    #[serde(default)]
    names: Option<ClassNames>,
}

/// Opens the data set that the file at `path` describes.
pub(crate) fn open_description(path: &Path, options: &OpenOptions) -> Result<Boxed, DataError> {
    let refused = |problem| DataError::Boxes { path: path.to_path_buf(), problem };
    let text = text_of(path)?;
    let described: Description = serde_saphyr::from_str(&text)
        .map_err(|error| refused(BoxProblem::Syntax(format!("it is not the YAML of a YOLO data set: {error}"))))?;
    let classes = described.names.map(class_names).transpose().map_err(refused)?;
    let parts = [("train", described.train), ("val", described.val), ("test", described.test)];
    let parts: BTreeMap<&str, OneOrMany> = parts.into_iter().filter_map(|(name, part)| Some((name, part?))).collect();
    if parts.is_empty() {
        return Err(refused(BoxProblem::NotCoco { missing: "train" }));
    }
    // Trainers want two parts, and a file may call the same images both.
    let same = parts.values().all(|part| Some(part) == parts.values().next());
    let part = match parts.keys().next().filter(|_| same && options.part.is_none()) {
        Some(first) => (*first).to_owned(),
        None => options.choose_part(path, parts.keys().copied())?,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let places = match parts.get(part.as_str()) {
        Some(OneOrMany::One(one)) => vec![one.as_str()],
        Some(OneOrMany::Many(many)) => many.iter().map(String::as_str).collect(),
        None => Vec::new(),
    };
    if places.is_empty() {
        return Err(refused(BoxProblem::NoPart { part }));
    }
    let root = match described.path.as_deref().filter(|root| !root.is_empty()) {
        None => folder.to_path_buf(),
        Some(root) => below(folder, root).map_err(refused)?,
    };
    let mut images = Vec::new();
    for place in &places {
        images.extend(images_of(&root, folder, place).map_err(|problem| match problem {
            Problem::Of(problem) => refused(problem),
            Problem::Data(error) => error,
        })?);
    }
    // Ids count from the folder of the images where there is one, as those of a pool of the same images do.
    let from = match places[..] {
        [_] => images.first().map(|(base, _)| base.clone()).unwrap_or(root),
        _ => root,
    };
    let paths = images.into_iter().map(|(base, name)| relative(&from, &base.join(name))).collect();
    read(path, &from, paths, classes, options)
}

/// Opens the folder at `root`, which has [`IMAGES`] and labels beside them.
pub(crate) fn open_folder(root: &Path, options: &OpenOptions) -> Result<Boxed, DataError> {
    let mut images = root.join(IMAGES);
    let parts = folders_of(&images)?;
    if !parts.is_empty() || options.part.is_some() {
        images = images.join(options.choose_part(root, parts.iter().map(String::as_str))?);
    }
    let names = CLASSES.iter().map(|name| root.join(name)).find(|path| path.is_file());
    let classes = match &names {
        Some(path) => {
            Some(text_of(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
        }
        None => None,
    };
    let paths = files_below(&images)?;
    read(root, &images, paths, classes, options)
}

/// Subfolders that are parts, where the folder has no images itself.
fn folders_of(images: &Path) -> Result<Vec<String>, DataError> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(images).map_err(DataError::io(images))? {
        let entry = entry.map_err(DataError::io(images))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.path().is_dir() {
            true if !name.starts_with('.') => folders.push(name),
            false if has_image_ending(Path::new(&name)) => return Ok(Vec::new()),
            _ => {}
        }
    }
    Ok(folders)
}

/// Names of the images below a folder.
fn files_below(images: &Path) -> Result<Vec<String>, DataError> {
    let files = folder::open(images, crate::data::Decoding::default())?;
    Ok((0..files.len()).map(|index| files.id(index)).collect())
}

enum Problem {
    Of(BoxProblem),
    Data(DataError),
}

/// The images that a part names, by a folder or a list of them: what a name counts from, and the name.
fn images_of(root: &Path, folder: &Path, place: &str) -> Result<Vec<(PathBuf, String)>, Problem> {
    let mut path = below(root, place).map_err(Problem::Of)?;
    if !path.exists() {
        // `path` is often that of another machine.
        path = below(folder, place).map_err(Problem::Of)?;
    }
    if path.is_dir() {
        let names = files_below(&path).map_err(Problem::Data)?;
        return Ok(names.into_iter().map(|name| (path.clone(), name)).collect());
    }
    let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let text = text_of(&path).map_err(Problem::Data)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let name = |line: &str| {
        let line = line.strip_prefix("./").unwrap_or(line);
        let name = meant(&base, line).map_err(|problem| Problem::Of(BoxProblem::Syntax(problem.to_string())))?;
        Ok((base.clone(), name.into_owned()))
    };
    lines.map(name).collect()
}

/// A path of the description, by the rules of the paths of lists. A leading `../` is passed over: some tools write paths as seen from
/// a folder beside.
fn below(root: &Path, written: &str) -> Result<PathBuf, BoxProblem> {
    let inside = written.trim_start_matches("../").trim_start_matches("./");
    meant(root, inside).map(|path| root.join(&*path)).map_err(|problem| BoxProblem::Syntax(problem.to_string()))
}

/// The path from a folder on; as it is where it does not lie below.
fn relative(from: &Path, path: &Path) -> String {
    path.strip_prefix(from).unwrap_or(path).to_string_lossy().into_owned()
}

fn class_names(names: ClassNames) -> Result<Vec<String>, BoxProblem> {
    let names: Vec<String> = match names {
        ClassNames::List(names) => names.into_iter().map(Name::text).collect(),
        ClassNames::Numbered(mut names) => {
            names.sort_unstable_keys();
            if let Some((number, _)) = (0..).zip(names.keys()).find(|(number, key)| number != *key) {
                return Err(BoxProblem::Names { reason: format!("has no class {number}") });
            }
            names.into_values().map(Name::text).collect()
        }
    };
    Ok(names)
}

/// Where the labels of an image lie: beside its last folder `images`, in `labels`.
fn labels_of(image: &Path) -> PathBuf {
    let parts: Vec<Component> = image.components().collect();
    let last = parts.iter().rposition(|part| part.as_os_str() == IMAGES);
    let named = |(place, part): (usize, &Component)| match Some(place) == last {
        true => LABELS.into(),
        false => part.as_os_str().to_owned(),
    };
    parts.iter().enumerate().map(named).collect::<PathBuf>().with_extension("txt")
}

/// A file of text without the mark that editors put before it.
fn text_of(path: &Path) -> Result<String, DataError> {
    Ok(super::text_of(path, MAX_BYTES)?.trim_start_matches('\u{feff}').to_owned())
}

/// Reads the labels of the images at `paths` below `root`; `described` is what people gave.
fn read(
    described: &Path,
    root: &Path,
    paths: Vec<String>,
    classes: Option<Vec<String>>,
    options: &OpenOptions,
) -> Result<Boxed, DataError> {
    let refused = |problem| DataError::Boxes { path: described.to_path_buf(), problem };
    if let Some(twice) = classes.as_ref().and_then(|classes| first_repeated(classes)) {
        return Err(refused(BoxProblem::Twice { what: "the class", which: twice }));
    }
    let mut names = Names::default();
    let (mut table, mut places) = (Table::default(), Vec::new());
    let mut dropped = Dropped::default();
    let (mut highest, mut unknown) = (None::<u32>, Vec::new());
    let mut count = 0_u32;
    for chunk in paths.chunks(AT_ONCE) {
        let of_image = |name: &String| -> Result<Option<(PathBuf, Vec<Line>)>, DataError> {
            let path = labels_of(&root.join(name));
            if !path.is_file() {
                return Ok(None);
            }
            let of_file = |problem| DataError::Boxes { path: path.clone(), problem };
            let found = lines(&text_of(&path)?).map_err(of_file)?;
            Ok(Some((path, found)))
        };
        let read: Vec<_> = chunk.par_iter().map(of_image).collect();
        for (name, read) in chunk.iter().zip(read) {
            let place = count;
            count += 1;
            names.push(name);
            let read = read?;
            unknown.push(read.is_none());
            let Some((path, found)) = read else { continue };
            let of_file = |problem| DataError::Boxes { path: path.clone(), problem };
            for Line { number, class, numbers } in found {
                if let Some(known) = classes.as_ref().filter(|known| class as usize >= known.len()) {
                    return Err(of_file(BoxProblem::UnknownClass {
                        place: format!("line {number}"),
                        found: class.to_string(),
                        expected: format!("0 to {} ({})", known.len().saturating_sub(1), some_of(known.iter())),
                    }));
                }
                if let Some(why) = malformed(numbers) {
                    drop_box(&mut dropped, options, name.clone(), numbers, why).map_err(of_file)?;
                    continue;
                }
                highest = highest.max(Some(class));
                table.push(numbers, class, None, BoxFlags::default());
                places.push(place);
            }
        }
    }
    table.group(count as usize, &places);
    names.shrink();
    let root = root.to_path_buf();
    let listing = Listing { root, paths: names, ids: None, odd: BTreeMap::new(), labels: Labels::Absent, fields: None };
    let images = Files::new(listing, Vec::new(), options.decoding())?;
    if unknown.contains(&false) && !options.unmarked_is_unknown {
        unknown.clear();
    }
    let numbered = classes.is_none();
    let classes = classes.unwrap_or_else(|| numbers(highest.map_or(0, |highest| highest as usize + 1)));
    Ok(Boxed { images, classes, numbered, units: Units::Fractions, table, sizes: Vec::new(), unknown, dropped })
}

fn first_repeated(names: &[String]) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().find(|name| !seen.insert(name.as_str())).cloned()
}

/// A line of a file of labels.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    /// Counted from 1.
    number: usize,
    class: u32,
    /// Centre, width, height.
    numbers: [f64; 4],
}

fn malformed([x, y, width, height]: [f64; 4]) -> Option<Malformed> {
    let corners = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    super::malformed(corners, Some([1.0, 1.0]))
}

fn lines(text: &str) -> Result<Vec<Line>, BoxProblem> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((class, rest)) = words.split_first() else { continue };
        let is_box = rest.len() == 4;
        if !is_box && (rest.len() < 6 || rest.len() % 2 == 1) {
            return Err(BoxProblem::Columns { line: number, found: words.len() });
        }
        let wrong = |found: &str, expected| BoxProblem::Number {
            place: format!("line {number}"),
            found: found.chars().take(40).collect(),
            expected,
        };
        // Written by programs that have all numbers in one array.
        let whole = class.parse::<f64>().ok().filter(|x| x.fract() == 0.0 && (0.0..1e6).contains(x));
        let class = whole.ok_or_else(|| wrong(class, "number of a class"))? as u32;
        let parsed = rest.iter().map(|word| word.parse::<f64>().map_err(|_| wrong(word, "number")));
        let parsed = parsed.collect::<Result<Vec<f64>, _>>()?;
        if let Some(pixel) = parsed.iter().find(|x| x.abs() > MOST) {
            return Err(BoxProblem::Pixels { line: number, found: *pixel });
        }
        let numbers = match parsed[..] {
            [x, y, width, height] => [x, y, width, height],
            _ => around(&parsed),
        };
        found.push(Line { number, class, numbers });
    }
    Ok(found)
}

/// Centre, width and height of the box around an outline `x y x y ...`.
fn around(outline: &[f64]) -> [f64; 4] {
    let ends = |first: usize| {
        let along = outline.iter().skip(first).step_by(2);
        let wide = |(low, high): (f64, f64), x: &f64| (low.min(*x), high.max(*x));
        along.fold((f64::INFINITY, f64::NEG_INFINITY), wide)
    };
    let ((left, right), (top, bottom)) = (ends(0), ends(1));
    [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_boxes_or_outlines() {
        let found = lines("0 0.5 0.25 0.2 0.1\n\n1.0 0.1 0.2 0.3 0.2 0.3 0.6\r\n").expect("lines");
        assert_eq!(found[0], Line { number: 1, class: 0, numbers: [0.5, 0.25, 0.2, 0.1] });
        let [x, y, width, height] = found[1].numbers;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-15;
        assert!(near(x, 0.2) && near(y, 0.4) && near(width, 0.2) && near(height, 0.4), "{found:?}");
        assert_eq!((found[1].number, found[1].class), (3, 1));
        for (text, part) in [
            ("0 0.5 0.5 0.1", "line 1 has 4 columns"),
            ("0 0.5 0.5 0.1 0.1 0.9", "line 1 has 6 columns"),
            ("0 320 240 20 30", "coordinate 320, expected fractions"),
            ("cat 0.5 0.5 0.1 0.1", "`cat` is no number of a class"),
            ("-1 0.5 0.5 0.1 0.1", "`-1` is no number of a class"),
            ("\n0 a 0.5 0.1 0.1", "line 2: `a` is no number"),
        ] {
            let error = lines(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn labels_lie_beside_the_last_folder_of_images() {
        assert_eq!(labels_of(Path::new("/a/images/b/images/c/d.x.jpg")), Path::new("/a/images/b/labels/c/d.x.txt"));
        assert_eq!(labels_of(Path::new("a/d.jpg")), Path::new("a/d.txt"));
    }
}
