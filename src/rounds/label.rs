//! What people said of an image, as the files of a run keep it.

use crate::data::{BoxFlags, Description, MarkedBox};
use std::fmt;
use std::path::Path;

/// What people said of an image.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// The name of its class, or the word for images to leave out.
    Word(String),
    /// Its boxes; none of them says that somebody has looked and the image shows nothing.
    Boxes(LabelledBoxes),
    /// Its mask.
    Mask {
        /// The file, from the folder of the run.
        mask: String,
        /// SHA-256 of its bytes.
        sha256: String,
    },
    /// Its classes, sorted; perhaps none.
    Classes {
        /// Their names.
        classes: Vec<String>,
    },
}

/// Boxes of an image.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LabelledBoxes {
    /// Left, top, right and bottom in pixels of the stored image.
    pub boxes: Vec<[f64; 4]>,
    /// The class of each, by name.
    pub classes: Vec<String>,
    /// Of each 1 for a crowd, 2 for one to ignore, 4 for a difficult one, added up; empty where all are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<u8>,
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        match (self, other) {
            (Label::Word(a), Label::Word(b)) => a == b,
            (Label::Boxes(a), Label::Boxes(b)) => a == b,
            // Wherever it lies.
            (Label::Mask { sha256: a, .. }, Label::Mask { sha256: b, .. }) => a == b,
            (Label::Classes { classes: a }, Label::Classes { classes: b }) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Word(word) => f.write_str(word),
            Label::Boxes(LabelledBoxes { boxes, .. }) if boxes.len() == 1 => f.write_str("1 box"),
            Label::Boxes(LabelledBoxes { boxes, .. }) => write!(f, "{} boxes", boxes.len()),
            Label::Mask { sha256, .. } => write!(f, "mask {}", sha256.get(..8).unwrap_or(sha256)),
            Label::Classes { classes } if classes.is_empty() => f.write_str("no class"),
            Label::Classes { classes } => f.write_str(&classes.join(", ")),
        }
    }
}

impl Label {
    /// Whether it is this word.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Label::Word(said) if said == word)
    }

    /// Whether it says that the image shows nothing of what is asked for.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Label::Boxes(LabelledBoxes { boxes, .. }) => boxes.is_empty(),
            Label::Classes { classes } => classes.is_empty(),
            Label::Word(_) | Label::Mask { .. } => false,
        }
    }

    /// It as a data set says it, masks in the folder of the run; `None` of a word, and a name that is no class as the error.
    pub(super) fn described(&self, classes: &[String], run: &Path) -> Result<Option<Description>, String> {
        let place = |name: &String| {
            let place = classes.iter().position(|class| class == name);
            place.map(|place| place as u32).ok_or_else(|| name.clone())
        };
        Ok(Some(match self {
            Label::Word(_) => return Ok(None),
            Label::Boxes(LabelledBoxes { boxes, classes: names, flags }) => {
                let marked = |(number, (corners, name)): (usize, (&[f64; 4], &String))| {
                    let flags = BoxFlags::of(flags.get(number).copied().unwrap_or(0));
                    Ok(MarkedBox { corners: *corners, class: place(name)?, area: None, flags })
                };
                let marked = boxes.iter().zip(names).enumerate().map(marked);
                Description::Boxes(marked.collect::<Result<_, String>>()?)
            }
            Label::Mask { mask, .. } => Description::Mask(run.join(mask)),
            Label::Classes { classes: shown } => {
                shown.iter().try_for_each(|name| place(name).map(drop))?;
                Description::Classes(shown.clone())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_as_they_were_written_and_a_class_is_a_plain_text() {
        let boxes = LabelledBoxes { boxes: vec![[0.5, 1.0, 2.25, 3.0]], classes: vec!["cat".into()], flags: vec![4] };
        let none = LabelledBoxes { boxes: Vec::new(), classes: Vec::new(), flags: Vec::new() };
        for (label, json) in [
            (Label::Word("cat".into()), r#""cat""#),
            (Label::Boxes(boxes), r#"{"boxes":[[0.5,1.0,2.25,3.0]],"classes":["cat"],"flags":[4]}"#),
            (Label::Boxes(none), r#"{"boxes":[],"classes":[]}"#),
            (Label::Classes { classes: Vec::new() }, r#"{"classes":[]}"#),
            (Label::Mask { mask: "m.png".into(), sha256: "00".into() }, r#"{"mask":"m.png","sha256":"00"}"#),
        ] {
            assert_eq!(serde_json::to_string(&label).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Label>(json).expect(json), label);
        }
    }

    #[test]
    fn a_class_that_the_run_does_not_have_is_named() {
        let shown = Label::Classes { classes: vec!["cat".into(), "cow".into()] };
        assert_eq!(shown.described(&["cat".to_owned()], Path::new("")), Err("cow".to_owned()));
    }
}
