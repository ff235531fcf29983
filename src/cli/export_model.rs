//! `isal export model`: weights of PyTorch in a graph of the zoo, or of one's own, and a new last layer.

use super::model::{defaults, parse_input};
use super::{BadRequest, Context, Outcome};
use crate::classifier::CLASS_NAMES;
use anyhow::Context as _;
use clap::Args;
use isal_exporters::weights::{Naming, Tensors};
use isal_exporters::{Error, Head, ModelOptions, build, detection};
use isal_onnx::Model;
use std::path::{Path, PathBuf};

/// What to write, from what.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// A network of the zoo, see `isal model list`
    #[arg(long, value_name = "NAME", help_heading = "Model", conflicts_with = "model")]
    #[arg(required_unless_present = "model", requires = "weights")]
    zoo: Option<String>,
    /// A model of your own, instead of one of the zoo
    #[arg(long, value_name = "FILE.onnx", help_heading = "Model")]
    #[arg(conflicts_with_all = ["classes", "input", "opset"])]
    model: Option<PathBuf>,
    /// Trained weights: what `torch.save` or libtorch wrote (.pt, .pth, .ot, ...), or safetensors
    ///
    /// A state dict, or a checkpoint that has one; see docs/WEIGHTS.md. Nothing in the file is run.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    weights: Option<PathBuf>,
    /// Whose names the weights have: auto, torchvision, timm, pycls
    #[arg(long, value_name = "WHOSE", default_value = "auto", help_heading = "Model", requires = "weights")]
    names: Naming,
    /// Draw the last layer anew, for N classes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    #[arg(help_heading = "Model", conflicts_with = "classes")]
    new_head: Option<u32>,
    /// Number of classes (default: as many as the weights have)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Model")]
    classes: Option<u32>,
    /// Channels, height and width of an image (default: the network's own)
    #[arg(long, value_name = "CxHxW", value_parser = parse_input, help_heading = "Model")]
    input: Option<[usize; 3]>,
    /// Seed of a new last layer
    #[arg(long, default_value_t = 0, help_heading = "Model", hide_short_help = true)]
    seed: u64,
    /// Operator set to write
    #[arg(long, value_name = "VERSION", help_heading = "Model", hide_short_help = true)]
    opset: Option<i64>,
    /// File to write
    #[arg(long, short, value_name = "FILE.onnx", help_heading = "Output")]
    output: PathBuf,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  isal export model --zoo resnet50-imagenet --weights resnet50.pth -o resnet50.onnx
  isal export model --zoo resnet50-imagenet --weights resnet50.pth --new-head 7 -o start.onnx
  isal export model --model mine.onnx --new-head 7 -o start.onnx";

/// A model, and what was done to it.
struct Made {
    model: Model,
    name: String,
    /// Whose names the weights had, and how many tensors were put in.
    filled: Option<(Naming, usize)>,
    /// How many classes it tells apart, where a layer says so.
    classes: Option<usize>,
}

/// The layers of a network that count its classes.
struct ClassLayers {
    /// The weight whose axis says how many there are.
    weight: String,
    axis: usize,
    /// How many of these are no classes of objects.
    background: usize,
    /// Their initializers.
    names: Vec<String>,
}

impl ClassLayers {
    fn of(name: &str, model: &Model) -> Result<ClassLayers, Error> {
        let Some(detector) = detection::detectors().iter().find(|entry| entry.name == name) else {
            let head = Head::of(model)?;
            return Ok(ClassLayers {
                weight: head.weight.clone(),
                axis: head.axis,
                background: 0,
                names: head.names(),
            });
        };
        let layers = detector.class_layers.iter();
        Ok(ClassLayers {
            weight: detector.class_layers.first().map(|layer| format!("{layer}.weight")).unwrap_or_default(),
            axis: 0,
            background: detection::task(detector.task).map_or(0, |task| task.background),
            names: layers.flat_map(|layer| ["weight", "bias"].map(|part| format!("{layer}.{part}"))).collect(),
        })
    }

    /// How many classes there are, where the weight has these dims.
    fn count(&self, dims: &[usize]) -> Option<usize> {
        dims.get(self.axis)?.checked_sub(self.background)
    }
}

pub(super) fn run(given: &ModelArguments, context: &Context) -> anyhow::Result<Outcome> {
    let bytes = match &given.weights {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?),
        None => None,
    };
    let tensors = match (&bytes, &given.weights) {
        (Some(bytes), Some(path)) => Some(Tensors::read(bytes).map_err(|e| bad(path, &e))?),
        _ => None,
    };
    let made = match (&given.zoo, &given.model) {
        (Some(name), _) => of_zoo(given, name, tensors)?,
        (None, Some(path)) => of_file(given, path, tensors)?,
        (None, None) => return Err(BadRequest("`--zoo` or `--model` says which network".to_owned()).into()),
    };
    made.model.write(&given.output).with_context(|| format!("cannot write `{}`", given.output.display()))?;
    let classes = made.classes;
    let mut text = format!("{}: {}", given.output.display(), made.name);
    if let Some((naming, count)) = made.filled {
        text += &format!(", {count} tensors by the names of {}", naming.name());
    }
    if let Some(classes) = classes {
        let new = if given.new_head.is_some() { ", its last layer drawn anew" } else { "" };
        text += &format!(", {classes} classes{new}");
    }
    let value = serde_json::json!({
        "schema": "isal-export-model/1",
        "file": given.output,
        "name": made.name,
        "classes": classes,
        "names": made.filled.map(|(naming, _)| naming.name()),
        "tensors": made.filled.map(|(_, count)| count),
        "new_head": given.new_head.is_some(),
        "sha256": made.model.sha256(),
    });
    context.print(&text, &value)?;
    Ok(Outcome::Done)
}

/// A network of the zoo, of as many classes as the weights have, or as are asked for.
fn of_zoo(given: &ModelArguments, name: &str, tensors: Option<Tensors>) -> anyhow::Result<Made> {
    let defaults = defaults(name)?;
    let options = |classes: usize| ModelOptions {
        input: given.input.unwrap_or(defaults.input),
        classes,
        seed: given.seed,
        opset: given.opset.unwrap_or(defaults.opset),
        ..defaults.clone()
    };
    let built = |classes| build(name, &options(classes)).map_err(|e| BadRequest(e.to_string()));
    let asked = given.new_head.or(given.classes).map(|n| n as usize);
    let mut model = built(asked.unwrap_or(defaults.classes))?;
    let (Some(tensors), Some(path)) = (tensors, &given.weights) else {
        return Ok(Made { model, name: name.to_owned(), filled: None, classes: asked.or(Some(defaults.classes)) });
    };
    let (tensors, naming) = tensors.named_for(&model, given.names);
    let layers = ClassLayers::of(name, &model).map_err(|e| BadRequest(e.to_string()))?;
    let found = tensors.get(&layers.weight).and_then(|weight| layers.count(weight.dims()));
    let mut classes = asked.unwrap_or(defaults.classes);
    let mut besides = Vec::new();
    match (given.new_head, found) {
        (Some(_), _) => besides = layers.names,
        (None, Some(found)) if asked.is_some_and(|asked| asked != found) => {
            return Err(BadRequest(format!(
                "the weights in `{}` are for {found} classes, and `--classes` is {}: `--new-head {1}` in its place draws \
                 the last layer anew",
                path.display(),
                classes
            ))
            .into());
        }
        (None, Some(found)) if (1..=1_000_000).contains(&found) && found != classes => {
            model = built(found)?;
            classes = found;
        }
        _ => {}
    }
    let count = tensors.fill(&mut model, &besides).map_err(|e| misfit(path, name, naming, &e))?;
    Ok(Made { model, name: name.to_owned(), filled: Some((naming, count)), classes: Some(classes) })
}

/// A model that a file holds.
fn of_file(given: &ModelArguments, path: &Path, tensors: Option<Tensors>) -> anyhow::Result<Made> {
    if given.new_head.is_none() && tensors.is_none() {
        let what = "`--model` goes with `--new-head`, `--weights`, or both: nothing else is done to it";
        return Err(BadRequest(what.to_owned()).into());
    }
    let name = path.display().to_string();
    let mut model = Model::read(path).with_context(|| format!("cannot read `{name}`"))?;
    model.graph.lift_constants();
    let mut besides = Vec::new();
    if let Some(classes) = given.new_head {
        let in_model = |e: Error| BadRequest(format!("`{name}`: {e}"));
        let head = Head::of(&model).map_err(in_model)?;
        head.replace(&mut model, classes as usize, given.seed).map_err(in_model)?;
        besides = head.names();
        // Names of other classes than those that it tells apart from now on.
        for key in [CLASS_NAMES, "names"] {
            model.metadata.shift_remove(key);
        }
    }
    let filled = match (tensors, &given.weights) {
        (Some(tensors), Some(weights)) => {
            let (tensors, naming) = tensors.named_for(&model, given.names);
            let count = tensors.fill(&mut model, &besides).map_err(|e| misfit(weights, &name, naming, &e))?;
            Some((naming, count))
        }
        _ => None,
    };
    let classes = Head::of(&model).ok().map(|head| head.classes);
    Ok(Made { model, name, filled, classes })
}

fn bad(path: &Path, error: &Error) -> BadRequest {
    BadRequest(format!("cannot read `{}`: {error}", path.display()))
}

/// Everything that does not fit, a tensor a line.
fn misfit(path: &Path, model: &str, naming: Naming, error: &Error) -> BadRequest {
    let Error::Weights { missing, unexpected, mismatched } = error else { return bad(path, error) };
    let mut text =
        format!("the weights in `{}` do not fit `{model}` (taken by the names of {})", path.display(), naming.name());
    let named = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let lists = [
        ("the file lacks", named(missing)),
        ("the network has no place for", named(unexpected)),
        ("of another shape or type", mismatched.iter().map(ToString::to_string).collect()),
    ];
    for (what, lines) in lists.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        text += &format!("\n  {what} ({}):", lines.len());
        for line in lines {
            text += &format!("\n    {line}");
        }
    }
    BadRequest(text)
}
