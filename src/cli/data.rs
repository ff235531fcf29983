//! `isal data`: what a data set holds, and writing one out as folders of PNG.

use super::{BadRequest, Context, Outcome, open_data};
use crate::data::{Division, export_folder};
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
}

/// What to look at.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// A folder, archive, table or list of images
    data: PathBuf,
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
    }
}

fn show(options: &ShowOptions, context: &Context) -> anyhow::Result<Outcome> {
    let dataset = open_data(&options.data, &options.data.display().to_string())?;
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
