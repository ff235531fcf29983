//! `isal data`: what a data set holds, and writing one out as folders of PNG.

use super::{BadRequest, Context, Outcome, open_data, open_data_with};
use crate::data::{BoxForm, Dataset, Division, OpenOptions, convert, export_folder};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Look at data sets, or write one out.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Count the images and classes of a data set
    #[command(after_help = "Examples:\n  isal data show images/\n  isal data show cifar-10-binary.tar.gz#test")]
    Show(ShowOptions),
    /// Write a data set as folders of PNG, divided by seed
    #[command(
        after_help = "Examples:\n  isal data unpack digits.csv.gz -o digits --divide labeled=400 --divide pool=rest\n  isal data unpack cifar.tar.gz#train -o cifar --divide labeled=5000 --divide pool=rest:flat"
    )]
    Unpack(UnpackOptions),
    /// Write the boxes of a data set in the form of another: COCO, Pascal VOC, YOLO
    #[command(
        after_help = "Images are linked, not copied.\n\nExamples:\n  isal data convert VOCdevkit/VOC2012#train --to coco -o voc-as-coco\n  isal data convert annotations/instances_val2017.json --to yolo -o coco-as-yolo"
    )]
    Convert(ConvertOptions),
}

/// What to look at.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// A folder, archive, table or list of images
    data: PathBuf,
}

/// Which boxes to write as what.
#[derive(Debug, Args)]
pub struct ConvertOptions {
    /// COCO's JSON, a folder of Pascal VOC, or YOLO's data.yaml
    data: PathBuf,
    /// The form
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Output")]
    to: BoxForm,
    /// End at the first box that is none (empty, outside of its image), instead of leaving it out
    #[arg(long, help_heading = "Data")]
    strict: bool,
    /// New folder
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

/// What to write where.
#[derive(Debug, Args)]
pub struct UnpackOptions {
    /// A folder, archive, table or list of images
    data: PathBuf,
    /// A part of so many images, or of the rest; `:flat` writes it without class folders, as pools are
    #[arg(long, value_name = "NAME=COUNT|rest[:flat]", required = true, value_parser = parse_division)]
    #[arg(help_heading = "Data")]
    divide: Vec<Division>,
    /// Seed of the division
    #[arg(long, default_value_t = 0, help_heading = "Data")]
    seed: u64,
    /// New folder
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

fn parse_division(text: &str) -> Result<Division, String> {
    let expected = || format!("expected NAME=COUNT or NAME=rest, perhaps with :flat, found `{text}`");
    let (name, count) = text.split_once('=').ok_or_else(expected)?;
    let (count, by_class) = match count.strip_suffix(":flat") {
        Some(count) => (count, false),
        None => (count, true),
    };
    let images = match count {
        "rest" => None,
        number => Some(number.parse().map_err(|_| expected())?),
    };
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(expected());
    }
    Ok(Division { name: name.to_owned(), images, by_class })
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Show(options) => show(options, context),
        Command::Unpack(options) => unpack(options, context),
        Command::Convert(options) => converted(options, context),
    }
}

fn show(options: &ShowOptions, context: &Context) -> anyhow::Result<Outcome> {
    let dataset = open_data(&options.data, &options.data.display().to_string())?;
    if (0..dataset.len()).any(|index| dataset.marked(index).is_some()) {
        return show_boxes(&dataset, context);
    }
    let classes = dataset.classes();
    let mut counts = vec![0_usize; classes.len()];
    let mut unlabelled = 0_usize;
    for label in dataset.labels() {
        match label.and_then(|l| counts.get_mut(l as usize)) {
            Some(count) => *count += 1,
            None => unlabelled += 1,
        }
    }
    let first = dataset.load(0).map(|i| format!("{} x {}, {} channels", i.width(), i.height(), i.channels()));
    let first = first.unwrap_or_else(|error| error.to_string());
    let mut text = format!(
        "{} images, {} classes, {unlabelled} without a label; the first: {first}\n",
        dataset.len(),
        classes.len()
    );
    for (class, count) in classes.iter().zip(&counts) {
        writeln!(text, "{count:>8}  {class}")?;
    }
    let value = serde_json::json!({
        "images": dataset.len(), "unlabelled": unlabelled, "first": first,
        "classes": classes.iter().zip(&counts).map(|(name, images)| serde_json::json!({"name": name, "images": images})).collect::<Vec<_>>(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

/// Boxes that are named one by one.
const SHOWN: usize = 20;

/// A data set of boxes: how many there are of each class, and what is odd about it.
fn show_boxes(dataset: &Dataset, context: &Context) -> anyhow::Result<Outcome> {
    let mut counts = vec![0_usize; dataset.classes().len()];
    let (mut empty, mut unknown, mut crowd, mut ignore, mut difficult) = (0, 0, 0, 0, 0);
    for index in 0..dataset.len() {
        let Some(boxes) = dataset.marked(index) else {
            unknown += 1;
            continue;
        };
        empty += usize::from(boxes.is_empty());
        for marked in boxes {
            counts.get_mut(marked.class as usize).into_iter().for_each(|count| *count += 1);
            crowd += usize::from(marked.flags.crowd);
            ignore += usize::from(marked.flags.ignore);
            difficult += usize::from(marked.flags.difficult);
        }
    }
    let boxes: usize = counts.iter().sum();
    let mut text = format!(
        "{} images, {boxes} boxes of {} classes; {empty} images without boxes, {unknown} of which nothing is said; {crowd} boxes are \
         around crowds, {ignore} to be ignored, {difficult} difficult\n",
        dataset.len(),
        counts.len()
    );
    for (class, count) in dataset.classes().iter().zip(&counts) {
        writeln!(text, "{count:>8}  {class}")?;
    }
    let dropped = dataset.dropped();
    dropped.lines(SHOWN).iter().try_for_each(|line| writeln!(text, "{line}"))?;
    let named = dataset.classes().iter().zip(&counts);
    let value = serde_json::json!({
        "images": dataset.len(), "boxes": boxes, "without boxes": empty, "unknown": unknown,
        "crowd": crowd, "ignore": ignore, "difficult": difficult,
        "classes": named.map(|(name, boxes)| serde_json::json!({"name": name, "boxes": boxes})).collect::<Vec<_>>(),
        "dropped": dropped.boxes, "dropped first": dropped.first.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

fn converted(given: &ConvertOptions, context: &Context) -> anyhow::Result<Outcome> {
    let named = given.data.display().to_string();
    let options = OpenOptions { strict_boxes: given.strict, category_zero: true, ..OpenOptions::default() };
    let dataset = open_data_with(&given.data, &named, &options)?;
    let done = convert(&dataset, given.to, &given.output).with_context(|| format!("cannot convert `{named}`"))?;
    let mut text = format!("{}: {} images, {} boxes", given.output.display(), done.images, done.boxes);
    for (count, what) in [
        (done.unknown, "images of which nothing is said are left out"),
        (done.left_out, "boxes around crowds or to be ignored are left out: the form has no place for them"),
        (done.no_longer_difficult, "boxes are no longer difficult: the form has no place for that"),
        (done.without_area, "areas are lost: the form has no place for them"),
    ] {
        if count > 0 {
            write!(text, "\n{count} {what}")?;
        }
    }
    dataset.dropped().lines(SHOWN).iter().try_for_each(|line| write!(text, "\n{line}"))?;
    context.print(&text, &done)?;
    Ok(Outcome::Done)
}

fn unpack(options: &UnpackOptions, context: &Context) -> anyhow::Result<Outcome> {
    let rests = options.divide.iter().filter(|d| d.images.is_none()).count();
    if rests > 1 {
        return Err(BadRequest("only one `--divide` can take the rest".into()).into());
    }
    let dataset = open_data(&options.data, &options.data.display().to_string())?;
    let exported = export_folder(&dataset, &options.output, &options.divide, options.seed)
        .with_context(|| format!("cannot unpack `{}`", options.data.display()))?;
    let counts: Vec<String> = exported.counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let text = format!("{}: {} ({} left out)", options.output.display(), counts.join(", "), exported.skipped.len());
    let value = serde_json::json!({
        "folder": options.output,
        "counts": exported.counts.iter().map(|(name, n)| serde_json::json!({"name": name, "images": n})).collect::<Vec<_>>(),
        "skipped": exported.skipped.iter().map(|s| &s.id).collect::<Vec<_>>(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::parse_division;

    #[test]
    fn divisions_are_parsed_or_explained() {
        let pool = parse_division("pool=rest:flat").expect("parsed");
        assert_eq!((pool.name.as_str(), pool.images, pool.by_class), ("pool", None, false));
        assert_eq!(parse_division("labeled=400").expect("parsed").images, Some(400));
        for wrong in ["pool", "pool=", "=3", "a/b=3", "../x=3", "pool=some"] {
            assert!(parse_division(wrong).is_err(), "{wrong}");
        }
    }
}
