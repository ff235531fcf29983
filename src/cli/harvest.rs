//! `isal harvest`: what a server kept for labelling.

use super::{BadRequest, Context, Interrupted, Outcome};
use crate::data::harvest::{Form, Graph, HarvestError, Hash, Part, Row, Store, View, image, npy};
use crate::data::{Decoding, png};
use crate::durable::{make_folder, write_bytes};
use crate::observe::Observer as _;
use crate::scores::SIGN;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Look at what a server kept for labelling, take it out, or empty it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is kept: how much of each model, and the requests of lowest influence
    #[command(
        after_help = "Examples:\n  isal harvest list harvest/\n  isal harvest list harvest/ --model model-influence --first 100 --json"
    )]
    List(List),
    /// Write the requests into a folder of images, which is a `--pool` as well
    #[command(
        after_help = "Examples:\n  isal harvest export harvest/ -o to-label\n  isal harvest export harvest/ --part lowest --first 100 -o to-label"
    )]
    Export(Export),
    /// Take everything out of the harvest, or everything of one model; a server may go on beside it
    #[command(
        after_help = "Examples:\n  isal harvest clear harvest/\n  isal harvest clear harvest/ --model model-influence"
    )]
    Clear(Clear),
}

/// Of which harvest.
#[derive(Debug, Args)]
pub struct List {
    /// The folder that `isal serve --harvest` names
    #[arg(value_name = "HARVEST", help_heading = "Data")]
    folder: PathBuf,
    /// This model alone
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    model: Option<String>,
    /// Show so many requests of lowest influence
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Output")]
    first: usize,
}

/// What is written, and where.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder that `isal serve --harvest` names
    #[arg(value_name = "HARVEST", help_heading = "Data")]
    folder: PathBuf,
    /// This model alone
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    model: Option<String>,
    /// One part alone
    #[arg(long, value_enum, value_name = "PART", help_heading = "Data")]
    part: Option<GivenPart>,
    /// So many requests of lowest influence (default: all)
    #[arg(long, value_name = "N", help_heading = "Data")]
    first: Option<usize>,
    /// New folder
    #[arg(long, short, value_name = "FOLDER", help_heading = "Output")]
    output: PathBuf,
}

/// What is taken out.
#[derive(Debug, Args)]
pub struct Clear {
    /// The folder that `isal serve --harvest` names
    #[arg(value_name = "HARVEST", help_heading = "Data")]
    folder: PathBuf,
    /// This model alone
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    model: Option<String>,
}

/// Why requests are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GivenPart {
    /// Their influence is among the lowest.
    Lowest,
    /// They are the random sample of the others.
    Sample,
}

impl From<GivenPart> for Part {
    fn from(part: GivenPart) -> Part {
        match part {
            GivenPart::Lowest => Part::Lowest,
            GivenPart::Sample => Part::Sample,
        }
    }
}

pub(super) fn run(command: &Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::List(options) => list(options, context),
        Command::Export(options) => export(options, context),
        Command::Clear(options) => clear(options, context),
    }
}

/// A request with its model.
struct Kept {
    model: String,
    hash: Hash,
    row: Row,
}

/// Influence graphs by their model and number.
type Graphs = HashMap<(String, u64), Graph>;

/// What is kept, by part and influence: requests by the graph that was served last come first.
fn kept(view: &View, model: Option<&str>) -> Result<(Vec<Kept>, Graphs), HarvestError> {
    let graphs: Graphs = view.graphs()?.into_iter().map(|(model, number, graph)| ((model, number), graph)).collect();
    let mut all = Vec::new();
    let mut known: Vec<String> = Vec::new();
    view.each(|of, hash, row| {
        if known.last().map(String::as_str) != Some(of) {
            known.push(of.to_owned());
        }
        if model.is_none_or(|model| model == of) {
            all.push(Kept { model: of.to_owned(), hash, row });
        }
        Ok::<(), HarvestError>(())
    })?;
    if let Some(model) = model.filter(|_| all.is_empty() && !known.is_empty()) {
        let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let path = view.path().to_path_buf();
        return Err(HarvestError::UnknownModel { path, model: model.to_owned(), known });
    }
    let turn = |kept: &Kept| graphs.get(&(kept.model.clone(), kept.row.graph)).map_or(0, |graph| graph.turn);
    all.sort_by(|a, b| {
        let newer = || turn(b).cmp(&turn(a));
        let lower = || a.row.influence.total_cmp(&b.row.influence);
        a.model
            .cmp(&b.model)
            .then(a.row.part.cmp(&b.row.part))
            .then_with(newer)
            .then_with(lower)
            .then(a.hash.cmp(&b.hash))
    });
    Ok((all, graphs))
}

fn opened(folder: &Path) -> anyhow::Result<View> {
    View::open(folder).with_context(|| format!("cannot read the harvest `{}`", folder.display()))
}

fn value(kept: &Kept, graph: Option<&Graph>) -> serde_json::Value {
    let Kept { model, hash, row } = kept;
    serde_json::json!({
        "model": model,
        "id": hash.to_string(),
        "part": row.part.name(),
        "influence": row.influence,
        "version": graph.map(|graph| graph.version),
        "graph_sha256": graph.map(|graph| &graph.sha256),
        "form": row.form.to_string(),
        "bytes": row.bytes,
        "since_ms": row.since_ms,
    })
}

fn list(options: &List, context: &Context) -> anyhow::Result<Outcome> {
    let view = opened(&options.folder)?;
    let (all, graphs) = kept(&view, options.model.as_deref())?;
    let mut text = String::new();
    let mut models: BTreeMap<(&str, Part), (u64, u64, f32, f32)> = BTreeMap::new();
    for Kept { model, row, .. } in &all {
        let sum = models.entry((model, row.part)).or_insert((0, 0, f32::INFINITY, f32::NEG_INFINITY));
        let (images, bytes, low, high) = *sum;
        *sum = (images + 1, bytes + row.bytes, low.min(row.influence), high.max(row.influence));
    }
    writeln!(
        text,
        "{:<24} {:<8} {:>8} {:>14} {:>12} {:>12}",
        "model", "part", "requests", "bytes", "lowest", "highest"
    )?;
    for ((model, part), (images, bytes, low, high)) in &models {
        writeln!(text, "{model:<24} {part:<8} {images:>8} {bytes:>14} {low:>12.4e} {high:>12.4e}")?;
    }
    let graph = |kept: &Kept| graphs.get(&(kept.model.clone(), kept.row.graph));
    let first: Vec<&Kept> = all.iter().filter(|kept| kept.row.part == Part::Lowest).take(options.first).collect();
    if !first.is_empty() {
        writeln!(text, "\n{:>12} {:<17} {:<24} {:>7} {:>9}  form", "influence", "id", "model", "version", "bytes")?;
    }
    for kept in &first {
        let version = graph(kept).map(|graph| graph.version.to_string()).unwrap_or_default();
        let Kept { model, hash, row } = kept;
        let (influence, bytes, form) = (row.influence, row.bytes, &row.form);
        writeln!(text, "{influence:>12.4e} {hash:<17} {model:<24} {version:>7} {bytes:>9}  {form}")?;
    }
    writeln!(text, "({SIGN})")?;
    let summed = models.iter().map(|((model, part), (images, bytes, low, high))| {
        serde_json::json!({
            "model": model, "part": part.name(), "requests": images, "bytes": bytes,
            "lowest_influence": low, "highest_influence": high,
        })
    });
    let value = serde_json::json!({
        "schema": "isal-harvest-list/1",
        "sign": SIGN,
        "models": summed.collect::<Vec<_>>(),
        "lowest": first.iter().map(|kept| value(kept, graph(kept))).collect::<Vec<_>>(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

fn export(options: &Export, context: &Context) -> anyhow::Result<Outcome> {
    let view = opened(&options.folder)?;
    let (mut all, graphs) = kept(&view, options.model.as_deref())?;
    if let Some(part) = options.part {
        all.retain(|kept| kept.row.part == Part::from(part));
    }
    all.truncate(options.first.unwrap_or(usize::MAX));
    if std::fs::read_dir(&options.output).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BadRequest(format!("`{}` is not empty: name a new folder", options.output.display())).into());
    }
    make_folder(&options.output)?;
    let (mut lines, mut images, mut numbers) = (String::new(), 0_u64, 0_u64);
    for (rank, kept) in all.iter().enumerate() {
        if context.progress.interrupted() {
            return Err(Interrupted.into());
        }
        let bytes = view.bytes(&kept.model, kept.hash)?;
        let stem = format!("{:05}-{}-{}", rank + 1, kept.row.part, kept.hash);
        let graph = graphs.get(&(kept.model.clone(), kept.row.graph));
        let mut line = value(kept, graph);
        let write = |ending: &str, bytes: &[u8]| -> anyhow::Result<String> {
            let name = format!("{stem}.{ending}");
            write_bytes(&options.output.join(&name), bytes)?;
            Ok(name)
        };
        if kept.row.form == Form::Encoded {
            line["path"] = write(ending(&bytes), &bytes)?.into();
            images += 1;
        } else {
            if let Some(array) = npy(&kept.row.form, &bytes) {
                line["numbers"] = write("npy", &array)?.into();
                numbers += 1;
            }
            let recipe = graph.and_then(|graph| graph.recipe.as_ref());
            let decoded = image(&kept.row.form, bytes, recipe, &Decoding::default()).ok();
            if let Some(file) = decoded.and_then(|image| png(&image).ok()) {
                line["path"] = write("png", &file)?.into();
                images += 1;
            }
        }
        writeln!(lines, "{line}")?;
    }
    write_bytes(&options.output.join("harvest.jsonl"), lines.as_bytes())?;
    let folder = options.output.display();
    let text = format!(
        "{folder}: {images} images and {numbers} arrays of {} requests, and `harvest.jsonl` with the influence of each\n({SIGN})",
        all.len()
    );
    let value = serde_json::json!({
        "schema": "isal-harvest-export/1",
        "sign": SIGN,
        "folder": options.output,
        "requests": all.len(),
        "images": images,
        "arrays": numbers,
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

/// What the name of an image file ends with, by its first bytes.
fn ending(bytes: &[u8]) -> &'static str {
    let starts: [(&[u8], &str); 7] = [
        (b"\xff\xd8\xff", "jpg"),
        (b"\x89PNG", "png"),
        (b"GIF8", "gif"),
        (b"BM", "bmp"),
        (b"RIFF", "webp"),
        (b"II*\0", "tif"),
        (b"MM\0*", "tif"),
    ];
    starts.iter().find(|(start, _)| bytes.starts_with(start)).map_or("pnm", |(_, ending)| ending)
}

fn clear(options: &Clear, context: &Context) -> anyhow::Result<Outcome> {
    let named = || format!("cannot clear the harvest `{}`", options.folder.display());
    if let Some(model) = &options.model {
        // Refuses a name that is none of its models'.
        kept(&opened(&options.folder)?, Some(model))?;
    }
    let store = Store::open(&options.folder).with_context(named)?;
    let change = store.change().with_context(named)?;
    let removed = change.clear(options.model.as_deref()).with_context(named)?;
    change.commit().with_context(named)?;
    let text = format!("{removed} requests taken out of `{}`", options.folder.display());
    context.print(&text, &serde_json::json!({"schema": "isal-harvest-clear/1", "removed": removed}))?;
    Ok(Outcome::Done)
}
