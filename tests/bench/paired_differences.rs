//! How exact the differences of the paired graph are, model by model: a row of a Markdown table each.
//!
//! The truth is the plugin's derivative in float64; the paired graphs run in float32 on ONNX Runtime, at every step of
//! a list, and each difference is shown at its best. A model's vector is what `isal score pool`
//! solved for it, where a file is named; else the gradient of the loss on the first images.
//!
//! ```text
//! cargo run --release --example paired_differences -- POOL MODEL.onnx[=s.safetensors]...
//! ```

#[path = "../fixtures/classes.rs"]
mod classes;

use anyhow::{Context as _, bail};
use classes::Classes;
use isal::classifier::Classifier;
use isal::data::{Dataset, Loader, LoaderOptions, OpenOptions, Preprocess, Recipe};
use isal::influence::{SolvedVector, one_hot, spearman};
use isal::influence_graph::direction;
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{ExecutionProvider, Library, Session, SessionOptions};
use isal::task::{CLASS_WEIGHTS, Task};
use isal_onnx::influence::{Difference, Direction, INFLUENCE, Paired};
use isal_onnx::{Model, Scope, Tensor};
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use std::path::Path;

/// Steps that are tried; where the best stands at an end, the list is too short for that model.
const STEPS: [f64; 10] = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7];
/// Images of the pool that are ranked.
const IMAGES: usize = 120;
/// Images whose gradient stands in for a solved vector.
const REFERENCE: usize = 32;
const BATCH: usize = 40;

/// One difference at one step, against the truth.
#[derive(Clone, Copy)]
struct Figure {
    step: f64,
    spearman: f64,
    worst: f64,
    lowest: f64,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pool = arguments.next().context("expected a pool of images, then models")?;
    let pool = Dataset::open(Path::new(&pool), &OpenOptions::default())?;
    let library = Library::load(None)?;
    let plugin = Plugin::find(None)?;
    println!(
        "| model | vector | one-sided: step, Spearman, worst error, lowest tenth | held: the same | central: the same | central's predictions |"
    );
    println!("|---|---|---|---|---|---|");
    for argument in arguments {
        let (model, vector) = argument.split_once('=').map_or((argument.as_str(), None), |(m, v)| (m, Some(v)));
        match row(model, vector, &pool, &library, &plugin) {
            Ok(row) => println!("{row}"),
            Err(error) => println!("| {model} | {error:#} | | | | |"),
        }
    }
    Ok(())
}

fn row(path: &str, vector: Option<&str>, pool: &Dataset, library: &Library, plugin: &Plugin) -> anyhow::Result<String> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("model.onnx");
    let mut model = Model::read(path)?;
    if model.metadata.contains_key("isal.seeded") {
        isal_exporters::seeded::fill(&mut model)?;
    }
    model.write(&file)?;
    let classifier = Classifier::read(&file, None)?;
    let (images, labels) = images(pool, &classifier)?;
    let (s, scope) = match vector {
        Some(vector) => {
            let vector = SolvedVector::load(Path::new(vector))?;
            (direction(&vector)?, "solved")
        }
        None => (gradient(&classifier, plugin, &images, &labels)?, "gradient"),
    };
    let exact = exact(&classifier, plugin, &s, &images)?;
    let mut plain = session(library, &file)?;
    let own = outputs(&mut plain, images.view(), &classifier.output)?;
    let mut best: Vec<Figure> = Vec::new();
    let (mut moved, mut flipped) = (0.0, 0);
    for difference in [Difference::OneSided, Difference::Held, Difference::Central] {
        let mut figures: Vec<(Figure, Array2<f32>)> = Vec::new();
        for relative_step in STEPS {
            let options = Classes {
                logits: classifier.logits.clone(),
                classes: classifier.classes,
                top_k: 1,
                per_class: false,
                embedding: false,
            };
            let how = Paired { relative_step, difference };
            let built = options.paired(&classifier.network.model, std::slice::from_ref(&s), how)?;
            let path = scratch.path().join("influence.onnx");
            built.write(&path)?;
            let mut session = session(library, &path)?;
            let mut found = Vec::new();
            for batch in images.axis_chunks_iter(Axis(0), BATCH) {
                let influence = session.run(batch, &[INFLUENCE])?.remove(0);
                found.extend(influence.iter().map(|x| f64::from(*x)));
            }
            let predictions = outputs(&mut session, images.view(), &classifier.output)?;
            figures.push((figure(relative_step, &found, &exact), predictions));
        }
        let mut leader = 0;
        for (i, (figure, _)) in figures.iter().enumerate() {
            if figure.spearman > figures[leader].0.spearman {
                leader = i;
            }
        }
        let (figure, predictions) = figures.swap_remove(leader);
        best.push(figure);
        if difference == Difference::Central {
            let scale = own.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
            moved = own.iter().zip(&predictions).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
            flipped = own.outer_iter().zip(predictions.outer_iter()).filter(|(a, b)| top(a) != top(b)).count();
        }
    }
    let [one_sided, held, central] = best[..] else { bail!("three differences were tried") };
    let shown = |f: Figure| format!("{:.0e}, {:.6}, {:.1e}, {:.0} %", f.step, f.spearman, f.worst, 100.0 * f.lowest);
    let name = Path::new(path).parent().and_then(Path::file_name).map_or_else(|| path.into(), |n| n.to_string_lossy());
    let predictions = format!("{moved:.1e} of scale, {flipped} labels flipped");
    Ok(format!("| {name} | {scope} | {} | {} | {} | {predictions} |", shown(one_sided), shown(held), shown(central)))
}

fn session(library: &Library, path: &Path) -> anyhow::Result<Session> {
    Ok(Session::open(library, path, SessionOptions { provider: ExecutionProvider::Cpu, threads: 0 })?)
}

/// Images spread over the pool, as the model takes them, with their labels.
fn images(pool: &Dataset, classifier: &Classifier) -> anyhow::Result<(Array4<f32>, Vec<usize>)> {
    let recipe = Recipe::resolve(&Preprocess::beside(&classifier.network.path)?, &classifier.network.input, None)?;
    let every = (pool.len() / IMAGES).max(1);
    let positions: Vec<usize> = (0..pool.len()).step_by(every).take(IMAGES).collect();
    let options = LoaderOptions { batch_size: IMAGES, ..LoaderOptions::default() };
    let batch = Loader::over(pool.clone(), recipe, positions, &options)?.next().context("no images")??;
    let labels = batch.labels.iter().enumerate().map(|(i, l)| l.map_or(i, |l| l as usize) % classifier.classes);
    Ok((batch.images, labels.collect()))
}

fn engine(classifier: &Classifier, plugin: &Plugin, parameters: Vec<String>) -> anyhow::Result<PluginEngine> {
    let load = LoadOptions {
        parameters,
        task: Some(Task::single_label(&classifier.logits, classifier.classes, 1, classifier.network.model.opset())?),
        precision: Precision::Float64,
        ..LoadOptions::default()
    };
    Ok(PluginEngine::from_model(plugin, &classifier.network.model, &load)?)
}

/// The gradient of the loss on the first images, over every weight.
fn gradient(
    classifier: &Classifier,
    plugin: &Plugin,
    images: &Array4<f32>,
    labels: &[usize],
) -> anyhow::Result<Direction> {
    let chosen = Scope::Weights.select(&classifier.network.model.graph)?;
    let engine = engine(classifier, plugin, chosen.iter().map(|p| p.name.clone()).collect())?;
    let wide = images.slice(s![..REFERENCE, .., .., ..]).mapv(f64::from);
    let targets = one_hot(labels.get(..REFERENCE).context("too few images")?, classifier.classes)?.mapv(f64::from);
    let (_, v) = engine.gradient_float64(wide.view(), (CLASS_WEIGHTS, targets.view()))?;
    let entries: Vec<f32> = engine.download_float64(&v)?.into_iter().map(|x| x as f32).collect();
    let mut rest = entries.as_slice();
    let mut s = Direction::new();
    for parameter in chosen {
        let (block, after) = rest.split_at(parameter.dims.iter().product());
        s.insert(parameter.name, Tensor::new(parameter.dims, block));
        rest = after;
    }
    Ok(s)
}

/// Exact influences under the arg-max, in float64 throughout.
fn exact(classifier: &Classifier, plugin: &Plugin, s: &Direction, images: &Array4<f32>) -> anyhow::Result<Vec<f64>> {
    let engine = engine(classifier, plugin, s.keys().cloned().collect())?;
    let entries: Vec<f64> = s.values().flat_map(|t| t.to_vec::<f32>().unwrap_or_default()).map(f64::from).collect();
    let vector = engine.upload_float64(&entries)?;
    let mut found = Vec::new();
    for batch in images.axis_chunks_iter(Axis(0), BATCH) {
        let (o, o_dot) = engine.jvp_float64(batch.mapv(f64::from).view(), &vector)?;
        for (o, d) in o.outer_iter().zip(o_dot.outer_iter()) {
            let highest = o.fold(f64::NEG_INFINITY, |m, x| m.max(*x));
            let p = o.mapv(|x| (x - highest).exp());
            let top = (0..o.len()).fold(0, |best, c| if o[c] > o[best] { c } else { best });
            let sum = p.sum();
            found.push(-p.iter().zip(d).map(|(p, d_c)| p / sum * (d_c - d[top])).sum::<f64>());
        }
    }
    if found.iter().any(|x| !x.is_finite()) {
        bail!("an exact influence is not finite");
    }
    Ok(found)
}

fn outputs(session: &mut Session, images: ArrayView4<f32>, name: &str) -> anyhow::Result<Array2<f32>> {
    let mut all: Option<Array2<f32>> = None;
    for batch in images.axis_chunks_iter(Axis(0), BATCH) {
        let scores = session.class_scores(batch, name)?;
        match &mut all {
            None => all = Some(scores),
            Some(all) => all.append(Axis(0), scores.view())?,
        }
    }
    all.context("no images")
}

fn top(row: &ndarray::ArrayView1<f32>) -> usize {
    (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best })
}

fn figure(step: f64, found: &[f64], exact: &[f64]) -> Figure {
    let scale = exact.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let worst = found.iter().zip(exact).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale;
    let tenth = exact.len() / 10;
    let lowest = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        order.truncate(tenth);
        order
    };
    let truth = lowest(exact);
    let alike = lowest(found).iter().filter(|i| truth.contains(i)).count();
    let spearman = spearman(found, exact).unwrap_or(f64::NEG_INFINITY);
    Figure { step, spearman, worst, lowest: alike as f64 / tenth.max(1) as f64 }
}
