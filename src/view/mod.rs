//! Pages in the browser over what a run or a sweep left: the pool by influence, every image with what the model believes and why it
//! was chosen, labelling by keyboard, and the curve of a run.
//!
//! Pages are made here and hold no more than a little script; nothing is loaded from anywhere else. Of a score table one number or
//! two an image are held, and whole rows are read from its file as they are shown. Images are those of the pool,
//! decoded and scaled down here; a client names them by their place, never by a path. Whoever has no token gets nothing, and
//! nothing is written but labels, each on disk before it is answered.
//!
//! Not here: labels of tasks other than one class an image.

mod answer;
mod error;
mod folder;
mod guard;
mod labels;
mod pages;
mod pictures;
mod query;
mod server;
mod site;
mod table;

pub use error::ViewError;
pub use server::{Options, Server, view};

use table::Table;
