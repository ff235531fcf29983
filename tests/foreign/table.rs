//! `docs/MODELS.md`: a line for each model.

use crate::examine::{Bench, Form, Found};
use crate::network::{Network, Source};
use std::path::{Path, PathBuf};

/// Largest error of the tangent form in float64: what the plugin hands out is float32.
const EXACT: f64 = 1e-6;
/// Error of the tangent form in float32 above which the page says what it is in float64.
const NOTED: f64 = 1e-4;

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
        let noted = |found: &&Found| found.tangent.as_ref().is_ok_and(|form| form.error > NOTED);
        let exact = self.found.as_ref().ok().filter(noted).and_then(|found| found.in_float64);
        let exact = exact.map(|e| format!("tangent in float64: {}", if e <= EXACT { "exact" } else { "wrong" }));
        let changes = (!changes.is_empty()).then_some(changes);
        let notes: Vec<String> = changes.into_iter().chain(exact).chain(self.reasons()).collect();
        let no = || "no".to_owned();
        let numbers = match &self.found {
            Err(_) => [no(), no()],
            Ok(found) => [
                found.tangent.as_ref().map_or_else(|_| no(), |form| format!("{:.0e}", form.error)),
                found.paired.as_ref().map_or_else(
                    |_| no(),
                    |p| format!("{:.0e}, ranks {:.4}, step {:.0e}", p.form.error, p.spearman, p.step),
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

    /// What does not depend on the machine: everything but the size of an error, and what is noted of a large one.
    fn fixed(line: &str) -> Vec<String> {
        let cells = line.trim_matches(['|', ' ']).split(" | ").map(str::trim);
        let without_note = |cell: &str| {
            let notes = cell.split("; ").filter(|note| !note.starts_with("tangent in float64: "));
            notes.collect::<Vec<_>>().join("; ")
        };
        let cell = |(i, cell): (usize, &str)| match i {
            4 | 5 if cell != "no" => "yes".to_owned(),
            6 => without_note(cell),
            _ => cell.to_owned(),
        };
        let mut cells: Vec<String> = cells.enumerate().map(cell).collect();
        cells.truncate(if cells.last().is_some_and(String::is_empty) { cells.len() - 1 } else { cells.len() });
        cells
    }

    /// A form that runs and does not agree.
    fn wrong(&self) -> Option<String> {
        let found = self.found.as_ref().ok()?;
        let over = |x: f64, bound: f64| x.is_nan() || x > bound;
        let tangent = found.tangent.as_ref().is_ok_and(|form| over(form.off, 1.0));
        let wide = found.in_float64.is_some_and(|error| over(error, EXACT));
        let paired = found.paired.as_ref().is_ok_and(|pair| over(pair.form.off, 1.0));
        let off = |form: Option<&Form>| form.map_or(f64::NAN, |form| form.off);
        (tangent || wide || paired).then(|| {
            format!(
                "does not agree with {}: tangent {:.2} and paired {:.2} of what is explained, tangent in float64 {:.0e}: {}",
                found.truth,
                off(found.tangent.as_ref().ok()),
                off(found.paired.as_ref().ok().map(|pair| &pair.form)),
                found.in_float64.unwrap_or(f64::NAN),
                self.line()
            )
        })
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
