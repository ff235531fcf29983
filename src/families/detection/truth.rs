//! The boxes that a data set says of an image.

use super::{BOXES, LABELS};
use crate::data::{BoxFlags, Dataset, MarkedBox, Size};
use crate::families::fields::Fields;
use crate::families::{AnnotationError, Setting};
use crate::influence::Annotation;
use isal_onnx::{DataType, Dim, ValueInfo, ValueType};
use serde_json::Value;

/// What is known of an image.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) id: String,
    /// Of the stored image.
    pub(super) size: Size,
    /// In its pixels.
    pub(super) boxes: Vec<MarkedBox>,
}

impl Truth {
    /// Of the image at `index`.
    ///
    /// # Errors
    /// An image of which nothing is said, or something that is no box; boxes in other units; annotations of an image of another
    /// size; classes that the model does not have.
    pub(super) fn of(setting: &Setting, data: &Dataset, index: usize) -> Result<Truth, AnnotationError> {
        let fields = Fields::of(data, index, "`boxes`")?;
        let id = fields.id.clone();
        let size = data.size(index).map_err(|source| AnnotationError::File {
            id: id.clone(),
            path: data.path(index).unwrap_or_else(|| id.clone().into()),
            source: Box::new(source),
        })?;
        said_size(&fields, size)?;
        let boxes = match data.marked(index) {
            Some(boxes) => boxes,
            None => listed(setting, &fields, size)?,
        };
        let classes = setting.classes.len();
        if let Some(marked) = boxes.iter().find(|marked| classes > 0 && marked.class as usize >= classes) {
            let expected = format!("one of {classes} classes, counted from 0 ({})", setting.some_classes());
            return Err(fields.wrong(LABELS, &marked.class.into(), expected));
        }
        Ok(Truth { id, size, boxes })
    }
}

/// How many boxes a data set says of the image at `index`, whatever is left out of training; `None` where it says nothing of
/// boxes.
pub fn box_count(data: &Dataset, index: usize) -> Option<usize> {
    match data.marked(index) {
        Some(boxes) => Some(boxes.len()),
        None => data.fields(index)?.get(BOXES)?.as_array().map(Vec::len),
    }
}

/// Refuses annotations of an image of another size than the one that is there.
fn said_size(fields: &Fields, found: Size) -> Result<(), AnnotationError> {
    for (name, found) in [("width", found.width), ("height", found.height)] {
        let said = fields.first(&[name]).map(|(_, value)| value.clone());
        if let Some(said) = said
            && said.as_f64().is_some_and(|said| said != found as f64)
        {
            let expected = format!(
                "{found} as its file has: the annotations are of another data set, or of the image before it was turned or resized"
            );
            return Err(fields.wrong(name, &said, expected));
        }
    }
    Ok(())
}

/// An annotation as a loss graph would declare it.
fn declared(name: &str, data_type: DataType, dims: &[Dim]) -> ValueInfo {
    let shape = [Dim::from("N"), Dim::from("M")].into_iter().chain(dims.iter().cloned()).collect();
    ValueInfo { name: name.to_owned(), value_type: Some(ValueType { data_type, shape: Some(shape) }) }
}

/// The boxes that a list says of an image.
fn listed(setting: &Setting, fields: &Fields, size: Size) -> Result<Vec<MarkedBox>, AnnotationError> {
    let (name, written) = fields.need(&[BOXES])?;
    let numbers = match fields.array(&declared(BOXES, DataType::Float, &[4.into()]), name, written)? {
        Annotation::Float(array) => array.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>(),
        Annotation::Whole(_) => Vec::new(),
    };
    let corners: Vec<[f64; 4]> = numbers.as_chunks::<4>().0.to_vec();
    let largest = numbers.iter().fold(0.0_f64, |most, x| most.max(*x));
    if largest > 0.0 && largest <= 1.0 && size.width.min(size.height) > 1 {
        let expected = "pixels of the image: these are fractions of it";
        return Err(fields.wrong(name, written, expected));
    }
    let (width, height) = (size.width as f64, size.height as f64);
    for [left, top, right, bottom] in &corners {
        let inside = *right > 0.0 && *bottom > 0.0 && *left < width && *top < height;
        if !(right > left && bottom > top && inside) {
            let found = Value::from(vec![*left, *top, *right, *bottom]);
            let expected =
                format!("[left, top, right, bottom] with something inside of the image of {width} x {height} pixels");
            return Err(fields.wrong(name, &found, expected));
        }
    }
    let classes = labels(setting, fields, corners.len())?;
    let [crowd, ignore, difficult] =
        [&["crowd", "iscrowd"][..], &["ignore"], &["difficult"]].map(|names| flags(fields, names, corners.len()));
    let (crowd, ignore, difficult) = (crowd?, ignore?, difficult?);
    let boxes = corners.into_iter().zip(classes).enumerate();
    let of = |(place, (corners, class))| {
        let flag = |flags: &[bool]| flags.get(place).copied().unwrap_or(false);
        let flags = BoxFlags { crowd: flag(&crowd), ignore: flag(&ignore), difficult: flag(&difficult) };
        MarkedBox { corners, class, area: None, flags }
    };
    Ok(boxes.map(of).collect())
}

/// The classes of `count` boxes, by names or numbers.
fn labels(setting: &Setting, fields: &Fields, count: usize) -> Result<Vec<u32>, AnnotationError> {
    let classes = setting.classes.len();
    // Beside names, where nothing says what these stand for.
    let numbers = fields.first(&["class_indices"]).filter(|_| classes == 0);
    let (name, written) = numbers.map_or_else(|| fields.need(&[LABELS]), Ok)?;
    let known = || match classes {
        0 => "numbers of classes, counted from 0".to_owned(),
        classes => format!("names or numbers of {classes} classes, counted from 0 ({})", setting.some_classes()),
    };
    let class = |item: &Value| match item {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => {
            let named = setting.classes.iter().position(|class| class == text);
            named.and_then(|place| u32::try_from(place).ok()).or_else(|| text.parse().ok())
        }
        _ => None,
    };
    // A cell of a table is text.
    let items: Vec<Value> = match written {
        Value::Array(items) => items.clone(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items,
            _ => {
                let parts = text.split([';', '|', ',']).map(str::trim).filter(|part| !part.is_empty());
                parts.map(Value::from).collect()
            }
        },
        other => vec![other.clone()],
    };
    if items.len() != count {
        return Err(fields.wrong(name, written, format!("a class for each of the {count} boxes")));
    }
    items.iter().map(|item| class(item).ok_or_else(|| fields.wrong(name, item, known()))).collect()
}

/// A flag of each of `count` boxes; empty where none is said.
fn flags(fields: &Fields, names: &[&str], count: usize) -> Result<Vec<bool>, AnnotationError> {
    let Some((name, written)) = fields.first(names) else { return Ok(Vec::new()) };
    match fields.array(&declared(name, DataType::Int64, &[]), name, written)? {
        Annotation::Whole(array) if array.len() == count => Ok(array.iter().map(|flag| *flag != 0).collect()),
        _ => Err(fields.wrong(name, written, format!("0 or 1 for each of the {count} boxes"))),
    }
}
