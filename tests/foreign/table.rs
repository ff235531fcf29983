//! `docs/MODELS.md`: a line for each model.

use crate::examine::{Bench, Found};
use crate::network::{Network, Source};
use std::path::{Path, PathBuf};

/// Largest error of the tangent form: float32 against float64.
const TANGENT: f64 = 1e-3;
/// Largest error of the paired form over outputs one by one, where a kink that a single output crosses within the step
/// counts in full: these networks have random weights or are shown noise. A wrong graph is off by its whole size.
const PAIRED: f64 = 0.1;
/// Smallest rank agreement of the paired form's influences.
const RANKS: f64 = 0.995;
/// Largest error of the tangent form in float32 that rounding may explain, where the graph is exact in float64.
const ROUNDED: f64 = 1e-2;
/// The same in float64.
const EXACT: f64 = 1e-6;

const HEAD: &str = "# Models that others made

Every model here was read, transformed and run in both forms of the influence graph; `make models` writes this page and
`tests/foreign` holds it. *Worst difference*: of any output's derivative along a random direction over all weights, and of
the influence under any class, relative to the largest; against the gradient plugin's derivative of the same network. The
paired form is one-sided at the step, of 1e-3 to 3e-6 of the weights' length, that serves it best. Its differences are those
of float32 subtraction, and in deep networks of single outputs whose Relu or MaxPool crosses a kink within the step;
*ranks* is the Spearman correlation of all its influences with the exact ones.

The tangent form runs in float32 as well. Where it is more than 1e-4 off, the plugin ran the same graph in float64; *exact*
is within 1e-6 of the derivative, so that what is left is rounding.

What was done to a model first:

- *seeded weights*: the light zoo comes with one number for all weights of a tensor, made when the model runs; random ones
  stand in their place.
- *Constant nodes made initializers*: the file keeps its weights in `Constant` nodes, as Paddle does; `isal` does this by itself.
- *read as opset 7*: the file says 6, which `isal` refuses; its operators mean the same in opset 7.
- *scope `all`*: it has no weight of two axes.

Models with other inputs than images, or outputs of other than two axes, have theirs reshaped. A final Softmax or Sigmoid is
left off, and of MTCNN's outputs the class scores are measured.
";

/// What is said of one model.
pub struct Row {
    name: String,
    package: &'static str,
    network: Result<(i64, usize, String), String>,
    found: Result<Found, String>,
}

impl Row {
    pub fn of(source: &Source, bench: &Bench) -> Row {
        let opened = source.open();
        let found = opened.as_ref().map_err(Clone::clone).and_then(|network| bench.examine(network));
        let about = |n: Network| (n.opset, n.nodes, n.changes.join(", "));
        Row { name: source.name.clone(), package: source.package, network: opened.map(about), found }
    }

    /// Why the model as a whole, or a form of it, does not work.
    fn reasons(&self) -> Vec<String> {
        match &self.found {
            Err(reason) => vec![reason.clone()],
            Ok(found) => {
                let tangent = found.tangent.as_ref().err().map(|e| format!("tangent: {e}"));
                let paired = found.paired.as_ref().err().map(|e| format!("paired: {e}"));
                tangent.into_iter().chain(paired).collect()
            }
        }
    }

    /// The cells, the numbers last.
    fn cells(&self) -> ([String; 5], [String; 2]) {
        let (opset, nodes, changes) = match &self.network {
            Ok((opset, nodes, changes)) => (opset.to_string(), nodes.to_string(), changes.clone()),
            Err(_) => (String::new(), String::new(), String::new()),
        };
        let exact = self.found.as_ref().ok().and_then(|found| found.in_float64);
        let exact = exact.map(|e| format!("tangent in float64: {}", if e <= EXACT { "exact" } else { "wrong" }));
        let changes = (!changes.is_empty()).then_some(changes);
        let notes: Vec<String> = changes.into_iter().chain(exact).chain(self.reasons()).collect();
        let no = || "no".to_owned();
        let numbers = match &self.found {
            Err(_) => [no(), no()],
            Ok(found) => [
                found.tangent.as_ref().map_or_else(|_| no(), |e| format!("{e:.0e}")),
                found.paired.as_ref().map_or_else(
                    |_| no(),
                    |p| format!("{:.0e}, ranks {:.4}, step {:.0e}", p.error, p.spearman, p.step),
                ),
            ],
        };
        let notes = notes.join("; ").replace('|', "\\|").replace('\n', " ");
        ([self.name.clone(), self.package.to_owned(), opset, nodes, notes], numbers)
    }

    pub fn line(&self) -> String {
        let ([name, package, opset, nodes, notes], [tangent, paired]) = self.cells();
        format!("| {name} | {package} | {opset} | {nodes} | {tangent} | {paired} | {notes} |")
    }

    /// What does not depend on the machine: everything but the size of an error.
    fn fixed(line: &str) -> Vec<String> {
        let cells = line.trim_matches(['|', ' ']).split(" | ").map(str::trim);
        cells
            .enumerate()
            .map(|(i, cell)| if (4..6).contains(&i) && cell != "no" { "yes" } else { cell }.to_owned())
            .collect()
    }

    /// A form that runs and does not agree.
    fn wrong(&self) -> Option<String> {
        let found = self.found.as_ref().ok()?;
        let over = |e: &f64, bound: f64| e.is_nan() || *e > bound;
        let tangent = found.tangent.as_ref().is_ok_and(|e| match found.in_float64 {
            None => over(e, TANGENT),
            Some(exact) => over(&exact, EXACT) || over(e, ROUNDED),
        });
        let paired =
            found.paired.as_ref().is_ok_and(|p| over(&p.error, PAIRED) || p.spearman.is_nan() || p.spearman < RANKS);
        (tangent || paired).then(|| format!("does not agree with {}: {}", found.truth, self.line()))
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MODELS.md")
}

/// Fails where a form that runs does not agree, or a line says something else than the page.
pub fn hold(rows: &[Row]) {
    let page = std::fs::read_to_string(path()).unwrap_or_default();
    let lines: Vec<Vec<String>> = page.lines().filter(|l| l.starts_with("| ")).map(Row::fixed).collect();
    let mut wrong: Vec<String> = rows.iter().filter_map(Row::wrong).collect();
    let stale = rows.iter().map(Row::line).filter(|line| !lines.contains(&Row::fixed(line)));
    wrong.extend(stale.map(|line| format!("docs/MODELS.md says otherwise (`make models` renews it): {line}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub fn write(rows: &[Row]) {
    let head = "| model | package | opset | nodes | tangent: worst difference | paired: worst difference | notes |";
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    let text = format!("{HEAD}\n{head}\n|---|---|---|---|---|---|---|\n{}\n", lines.join("\n"));
    std::fs::create_dir_all(path().parent().expect("a folder")).expect("docs/");
    std::fs::write(path(), text).expect("written");
}
