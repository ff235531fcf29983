//! CVAT's "CVAT for images 1.1": an XML file with an element an image, and in it a `tag` for a class of the image or a `box`, in pixels.
//!
//! The form does not say whether anybody has looked at an image without a mark, so tags say it: those of [`Words`].

use super::AnnotationToolError;
use super::answered::{Answer, Answered, ToolBox};
use super::form::{Placed, ToLabel, Words};
use crate::data::BoxFlags;
use crate::families::LabelKind;
use quick_xml::XmlVersion;
use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What the model believes as tags, in the order of the rank.
pub(super) fn annotations(to_label: &ToLabel, placed: &[Placed]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n  <version>1.1</version>\n".to_owned();
    for (number, Placed { chosen, file, size }) in placed.iter().enumerate() {
        let (width, height) = (size.width, size.height);
        let _ = write!(
            text,
            "  <image id=\"{number}\" name=\"{}\" width=\"{width}\" height=\"{height}\">",
            escape(file.as_str())
        );
        let before = text.len();
        for class in chosen.classes(to_label.classes) {
            let _ = write!(text, "\n    <tag label=\"{}\" source=\"auto\">\n    </tag>", escape(class.as_str()));
        }
        for (class, found) in chosen.boxes(to_label.classes) {
            let [left, top, right, bottom] = found.corners;
            let _ = write!(
                text,
                "\n    <box label=\"{}\" source=\"auto\" occluded=\"0\" xtl=\"{left}\" ytl=\"{top}\" xbr=\"{right}\" \
                 ybr=\"{bottom}\" z_order=\"0\">\n    </box>",
                escape(class.as_str()),
            );
        }
        text += if text.len() > before { "\n  </image>\n" } else { "</image>\n" };
    }
    text + "</annotations>\n"
}

/// The labels of a project, as its "Raw" constructor takes them. Where an image may have no mark at all, tags say of one that somebody has
/// looked.
pub(super) fn labels(to_label: &ToLabel) -> String {
    let label = |kind: &'static str| move |name: &str| json!({ "name": name, "type": kind, "attributes": [] });
    let (kind, words) = match to_label.kind {
        Some(LabelKind::Boxes) => ("rectangle", vec![to_label.words.empty, to_label.words.skip]),
        Some(LabelKind::Classes) => ("tag", vec![to_label.words.empty, to_label.words.skip]),
        _ => ("tag", Vec::new()),
    };
    let classes = to_label.classes.iter().map(String::as_str).map(label(kind));
    format!("{:#}\n", Value::Array(classes.chain(words.into_iter().map(label("tag"))).collect()))
}

/// An image that is being read.
struct Open {
    answered: Answered,
    tags: Vec<String>,
    boxes: Vec<ToolBox>,
    /// Elements in it that are neither.
    others: Vec<String>,
}

impl Open {
    fn close(self, kind: LabelKind, words: Words) -> Answered {
        let Open { answered, mut tags, boxes, others } = self;
        let other = others.first().map(String::as_str).or_else(|| {
            let misplaced = kind != LabelKind::Boxes && !boxes.is_empty();
            misplaced.then_some("box")
        });
        let several = |tags: &[String]| format!("has {} tags: {}", tags.len(), tags.join(", "));
        let answer = match (kind, tags.as_slice(), other) {
            (LabelKind::Class, [], None) => Answer::Nothing,
            (LabelKind::Class, [one], None) => Answer::Label(one.clone()),
            (LabelKind::Class, tags, None) => Answer::Unfit(several(tags)),
            // What was sent along may still be marked in an image to leave out.
            (_, [word], None) if word == words.skip => Answer::Skip,
            (_, [], None) if boxes.is_empty() => Answer::Unmarked,
            (LabelKind::Classes, [word], None) if word == words.empty => Answer::Classes(Vec::new()),
            (LabelKind::Classes, _, None) => {
                tags.sort_unstable();
                tags.dedup();
                Answer::Classes(tags)
            }
            (LabelKind::Boxes, [], None) => Answer::Boxes(boxes),
            (LabelKind::Boxes, [word], None) if word == words.empty && boxes.is_empty() => Answer::Boxes(boxes),
            (LabelKind::Boxes, [word], None) if word == words.empty => {
                Answer::Unfit(format!("has the tag `{word}`, and {} boxes", boxes.len()))
            }
            (LabelKind::Boxes, tags, None) => Answer::Unfit(format!("{}, and has boxes here", several(tags))),
            (kind, _, Some(other)) => {
                Answer::Unfit(format!("has a `{other}`, and an image has {} here", kind.in_words()))
            }
            (kind, _, None) => Answer::Unfit(format!("has tags or boxes, and has {} here", kind.in_words())),
        };
        Answered { answer, ..answered }
    }
}

/// What an export says of its images.
///
/// # Errors
/// [`AnnotationToolError::NotAnExport`].
pub(super) fn read(
    path: &Path,
    text: &str,
    kind: LabelKind,
    words: Words,
) -> Result<Vec<Answered>, AnnotationToolError> {
    let refused = |reason: String| AnnotationToolError::NotAnExport {
        path: path.to_path_buf(),
        expected: "XML of \"CVAT for images 1.1\"",
        reason,
    };
    let mut reader = Reader::from_str(text);
    let (mut found, mut open, mut root) = (Vec::new(), None::<Open>, false);
    let mut depth = 0usize;
    loop {
        let event = reader.read_event().map_err(|e| refused(format!("byte {}: {e}", reader.buffer_position())))?;
        let (element, empty) = match &event {
            Event::Eof if depth > 0 => return Err(refused("it ends within an element".to_owned())),
            Event::Eof => break,
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                if end.name().0 == "image" {
                    found.extend(open.take().map(|image| image.close(kind, words)));
                }
                continue;
            }
            Event::Start(element) => (element, false),
            Event::Empty(element) => (element, true),
            _ => continue,
        };
        let name = element.name().0.to_owned();
        depth += usize::from(!empty);
        let Some(image) = &mut open else {
            match name.as_str() {
                "annotations" => root = true,
                "image" => {
                    let image = begun(element).map_err(refused)?;
                    match empty {
                        true => found.push(image.close(kind, words)),
                        false => open = Some(image),
                    }
                }
                _ => {}
            }
            continue;
        };
        match name.as_str() {
            "tag" => match attribute(element, "label").map_err(refused)? {
                Some(label) => image.tags.push(label),
                None => return Err(refused(format!("a tag of `{}` has no label", image.answered.file))),
            },
            "box" => image.boxes.push(boxed(element).map_err(|why| {
                let file = &image.answered.file;
                refused(format!("a box of `{file}` {why}"))
            })?),
            // Attributes of a tag or a box are further questions, which were not asked here.
            "attribute" => {}
            other => image.others.push(other.to_owned()),
        }
    }
    match root {
        true => Ok(found),
        false => Err(refused("it has no element `annotations`".to_owned())),
    }
}

/// The image of an element `image`.
fn begun(element: &BytesStart) -> Result<Open, String> {
    let id = attribute(element, "id")?.unwrap_or_default();
    let file = attribute(element, "name")?.ok_or_else(|| format!("image `{id}` has no name"))?;
    let side = |name: &str| Ok::<_, String>(attribute(element, name)?.and_then(|side| side.parse::<u32>().ok()));
    let size = side("width")?.zip(side("height")?).map(|(width, height)| [width, height]);
    let answered = Answered { id: None, file, size, answer: Answer::Nothing };
    Ok(Open { answered, tags: Vec::new(), boxes: Vec::new(), others: Vec::new() })
}

/// The box of an element `box`.
fn boxed(element: &BytesStart) -> Result<ToolBox, String> {
    let label = attribute(element, "label")?.ok_or("has no label")?;
    let number = |name: &str| match attribute(element, name)? {
        Some(text) => text.parse::<f64>().map_err(|_| format!("has `{text}` for `{name}`, expected a number")),
        None => Err(format!("has no `{name}`")),
    };
    let rotated = attribute(element, "rotation")?.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    if rotated != 0.0 {
        return Err(format!("is turned by {rotated} degrees, expected one along the axes"));
    }
    let corners = [number("xtl")?, number("ytl")?, number("xbr")?, number("ybr")?];
    Ok(ToolBox { label, corners, fractions: false, flags: BoxFlags::default() })
}

fn attribute(element: &BytesStart, name: &str) -> Result<Option<String>, String> {
    let found = element.try_get_attribute(name).map_err(|e| e.to_string())?;
    let text = |found: quick_xml::events::attributes::Attribute| {
        found.normalized_value(XmlVersion::Explicit1_0).map(|text| text.into_owned()).map_err(|e| e.to_string())
    };
    found.map(text).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    /// As CVAT 2 exports a task of three images, with its head.
    const EXPORT: &str = r##"<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>7</id>
      <name>birds &amp; bees</name>
      <size>3</size>
      <mode>annotation</mode>
      <overlap>0</overlap>
      <bugtracker></bugtracker>
      <created>2026-11-20 10:00:00.000000+00:00</created>
      <updated>2026-11-20 10:10:00.000000+00:00</updated>
      <labels>
        <label>
          <name>b&lt;ee</name>
          <color>#aa00ff</color>
          <type>tag</type>
          <attributes>
          </attributes>
        </label>
      </labels>
      <segments>
        <segment>
          <id>7</id>
          <start>0</start>
          <stop>2</stop>
          <url>http://localhost:8080/api/jobs/7</url>
        </segment>
      </segments>
    </task>
    <dumped>2026-11-20 10:11:00.000000+00:00</dumped>
  </meta>
  <image id="0" name="0001-a.png" width="28" height="28">
    <tag label="b&lt;ee" source="manual">
      <attribute name="sure">yes</attribute>
    </tag>
  </image>
  <image id="1" name="to-label/0002-b.png" width="28" height="28">
  </image>
  <image id="2" name="0003-&#228;.png" width="28" height="28"/>
  <image id="3" name="0004.png" width="28" height="28">
    <tag label="ant" source="manual"></tag>
    <tag label="b&lt;ee" source="manual"/>
  </image>
  <image id="4" name="0005.png" width="28" height="28">
    <box label="ant" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="9.00" ybr="9.50" z_order="0">
    </box>
  </image>
</annotations>
"##;

    fn of(kind: LabelKind, text: &str) -> Result<Vec<Answered>, AnnotationToolError> {
        read(Path::new("export.xml"), text, kind, Words::default())
    }

    #[test]
    fn an_image_without_a_mark_is_not_one_that_shows_nothing() {
        let image = |name: &str, inner: &str| {
            format!("<image id=\"0\" name=\"{name}\" width=\"28\" height=\"20\">{inner}</image>")
        };
        let bee = "<box label=\"bee\" source=\"manual\" occluded=\"0\" xtl=\"1.00\" ytl=\"2.00\" xbr=\"9.00\" ybr=\"9.50\" z_order=\"0\"></box>";
        let tag = |label: &str| format!("<tag label=\"{label}\" source=\"manual\"></tag>");
        let images = [
            image("marked", bee),
            image("open", ""),
            image("empty", &tag("empty")),
            image("skipped", &(tag("skip") + bee)),
            image("both", &(tag("empty") + bee)),
            image("tagged", &tag("bee")),
        ];
        let found = of(LabelKind::Boxes, &format!("<annotations>{}</annotations>", images.concat())).unwrap();
        let bee = ToolBox {
            label: "bee".to_owned(),
            corners: [1.0, 2.0, 9.0, 9.5],
            fractions: false,
            flags: BoxFlags::default(),
        };
        let answers: Vec<&Answer> = found.iter().map(|answered| &answered.answer).collect();
        assert_eq!(found[0].size, Some([28, 20]));
        assert_eq!(
            answers[..4],
            [&Answer::Boxes(vec![bee]), &Answer::Unmarked, &Answer::Boxes(Vec::new()), &Answer::Skip]
        );
        assert!(matches!(answers[4], Answer::Unfit(why) if why.contains("`empty`")), "{:?}", answers[4]);
        assert!(matches!(answers[5], Answer::Unfit(why) if why.contains("1 tags: bee")), "{:?}", answers[5]);
        let several = format!("<annotations>{}</annotations>", image("a", &(tag("bee") + &tag("ant"))));
        let found = of(LabelKind::Classes, &several).unwrap();
        assert_eq!(found[0].answer, Answer::Classes(vec!["ant".to_owned(), "bee".to_owned()]));
    }

    #[test]
    fn an_export_gives_an_answer_an_image() {
        let found = of(LabelKind::Class, EXPORT).unwrap();
        let files: Vec<&str> = found.iter().map(|answered| answered.file.as_str()).collect();
        assert_eq!(files, ["0001-a.png", "to-label/0002-b.png", "0003-ä.png", "0004.png", "0005.png"]);
        let answers: Vec<&Answer> = found.iter().map(|answered| &answered.answer).collect();
        assert_eq!(answers[0], &Answer::Label("b<ee".to_owned()));
        assert_eq!((answers[1], answers[2]), (&Answer::Nothing, &Answer::Nothing));
        assert_eq!(answers[3], &Answer::Unfit("has 2 tags: ant, b<ee".to_owned()));
        assert!(matches!(answers[4], Answer::Unfit(why) if why.contains("`box`")), "{:?}", answers[4]);
    }

    #[test]
    fn what_is_no_export_is_refused_with_what_it_is() {
        for (text, reason) in [
            ("<a></b>", "byte"),
            ("<annotations><image id=\"3\"/></annotations>", "image `3` has no name"),
            ("<annotations><image name=\"a\"><tag/></image></annotations>", "a tag of `a` has no label"),
            ("<annotation><object/></annotation>", "no element `annotations`"),
            ("<annotations><image name=\"a\">", "ends within"),
            (
                "<annotations><image name=\"a\"><box label=\"b\" xtl=\"1\"/></image></annotations>",
                "a box of `a` has no `ytl`",
            ),
            (
                "<annotations><image name=\"a\"><box label=\"b\" rotation=\"30\"/></image></annotations>",
                "turned by 30 degrees",
            ),
            ("<annotations><image name=\"&boom;\"/></annotations>", "boom"),
        ] {
            let error = of(LabelKind::Boxes, text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("`export.xml`"), "{text}: {error}");
        }
    }
}
