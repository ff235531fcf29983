//! Selected images in the forms that annotation tools read, and what their exports say of images.
//!
//! Out: the images in one folder, named by their rank, and beside it a file for each tool, with what the model believes as
//! pre-annotations and influence and score where a form has a place for them ([`write()`]). Back: exports of Label Studio and CVAT
//! as an answer an image ([`read`]); whose images these are, and which labels fit, is for the caller. COCO, Pascal VOC and YOLO come
//! back as the data sets that they are.

mod answered;
mod boxes;
mod coco;
mod cvat;
mod error;
mod form;
mod images;
mod label_studio;
mod lists;

pub use answered::{Answer, Answered, ToolBox, read};
pub use error::AnnotationToolError;
pub(crate) use form::write_forms;
pub use form::{ToLabel, ToolForm, Words, Written, write};
pub use images::Chosen;
pub(crate) use images::{file_name, name, put, write_png};
pub(crate) use label_studio::percent_decoded;
pub(crate) use lists::columns;
