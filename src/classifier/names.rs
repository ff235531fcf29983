//! The names of the classes in the order of the scores, from whatever knows them best.
//!
//! In this order: a file given by hand; the model's own metadata; a file of names beside the model; the folders of the
//! labelled, reference and pool images. Names in metadata are [`CLASS_NAMES`], which `isal train` writes, or the property
//! `names` as detectors and classifiers of other trainers have it: a Python dict, a Python or JSON list.

use super::ClassifierError;
use crate::data::{Dataset, common_classes};
use crate::network::Network;
use crate::observe::Observer;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Metadata property with the class names, a JSON list in the order of the class scores.
pub const CLASS_NAMES: &str = "isal.classes";

/// Metadata property with the class names as other trainers write them.
const NAMES: &str = "names";

/// Files of names looked for beside a model, besides those called after it.
const BESIDE: [&str; 3] = ["labels.txt", "classes.txt", "imagenet_classes.txt"];

/// Class names in the order of the scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassNames {
    /// One a class.
    pub names: Vec<String>,
    /// Where the order comes from, the same on every machine.
    pub source: String,
    /// What was passed over on the way, and why.
    pub passed_over: Vec<String>,
}

impl ClassNames {
    /// Says where the order comes from, and what was passed over.
    pub fn say(&self, observer: &dyn Observer) {
        for why in &self.passed_over {
            observer.say(&format!("warning: passed over: {why}"));
        }
        observer.say(&format!("class names: {}", self.source));
    }
}

/// Settles the names of the `classes` that a network tells apart. `labelled` are data sets whose folders are classes, the surest first; the
/// folders of `pool` may be anything, and count where all labelled classes are among them.
///
/// # Errors
/// [`ClassifierError::ClassNames`]: a file given by hand, or one called after the model, that does not fit it; folders of
/// another number of classes.
pub fn class_names(
    network: &Network,
    classes: usize,
    given: Option<&Path>,
    labelled: &[&Dataset],
    pool: Option<&Dataset>,
) -> Result<ClassNames, ClassifierError> {
    let mut passed_over = Vec::new();
    let settled = |names, source: &str, passed_over| Ok(ClassNames { names, source: source.to_owned(), passed_over });
    if let Some(path) = given {
        return settled(of_file(path, classes)?, "--classes", passed_over);
    }
    for (key, parse) in [(CLASS_NAMES, json as fn(&str) -> Option<Vec<String>>), (NAMES, written)] {
        let Some(text) = network.model.metadata.get(key) else { continue };
        match parse(text).map(|names| checked(names, classes)) {
            Some(Ok(names)) => return settled(names, &format!("the model's property `{key}`"), passed_over),
            Some(Err(why)) => passed_over.push(format!("the model's property `{key}` {why}")),
            None => passed_over.push(format!("the model's property `{key}` is no list of names")),
        }
    }
    if let Some(own) = called_after(&network.path).into_iter().find(|path| path.is_file()) {
        let source = format!("`{}` beside the model", own.file_name().unwrap_or_default().to_string_lossy());
        return settled(of_file(&own, classes)?, &source, passed_over);
    }
    for name in BESIDE {
        let path = network.path.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        // It may belong to another model in the same folder.
        match of_file(&path, classes) {
            Ok(names) => return settled(names, &format!("`{name}` beside the model"), passed_over),
            Err(error) => passed_over.push(error.to_string()),
        }
    }
    let (names, source) = of_folders(classes, labelled, pool)?;
    settled(names, &source, passed_over)
}

/// Names of the classes of what the fields of images name, such as boxes, in the order of the data sets that have some: for a task
/// of which the graphs do not say how many classes there are.
pub fn names_of_fields(labelled: &[&Dataset]) -> Option<ClassNames> {
    let named: Vec<&Dataset> = labelled.iter().copied().filter(|dataset| dataset.has_classes_of_fields()).collect();
    let source = "the classes of the labelled images".to_owned();
    (!named.is_empty()).then(|| ClassNames { names: common_classes(&named), source, passed_over: Vec::new() })
}

/// `model.labels.txt` and `model.classes.txt` of `model.onnx`.
fn called_after(model: &Path) -> [PathBuf; 2] {
    [model.with_extension("labels.txt"), model.with_extension("classes.txt")]
}

/// One name a line, or a JSON list.
fn of_file(path: &Path, classes: usize) -> Result<Vec<String>, ClassifierError> {
    let refused = |why: &str| ClassifierError::ClassNames { reason: format!("`{}` {why}", path.display()) };
    let text = std::fs::read_to_string(path).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let lines = || {
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    };
    checked(json(text).unwrap_or_else(lines), classes).map_err(|why| refused(&why))
}

/// Refuses names that are not one for each class, all different.
fn checked(names: Vec<String>, classes: usize) -> Result<Vec<String>, String> {
    if names.len() != classes {
        return Err(format!("names {} classes, the model has {classes}", names.len()));
    }
    if let Some(position) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(format!("has no name for class {position}"));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("names `{twice}` twice")),
        None => Ok(names),
    }
}

/// A JSON list of names, or an object from number to name.
fn json(text: &str) -> Option<Vec<String>> {
    if let Ok(names) = serde_json::from_str::<Vec<String>>(text) {
        return Some(names).filter(|names| !names.is_empty());
    }
    let object: indexmap::IndexMap<String, String> = serde_json::from_str(text).ok()?;
    numbered(object.into_iter().map(|(key, name)| Some((key.trim().parse().ok()?, name))).collect::<Option<_>>()?)
}

/// JSON, or a Python dict from number to name or a Python list or tuple, as `str` writes them.
fn written(text: &str) -> Option<Vec<String>> {
    json(text).or_else(|| python(text.trim()))
}

/// Names in the order of their numbers, which must be 0, 1, 2, ...
fn numbered(mut pairs: Vec<(usize, String)>) -> Option<Vec<String>> {
    pairs.sort_by_key(|(number, _)| *number);
    let all = pairs.iter().enumerate().all(|(place, (number, _))| place == *number);
    (all && !pairs.is_empty()).then(|| pairs.into_iter().map(|(_, name)| name).collect())
}

fn python(text: &str) -> Option<Vec<String>> {
    let open = text.chars().next()?;
    let close = match open {
        '{' => '}',
        '[' => ']',
        '(' => ')',
        _ => return None,
    };
    let mut rest = text.strip_prefix(open)?.trim_start();
    let mut pairs = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(close) {
            return end.trim().is_empty().then(|| numbered(pairs))?;
        }
        let mut number = pairs.len();
        if open == '{' {
            let (key, after) = rest.split_once(':')?;
            number = key.trim().parse().ok()?;
            rest = after.trim_start();
        }
        let (name, after) = python_string(rest)?;
        pairs.push((number, name));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.starts_with(close) => rest,
            None => return None,
        };
    }
}

/// A quoted Python string and what follows it.
fn python_string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut name = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Some((name, text.get(at + 1..)?));
        }
        if character != '\\' {
            name.push(character);
            continue;
        }
        let (_, escaped) = characters.next()?;
        let digits = match escaped {
            'n' => {
                name.push('\n');
                continue;
            }
            't' => {
                name.push('\t');
                continue;
            }
            'r' => {
                name.push('\r');
                continue;
            }
            '\\' | '\'' | '"' => {
                name.push(escaped);
                continue;
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let code: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
        if code.len() != digits {
            return None;
        }
        name.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
    }
    None
}

/// The folders of as many data sets as it takes to find a name for every class.
fn of_folders(
    classes: usize,
    labelled: &[&Dataset],
    pool: Option<&Dataset>,
) -> Result<(Vec<String>, String), ClassifierError> {
    let all: BTreeSet<&String> = labelled.iter().flat_map(|dataset| dataset.classes()).collect();
    if all.is_empty() {
        return Ok((
            (0..classes).map(|class| class.to_string()).collect(),
            "the numbers of the class scores".to_owned(),
        ));
    }
    let mut known = labelled.to_vec();
    known.extend(pool.filter(|pool| all.iter().all(|class| pool.classes().contains(class))));
    for upto in 1..=known.len() {
        let names = common_classes(known.get(..upto).unwrap_or(&known));
        if names.len() == classes {
            let order = order_of(&names);
            return Ok((names, format!("the folders or lists of the images, {order}")));
        }
    }
    if let Some(names) = by_number(&all, classes) {
        let order = order_of(&names);
        return Ok((names, format!("the folders, which are numbers, {order}")));
    }
    let (found, first) = (all.len(), all.into_iter().take(12).cloned().collect::<Vec<_>>().join("`, `"));
    let what = if found > classes {
        "a model has one class score for every class of its labels"
    } else {
        "give their names in the order of the class scores with `--classes FILE`, one a line; classes without images are fine"
    };
    let more = if found > 12 { "`, ..." } else { "`" };
    let reason = format!("the labelled images have {found} classes (`{first}{more}), the model has {classes}: {what}");
    Err(ClassifierError::ClassNames { reason })
}

/// All classes, where the folders there are have some of the numbers below `classes` as names: in the order of texts, as those
/// of complete folders are.
fn by_number(found: &BTreeSet<&String>, classes: usize) -> Option<Vec<String>> {
    let width = found.iter().map(|name| name.len()).max()?;
    let padded =
        found.iter().all(|name| name.len() == width) && found.iter().any(|name| width > 1 && name.starts_with('0'));
    let name = |class: usize| if padded { format!("{class:0width$}") } else { class.to_string() };
    let mut all: Vec<String> = (0..classes).map(name).collect();
    all.sort_unstable();
    found.iter().all(|name| all.contains(name)).then_some(all)
}

/// How the order of the names is called, where they are numbers of several lengths.
fn order_of(names: &[String]) -> &'static str {
    let numbers: Option<Vec<u64>> = names.iter().map(|name| name.parse().ok()).collect();
    let Some(numbers) = numbers else { return "in the order of their names" };
    match (numbers.is_sorted(), names.is_sorted()) {
        (true, false) => "in the order of their numbers (0, 1, 2, ...)",
        (false, true) => "in the order of texts (0, 1, 10, 11, 2, ...)",
        _ => "in the order of their names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_trainers_write_them() {
        let expected = Some(vec!["person".to_owned(), "it's".to_owned(), "a: b, {c}".to_owned()]);
        for text in [
            r#"{0: 'person', 1: "it's", 2: 'a: b, {c}'}"#,
            r#"{0: 'person', 2: 'a: b, {c}', 1: 'it\'s',}"#,
            r#"['person', "it's", 'a: b, {c}']"#,
            r#" ( 'person' , "it\x27s", 'a: b, {c}', ) "#,
            r#"["person", "it's", "a: b, {c}"]"#,
            r#"{"0": "person", "1": "it's", "2": "a: b, {c}"}"#,
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
        assert_eq!(written(r"{0: 'Caf\xe9', 1: '\u00e9\n'}"), Some(vec!["Café".to_owned(), "é\n".to_owned()]));
    }

    #[test]
    fn what_is_no_list_of_names_is_no_list() {
        for text in [
            "",
            "names",
            "{",
            "{}",
            "[]",
            "{0: 'a'",
            "{0: 'a' 1: 'b'}",
            "{1: 'a', 2: 'b'}",
            "{0: 'a', 0: 'b'}",
            "{0: a}",
            "{0: 'a'} + {1: 'b'}",
            "{0: __import__('os')}",
            r"['\x4']",
            r"['\uD800']",
            "['a', 1]",
            "['a",
            "[1, 2]",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_incomplete_folders_are_completed_in_the_order_of_texts() {
        let found = |names: &[&str], classes| {
            let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            by_number(&owned.iter().collect(), classes)
        };
        assert_eq!(found(&["0", "2"], 3), Some(vec!["0".into(), "1".into(), "2".into()]));
        assert_eq!(found(&["1", "10"], 11).map(|names| names[2].clone()), Some("10".to_owned()));
        assert_eq!(found(&["00", "10"], 11).map(|names| names[1].clone()), Some("01".to_owned()));
        assert_eq!(found(&["3"], 3), None);
        assert_eq!(found(&["a", "2"], 3), None);
    }
}
