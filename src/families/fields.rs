//! From what a list says of an image to arrays.

use super::AnnotationError;
use crate::data::Dataset;
use crate::influence::Annotation;
use isal_onnx::{Dim, ValueInfo};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Map, Value};

/// What a list says of one image.
pub(super) struct Fields {
    pub(super) id: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Of the image at `index`; `wanted` is what is looked for, for messages.
    pub(super) fn of(data: &Dataset, index: usize, wanted: &str) -> Result<Fields, AnnotationError> {
        let id = data.id(index);
        match data.fields(index) {
            Some(map) => Ok(Fields { id, map }),
            None => Err(missing(id, wanted)),
        }
    }

    /// The value of the first of these names that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<(&str, &Value)> {
        let found = |name: &&str| self.map.get_key_value(*name).filter(|(_, value)| !value.is_null());
        names.iter().find_map(found).map(|(name, value)| (name.as_str(), value))
    }

    /// As [`Fields::first`], an error where none is there.
    pub(super) fn need(&self, names: &[&str]) -> Result<(&str, &Value), AnnotationError> {
        self.first(names).ok_or_else(|| missing(self.id.clone(), &format!("`{}`", names.join("`, `"))))
    }

    /// The error that a field holds something else.
    pub(super) fn wrong(&self, field: &str, found: &Value, expected: impl Into<String>) -> AnnotationError {
        AnnotationError::value(&self.id, field, found, expected)
    }

    /// The array that the loss graph takes under the name of `annotation`, out of the field `name`: `[1, ...]`.
    pub(super) fn array(
        &self,
        annotation: &ValueInfo,
        name: &str,
        value: &Value,
    ) -> Result<Annotation, AnnotationError> {
        let (dims, whole) = declared(annotation);
        let expected = || {
            let kind = if whole { "whole numbers" } else { "numbers" };
            let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
            match dims.is_empty() {
                true => format!("one of {kind}"),
                false => format!("{kind} [{}]", dims.join(", ")),
            }
        };
        // A cell of a table is text.
        let written = match value {
            Value::String(text) => numbers_in(text),
            _ => None,
        };
        let value = written.as_ref().unwrap_or(value);
        let (mut shape, mut numbers) = (Vec::new(), Vec::new());
        let sound = flatten(value, 0, &mut shape, &mut numbers);
        // One number is as good as a list of one.
        if shape.is_empty() && dims.len() == 1 {
            shape.push(1);
        }
        if numbers.is_empty() && shape.len() < dims.len() {
            // An empty list says nothing of the axes within it.
            let inner = dims.iter().skip(shape.len()).map(|dim| dim.known().unwrap_or(0));
            shape.extend(inner);
        }
        let fits = shape.len() == dims.len()
            && shape.iter().zip(dims).all(|(size, dim)| dim.known().is_none_or(|known| known == *size));
        if !sound || !fits || (whole && numbers.iter().any(|number| number.fract() != 0.0)) {
            return Err(self.wrong(name, value, expected()));
        }
        let shape: Vec<usize> = std::iter::once(1).chain(shape).collect();
        let dims = IxDyn(&shape);
        let made = if whole {
            ArrayD::from_shape_vec(dims, numbers.iter().map(|x| *x as i64).collect()).map(Annotation::Whole)
        } else {
            ArrayD::from_shape_vec(dims, numbers.iter().map(|x| *x as f32).collect()).map(Annotation::Float)
        };
        made.map_err(|_| self.wrong(name, value, expected()))
    }
}

/// The axes of an annotation past the batch, and whether its elements are whole numbers.
pub(super) fn declared(annotation: &ValueInfo) -> (&[Dim], bool) {
    let declared = annotation.value_type.as_ref();
    let dims = declared.and_then(|t| t.shape.as_deref()).and_then(|dims| dims.get(1..)).unwrap_or_default();
    (dims, declared.is_some_and(|t| !t.data_type.is_float()))
}

fn missing(id: String, wanted: &str) -> AnnotationError {
    let how = "give the images as a list (`.jsonl`, or a table with a header) that says it of each, see docs/TASKS.md";
    AnnotationError::Missing { id, what: wanted.to_owned(), how: how.to_owned() }
}

/// `[1, 0.5]`, `1 0.5`, `1;0.5`: as JSON. `None` of other text.
fn numbers_in(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return (!value.is_string()).then_some(value);
    }
    let parts = text.split([' ', ';', ',', '|']).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse::<f64>().ok().and_then(serde_json::Number::from_f64))
        .collect::<Option<Vec<_>>>()
        .map(Value::from)
}

/// Appends the numbers of nested lists, all lists of a level of one length. `false` where there is something else.
fn flatten(value: &Value, depth: usize, shape: &mut Vec<usize>, numbers: &mut Vec<f64>) -> bool {
    let leaf = |shape: &Vec<usize>, number: f64, numbers: &mut Vec<f64>| {
        numbers.push(number);
        shape.len() == depth
    };
    match value {
        Value::Array(items) => {
            match shape.get(depth) {
                None if numbers.is_empty() && shape.len() == depth => shape.push(items.len()),
                Some(len) if *len == items.len() => {}
                _ => return false,
            }
            items.iter().all(|item| flatten(item, depth + 1, shape, numbers))
        }
        Value::Number(number) => number.as_f64().is_some_and(|number| leaf(shape, number, numbers)),
        Value::Bool(yes) => leaf(shape, f64::from(u8::from(*yes)), numbers),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isal_onnx::{DataType, ValueType};

    fn fields() -> Fields {
        Fields { id: "a.png".to_owned(), map: Map::new() }
    }

    fn annotation(data_type: DataType, dims: &[Dim]) -> ValueInfo {
        let shape = std::iter::once(Dim::from("N")).chain(dims.iter().cloned()).collect();
        ValueInfo { name: "x".to_owned(), value_type: Some(ValueType { data_type, shape: Some(shape) }) }
    }

    #[test]
    fn nested_lists_and_cells_of_text_become_arrays() {
        let boxes = annotation(DataType::Float, &[Dim::Unknown, 4.into()]);
        let of = |annotation: &ValueInfo, json: &str| {
            fields().array(annotation, "x", &serde_json::from_str(json).expect("json"))
        };
        let two = of(&boxes, "[[1, 2, 3, 4], [5, 6, 7, 8.5]]").expect("boxes");
        assert_eq!(two, Annotation::Float(ndarray::array![[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.5]]].into_dyn()));
        assert_eq!(of(&boxes, "[]").expect("none"), Annotation::Float(ArrayD::zeros(IxDyn(&[1, 0, 4]))));
        let labels = annotation(DataType::Int64, &[Dim::Unknown]);
        let expected = Annotation::Whole(ndarray::array![[3, -1]].into_dyn());
        for text in ["[3, -1]", "\"3 -1\"", "\"3;-1\"", "\"[3,-1]\""] {
            assert_eq!(of(&labels, text).expect(text), expected);
        }
        assert_eq!(of(&labels, "7").expect("one"), Annotation::Whole(ndarray::array![[7]].into_dyn()));
        let number = annotation(DataType::Float, &[]);
        assert_eq!(of(&number, "true").expect("one"), Annotation::Float(ndarray::array![1.0].into_dyn()));
        for (of_type, json, part) in [
            (&boxes, "[[1, 2, 3]]", "expected numbers [?, 4]"),
            (&boxes, "[[1, 2, 3, 4], [1, 2]]", "expected numbers"),
            (&boxes, "[[1, 2, 3, 4], 5]", "expected numbers"),
            (&labels, "[0.5]", "whole numbers"),
            (&labels, "\"cat\"", "is \"cat\""),
            (&number, "[1, 2]", "expected one of numbers"),
        ] {
            let error = of(of_type, json).expect_err(json).to_string();
            assert!(error.contains(part) && error.contains("`a.png`"), "{error}");
        }
    }
}
