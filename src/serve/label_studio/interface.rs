//! What of a labelling interface predictions need: the field of a task that holds the image, and the choices.

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::{Value, json};

/// Longest interface that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// The parts of a labelling interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The field of a task's data with the image, and the name of its tag.
    image: Option<(String, String)>,
    /// The name of the choices, and each by its value and by its alias, which stands in results.
    choices: Option<(String, Vec<(String, String)>)>,
}

impl Interface {
    /// Reads an interface; of one that cannot be read nothing is known, and predictions have scores alone.
    pub(crate) fn read(text: &str) -> Interface {
        let mut interface = Interface::default();
        if text.len() > MAX_BYTES {
            return interface;
        }
        let mut reader = Reader::from_str(text);
        let mut within = false;
        loop {
            match reader.read_event() {
                Ok(Event::Start(tag)) => within |= interface.take(&tag, within, true),
                Ok(Event::Empty(tag)) => drop(interface.take(&tag, within, false)),
                Ok(Event::End(tag)) if tag.name().as_ref() == "Choices" => within = false,
                Ok(Event::Eof) | Err(_) => return interface,
                Ok(_) => {}
            }
        }
    }

    /// Takes a tag; gives whether the choices begin with it.
    fn take(&mut self, tag: &BytesStart, within: bool, open: bool) -> bool {
        let text = |name: &str| attribute(tag, name);
        match tag.name().as_ref() {
            "Image" if self.image.is_none() => {
                let field = text("value").and_then(|value| value.strip_prefix('$').map(str::to_owned));
                self.image = text("name").zip(field).map(|(name, field)| (field, name));
                false
            }
            "Choices" if self.choices.is_none() && open => {
                self.choices = text("name").map(|name| (name, Vec::new()));
                self.choices.is_some()
            }
            "Choice" if within => {
                if let (Some((_, choices)), Some(value)) = (&mut self.choices, text("value")) {
                    let alias = text("alias").filter(|alias| !alias.is_empty());
                    choices.push((value.clone(), alias.unwrap_or(value)));
                }
                false
            }
            _ => false,
        }
    }

    /// Where the image of a task is, by the interface, or by looking like an image's address.
    pub(crate) fn address<'t>(&self, data: &'t Value) -> Option<&'t str> {
        let named = self.image.as_ref().and_then(|(field, _)| data.get(field));
        let image = |text: &&str| text.rsplit_once('.').is_some_and(|(_, ending)| (3..=4).contains(&ending.len()));
        let like_one = || data.as_object()?.values().filter_map(Value::as_str).find(image);
        named.and_then(Value::as_str).or_else(like_one)
    }

    /// A result that chooses the class of this name; nothing where the interface has no such choice.
    pub(crate) fn choice(&self, class: &str) -> Option<Value> {
        let ((_, image), (from, choices)) = self.image.as_ref().zip(self.choices.as_ref())?;
        let (_, stands_for) = choices.iter().find(|(value, alias)| value == class || alias == class)?;
        Some(json!({"type": "choices", "from_name": from, "to_name": image, "value": {"choices": [stands_for]}}))
    }
}

fn attribute(tag: &BytesStart, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0).ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_and_the_choices_are_found() {
        let text = r#"<View><Header value="x"/><Image name="img" value="$photo" zoom="true"/>
            <RectangleLabels name="boxes" toName="img"><Label value="cat"/></RectangleLabels>
            <Choices name="kind" toName="img"><Choice value="cat &amp; co"/><Choice value="dog" alias="d"/></Choices>
            <Choices name="other" toName="img"><Choice value="bird"/></Choices></View>"#;
        let interface = Interface::read(text);
        let data = json!({"id": "a.png", "photo": "/data/local-files/?d=b.png"});
        assert_eq!(interface.address(&data), Some("/data/local-files/?d=b.png"));
        let choice = |class: &str| interface.choice(class).map(|result| result["value"]["choices"][0].clone());
        assert_eq!((choice("cat & co"), choice("dog")), (Some("cat & co".into()), Some("d".into())));
        assert_eq!((choice("bird"), choice("cat")), (None, None));
        let whole = interface.choice("dog").expect("a choice");
        assert_eq!(
            (&whole["from_name"], &whole["to_name"], &whole["type"]),
            (&"kind".into(), &"img".into(), &"choices".into())
        );
    }

    #[test]
    fn what_is_no_interface_leaves_scores_alone() {
        for text in ["", "<View>", "not XML <", "<View><Choices name='c'><Choice value='a'/></Choices></View>"] {
            let interface = Interface::read(text);
            assert_eq!(interface.choice("a"), None, "{text}");
            assert_eq!(interface.address(&json!({"n": 3, "x": "some text", "y": "a/b.jpeg"})), Some("a/b.jpeg"));
        }
        assert_eq!(Interface::default().address(&json!("a.png")), None);
    }
}
