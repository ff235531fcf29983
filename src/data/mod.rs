//! Images in: from files and archives to batches of floats.
//!
//! [`open`] recognises a data set and gives a [`Source`]; a [`Dataset`] is a source or some positions of one; a
//! [`Recipe`] turns a decoded [`Image`] into what a model takes; a [`Loader`] does so in parallel, in order. A
//! [`Split`] is a data set in a role, so that test data cannot become reference data.
//! Nothing here knows of models, runtimes or influence.

mod archive;
mod augment;
mod boxes;
mod cifar;
mod content;
mod dataset;
mod decode;
mod described;
mod error;
mod export;
mod files;
mod folder;
mod format_name;
mod geometry;
mod gif;
pub mod harvest;
mod idx;
mod image;
mod jpeg;
mod list_form;
mod loader;
mod manifest;
mod mask;
mod masked;
mod matlab;
mod names;
mod normaliser;
mod numpy;
mod open;
mod pixel_csv;
mod pixels;
mod placement;
mod preprocess;
mod recipe;
mod records;
mod relabelled;
mod resample;
mod seeded;
mod source;
mod split;
mod stamp;
mod svhn;
mod thumbnail;
mod tiff_palette;
mod tiff_tags;

pub use archive::{ArchiveError, Expected};
pub use augment::Augment;
pub use boxes::{
    BoxFlags, BoxForm, BoxProblem, ConvertError, Converted, Dropped, DroppedBox, Malformed, MarkedBox, convert,
};
pub(crate) use boxes::{coco_box, kept};
pub use content::{Content, content_hash};
pub use dataset::{Dataset, common_classes};
pub use decode::{DecodeError, Decoding, Limits, decode, decode_as};
pub use described::Description;
pub use error::{DataError, Found, TableProblem};
pub use export::{Division, ExportError, Exported, export_folder};
pub(crate) use export::{plain, png, symlink};
pub(crate) use files::load_file;
pub use image::{Image, ImageShapeError};
pub use isal_exporters::pickle::PickleError;
pub use loader::{Batch, Loader, LoaderOptions, Order, Skipped};
pub use mask::{Mask, MaskError, nearest};
pub use matlab::MatlabError;
pub(crate) use names::Names;
pub use open::{OpenOptions, open};
pub use pixels::SpoolError;
pub use placement::{Placement, clipped};
pub use preprocess::{
    Alpha, Channels, Filling, Layout, Letterbox, NoResize, Pad, Preprocess, PreprocessError, Range, Resize, Size,
};
pub use recipe::{Recipe, RecipeError};
pub use resample::Filter;
pub(crate) use seeded::Seeded;
pub use source::Source;
pub use split::{HoldOut, Labelled, OnOverlap, Pool, Reference, Role, Served, Split, SplitError, Test};
pub(crate) use thumbnail::{as_png, packed, rgb, within};
