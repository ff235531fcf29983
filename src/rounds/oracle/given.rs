//! Labels as lists, folders and data sets give them: classes, boxes of COCO, Pascal VOC and YOLO, and what lists say of images in fields.

use super::answers::{Expected, Wanted};
use crate::annotation_tools::{Answer, Answered, ToolBox, Words};
use crate::data::{Dataset, DroppedBox, Malformed, OpenOptions};
use crate::families::LabelKind;
use crate::rounds::RoundsError;
use serde_json::{Map, Value};
use std::path::Path;

/// What a file or folder says of an image.
pub(super) struct Given {
    /// The wanted image that it is of.
    pub(super) found: Option<String>,
    /// What was said, under the name that the file has for the image.
    pub(super) answered: Answered,
}

/// All that the list, folder or data set at `path` says, and boxes of it that are none.
pub(super) fn read(
    path: &Path,
    wanted: &Wanted,
    expected: &Expected,
) -> Result<(Vec<Given>, Vec<DroppedBox>), RoundsError> {
    let fields = expected.kind != LabelKind::Class;
    let options = OpenOptions { fields, unmarked_is_unknown: true, category_zero: true, ..OpenOptions::default() };
    let opened = Dataset::open(path, &options);
    let given = opened.map_err(|source| RoundsError::data("the labels", path, source))?;
    let said = |place: usize| {
        let answer = match expected.kind {
            LabelKind::Class => class(&given, place),
            LabelKind::Boxes => boxes(&given, place, expected),
            LabelKind::Classes => classes(&given, place, expected),
            LabelKind::Mask => mask(&given, place, expected.words),
        };
        let answered = Answered { id: None, file: given.id(place), size: said_size(&given, place), answer };
        Given { found: wanted.find(&given, place), answered }
    };
    Ok(((0..given.len()).map(said).collect(), given.dropped().first))
}

fn class(given: &Dataset, place: usize) -> Answer {
    let Some(label) = given.label(place) else { return Answer::Nothing };
    Answer::Label(given.classes().get(label as usize).cloned().unwrap_or_else(|| label.to_string()))
}

/// Width and height, where the data set says them.
fn said_size(given: &Dataset, place: usize) -> Option<[u32; 2]> {
    let fields = given.fields(place)?;
    let side = |name: &str| fields.get(name).and_then(Value::as_u64).and_then(|side| u32::try_from(side).ok());
    Some([side("width")?, side("height")?])
}

fn boxes(given: &Dataset, place: usize, expected: &Expected) -> Answer {
    let Some(fields) = given.fields(place) else { return Answer::Nothing };
    if let Some(marked) = given.marked(place) {
        let name = |class: u32| given.classes().get(class as usize).cloned().unwrap_or_else(|| class.to_string());
        let of = |marked: &crate::data::MarkedBox| ToolBox {
            label: name(marked.class),
            corners: marked.corners,
            fractions: false,
            flags: marked.flags,
        };
        return match marked.is_empty() {
            true => Answer::Unmarked,
            false => Answer::Boxes(marked.iter().map(of).collect()),
        };
    }
    let said = match word(&fields, "boxes", expected.words) {
        // A list may have a column of its own for words.
        Some(Word::Nothing) => word(&fields, "label", expected.words).or(Some(Word::Nothing)),
        said => said,
    };
    match said {
        Some(Word::Nothing) => Answer::Nothing,
        Some(Word::Skip) => Answer::Skip,
        Some(Word::Empty) => Answer::Boxes(Vec::new()),
        None => listed_boxes(&fields, expected.classes).map_or_else(Answer::Unfit, Answer::Boxes),
    }
}

/// The boxes of a line: `boxes`, lists of left, top, right and bottom, and `labels`, the class of each.
fn listed_boxes(fields: &Map<String, Value>, classes: &[String]) -> Result<Vec<ToolBox>, String> {
    let corners = items(fields.get("boxes")).ok_or("has `boxes` that are no list")?;
    let labels = names(fields.get("labels"), classes).ok_or("has `labels` that are no list of classes")?;
    if labels.len() != corners.len() {
        return Err(format!("has {} boxes and {} labels", corners.len(), labels.len()));
    }
    let four = |item: &Value| -> Option<[f64; 4]> {
        let numbers: Option<Vec<f64>> = item.as_array()?.iter().map(Value::as_f64).collect();
        numbers?.try_into().ok()
    };
    let flag = |names: &[&str], number: usize| {
        let flags = names.iter().find_map(|name| items(fields.get(*name)));
        flags.and_then(|flags| flags.get(number).map(|flag| flag.as_u64() == Some(1) || flag.as_bool() == Some(true)))
    };
    let boxed = |(number, (item, label)): (usize, (&Value, String))| {
        let corners = four(item).ok_or_else(|| format!("has the box {item}, expected [left, top, right, bottom]"))?;
        let said = |names: &[&str]| flag(names, number).unwrap_or(false);
        let flags = crate::data::BoxFlags {
            crowd: said(&["crowd", "iscrowd"]),
            ignore: said(&["ignore"]),
            difficult: said(&["difficult"]),
        };
        Ok(ToolBox { label, corners, fractions: false, flags })
    };
    corners.iter().zip(labels).enumerate().map(boxed).collect()
}

fn classes(given: &Dataset, place: usize, expected: &Expected) -> Answer {
    let Some(fields) = given.fields(place) else { return Answer::Nothing };
    match word(&fields, "labels", expected.words) {
        Some(Word::Nothing) => Answer::Nothing,
        Some(Word::Skip) => Answer::Skip,
        Some(Word::Empty) => Answer::Classes(Vec::new()),
        None => match names(fields.get("labels"), expected.classes) {
            Some(mut shown) => {
                shown.sort_unstable();
                shown.dedup();
                Answer::Classes(shown)
            }
            None => Answer::Unfit("has `labels` that are no list of classes".to_owned()),
        },
    }
}

/// The mask that a line names; of a folder of images, each is a mask itself.
fn mask(given: &Dataset, place: usize, words: Words) -> Answer {
    let Some(fields) = given.fields(place) else {
        return given.path(place).map_or(Answer::Nothing, Answer::Mask);
    };
    match word(&fields, "mask", words) {
        Some(Word::Nothing) => Answer::Nothing,
        Some(Word::Skip) => Answer::Skip,
        Some(Word::Empty) => Answer::Unfit("shows nothing, and has a mask here: one of the background".to_owned()),
        None => match fields.get("mask").and_then(Value::as_str) {
            // A folder of images and masks has a name for the mask of every image.
            Some(written) => match given.beside(place, written) {
                Ok(path) if path.is_file() => Answer::Mask(path),
                Ok(_) => Answer::Nothing,
                Err(problem) => Answer::Unfit(format!("has a mask that may not be named: {problem}")),
            },
            None => Answer::Unfit("has a `mask` that is no path".to_owned()),
        },
    }
}

enum Word {
    Nothing,
    Skip,
    Empty,
}

/// What a field says in a word, or by not being there; `None` of a list and anything else.
fn word(fields: &Map<String, Value>, name: &str, words: Words) -> Option<Word> {
    match fields.get(name) {
        None | Some(Value::Null) => Some(Word::Nothing),
        Some(Value::String(text)) if text.trim().is_empty() => Some(Word::Nothing),
        Some(Value::String(text)) if text == words.skip => Some(Word::Skip),
        Some(Value::String(text)) if text == words.empty => Some(Word::Empty),
        Some(Value::Array(items)) if items.is_empty() => Some(Word::Empty),
        Some(Value::String(text)) if text.trim() == "[]" => Some(Word::Empty),
        Some(_) => None,
    }
}

/// A list, or the text of one, as the cells of tables have it.
fn items(value: Option<&Value>) -> Option<Vec<Value>> {
    match value? {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) => serde_json::from_str::<Vec<Value>>(text).ok(),
        _ => None,
    }
}

/// Names of classes: a list of names and numbers, or a text with `;` between names.
fn names(value: Option<&Value>, classes: &[String]) -> Option<Vec<String>> {
    let items = match (value?, items(value)) {
        (_, Some(items)) => items,
        (Value::String(text), None) => {
            let parts = text.split([';', '|', ',']).map(str::trim).filter(|part| !part.is_empty());
            parts.map(Value::from).collect()
        }
        (one, None) => vec![one.clone()],
    };
    let name = |item: Value| match item {
        Value::String(name) => Some(name),
        // The number of a class, unless one is called so.
        Value::Number(number) => {
            let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
            let named = classes.iter().find(|class| **class == number.to_string());
            named.or_else(|| classes.get(place?)).cloned().or_else(|| Some(number.to_string()))
        }
        _ => None,
    };
    items.into_iter().map(name).collect()
}

/// What is wrong with a box that is none.
pub(super) fn malformed(dropped: &DroppedBox) -> String {
    let DroppedBox { numbers: [a, b, c, d], why, .. } = dropped;
    let why = match why {
        Malformed::NotNumbers => "is not four numbers",
        Malformed::Empty => "is empty",
        Malformed::Outside => "is outside of the image",
    };
    format!("has the box [{a}, {b}, {c}, {d}], which {why}")
}
