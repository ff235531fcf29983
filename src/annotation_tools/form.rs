//! A selection in the forms that were asked for.

use super::images::{Chosen, name, put};
use super::{AnnotationToolError, boxes, coco, cvat, label_studio, lists};
use crate::data::{BoxForm, DataError, Dataset, Size};
use crate::durable;
use crate::families::LabelKind;
use std::path::{Path, PathBuf};

/// A form that annotation tools read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolForm {
    /// Label Studio: tasks with predictions, and the labelling interface for them.
    LabelStudio,
    /// CVAT: an XML file of version 1.1 for images, and the labels of the project.
    Cvat,
    /// COCO: a JSON file of images, categories and boxes.
    Coco,
    /// YOLO's text files, for tasks of boxes.
    Yolo,
    /// Pascal VOC's XML files, for tasks of boxes.
    Voc,
    /// A list with empty columns of labels.
    Csv,
    /// Folders by the class that the model believes.
    ImageFolder,
}

impl ToolForm {
    /// Forms that say something which the list of a run does not.
    pub const OF_RUNS: [ToolForm; 5] =
        [ToolForm::LabelStudio, ToolForm::Cvat, ToolForm::Coco, ToolForm::Yolo, ToolForm::Voc];

    fn name(self) -> &'static str {
        match self {
            ToolForm::LabelStudio => "label-studio",
            ToolForm::Cvat => "cvat",
            ToolForm::Coco => "coco",
            ToolForm::Yolo => "yolo",
            ToolForm::Voc => "voc",
            ToolForm::Csv => "csv",
            ToolForm::ImageFolder => "image-folder",
        }
    }

    /// Refuses a form that has no place for the labels of a task, by its name; `kind` is what people say of its images.
    ///
    /// # Errors
    /// [`AnnotationToolError::NoBoxes`], [`AnnotationToolError::NoForm`].
    pub fn check(self, kind: Option<LabelKind>, task: &str) -> Result<(), AnnotationToolError> {
        use LabelKind::{Boxes, Class, Classes};
        let (form, task) = (self.name(), task.to_owned());
        match (self, kind) {
            (ToolForm::Csv, _)
            | (ToolForm::LabelStudio | ToolForm::Cvat | ToolForm::Coco, Some(Class | Classes | Boxes))
            | (ToolForm::ImageFolder, Some(Class))
            | (ToolForm::Yolo | ToolForm::Voc, Some(Boxes)) => Ok(()),
            (ToolForm::Yolo | ToolForm::Voc, Some(Class)) => Err(AnnotationToolError::NoBoxes { form, task }),
            _ => Err(AnnotationToolError::NoForm { form, task }),
        }
    }
}

/// Images to label, and what is known of them.
#[derive(Debug, Clone)]
pub struct ToLabel<'a> {
    /// The pool that they are in.
    pub pool: &'a Dataset,
    /// The images, the first to label first.
    pub images: &'a [Chosen],
    /// What people say of an image; `None` where the task has no form for it.
    pub kind: Option<LabelKind>,
    /// Names of the classes, in the order of the model's.
    pub classes: &'a [String],
    /// What people say of an image that nobody can recognise, and of one that shows nothing.
    pub words: Words<'a>,
    /// By what they were chosen, such as `influence-batch`; the source of pre-annotations.
    pub chosen_by: &'a str,
    /// What a tool puts before the name of an image to fetch it; the image's path for Label Studio's local files where not given.
    pub url: Option<&'a str>,
}

/// Labels that are no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    /// To leave the image out.
    pub skip: &'a str,
    /// Somebody has looked, and there is nothing to mark.
    pub empty: &'a str,
}

impl Default for Words<'_> {
    fn default() -> Self {
        Words { skip: "skip", empty: "empty" }
    }
}

/// What was written, and what of it a form has no place for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Files and folders, by what they are.
    pub files: Vec<(&'static str, PathBuf)>,
    /// What is not in them, in sentences.
    pub left_out: Vec<String>,
}

/// An image with its file.
pub(super) struct Placed<'a> {
    pub(super) chosen: &'a Chosen,
    /// Name of its file in the folder of images.
    pub(super) file: String,
    pub(super) size: Size,
}

/// Writes images as `FOLDER/NAME/` and a file beside it for each form: `FOLDER/NAME.csv` and so on.
///
/// # Errors
/// [`AnnotationToolError`]: an image that cannot be read, the file system's.
pub fn write(
    forms: &[ToolForm],
    to_label: &ToLabel,
    folder: &Path,
    stem: &str,
) -> Result<Written, AnnotationToolError> {
    let images = folder.join(stem);
    durable::make_folder(&images)?;
    let place =
        |(place, chosen): (usize, &Chosen)| put(to_label.pool, chosen.position, &images, &name(place, &chosen.id));
    let files = to_label.images.iter().enumerate().map(place).collect::<Result<Vec<_>, _>>()?;
    remove_earlier(&images, &files)?;
    let mut written = write_forms(forms, to_label, files, folder, stem)?;
    written.files.insert(0, ("images to label", images));
    Ok(written)
}

/// Writes the files of [`write()`] for images that lie in `FOLDER/NAME/` already, under the names `files`.
///
/// # Errors
/// The same.
pub(crate) fn write_forms(
    forms: &[ToolForm],
    to_label: &ToLabel,
    files: Vec<String>,
    folder: &Path,
    stem: &str,
) -> Result<Written, AnnotationToolError> {
    let images = folder.join(stem);
    let sized = |(chosen, file)| Ok(Placed { chosen, file, size: size(to_label.pool, chosen)? });
    let placed = to_label.images.iter().zip(files).map(sized).collect::<Result<Vec<_>, AnnotationToolError>>()?;
    let mut written = Written::default();
    for form in forms {
        let at = |ending: &str| folder.join(format!("{stem}{ending}"));
        let mut file = |what: &'static str, path: PathBuf, text: String| -> Result<(), AnnotationToolError> {
            durable::write_bytes(&path, text.as_bytes())?;
            written.files.push((what, path));
            Ok(())
        };
        match form {
            ToolForm::LabelStudio => {
                file("Label Studio tasks", at(".label-studio.json"), label_studio::tasks(to_label, &placed, &images))?;
                file("Label Studio interface", at(".label-studio.xml"), label_studio::interface(to_label))?;
            }
            ToolForm::Cvat => {
                file("CVAT annotations", at(".cvat.xml"), cvat::annotations(to_label, &placed))?;
                file("CVAT labels", at(".cvat-labels.json"), cvat::labels(to_label))?;
                written.left_out.push(
                    "CVAT's form has no place for influence and score: images are named by their rank".to_owned(),
                );
            }
            ToolForm::Coco => {
                file("COCO images", at(".coco.json"), coco::images(to_label, &placed))?;
                if to_label.kind != Some(LabelKind::Boxes) {
                    written.left_out.push(
                        "COCO has no form for the class of an image: what the model believes stands beside each image, not in \
                         `annotations`"
                            .to_owned(),
                    );
                }
            }
            ToolForm::Csv => file("list to label", at(".csv"), lists::csv(to_label, &placed, stem))?,
            ToolForm::ImageFolder => {
                let by_class = at("-by-class");
                lists::by_class(to_label, &placed, &images, &by_class)?;
                written.files.push(("images by believed class", by_class));
                written
                    .left_out
                    .push("folders have no place for influence and score: images are named by their rank".to_owned());
            }
            ToolForm::Yolo => {
                let folder = at("-yolo");
                boxes::write(to_label, &placed, &images, BoxForm::Yolo, &folder)?;
                written.files.push(("YOLO data set", folder));
                written.left_out.push(without_numbers("YOLO's form"));
            }
            ToolForm::Voc => {
                let folder = at("-voc");
                boxes::write(to_label, &placed, &images, BoxForm::Voc, &folder)?;
                written.files.push(("Pascal VOC data set", folder));
                written.left_out.push(without_numbers("Pascal VOC's form"));
            }
        }
    }
    Ok(written)
}

fn without_numbers(form: &str) -> String {
    format!(
        "{form} has no place for influence, score and how sure the model is of a box: images are named by their rank"
    )
}

fn size(pool: &Dataset, chosen: &Chosen) -> Result<Size, AnnotationToolError> {
    let refused = |source: DataError| AnnotationToolError::Image { id: chosen.id.clone(), source: Box::new(source) };
    pool.size(chosen.position).map_err(refused)
}

/// Removes images of an earlier selection: files named by a rank that are not among those of this one.
fn remove_earlier(folder: &Path, files: &[String]) -> Result<(), AnnotationToolError> {
    let entries = std::fs::read_dir(folder).map_err(AnnotationToolError::io("list", folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ranked = name.split_once('-').is_some_and(|(rank, _)| rank.len() >= 4 && rank.parse::<usize>().is_ok());
        if ranked && !files.contains(&name) {
            std::fs::remove_file(entry.path()).map_err(AnnotationToolError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
