//! Label Studio: tasks with predictions, the labelling interface that shows them, and its `JSON` export.
//!
//! A prediction's `score` is the number that images were ordered by, the lowest first: "order by prediction score, ascending" shows
//! the most useful image first. The id of an image travels in `data.id` and comes back with the export.

use super::AnnotationToolError;
use super::answered::{Answer, Answered, ToolBox};
use super::form::{Placed, ToLabel};
use crate::data::{BoxFlags, Size};
use crate::families::{Guess, LabelKind};
use quick_xml::escape::escape;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The choice or the boxes in the interface, which results refer to.
const FROM: &str = "label";
/// The type of a box among results.
const BOXES: &str = "rectanglelabels";
/// The image in it.
const TO: &str = "image";

/// Tasks in the order of the rank.
pub(super) fn tasks(to_label: &ToLabel, placed: &[Placed], images: &Path) -> String {
    let task = |placed: &Placed| {
        let Placed { chosen, file, size } = placed;
        let mut data = Map::new();
        data.insert("image".to_owned(), address(to_label.url, images, file).into());
        data.insert("id".to_owned(), chosen.id.clone().into());
        data.insert("why".to_owned(), chosen.why(to_label.classes).into());
        data.insert("rank".to_owned(), chosen.rank.into());
        let known = [("influence", chosen.influence), ("score", chosen.score), ("confidence", chosen.confidence)];
        data.extend(known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
        let result = |id: String, kind: &str, value: Value| {
            json!({
                "id": id,
                "type": kind,
                "from_name": FROM,
                "to_name": TO,
                "original_width": size.width,
                "original_height": size.height,
                "image_rotation": 0,
                "value": value,
            })
        };
        let classes = chosen.classes(to_label.classes);
        let mut results: Vec<Value> = Vec::new();
        if !classes.is_empty() {
            results.push(result(format!("guess-{}", chosen.rank), "choices", json!({ "choices": classes })));
        }
        for (number, (class, found)) in chosen.boxes(to_label.classes).into_iter().enumerate() {
            let value = percents(found.corners, *size, class);
            let mut result = result(format!("guess-{}-{}", chosen.rank, number + 1), BOXES, value);
            result["score"] = found.score.into();
            results.push(result);
        }
        // A prediction without a result still has a score, by which tasks are ordered.
        let mut predictions = Vec::new();
        if chosen.guess != Guess::Nothing {
            let mut prediction = json!({ "model_version": to_label.chosen_by, "result": results });
            if let Some(score) = chosen.score {
                prediction["score"] = score.into();
            }
            predictions.push(prediction);
        }
        json!({ "data": data, "predictions": predictions })
    };
    format!("{:#}\n", Value::Array(placed.iter().map(task).collect()))
}

/// A box as Label Studio has it: percent of the image's sides.
fn percents([left, top, right, bottom]: [f64; 4], size: Size, class: &str) -> Value {
    let (width, height) = (size.width as f64 / 100.0, size.height as f64 / 100.0);
    json!({
        "x": left / width,
        "y": top / height,
        "width": (right - left) / width,
        "height": (bottom - top) / height,
        "rotation": 0,
        "rectanglelabels": [class],
    })
}

/// Where Label Studio finds an image: behind a prefix, or as a local file below its document root `/`.
fn address(url: Option<&str>, images: &Path, file: &str) -> String {
    if let Some(url) = url {
        return format!("{url}{}", percent(file));
    }
    let path = std::path::absolute(images.join(file)).unwrap_or_else(|_| images.join(file));
    let path = path.to_string_lossy().replace('\\', "/");
    format!("/data/local-files/?d={}", percent(path.trim_start_matches('/')))
}

/// A path as a part of a URL.
fn percent(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let each = path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    each.collect()
}

/// The interface: the image, why it was chosen, and one choice, several, or boxes of these classes.
pub(super) fn interface(to_label: &ToLabel) -> String {
    let element = match to_label.kind {
        Some(LabelKind::Boxes) => "Label",
        _ => "Choice",
    };
    let classes: String = to_label
        .classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let hotkey = if class < 9 { format!(" hotkey=\"{}\"", class + 1) } else { String::new() };
            format!("    <{element} value=\"{}\"{hotkey}/>\n", escape(name.as_str()))
        })
        .collect();
    let (begin, end) = match to_label.kind {
        Some(LabelKind::Boxes) => ("RectangleLabels", "RectangleLabels"),
        Some(LabelKind::Classes) => ("Choices choice=\"multiple\"", "Choices"),
        _ => ("Choices choice=\"single\"", "Choices"),
    };
    format!(
        "<View>\n  <Image name=\"{TO}\" value=\"$image\"/>\n  <Text name=\"why\" value=\"$why\"/>\n  \
         <{begin} name=\"{FROM}\" toName=\"{TO}\">\n{classes}  </{end}>\n</View>\n"
    )
}

/// What an export says of its tasks.
///
/// # Errors
/// [`AnnotationToolError::NotAnExport`].
pub(super) fn read(path: &Path, text: &str, kind: LabelKind) -> Result<Vec<Answered>, AnnotationToolError> {
    let refused = |reason: String| AnnotationToolError::NotAnExport {
        path: path.to_path_buf(),
        expected: "JSON export of Label Studio",
        reason,
    };
    let value: Value = serde_json::from_str(text).map_err(|e| refused(e.to_string()))?;
    let Value::Array(tasks) = value else {
        return Err(refused("expected a list of tasks".to_owned()));
    };
    let mut found = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        let (Some(data), Some(annotations)) = (task["data"].as_object(), task["annotations"].as_array()) else {
            let lacks = if task["data"].is_object() { "annotations" } else { "data" };
            return Err(refused(format!(
                "task {} has no `{lacks}`; of the forms that Label Studio exports, `JSON` is read",
                number + 1
            )));
        };
        let image = data.get("image").or_else(|| data.values().find(|value| looks_like_an_image(value)));
        let Some(address) = image.and_then(Value::as_str) else {
            return Err(refused(format!("task {} has no image in its `data`", number + 1)));
        };
        let id = match data.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        found.push(Answered {
            id,
            file: file_of(address),
            size: annotations.iter().find_map(original_size),
            answer: answer(annotations, kind),
        });
    }
    Ok(found)
}

fn looks_like_an_image(value: &Value) -> bool {
    let image = |text: &str| text.rsplit_once('.').is_some_and(|(_, ending)| (3..=4).contains(&ending.len()));
    value.as_str().is_some_and(image)
}

/// The file's name of an address, without what Label Studio puts before the names of uploaded files.
fn file_of(address: &str) -> String {
    let path = match address.split_once("?d=") {
        Some((_, local)) => local,
        None => address.split(['?', '#']).next().unwrap_or(address),
    };
    let name = percent_decoded(path.rsplit('/').next().unwrap_or(path));
    match name.split_once('-') {
        Some((prefix, rest)) if prefix.len() == 8 && prefix.bytes().all(|b| b.is_ascii_hexdigit()) => rest.to_owned(),
        _ => name,
    }
}

/// `%41` as `A`; what is no such escape stays.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = (*first == b'%').then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Width and height of the image that a result was drawn over.
fn original_size(annotation: &Value) -> Option<[u32; 2]> {
    let side = |result: &Value, name: &str| result[name].as_u64().and_then(|side| u32::try_from(side).ok());
    let of = |result: &Value| Some([side(result, "original_width")?, side(result, "original_height")?]);
    annotation["result"].as_array()?.iter().filter(|result| result["type"] == BOXES).find_map(of)
}

/// What all annotations of a task say together.
fn answer(annotations: &[Value], kind: LabelKind) -> Answer {
    let mut said: Option<Answer> = None;
    for annotation in annotations {
        let one = match annotation["was_cancelled"].as_bool() {
            Some(true) => Answer::Skip,
            _ => of_annotation(annotation, kind),
        };
        if one == Answer::Nothing || said.as_ref() == Some(&one) {
            continue;
        }
        if let Answer::Unfit(_) = one {
            return one;
        }
        match &said {
            Some(before) => {
                return Answer::Unfit(format!("has annotations that differ: {} and {}", shown(before), shown(&one)));
            }
            None => said = Some(one),
        }
    }
    said.unwrap_or(Answer::Nothing)
}

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Label(label) => format!("`{label}`"),
        Answer::Classes(classes) => format!("`{}`", classes.join(", ")),
        Answer::Boxes(boxes) => format!("{} boxes", boxes.len()),
        Answer::Mask(_) => "a mask".to_owned(),
        Answer::Skip => "skipped".to_owned(),
        Answer::Unmarked | Answer::Nothing | Answer::Unfit(_) => "nothing".to_owned(),
    }
}

fn of_annotation(annotation: &Value, kind: LabelKind) -> Answer {
    let results = annotation["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut labels, mut boxes) = (Vec::new(), Vec::new());
    for result in results {
        let of_type = result["type"].as_str().unwrap_or("no type");
        match (of_type, kind) {
            ("choices", LabelKind::Class | LabelKind::Classes) => {
                let choices = result["value"]["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
                labels.extend(choices.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            (BOXES, LabelKind::Boxes) => match boxed(&result["value"]) {
                Ok(marked) => boxes.push(marked),
                Err(why) => return Answer::Unfit(why),
            },
            // What an annotator wrote besides.
            ("textarea" | "rating", _) => {}
            (of_type, kind) => {
                let wanted = kind.in_words();
                return Answer::Unfit(format!("has a result of type `{of_type}`, and an image has {wanted} here"));
            }
        }
    }
    match kind {
        // Handed in without a box or a choice: somebody has looked.
        LabelKind::Boxes => Answer::Boxes(boxes),
        LabelKind::Classes => {
            labels.sort_unstable();
            labels.dedup();
            Answer::Classes(labels)
        }
        LabelKind::Class | LabelKind::Mask => match &labels[..] {
            [] => Answer::Nothing,
            [one] => Answer::Label(one.clone()),
            _ => Answer::Unfit(format!("has {} choices: {}", labels.len(), labels.join(", "))),
        },
    }
}

/// The box of a result, as fractions of the image.
fn boxed(value: &Value) -> Result<ToolBox, String> {
    let label = match value[BOXES].as_array().map(Vec::as_slice) {
        Some([label]) => label.as_str(),
        Some(labels) if labels.len() > 1 => return Err(format!("has a box of {} classes", labels.len())),
        _ => None,
    };
    let label = label.ok_or("has a box without a class")?.to_owned();
    let turned = value["rotation"].as_f64().unwrap_or(0.0);
    if turned != 0.0 {
        return Err(format!("has a box that is turned by {turned} degrees, expected one along the axes"));
    }
    let number = |name: &str| value[name].as_f64().map(|percent| percent / 100.0);
    let (Some(x), Some(y), Some(width), Some(height)) = (number("x"), number("y"), number("width"), number("height"))
    else {
        return Err("has a box without `x`, `y`, `width` and `height`".to_owned());
    };
    Ok(ToolBox { label, corners: [x, y, x + width, y + height], fractions: true, flags: BoxFlags::default() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::super::form::Words;
    use super::*;
    use crate::data::Dataset;

    /// As Label Studio 1.23 exports a project as `JSON`: labelled, skipped, not looked at, two opinions, and a box.
    const EXPORT: &str = r#"[
  {"id": 1, "annotations": [{"id": 1, "completed_by": 1, "result": [{"value": {"choices": ["bee"]}, "id": "0y3Qh0BqYE",
     "from_name": "label", "to_name": "image", "type": "choices", "origin": "prediction"}], "was_cancelled": false,
     "ground_truth": false, "created_at": "2026-11-20T10:00:00.000000Z", "updated_at": "2026-11-20T10:00:00.000000Z",
     "draft_created_at": null, "lead_time": 2.1, "prediction": {"id": 1, "result": [{"value": {"choices": ["ant"]}}]},
     "result_count": 1, "unique_id": "6f0a", "import_id": null, "last_action": null, "bulk_created": false, "task": 1,
     "project": 1, "updated_by": 1, "parent_prediction": 1, "parent_annotation": null, "last_created_by": null}],
   "file_upload": "6d1d2f14-to-label.json", "drafts": [], "predictions": [1],
   "data": {"image": "/data/local-files/?d=runs/to-label/0001-a%20b.png", "id": "pool/a b.png", "rank": 1},
   "meta": {}, "created_at": "2026-11-20T09:00:00.000000Z", "updated_at": "2026-11-20T10:00:00.000000Z", "inner_id": 1,
   "total_annotations": 1, "cancelled_annotations": 0, "total_predictions": 1, "comment_count": 0,
   "unresolved_comment_count": 0, "last_comment_updated_at": null, "project": 1, "updated_by": 1, "comment_authors": []},
  {"id": 2, "annotations": [{"id": 2, "result": [], "was_cancelled": true}],
   "data": {"image": "/data/upload/1/1a2b3c4d-0002-b.png"}},
  {"id": 3, "annotations": [], "data": {"image": "https://host/images/0003-c.png?token=x", "id": 17}},
  {"id": 4, "annotations": [
     {"result": [{"type": "choices", "value": {"choices": ["ant"]}}], "was_cancelled": false},
     {"result": [{"type": "choices", "value": {"choices": ["bee"]}}], "was_cancelled": false}],
   "data": {"image": "d.png"}},
  {"id": 5, "annotations": [{"result": [{"type": "rectanglelabels", "value": {"x": 1, "y": 2, "width": 3, "height": 4,
     "rotation": 0, "rectanglelabels": ["bee"]}}], "was_cancelled": false}], "data": {"image": "e.png"}},
  {"id": 6, "annotations": [{"result": [{"type": "choices", "value": {"choices": ["ant", "bee"]}}]}],
   "data": {"image": "f.png"}}
]"#;

    #[test]
    fn an_export_gives_an_answer_a_task() {
        let found = read(Path::new("export.json"), EXPORT, LabelKind::Class).unwrap();
        let named: Vec<(Option<&str>, &str)> = found.iter().map(|a| (a.id.as_deref(), a.file.as_str())).collect();
        assert_eq!(
            named[..3],
            [(Some("pool/a b.png"), "0001-a b.png"), (None, "0002-b.png"), (Some("17"), "0003-c.png")]
        );
        let answers: Vec<&Answer> = found.iter().map(|answered| &answered.answer).collect();
        assert_eq!(answers[..3], [&Answer::Label("bee".to_owned()), &Answer::Skip, &Answer::Nothing]);
        for (answer, why) in answers[3..].iter().zip(["`ant` and `bee`", "`rectanglelabels`", "2 choices: ant, bee"]) {
            assert!(matches!(answer, Answer::Unfit(reason) if reason.contains(why)), "{answer:?}");
        }
    }

    #[test]
    fn boxes_come_back_and_none_of_them_is_an_answer() {
        let marked = r#"{"type": "rectanglelabels", "original_width": 200, "original_height": 100, "value": {"x": 1, "y": 2,
            "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["bee"]}}"#;
        let turned = marked.replace("\"rotation\": 0", "\"rotation\": 30");
        let task = |annotations: &str| format!(r#"{{"annotations": [{annotations}], "data": {{"image": "a.png"}}}}"#);
        let annotation = |results: &str| format!(r#"{{"result": [{results}], "was_cancelled": false}}"#);
        let tasks = [
            task(&annotation(marked)),
            task(&annotation("")),
            task(""),
            task(&annotation(marked).replace("false", "true")),
            task(&annotation(&turned)),
            task(&annotation(r#"{"type": "choices", "value": {"choices": ["bee"]}}"#)),
            task(&[annotation(marked), annotation("")].join(", ")),
        ];
        let text = format!("[{}]", tasks.join(", "));
        let found = read(Path::new("export.json"), &text, LabelKind::Boxes).unwrap();
        let bee = ToolBox {
            label: "bee".to_owned(),
            corners: [0.01, 0.02, 0.04, 0.06],
            fractions: true,
            flags: BoxFlags::default(),
        };
        let answers: Vec<&Answer> = found.iter().map(|answered| &answered.answer).collect();
        assert_eq!((answers[0], found[0].size), (&Answer::Boxes(vec![bee]), Some([200, 100])));
        assert_eq!(answers[1..4], [&Answer::Boxes(Vec::new()), &Answer::Nothing, &Answer::Skip]);
        for (answer, why) in answers[4..].iter().zip(["30 degrees", "`choices`", "1 boxes and 0 boxes"]) {
            assert!(matches!(answer, Answer::Unfit(reason) if reason.contains(why)), "{answer:?}");
        }
    }

    #[test]
    fn other_forms_are_refused_by_what_they_lack() {
        // `JSON-MIN` of Label Studio, COCO, and tasks before they are imported.
        for (text, reason) in [
            (r#"[{"image": "a.png", "id": 1, "choice": "ant", "annotator": 1}]"#, "has no `data`"),
            (r#"{"images": [], "annotations": []}"#, "a list of tasks"),
            (r#"[{"data": {"image": "a.png"}}]"#, "has no `annotations`"),
            (r#"[{"data": {"text": "a"}, "annotations": []}]"#, "no image"),
            ("[", "EOF"),
        ] {
            let error = read(Path::new("export.json"), text, LabelKind::Class).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn names_survive_the_way_there_and_back() {
        for file in ["0001-a b.png", "0002-ü%20.jpg", "0003-x#y?z&w=1.png"] {
            let there = address(None, Path::new("/data/to-label"), file);
            assert!(there.starts_with("/data/local-files/?d=data/to-label/"), "{there}");
            assert_eq!(file_of(&there), file);
            assert_eq!(file_of(&address(Some("http://host/images/"), Path::new("x"), file)), file);
        }
    }

    #[test]
    fn the_interface_names_what_the_tasks_name() {
        let classes = ["a < b".to_owned(), "\"c\"".to_owned()];
        let pool = Dataset::concat(&[]).unwrap();
        let (kind, words) = (Some(LabelKind::Class), Words::default());
        let to_label = ToLabel { pool: &pool, images: &[], kind, classes: &classes, words, chosen_by: "x", url: None };
        let text = interface(&to_label);
        let mut document = quick_xml::reader::Reader::from_str(&text);
        let mut values = Vec::new();
        loop {
            match document.read_event().unwrap() {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Empty(element) if element.name().0 == "Choice" => {
                    let value = element.try_get_attribute("value").unwrap().unwrap();
                    values.push(value.normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap().into_owned());
                }
                _ => {}
            }
        }
        assert_eq!(values, ["a < b", "\"c\""]);
        assert!(text.contains("name=\"label\" toName=\"image\""));
    }
}
