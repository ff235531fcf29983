//! CVAT's "CVAT for images 1.1": an XML file with an element an image, and in it a `tag` for the class of the image.

use super::AnnotationToolError;
use super::answered::{Answer, Answered};
use super::form::{Placed, ToLabel};
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
        if let Some(class) = chosen.guess.and_then(|guess| to_label.classes.get(guess)) {
            let _ = write!(text, "\n    <tag label=\"{}\" source=\"auto\">\n    </tag>\n  ", escape(class.as_str()));
        }
        text += "</image>\n";
    }
    text + "</annotations>\n"
}

/// The labels of a project, as its "Raw" constructor takes them.
pub(super) fn labels(classes: &[String]) -> String {
    let label = |class: &String| json!({ "name": class, "type": "tag", "attributes": [] });
    format!("{:#}\n", Value::Array(classes.iter().map(label).collect()))
}

/// An image that is being read.
struct Open {
    answered: Answered,
    tags: Vec<String>,
    /// Elements in it that are no class of the image.
    others: Vec<String>,
}

impl Open {
    fn close(self) -> Answered {
        let answer = match (self.tags.as_slice(), self.others.first()) {
            (_, Some(other)) => Answer::Unfit(format!("has a `{other}`, and an image has one class here")),
            ([], None) => Answer::Nothing,
            ([one], None) => Answer::Label(one.clone()),
            (several, None) => Answer::Unfit(format!("has {} tags: {}", several.len(), several.join(", "))),
        };
        Answered { answer, ..self.answered }
    }
}

/// What an export says of its images.
///
/// # Errors
/// [`AnnotationToolError::NotAnExport`].
pub(super) fn read(path: &Path, text: &str) -> Result<Vec<Answered>, AnnotationToolError> {
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
                    found.extend(open.take().map(Open::close));
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
                        true => found.push(image.close()),
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
            // Attributes of a tag are further questions, which were not asked here.
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
    let answered = Answered { id: None, file, answer: Answer::Nothing };
    Ok(Open { answered, tags: Vec::new(), others: Vec::new() })
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

    #[test]
    fn an_export_gives_an_answer_an_image() {
        let found = read(Path::new("export.xml"), EXPORT).unwrap();
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
            ("<annotations><image name=\"&boom;\"/></annotations>", "boom"),
        ] {
            let error = read(Path::new("export.xml"), text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("`export.xml`"), "{text}: {error}");
        }
    }
}
