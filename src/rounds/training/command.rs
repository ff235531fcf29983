//! Training by a program of the user's, which gets lists of images and leaves an ONNX model.
//!
//! It reads its input from environment variables, or from arguments that have a name in braces. Its output goes to
//! `trained/log.txt`; `trained/work` is its own folder, which it finds again after an interruption. The model is looked at before
//! it is taken, and evaluated on the test images by ONNX Runtime.

use super::Training;
use super::evaluation::evaluate;
use super::figure::measured;
use super::lists::{Lists, absolute};
use super::process::{self, Ended};
use crate::classifier::class_names;
use crate::data::{Labelled, Preprocess, Split, Test};
use crate::durable;
use crate::families::{LabelKind, label_kind};
use crate::rounds::going::Going;
use crate::rounds::state::Figure;
use crate::rounds::{RoundsError, state};
use crate::scoring::ScoringError;
use crate::task::{self, ModelOptions, TaskModel};
use crate::train::Evaluation;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

/// Lines of a log that an error shows.
const TAIL: usize = 20;

/// Why a training by a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run `{program}`: {source}")]
    Start {
        /// Its first word.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("`{program}` ended with {how}; the end of `{}`:\n{tail}", log.display())]
    Failed {
        /// Its first word.
        program: String,
        /// Its exit code, or the signal that ended it.
        how: String,
        /// All that it wrote.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// It left no model.
    #[error(
        "`{program}` ended with exit code 0 and left no model at `{}` (ISAL_MODEL, {{model}}); the end of `{}`:\n{tail}",
        model.display(), log.display()
    )]
    NoModel {
        /// Its first word.
        program: String,
        /// Where the model should be.
        model: PathBuf,
        /// All that it wrote.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// Its model tells another number of classes apart.
    #[error(
        "`{}` has {found} class scores, and the run has {} classes: {}",
        model.display(), classes.len(), classes.join(", ")
    )]
    Classes {
        /// The model.
        model: PathBuf,
        /// Its class scores.
        found: usize,
        /// The classes of the run.
        classes: Vec<String>,
    },
    /// Its model names other classes.
    #[error(
        "`{}` names classes that the run does not have: {}; expected {}, in any order",
        model.display(), unknown.join(", "), classes.join(", ")
    )]
    Names {
        /// The model.
        model: PathBuf,
        /// Names that are no classes of the run.
        unknown: Vec<String>,
        /// The classes of the run.
        classes: Vec<String>,
    },
    /// Its model is no classifier of these images.
    #[error("`{}` does not fit the run", model.display())]
    Unfit {
        /// The model.
        model: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The observer asked to stop, and the program was ended.
    #[error("interrupted; `{program}` was ended, and starts again with what is in `{}`", work.display())]
    Stopped {
        /// Its first word.
        program: String,
        /// Its own folder.
        work: PathBuf,
    },
}

/// What a training by a command came to: `trained/metrics.json`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Done {
    schema: String,
    /// How the program ran.
    #[serde(flatten)]
    ran: Ran,
    /// SHA-256 of its model.
    model_sha256: String,
    /// What its model is worth on the test images, where they have one class each;
    #[serde(default, skip_serializing_if = "Option::is_none")]
    test: Option<Evaluation>,
    /// else by the measure of the task, where that is a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    figure: Option<Figure>,
    /// The file of numbers that the program left, if it did.
    metrics: Option<Value>,
}

/// How a program ran: `trained/command.json`, also where it failed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Ran {
    /// The program and its arguments, as they were run.
    command: Vec<String>,
    /// Its exit code; absent where a signal ended it.
    exit_code: Option<i32>,
    /// Wall time, in seconds.
    seconds: f64,
    /// The last lines that it wrote.
    log_tail: String,
}

/// The values that a program gets, by name.
#[derive(Debug)]
struct Values(Vec<(&'static str, String)>);

impl Values {
    /// The words of a command, with the values in place of the names in braces.
    fn fill(&self, words: &[String]) -> Vec<String> {
        let fill = |word: &String| {
            self.0.iter().fold(word.clone(), |word, (name, value)| word.replace(&format!("{{{name}}}"), value))
        };
        words.iter().map(fill).collect()
    }

    /// A name in braces in these words that this run has no value for.
    fn missing(&self, words: &[String]) -> Option<&'static str> {
        let absent = |name: &&str| self.0.iter().all(|(known, _)| known != name);
        let asked = |name: &&str| words.iter().any(|word| word.contains(&format!("{{{name}}}")));
        ["reference", "previous-model"].into_iter().filter(absent).find(asked)
    }

    /// The same as environment variables.
    fn environment(&self) -> Vec<(String, String)> {
        let variable = |name: &str| format!("ISAL_{}", name.to_uppercase().replace('-', "_"));
        self.0.iter().map(|(name, value)| (variable(name), value.clone())).collect()
    }
}

/// Where the files of a training are.
struct Place {
    folder: PathBuf,
    model: PathBuf,
    log: PathBuf,
    metrics: PathBuf,
    work: PathBuf,
}

impl Place {
    fn of(going: &Going, round: usize) -> Result<Place, RoundsError> {
        let folder = absolute(&going.layout().trained(round))?;
        Ok(Place {
            model: folder.join("model.onnx"),
            log: folder.join("log.txt"),
            metrics: folder.join("program-metrics.json"),
            work: folder.join("work"),
            folder,
        })
    }
}

/// Runs the command on the labelled images, or takes what it came to before an interruption.
pub(in crate::rounds) fn train_by_command(
    going: &Going,
    round: usize,
    labelled: &Split<Labelled>,
) -> Result<Training, RoundsError> {
    let place = Place::of(going, round)?;
    let done = place.folder.join("metrics.json");
    let finished = match state::read::<Done>(&done)? {
        Some(finished) => finished,
        None => {
            let ran = run(going, round, labelled, &place)?;
            let failed = |source| RoundsError::Command { round, source: Box::new(source) };
            let looked_at = look_at(going, &place).and_then(|model| worth(going, &place, &model));
            let Worth { model_sha256, test, figure } = looked_at.map_err(|error| {
                if !matches!(error, CommandError::Stopped { .. }) {
                    // Another try may leave a better model.
                    let _ = std::fs::remove_file(place.folder.join("command.json"));
                }
                failed(error)
            })?;
            let metrics = std::fs::read(&place.metrics).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let schema = "isal-command-training/1".to_owned();
            let finished = Done { schema, ran, model_sha256, test, figure, metrics };
            state::write(&done, &finished)?;
            finished
        }
    };
    Ok(Training { test: finished.test, figure: finished.figure, seconds: finished.ran.seconds })
}

/// Runs the program, unless it succeeded before.
fn run(going: &Going, round: usize, labelled: &Split<Labelled>, place: &Place) -> Result<Ran, RoundsError> {
    let record = place.folder.join("command.json");
    if let Some(ran) = state::read::<Ran>(&record)?.filter(|ran| ran.exit_code == Some(0) && place.model.exists()) {
        return Ok(ran);
    }
    state::make_folder(&place.work)?;
    let beside = ["toml", "classes.txt"].map(|ending| place.model.with_extension(ending));
    for stale in [&record].into_iter().chain(&beside).chain([&place.model, &place.metrics]) {
        // Of an attempt that failed: it must not be taken for what this one leaves. The record goes first.
        match std::fs::remove_file(stale) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(RoundsError::Write { path: stale.clone(), source });
            }
            _ => {}
        }
    }
    let values = values(going, round, labelled, place)?;
    if let Some(name) = values.missing(&going.config.train.command) {
        let of = if name == "reference" { "data.reference" } else { "model" };
        return Err(RoundsError::Config(format!("train.command has `{{{name}}}`, and the run has no {of}")));
    }
    let command = values.fill(&going.config.train.command);
    let program = command.first().cloned().unwrap_or_default();
    going.observer.say(&format!("round {}: `{program}` trains; its output is in `{}`", round + 1, place.log.display()));
    let began = Instant::now();
    let failed = |source| RoundsError::Command { round, source: Box::new(source) };
    let environment = values.environment();
    let environment: Vec<(&str, String)> =
        environment.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let status = match process::run(&command, &environment, &place.log, going.observer) {
        Err(source) => return Err(failed(CommandError::Start { program, source })),
        Ok(Ended::Stopped) => return Err(failed(CommandError::Stopped { program, work: place.work.clone() })),
        Ok(Ended::Itself(status)) => status,
    };
    let (seconds, tail, log) = (began.elapsed().as_secs_f64(), tail(&place.log), place.log.clone());
    let ran = Ran { command, exit_code: status.code(), seconds, log_tail: tail.clone() };
    state::write(&record, &ran)?;
    if !status.success() {
        return Err(failed(CommandError::Failed { program, how: how(status), log, tail: indented(&tail) }));
    }
    if !place.model.exists() {
        let model = place.model.clone();
        return Err(failed(CommandError::NoModel { program, model, log, tail: indented(&tail) }));
    }
    Ok(ran)
}

/// Writes the lists, and gathers all values that the program gets.
fn values(going: &Going, round: usize, labelled: &Split<Labelled>, place: &Place) -> Result<Values, RoundsError> {
    let lists = Lists {
        lists: going.layout().round(round).join("lists"),
        images: going.layout().0.join("images"),
        classes: &going.classes,
        kind: going.label_kind,
    };
    let text = |path: &Path| path.display().to_string();
    let mut values = vec![
        ("labeled", text(&lists.write("labeled", "pool", labelled.dataset())?)),
        ("test", text(&lists.write("test", "test", going.test.dataset())?)),
        ("classes", text(&lists.write_classes()?)),
        ("seed", going.seed(round).to_string()),
        ("round", (round + 1).to_string()),
        ("out", text(&place.work)),
        ("model", text(&place.model)),
        ("metrics", text(&place.metrics)),
    ];
    if let Some(reference) = &going.reference {
        let named = |source| RoundsError::data("data.reference", going.config.reference_path(), source);
        let reference = reference.with_classes(&going.classes).map_err(named)?;
        values.push(("reference", text(&lists.write("reference", "reference", &reference)?)));
    }
    if let Some(before) = going.start_model(round) {
        values.push(("previous-model", text(&absolute(&before)?)));
    }
    Ok(Values(values))
}

/// Reads the model that the program left, checks it against the run, and puts beside it what it must be fed.
fn look_at(going: &Going, place: &Place) -> Result<TaskModel, CommandError> {
    let unfit =
        |source: Box<dyn std::error::Error + Send + Sync>| CommandError::Unfit { model: place.model.clone(), source };
    let beside = place.model.with_extension("toml");
    let mut task = task::of_file(&place.model).map_err(|e| unfit(e.into()))?;
    if !beside.exists() {
        // An exported detector says how it sees images, another one sees them as the model that the run starts from.
        let options = ModelOptions { task: task.clone(), ..ModelOptions::default() };
        let preprocess = match task {
            Some(_) => task::preprocess_of_file(&place.model, &options).map_err(|e| unfit(e.into()))?,
            None => going.preprocess.clone(),
        };
        task = task.or_else(|| going.task.task.clone());
        let text = task::text_beside(&place.folder, &preprocess, task.as_ref()).map_err(|e| unfit(e.into()))?;
        durable::write_bytes(&beside, text.as_bytes()).map_err(|e| unfit(e.into()))?;
    }
    let options = ModelOptions { task, ..ModelOptions::default() };
    let model = TaskModel::read(&place.model, &options).map_err(|e| unfit(e.into()))?;
    let found = label_kind(&model.task.name, &model.task.annotations().cloned().collect::<Vec<_>>());
    if found != going.label_kind {
        let words = |kind: Option<LabelKind>| kind.map_or("something else", LabelKind::in_words);
        let (found, wanted) = (words(found), words(going.label_kind));
        let text = format!(
            "by its task `{}` an image has {found}, and {wanted} in this run; `[task]` of `{}` says the task",
            model.task.name,
            beside.display()
        );
        return Err(unfit(text.into()));
    }
    // Graphs that a user brings do not say how many there are.
    if model.classes > 0 && model.classes != going.classes.len() {
        let (found, classes) = (model.classes, going.classes.clone());
        return Err(CommandError::Classes { model: place.model.clone(), found, classes });
    }
    let names = place.model.with_extension("classes.txt");
    if !names.exists() {
        durable::write_bytes(&names, (going.classes.join("\n") + "\n").as_bytes()).map_err(|e| unfit(e.into()))?;
    }
    Ok(model)
}

/// What a model is worth on the test images, with its hash.
struct Worth {
    model_sha256: String,
    test: Option<Evaluation>,
    figure: Option<Figure>,
}

/// What the model is worth on the test images.
fn worth(going: &Going, place: &Place, model: &TaskModel) -> Result<Worth, CommandError> {
    let unfit =
        |source: Box<dyn std::error::Error + Send + Sync>| CommandError::Unfit { model: place.model.clone(), source };
    let model_sha256 = model.network.sha256.clone();
    let failed = |error: ScoringError| match ScoringError::is_interruption(&error) {
        true => {
            let program = going.config.train.command.first().cloned().unwrap_or_default();
            CommandError::Stopped { program, work: place.work.clone() }
        }
        false => unfit(error.into()),
    };
    if model.classes == 0 {
        let figure = measured(going, &place.model).map_err(failed)?;
        return Ok(Worth { model_sha256, test: None, figure });
    }
    let names = class_names(&model.network, model.classes, None, &[], None).map_err(|e| unfit(e.into()))?;
    let known: BTreeSet<&String> = going.classes.iter().collect();
    let unknown: Vec<String> = names.names.iter().filter(|name| !known.contains(name)).cloned().collect();
    if !unknown.is_empty() {
        let (model, classes) = (place.model.clone(), going.classes.clone());
        return Err(CommandError::Names { model, unknown, classes });
    }
    let Some(scores) = &model.class_scores else {
        let figure = measured(going, &place.model).map_err(failed)?;
        return Ok(Worth { model_sha256, test: None, figure });
    };
    let test = going.test.dataset().with_classes(&names.names).map_err(|e| unfit(e.into()))?;
    let test = Split::<Test>::new(test).map_err(|e| unfit(e.into()))?;
    let preprocess = Preprocess::beside(&place.model).map_err(|e| unfit(e.into()))?;
    let found = evaluate(model, scores, &preprocess, &test, going.execution, going.observer).map_err(failed)?;
    Ok(Worth { model_sha256, test: Some(found), figure: None })
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n")
}

/// A tail as an error shows it.
fn indented(tail: &str) -> String {
    match tail {
        "" => "    (it wrote nothing)".to_owned(),
        tail => tail.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_replace_names_in_braces_and_are_in_the_environment() {
        let values = Values(vec![("labeled", "/a/labeled.jsonl".into()), ("previous-model", "/b.onnx".into())]);
        let words = ["train.py", "--list={labeled}", "{previous-model}", "{other}"].map(str::to_owned);
        assert_eq!(values.fill(&words), ["train.py", "--list=/a/labeled.jsonl", "/b.onnx", "{other}"]);
        assert_eq!(values.missing(&words), None);
        assert_eq!(values.missing(&["--with={reference}".to_owned()]), Some("reference"));
        let names: Vec<String> = values.environment().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ISAL_LABELED", "ISAL_PREVIOUS_MODEL"]);
    }

    #[test]
    fn a_tail_has_the_last_lines() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log.txt");
        assert!(indented(&tail(&log)).contains("nothing"));
        let lines: Vec<String> = (0..30).map(|line| format!("line {line}")).collect();
        std::fs::write(&log, lines.join("\n")).expect("written");
        let tail = indented(&tail(&log));
        assert!(tail.starts_with("    line 10\n") && tail.ends_with("line 29"), "{tail}");
    }
}
