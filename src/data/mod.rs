//! Images in: from files and archives to batches of floats.
//!
//! [`open`] recognises a data set and gives a [`Source`]; a [`Dataset`] is a source or some positions of one; a
//! [`Recipe`] turns a decoded [`Image`] into what a model takes; a [`Loader`] does so in parallel, in order.
//! Nothing here knows of models, runtimes or influence.

mod augment;
mod content;
mod dataset;
mod decode;
mod error;
mod folder;
mod image;
mod jpeg;
mod loader;
mod open;
mod pixel_csv;
mod preprocess;
mod recipe;
mod resample;
mod seeded;
mod source;
mod split;
mod tiff_palette;

pub use augment::Augment;
pub use content::{content_hash, content_hashes};
pub use dataset::Dataset;
pub use decode::{DecodeError, Limits, decode};
pub use error::{DataError, Found, TableProblem};
pub use folder::Folder;
pub use image::{Image, ImageShapeError};
pub use loader::{Batch, Loader, LoaderOptions, Order, Skipped};
pub use open::{OpenOptions, open};
pub use pixel_csv::PixelCsv;
pub use preprocess::{Alpha, Channels, Layout, NoResize, Preprocess, PreprocessError, Range, Resize, Size};
pub use recipe::{Recipe, RecipeError};
pub use resample::Filter;
pub use source::Source;
pub use split::{HoldOut, Labelled, OnOverlap, Pool, Reference, Role, Split, SplitError, Test};
