//! What a person writes about preprocessing: the `[preprocess]` table of `model.toml` and its overrides.
//!
//! ```toml
//! [preprocess]
//! channels = "rgb"                        # "rgb", "bgr" or "grey"
//! layout = "nchw"                         # "nchw" or "nhwc"
//! resize = 256                            # the shorter side; or [height, width], or "none"
//! filter = "bilinear"                     # "nearest", "box", "bilinear", "bicubic", "lanczos"
//! crop = 224                              # of the centre; or [height, width]
//! pad = { value = 114, centred = true }   # fills up to the size of the input; value = "zero" is zero after mean and std
//! range = "unit"                          # "unit": [0, 1]; "byte": [0, 255]
//! mean = [0.485, 0.456, 0.406]            # subtracted after scaling, in the order of `channels`
//! std = [0.229, 0.224, 0.225]             # divided by afterwards
//! alpha = "drop"                          # or { over = [255, 255, 255] }
//! ```
//!
//! `resize = { shorter_side = 256 }`, and `{ height = 32, width = 32 }` for `resize` and `crop`, say the same in words. For detectors
//! `resize = { shorter_side = 800, longer_side = 1333 }` keeps the aspect as torchvision's do, and `resize = { within = [640, 640] }` as
//! a letterbox does; both go with `pad`. `resize = "letterbox"` is the letterbox of ultralytics within the size of the model's input:
//! with grey of 114 on both sides. `pad = { divisor = 32 }` fills the images for a model of any height and width up to multiples of 32.
//! Every key may be left out; [`super::Recipe::resolve`] says what is then taken.

use std::path::Path;

use super::resample::Filter;

/// Colour channels as the model expects them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel, `(299 R + 587 G + 114 B) / 1000`.
    Grey,
}

impl Channels {
    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Channels::Grey => 1,
            Channels::Rgb | Channels::Bgr => 3,
        }
    }
}

/// Order of the axes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

impl Layout {
    /// The axis of a batch that holds the channels.
    pub(super) fn channel_axis(self) -> usize {
        match self {
            Layout::Nchw => 1,
            Layout::Nhwc => 3,
        }
    }
}

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// How an image is brought to size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Resize {
    /// Not at all.
    None(NoResize),
    /// The shorter side gets this length, the other keeps the aspect (rounded down, as torchvision does).
    ShorterSide {
        /// Pixels.
        shorter_side: usize,
    },
    /// The same, unless the longer side came out longer than this: then that gets this length. Rounded down from a scale in float32,
    /// as torchvision's detectors do.
    Sides {
        /// Pixels.
        shorter_side: usize,
        /// Pixels.
        longer_side: usize,
    },
    /// The largest size of the image's aspect within this one (rounded to the nearest, as ultralytics' letterbox does).
    Within {
        /// Rows and columns.
        within: Size,
    },
    /// [`Resize::Within`] the size of the model's input, and a [`Pad`] of grey 114 around it.
    Letterbox(Letterbox),
    /// Both sides as given, whatever the aspect.
    Exact(Size),
}

/// The word `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NoResize {
    /// The word `none`.
    #[serde(rename = "none")]
    None,
}

/// The word `letterbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Letterbox {
    /// The word `letterbox`.
    #[serde(rename = "letterbox")]
    Letterbox,
}

/// What fills an image up to the size of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// With what.
    #[serde(default)]
    pub value: Filling,
    /// Whether the image stands in the middle (an odd pixel to the right and below) instead of in the corner on the top left.
    #[serde(default)]
    pub centred: bool,
    /// Of a model of any height and width: each image is filled up to multiples of this alone, and images of one size, so
    /// filled up, share batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divisor: Option<usize>,
}

impl Pad {
    /// That of ultralytics' letterbox.
    pub const LETTERBOX: Pad = Pad { value: Filling::Sample(114), centred: true, divisor: None };

    /// Pixels left of the image, or above it.
    pub(super) fn before(&self, have: usize, want: usize) -> usize {
        if self.centred { want.saturating_sub(have) / 2 } else { 0 }
    }
}

/// What the pixels are that fill an image up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filling {
    /// Zero in every channel of the model's input: the mean colour.
    #[default]
    Zero,
    /// This sample in every channel, before mean and standard deviation.
    Sample(u8),
}

impl serde::Serialize for Filling {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Filling::Zero => to.serialize_str("zero"),
            Filling::Sample(sample) => to.serialize_u8(*sample),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Filling {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Sample(u8),
            Word(String),
        }
        match Written::deserialize(from) {
            Ok(Written::Sample(sample)) => Ok(Filling::Sample(sample)),
            Ok(Written::Word(word)) if word == "zero" => Ok(Filling::Zero),
            _ => Err(serde::de::Error::custom("expected `value` as a sample from 0 to 255, or \"zero\"")),
        }
    }
}

const RESIZES: &str = "expected `resize` as a number (the shorter side), [height, width], { shorter_side = N }, \
                       { shorter_side = N, longer_side = M }, { within = [height, width] }, { height = H, width = W }, \
                       \"letterbox\" or \"none\"";
const CROPS: &str = "expected `crop` as a number (a square), [height, width] or { height = H, width = W }";

/// The ways of writing a size. A list comes before the tables, which would take one for their values.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Form {
    None(NoResize),
    Letterbox(Letterbox),
    Side(usize),
    List(Vec<usize>),
    ShorterSide(ShorterSide),
    Sides(Sides),
    Within(Within),
    Exact(Size),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ShorterSide {
    shorter_side: usize,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides {
    shorter_side: usize,
    longer_side: usize,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Within {
    #[serde(deserialize_with = "size")]
    within: Size,
}

fn size<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
    crop(from)?.ok_or_else(|| serde::de::Error::custom(RESIZES))
}

fn form<'de, D: serde::Deserializer<'de>>(from: D, forms: &'static str) -> Result<Form, D::Error> {
    use serde::Deserialize as _;
    Form::deserialize(from).map_err(|_| serde::de::Error::custom(forms))
}

impl<'de> serde::Deserialize<'de> for Resize {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Resize, D::Error> {
        match form(from, RESIZES)? {
            Form::None(none) => Ok(Resize::None(none)),
            Form::Side(shorter_side) | Form::ShorterSide(ShorterSide { shorter_side }) => {
                Ok(Resize::ShorterSide { shorter_side })
            }
            Form::Sides(Sides { shorter_side, longer_side }) => Ok(Resize::Sides { shorter_side, longer_side }),
            Form::Within(Within { within }) => Ok(Resize::Within { within }),
            Form::Letterbox(word) => Ok(Resize::Letterbox(word)),
            Form::Exact(size) => Ok(Resize::Exact(size)),
            Form::List(list) => match list[..] {
                [height, width] => Ok(Resize::Exact(Size { height, width })),
                _ => Err(serde::de::Error::custom(RESIZES)),
            },
        }
    }
}

fn crop<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    let size = match form(from, CROPS)? {
        Form::Side(side) => Some(Size { height: side, width: side }),
        Form::Exact(size) => Some(size),
        Form::List(list) => match list[..] {
            [height, width] => Some(Size { height, width }),
            _ => None,
        },
        Form::None(_) | Form::Letterbox(_) | Form::ShorterSide(_) | Form::Sides(_) | Form::Within(_) => None,
    };
    size.map(Some).ok_or_else(|| serde::de::Error::custom(CROPS))
}

impl Resize {
    /// The image keeps its size.
    pub const NONE: Resize = Resize::None(NoResize::None);
}

/// What 8-bit samples become before mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// Divided by 255.
    Unit,
    /// Left as they are.
    Byte,
}

/// What becomes of transparency.
///
/// Dropping it is the default because that is what nearly every training pipeline does
/// (`Image.convert("RGB")`, `imread`, `decode_png(channels=3)`), so it is what a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alpha {
    /// The colours under it are taken as they are stored.
    Drop,
    /// The image is laid over this RGB colour.
    Over([u8; 3]),
}

/// The `[preprocess]` table: every key optional.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Colour channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// Order of the axes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How an image is brought to size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Kernel of the resize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Crop of the centre after the resize; black where the image is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crop")]
    pub crop: Option<Size>,
    /// What fills an image up to the size of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<Pad>,
    /// Range of the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// Subtracted, one number or one a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divided by, one number or one a channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// What becomes of transparency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Alpha>,
}

/// A recipe that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The file system said no.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// Not the TOML that is expected.
    #[error("`{origin}` is not a preprocessing recipe")]
    Syntax {
        /// The file or the override.
        origin: String,
        /// What the parser found.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Preprocess {
    /// The `[preprocess]` table of a TOML text; other tables are left to others. `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PreprocessError> {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            preprocess: Preprocess,
        }
        toml::from_str::<File>(text)
            .map(|file| file.preprocess)
            .map_err(|source| PreprocessError::Syntax { origin: origin.to_string(), source: Box::new(source) })
    }

    /// The `[preprocess]` table of a TOML file.
    pub fn read(path: &Path) -> Result<Self, PreprocessError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| PreprocessError::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The recipe beside a model: `model.toml` next to `model.onnx`; nothing set where there is no such file.
    pub fn beside(model: &Path) -> Result<Self, PreprocessError> {
        match Self::read(&model.with_extension("toml")) {
            Err(PreprocessError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// One command-line override, written as a line of the table: `mean=[0.5]`, `resize={shorter_side=256}`.
    /// A bare word needs no quotes: `channels=bgr`.
    pub fn set(&mut self, setting: &str) -> Result<(), PreprocessError> {
        let parsed = toml::from_str::<Preprocess>(setting).or_else(|error| {
            let quoted = setting.split_once('=').map(|(key, word)| format!("{key}=\"{}\"", word.trim()));
            // Of a bare word the error is the one about the word, not about its quotes.
            let word = setting.split_once('=').is_some_and(|(_, word)| word.trim().starts_with(char::is_alphabetic));
            match quoted.map(|line| toml::from_str::<Preprocess>(&line)) {
                Some(Ok(table)) => Ok(table),
                Some(Err(of_word)) if word => Err(of_word),
                _ => Err(error),
            }
        });
        let over = parsed
            .map_err(|source| PreprocessError::Syntax { origin: setting.to_string(), source: Box::new(source) })?;
        *self = std::mem::take(self).overridden_by(over);
        Ok(())
    }

    /// This table with every key that `over` sets replaced.
    pub fn overridden_by(self, over: Preprocess) -> Preprocess {
        Preprocess {
            channels: over.channels.or(self.channels),
            layout: over.layout.or(self.layout),
            resize: over.resize.or(self.resize),
            filter: over.filter.or(self.filter),
            crop: over.crop.or(self.crop),
            pad: over.pad.or(self.pad),
            range: over.range.or(self.range),
            mean: over.mean.or(self.mean),
            std: over.std.or(self.std),
            alpha: over.alpha.or(self.alpha),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn the_documented_table_is_read() {
        let text = r#"
            classes = ["a", "b"]
            [preprocess]
            channels = "bgr"
            layout = "nhwc"
            resize = { shorter_side = 256 }
            filter = "bicubic"
            crop = { height = 224, width = 192 }
            range = "byte"
            mean = [1, 2.5, 3]
            std = [0.5]
            alpha = { over = [255, 0, 7] }
        "#;
        let table = Preprocess::parse(text, "model.toml").unwrap();
        assert_eq!(
            table,
            Preprocess {
                channels: Some(Channels::Bgr),
                layout: Some(Layout::Nhwc),
                resize: Some(Resize::ShorterSide { shorter_side: 256 }),
                filter: Some(Filter::Bicubic),
                crop: Some(Size { height: 224, width: 192 }),
                pad: None,
                range: Some(Range::Byte),
                mean: Some(vec![1.0, 2.5, 3.0]),
                std: Some(vec![0.5]),
                alpha: Some(Alpha::Over([255, 0, 7])),
            }
        );
        let again = toml::to_string(&table).unwrap();
        assert_eq!(toml::from_str::<Preprocess>(&again).unwrap(), table);
    }

    #[test]
    fn sizes_have_short_forms_and_an_error_lists_all_of_them() {
        let set = |setting: &str| {
            let mut table = Preprocess::default();
            table.set(setting).map(|()| table)
        };
        let side = |shorter_side| Some(Resize::ShorterSide { shorter_side });
        let size = |height, width| Size { height, width };
        assert_eq!(set("resize=96").unwrap().resize, side(96));
        assert_eq!(set("resize={shorter_side=96}").unwrap().resize, side(96));
        assert_eq!(set("resize=[96,128]").unwrap().resize, Some(Resize::Exact(size(96, 128))));
        assert_eq!(set("resize={height=96,width=128}").unwrap().resize, Some(Resize::Exact(size(96, 128))));
        assert_eq!(set("resize=none").unwrap().resize, Some(Resize::NONE));
        assert_eq!(set("crop=224").unwrap().crop, Some(size(224, 224)));
        assert_eq!(set("crop=[224,192]").unwrap().crop, Some(size(224, 192)));
        let said = |setting: &str| match set(setting).unwrap_err() {
            PreprocessError::Syntax { source, .. } => source.to_string(),
            other => panic!("{other}"),
        };
        for wrong in ["resize=big", "resize=[1]", "resize=-3", "resize={side=3}", "resize={shorter_side=3,height=2}"] {
            let said = said(wrong);
            assert!(said.contains("[height, width]") && said.contains("shorter_side = N"), "{wrong}: {said}");
        }
        assert!(said("crop=none").contains("{ height = H, width = W }"), "{}", said("crop=none"));
    }

    #[test]
    fn detectors_keep_the_aspect_and_pad() {
        let set = |setting: &str| {
            let mut table = Preprocess::default();
            table.set(setting).map(|()| table)
        };
        let within = Size { height: 384, width: 640 };
        assert_eq!(
            set("resize={shorter_side=800,longer_side=1333}").unwrap().resize,
            Some(Resize::Sides { shorter_side: 800, longer_side: 1333 })
        );
        assert_eq!(set("resize={within=[384,640]}").unwrap().resize, Some(Resize::Within { within }));
        assert_eq!(set("resize=letterbox").unwrap().resize, Some(Resize::Letterbox(Letterbox::Letterbox)));
        assert_eq!(set("pad={value=114,centred=true}").unwrap().pad, Some(Pad::LETTERBOX));
        assert_eq!(set("pad={}").unwrap().pad, Some(Pad { value: Filling::Zero, centred: false, divisor: None }));
        for wrong in ["pad={value=300}", "pad={value=\"grey\"}", "pad={divisor=-3}", "resize={within=\"none\"}"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        let mut table = set("pad={value=\"zero\"}").unwrap();
        table.set("resize={within=640}").unwrap();
        let again = toml::to_string(&table).unwrap();
        assert_eq!(toml::from_str::<Preprocess>(&again).unwrap(), table, "{again}");
    }

    #[test]
    fn the_recipe_beside_a_model_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("net.onnx");
        assert_eq!(Preprocess::beside(&model).unwrap(), Preprocess::default());
        std::fs::write(folder.path().join("net.toml"), "[preprocess]\nmean = [0.25]").unwrap();
        assert_eq!(Preprocess::beside(&model).unwrap().mean, Some(vec![0.25]));
        assert!(matches!(Preprocess::read(&model), Err(PreprocessError::Io { .. })));
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        let error = Preprocess::parse("[preprocess]\nmeen = [0.5]", "m.toml").unwrap_err();
        assert!(matches!(error, PreprocessError::Syntax { origin, .. } if origin == "m.toml"));
    }

    #[test]
    fn overrides_replace_single_keys() {
        let mut table = Preprocess::parse("[preprocess]\nmean = [0.5]\nchannels = \"rgb\"", "m.toml").unwrap();
        for setting in ["channels=grey", "resize = none", "std=[0.25]", "alpha={over=[1,2,3]}", "filter = \"box\""] {
            table.set(setting).unwrap();
        }
        assert_eq!(table.channels, Some(Channels::Grey));
        assert_eq!(table.resize, Some(Resize::NONE));
        assert_eq!(table.mean, Some(vec![0.5]));
        assert_eq!(table.std, Some(vec![0.25]));
        assert_eq!(table.alpha, Some(Alpha::Over([1, 2, 3])));
        assert_eq!(table.filter, Some(Filter::Box));
        assert!(table.set("channels=purple").is_err());
        assert!(table.set("nonsense").is_err());
    }
}
