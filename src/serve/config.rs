//! A model's `config.pbtxt`: protobuf text with Triton's fields, read by the message's own descriptors.
//!
//! A field that is not known is passed over and named, so that a repository written for a newer server loads. What asks for
//! something that is not done here (sequences, ensembles, reshaped inputs, another backend) is refused. Lists of messages may do
//! without a colon, `input [ { ... } ]`, as protobuf has it and most configurations are written.

use super::proto::model_config::SchedulingChoice;
use super::proto::model_warmup::input::InputDataType;
use super::proto::{self, ModelConfig};
use miette::Diagnostic as _;
use prost_reflect::{DynamicMessage, SerializeOptions};

/// Longest `config.pbtxt` that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Unknown fields that are passed over; a file with more is no `config.pbtxt`.
const MAX_UNKNOWN: usize = 256;

/// Most runs of one warm-up.
const MAX_WARMUPS: u32 = 1000;

/// Why a `config.pbtxt` is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not protobuf text of a model's configuration.
    #[error("line {line}: {reason}")]
    Text {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Longer than any configuration.
    #[error("has more than {MAX_BYTES} bytes")]
    TooLong,
    /// A value that is not done here.
    #[error("`{field}` is {found}, expected {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is taken.
        expected: String,
    },
    /// A field that asks for what is not done here.
    #[error("`{field}` is not done by this server")]
    NotDone {
        /// The field.
        field: &'static str,
    },
    /// The server lacks its own descriptors.
    #[error("the message `ModelConfig` has no descriptor")]
    NoDescriptor,
}

/// A `config.pbtxt`, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// What it says.
    pub message: ModelConfig,
    /// Names of fields that were passed over.
    pub passed_over: Vec<String>,
}

/// Reads a `config.pbtxt` of the model `name`.
///
/// # Errors
/// [`ConfigError`].
pub fn read(text: &str, name: &str) -> Result<Config, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(ConfigError::TooLong);
    }
    let descriptor = proto::model_config().ok_or(ConfigError::NoDescriptor)?;
    let mut text = with_colons(text);
    let mut passed_over = Vec::new();
    let message = loop {
        let error = match DynamicMessage::parse_text_format(descriptor.clone(), &text) {
            Ok(message) => break message,
            Err(error) => error,
        };
        let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let reason = error.to_string();
        let unknown = reason.strip_prefix("field '").and_then(|rest| rest.split('\'').next()).map(str::to_owned);
        let unknown = unknown.filter(|_| reason.contains("not found for message"));
        let field = offset.and_then(|offset| Some((offset, behind_separator(&text, end_of_field(&text, offset)?))));
        match (unknown, field) {
            (Some(unknown), Some((start, end))) if passed_over.len() < MAX_UNKNOWN => {
                // Blanks keep the lines and columns of what follows.
                let blank: String = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
                text.replace_range(start..end, &blank);
                passed_over.push(unknown);
            }
            _ => {
                let before = offset.and_then(|offset| text.get(..offset)).unwrap_or(&text);
                return Err(ConfigError::Text { line: before.matches('\n').count() + 1, reason });
            }
        }
    };
    let message: ModelConfig =
        message.transcode_to().map_err(|e| ConfigError::Text { line: 1, reason: e.to_string() })?;
    check(&message, name)?;
    Ok(Config { message, passed_over })
}

/// The text with a colon before each list that has none: the parser asks for one. Lines stay what they are.
fn with_colons(text: &str) -> String {
    let mut with = String::with_capacity(text.len() + 16);
    // What stands before, but for blanks and comments.
    let mut before = ' ';
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' => {
                with.push(c);
                with.extend(chars.by_ref().take_while(|c| *c != '\n'));
                // The end of the line, which the last line may lack.
                with.push('\n');
                continue;
            }
            '"' | '\'' => {
                with.push(c);
                let mut escaped = false;
                for inner in chars.by_ref() {
                    with.push(inner);
                    if inner == c && !escaped {
                        break;
                    }
                    escaped = inner == '\\' && !escaped;
                }
                before = c;
                continue;
            }
            '[' if before.is_ascii_alphanumeric() || before == '_' => with.push(':'),
            _ => {}
        }
        with.push(c);
        if !c.is_whitespace() {
            before = c;
        }
    }
    with
}

/// Behind the comma or semicolon that ends a field, where one does.
fn behind_separator(text: &str, end: usize) -> usize {
    let rest = text.get(end..).unwrap_or_default();
    let blanks = rest.len() - rest.trim_start().len();
    if rest.trim_start().starts_with([',', ';']) { end + blanks + 1 } else { end }
}

/// Where the field that begins at `start` ends: behind its scalar, or behind the bracket that closes its message or list.
fn end_of_field(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start;
    let (mut depth, mut begun) = (0_usize, false);
    // The name, and what stands between it and the value.
    while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        at += 1;
    }
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => at += bytes[at..].iter().position(|b| *b == b'\n')?,
            b'"' | b'\'' => {
                begun = true;
                at += 1;
                while *bytes.get(at)? != *byte {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'{' | b'[' | b'<' => {
                depth += 1;
                begun = true;
                at += 1;
            }
            b'}' | b']' | b'>' if depth > 0 => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            b'}' | b']' | b'>' => return Some(at),
            b':' if !begun => at += 1,
            b if b.is_ascii_whitespace() && (depth > 0 || !begun) => at += 1,
            b if b.is_ascii_whitespace() || (depth == 0 && b",;".contains(b)) => return Some(at),
            _ => {
                begun = true;
                at += 1;
            }
        }
    }
    (begun && depth == 0).then_some(at.min(text.len()))
}

fn check(config: &ModelConfig, name: &str) -> Result<(), ConfigError> {
    let one_of = |field, found: &str, taken: &[&str]| {
        if taken.contains(&found) {
            return Ok(());
        }
        let expected =
            taken.iter().filter(|t| !t.is_empty()).map(|t| format!("`{t}`")).collect::<Vec<_>>().join(" or ");
        Err(ConfigError::Value { field, found: format!("`{found}`"), expected })
    };
    one_of("name", &config.name, &["", name])?;
    one_of("platform", &config.platform, &["", "onnxruntime_onnx"])?;
    one_of("backend", &config.backend, &["", "onnxruntime"])?;
    let file = &config.default_model_filename;
    if file.contains(['/', '\\']) || file == ".." {
        let (found, expected) = (format!("`{file}`"), "a file beside it".to_owned());
        return Err(ConfigError::Value { field: "default_model_filename", found, expected });
    }
    if config.max_batch_size < 0 {
        let (found, expected) = (config.max_batch_size.to_string(), "0 or more".to_owned());
        return Err(ConfigError::Value { field: "max_batch_size", found, expected });
    }
    if let Some(group) = config.instance_group.iter().find(|group| !(0..=64).contains(&group.count)) {
        let (found, expected) = (group.count.to_string(), "1 to 64".to_owned());
        return Err(ConfigError::Value { field: "instance_group.count", found, expected });
    }
    if let Some(warmup) = config.model_warmup.iter().find(|warmup| warmup.count > MAX_WARMUPS) {
        let (found, expected) = (warmup.count.to_string(), format!("at most {MAX_WARMUPS}"));
        return Err(ConfigError::Value { field: "model_warmup.count", found, expected });
    }
    let from_file = |warmup: &proto::ModelWarmup| {
        warmup.inputs.values().any(|input| matches!(input.input_data_type, Some(InputDataType::InputDataFile(_))))
    };
    let not_done = [
        ("sequence_batching", matches!(config.scheduling_choice, Some(SchedulingChoice::SequenceBatching(_)))),
        ("ensemble_scheduling", matches!(config.scheduling_choice, Some(SchedulingChoice::EnsembleScheduling(_)))),
        ("model_transaction_policy.decoupled", config.model_transaction_policy.is_some_and(|policy| policy.decoupled)),
        ("input.reshape", config.input.iter().any(|input| input.reshape.is_some())),
        ("input.is_shape_tensor", config.input.iter().any(|input| input.is_shape_tensor)),
        ("input.allow_ragged_batch", config.input.iter().any(|input| input.allow_ragged_batch)),
        ("input.optional", config.input.iter().any(|input| input.optional)),
        ("model_warmup.inputs.input_data_file", config.model_warmup.iter().any(from_file)),
        ("output.is_shape_tensor", config.output.iter().any(|output| output.is_shape_tensor)),
    ];
    match not_done.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(ConfigError::NotDone { field }),
        None => Ok(()),
    }
}

/// The configuration as JSON, under the field names of the `config.pbtxt`, what is not set included.
pub fn json(config: &ModelConfig) -> serde_json::Value {
    let options =
        SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false).stringify_64_bit_integers(false);
    let dynamic = proto::model_config().map(|descriptor| {
        let mut message = DynamicMessage::new(descriptor);
        message.transcode_from(config).map(|()| message)
    });
    match dynamic {
        Some(Ok(message)) => {
            message.serialize_with_options(serde_json::value::Serializer, &options).unwrap_or(serde_json::Value::Null)
        }
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
# a comment with a { bracket
name: "digits"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 1, 28, 28 ] } ]
output { name: "logits" data_type: TYPE_FP32 dims: 10 label_filename: "labels.txt" }
version_policy: { specific { versions: [ 1, 3 ] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching < preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 200 >
parameters { key: "note" value { string_value: "a \"quoted\" }" } }
"#;

    #[test]
    fn the_text_is_read_as_protobuf_says() {
        let read = read(WHOLE, "digits").expect("sound");
        assert_eq!(read.passed_over, Vec::<String>::new());
        let config = read.message;
        assert_eq!((config.max_batch_size, config.input[0].dims.as_slice()), (8, &[1, 28, 28][..]));
        assert_eq!(config.output[0].label_filename, "labels.txt");
        assert_eq!(config.instance_group[0].count, 2);
        let Some(SchedulingChoice::DynamicBatching(batching)) = config.scheduling_choice else {
            panic!("dynamic batching")
        };
        assert_eq!((batching.preferred_batch_size, batching.max_queue_delay_microseconds), (vec![4, 8], 200));
        assert_eq!(config.parameters["note"].string_value, "a \"quoted\" }");
    }

    #[test]
    fn unknown_fields_are_passed_over_and_named() {
        let unknown = "response_cache { enable: true }\nruntime: \"x # }\" rate: -1.5e3, optimization { cuda { graphs: true } # }\n \
                       } list: [ 1, 2 ]\nnew_field [ { name: 'it\\'s' } ] max_batch_size: 4";
        let read = read(unknown, "m").expect("tolerated");
        let names = ["response_cache", "runtime", "rate", "optimization", "list", "new_field"];
        assert_eq!(read.passed_over, names);
        assert_eq!(read.message.max_batch_size, 4);
        let within = super::read("instance_group { count: 1 host_policy: \"a\" }", "m").expect("tolerated");
        assert_eq!((within.passed_over, within.message.instance_group[0].count), (vec!["host_policy".to_owned()], 1));
    }

    #[test]
    fn what_is_not_done_or_no_configuration_is_refused_with_its_place() {
        let cases: [(&str, &str); 14] = [
            ("max_batch_size: \"many\"", "line 1"),
            ("name: \"m\"\n\nmax_batch_size: {", "line 3"),
            ("unknown: \"open", "line 1"),
            ("input { name: \"x\" data_type: TYPE_FP128 }", "TYPE_FP128"),
            ("name: \"another\"", "expected `m`"),
            ("platform: \"tensorrt_plan\"", "onnxruntime_onnx"),
            ("backend: \"python\"", "onnxruntime"),
            ("max_batch_size: -1", "0 or more"),
            ("instance_group { count: 100000 }", "1 to 64"),
            ("default_model_filename: \"../x.onnx\"", "beside"),
            ("sequence_batching { max_sequence_idle_microseconds: 1 }", "sequence_batching"),
            ("model_transaction_policy { decoupled: true }", "decoupled"),
            (
                "model_warmup { inputs { key: \"x\" value { data_type: TYPE_FP32 dims: 1 input_data_file: \"f\" } } }",
                "input_data_file",
            ),
            ("model_warmup { count: 1001 }", "at most 1000"),
        ];
        for (text, expected) in cases {
            let error = read(text, "m").expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn as_json_it_has_the_names_of_the_file_and_numbers_as_numbers() {
        let config = read(WHOLE, "digits").expect("sound").message;
        let json = json(&config);
        assert_eq!(json["max_batch_size"], 8);
        assert_eq!(json["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(json["input"][0]["dims"], serde_json::json!([1, 28, 28]));
        assert_eq!(json["dynamic_batching"]["max_queue_delay_microseconds"], 200);
        assert_eq!(json["default_model_filename"], "");
    }
}
