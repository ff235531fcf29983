//! Boxes of one form in another: COCO, Pascal VOC and YOLO, each in a new folder with links to the images.
//!
//! ```text
//! coco   FOLDER/annotations.json, FOLDER/images/...
//! voc    FOLDER/Annotations/NAME.xml, FOLDER/JPEGImages/NAME.jpg, FOLDER/ImageSets/Main/all.txt
//! yolo   FOLDER/data.yaml, FOLDER/labels/....txt, FOLDER/images/...
//! ```
//!
//! Coordinates come back exactly to a millionth of a pixel, and so do classes. What a form has no place for is counted: VOC and YOLO
//! have none for crowds and boxes to be ignored, which are left out there, and none for areas; YOLO has none for difficult ones, which
//! become boxes like others. Images of which nothing is said are left out.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use quick_xml::escape::escape;
use serde_json::json;

use super::{MarkedBox, in_pixels, kept};
use crate::data::export::{plain, symlink};
use crate::data::{DataError, Dataset, Size};

/// A form of files of boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BoxForm {
    /// COCO's JSON.
    Coco,
    /// Pascal VOC's XML, a file an image.
    Voc,
    /// YOLO's text, a file an image.
    Yolo,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Converted {
    /// Images.
    pub images: usize,
    /// Boxes.
    pub boxes: usize,
    /// Images of which nothing is said.
    pub unknown: usize,
    /// Crowds and boxes to be ignored that the form has no place for.
    pub left_out: usize,
    /// Boxes that were difficult and are no longer said to be.
    pub no_longer_difficult: usize,
    /// Boxes that lost an area other than their own.
    pub without_area: usize,
}

/// Why boxes were not written in another form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// There is something at the place already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A data set of something else.
    #[error("the data set says nothing of boxes: expected one of COCO, Pascal VOC or YOLO")]
    NoBoxes,
    /// Images that would have one name.
    #[error("two images would be called `{name}`: the form has one folder for all of them")]
    SameName {
        /// The name.
        name: String,
    },
    /// An image without a file of its own.
    #[error("`{id}` has no file of its own")]
    NoFile {
        /// The image.
        id: String,
    },
    /// An image that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The file system.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Writes the boxes of `dataset` as `form` into the new folder `out`.
///
/// # Errors
/// [`ConvertError`]; nothing is left at `out` then.
pub fn convert(dataset: &Dataset, form: BoxForm, out: &Path) -> Result<Converted, ConvertError> {
    if out.symlink_metadata().is_ok() {
        return Err(ConvertError::Exists { path: out.to_path_buf() });
    }
    if (0..dataset.len()).all(|index| dataset.marked(index).is_none()) {
        return Err(ConvertError::NoBoxes);
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // What an earlier, killed conversion left.
    match std::fs::remove_dir_all(&partial) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(ConvertError::Write { path: partial, source });
        }
        _ => {}
    }
    let mut writer = Writer { dataset, form, folder: partial.clone(), converted: Converted::default() };
    writer.write()?;
    std::fs::rename(&partial, out).map_err(write(out))?;
    Ok(writer.converted)
}

struct Writer<'a> {
    dataset: &'a Dataset,
    form: BoxForm,
    folder: PathBuf,
    converted: Converted,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<(), ConvertError> {
        let images = self.folder.join(if self.form == BoxForm::Voc { "JPEGImages" } else { "images" });
        let mut names = HashSet::new();
        let (mut coco_images, mut coco_boxes, mut list) = (Vec::new(), Vec::new(), String::new());
        for index in 0..self.dataset.len() {
            let id = self.dataset.id(index);
            let Some(boxes) = self.dataset.marked(index) else {
                self.converted.unknown += 1;
                continue;
            };
            let file = self.dataset.path(index).ok_or_else(|| ConvertError::NoFile { id: id.clone() })?;
            let size = self.size(index)?;
            let boxes = self.with_a_place(boxes);
            let name = self.name(&id, &file);
            let stem = Path::new(&name).with_extension("").to_string_lossy().into_owned();
            if !names.insert(if self.form == BoxForm::Coco { name.clone() } else { stem.clone() }) {
                return Err(ConvertError::SameName { name });
            }
            link(&file, &images.join(&name))?;
            self.converted.images += 1;
            self.converted.boxes += boxes.len();
            match self.form {
                BoxForm::Coco => {
                    let image_id = coco_images.len() + 1;
                    coco_images.push(json!({
                        "id": image_id, "file_name": name, "width": size.width, "height": size.height,
                    }));
                    for marked in boxes {
                        coco_boxes.push(coco_box(coco_boxes.len() + 1, image_id, &marked));
                    }
                }
                BoxForm::Voc => {
                    let text = self.voc(&name, size, &boxes);
                    self.put(&format!("Annotations/{stem}.xml"), &text)?;
                    let _ = writeln!(list, "{stem}");
                }
                BoxForm::Yolo => {
                    let text: String = boxes.iter().map(|marked| yolo_line(marked, size)).collect();
                    self.put(&format!("labels/{stem}.txt"), &text)?;
                }
            }
        }
        let classes = self.dataset.classes();
        match self.form {
            BoxForm::Coco => {
                let category = |(class, name): (usize, &String)| json!({ "id": class + 1, "name": name });
                let categories: Vec<_> = classes.iter().enumerate().map(category).collect();
                let whole = json!({ "images": coco_images, "annotations": coco_boxes, "categories": categories });
                self.put("annotations.json", &whole.to_string())
            }
            BoxForm::Voc => self.put("ImageSets/Main/all.txt", &list),
            BoxForm::Yolo => {
                // JSON texts are YAML's too. Without a `path`, folders count from that of the file, wherever it is read.
                let name = |(class, name): (usize, &String)| format!("  {class}: {}\n", json!(name));
                let names: String = classes.iter().enumerate().map(name).collect();
                self.put("data.yaml", &format!("train: images\nval: images\nnames:\n{names}"))
            }
        }
    }

    /// The size that the annotations are of.
    fn size(&self, index: usize) -> Result<Size, ConvertError> {
        let fields = self.dataset.fields(index).unwrap_or_default();
        let side = |name: &str| fields.get(name).and_then(serde_json::Value::as_u64).map(|side| side as usize);
        match side("height").zip(side("width")) {
            Some((height, width)) => Ok(Size { height, width }),
            None => Ok(self.dataset.size(index)?),
        }
    }

    /// The boxes that the form has a place for.
    fn with_a_place(&mut self, mut boxes: Vec<MarkedBox>) -> Vec<MarkedBox> {
        if self.form == BoxForm::Coco {
            return boxes;
        }
        let all = boxes.len();
        boxes.retain(|marked| !marked.flags.crowd && !marked.flags.ignore);
        self.converted.left_out += all - boxes.len();
        if self.form == BoxForm::Yolo {
            self.converted.no_longer_difficult += boxes.iter().filter(|marked| marked.flags.difficult).count();
        }
        self.converted.without_area +=
            boxes.iter().filter(|marked| marked.area.is_some_and(|area| area != own_area(marked))).count();
        boxes
    }

    /// Name of an image in the new folder: its id, in one folder for VOC.
    fn name(&self, id: &str, file: &Path) -> String {
        let ending = file.extension().map_or_else(String::new, |ending| format!(".{}", ending.to_string_lossy()));
        // Ids may be absolute paths.
        let inside = id.trim_start_matches('/');
        let stem = Path::new(inside).with_extension("").to_string_lossy().into_owned();
        match self.form {
            BoxForm::Voc => format!("{}{ending}", plain(&stem)),
            _ => format!("{stem}{ending}"),
        }
    }

    fn put(&self, name: &str, text: &str) -> Result<(), ConvertError> {
        let path = self.folder.join(name);
        make_parent(&path)?;
        std::fs::write(&path, text).map_err(write(&path))
    }

    fn voc(&self, file: &str, size: Size, boxes: &[MarkedBox]) -> String {
        let mut text = format!(
            "<annotation>\n  <filename>{}</filename>\n  <size>\n    <width>{}</width>\n    <height>{}</height>\n  </size>\n",
            escape(file),
            size.width,
            size.height
        );
        for marked in boxes {
            let name =
                self.dataset.classes().get(marked.class as usize).cloned().unwrap_or_else(|| marked.class.to_string());
            let [left, top, right, bottom] = marked.corners;
            let _ = write!(
                text,
                "  <object>\n    <name>{}</name>\n    <difficult>{}</difficult>\n    <bndbox>\n      <xmin>{}</xmin>\n      \
                 <ymin>{}</ymin>\n      <xmax>{right}</xmax>\n      <ymax>{bottom}</ymax>\n    </bndbox>\n  </object>\n",
                escape(name.as_str()),
                u8::from(marked.flags.difficult),
                kept(left + 1.0),
                kept(top + 1.0),
            );
        }
        text + "</annotation>\n"
    }
}

/// Pixels of a box.
fn own_area(marked: &MarkedBox) -> f64 {
    let [left, top, right, bottom] = marked.corners;
    (right - left) * (bottom - top)
}

/// A box as an annotation of COCO, both ids counted from 1.
pub(crate) fn coco_box(id: usize, image_id: usize, marked: &MarkedBox) -> serde_json::Value {
    let [left, top, right, bottom] = marked.corners;
    let mut entry = json!({
        "id": id,
        "image_id": image_id,
        "category_id": marked.class + 1,
        "bbox": [left, top, kept(right - left), kept(bottom - top)],
        "area": marked.area.unwrap_or_else(|| own_area(marked)),
        "iscrowd": u8::from(marked.flags.crowd),
    });
    for (name, said) in [("ignore", marked.flags.ignore), ("difficult", marked.flags.difficult)] {
        if said {
            entry[name] = json!(1);
        }
    }
    entry
}

/// A line with as many digits as it takes for the box to come back, six at least as others write them.
fn yolo_line(marked: &MarkedBox, size: Size) -> String {
    let [left, top, right, bottom] = marked.corners;
    let (width, height) = (size.width as f64, size.height as f64);
    let exact =
        [(left + right) / 2.0 / width, (top + bottom) / 2.0 / height, (right - left) / width, (bottom - top) / height];
    let written = |digits: usize| exact.map(|x| format!("{x:.digits$}"));
    let comes_back = |digits: &usize| {
        let read = written(*digits).map(|text| text.parse().unwrap_or(f64::NAN));
        in_pixels(read, size) == marked.corners
    };
    let digits = (6..18).find(comes_back).unwrap_or(17);
    format!("{} {}\n", marked.class, written(digits).join(" "))
}

fn link(file: &Path, to: &Path) -> Result<(), ConvertError> {
    make_parent(to)?;
    let target = std::path::absolute(file).map_err(write(to))?;
    symlink(&target, to).map_err(write(to))
}

fn make_parent(path: &Path) -> Result<(), ConvertError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(parent).map_err(write(parent))
}

fn write(path: &Path) -> impl FnOnce(std::io::Error) -> ConvertError + '_ {
    move |source| ConvertError::Write { path: path.to_path_buf(), source }
}
