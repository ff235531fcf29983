//! What a study is made of, as its file says it, and the runs that come of it.

use super::StudyError;
use crate::compare;
use crate::rounds::{Amount, RunConfig, Setting};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the data set of a study that names none is called.
const ONLY: &str = "data";

/// A study. Paths are taken from the folder that the command is called in.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StudyConfig {
    /// The file of the run that all others are made from; or `run` holds it.
    #[serde(default)]
    pub base: Option<PathBuf>,
    /// The run that all others are made from.
    #[serde(default)]
    pub run: Option<toml::Table>,
    /// Seeds that every arm is run with.
    pub seeds: Seeds,
    /// Values of `labels.budget`, each compared on its own; empty takes that of the run.
    #[serde(default)]
    pub budgets: Vec<Amount>,
    /// What is compared.
    #[serde(default)]
    pub arm: Vec<Part>,
    /// What it is compared on; empty takes that of the run.
    #[serde(default)]
    pub data: Vec<Part>,
}

/// Seeds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub enum Seeds {
    /// So many, from 0.
    Count(u64),
    /// These.
    List(Vec<u64>),
}

/// An arm or a data set: a name, and what it changes of the run.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The name of its folder too.
    pub name: String,
    /// Keys of a run with their values.
    #[serde(default)]
    pub set: toml::Table,
}

impl Part {
    /// Every value with its whole key; inner tables are keys with dots.
    fn settings(&self) -> Vec<Setting> {
        fn into(prefix: &str, table: &toml::Table, settings: &mut Vec<Setting>) {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                match value {
                    toml::Value::Table(inner) => into(&key, inner, settings),
                    value => settings.push(Setting { key, value: value.clone() }),
                }
            }
        }
        let mut settings = Vec::new();
        into("", &self.set, &mut settings);
        settings
    }

    /// Puts its values into a run. One that names a strategy or a solver has none of the options of the run's own.
    fn put(&self, what: &str, run: &mut toml::Table) -> Result<(), StudyError> {
        let settings = self.settings();
        for (table, name) in [("select", "select.strategy"), ("solver", "solver.solver")] {
            if settings.iter().any(|setting| setting.key == name) {
                run.remove(table);
            }
        }
        for setting in settings {
            let failed = |source| StudyError::Setting {
                of: format!("{what} `{}`", self.name),
                key: setting.key.clone(),
                source,
            };
            setting.put(run).map_err(failed)?;
        }
        Ok(())
    }
}

/// One run of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The data set.
    pub data: String,
    /// The budget, where the study has several.
    pub budget: Option<Amount>,
    /// The arm.
    pub arm: String,
    /// What is run.
    pub config: RunConfig,
    /// Where it lies.
    pub folder: PathBuf,
}

impl Planned {
    /// What it is compared on, in words.
    pub fn setting(&self) -> String {
        match self.budget {
            None => self.data.clone(),
            Some(budget) => format!("{}, budget {}", self.data, amount(budget)),
        }
    }
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Share(share) => share.to_string(),
    }
}

/// The study in a file.
///
/// # Errors
/// A file that cannot be read or is not of a study.
pub fn read(path: &Path) -> Result<StudyConfig, StudyError> {
    let text = text(path)?;
    toml::from_str(&text).map_err(|source| StudyError::Toml { path: path.to_path_buf(), source: Box::new(source) })
}

fn text(path: &Path) -> Result<String, StudyError> {
    std::fs::read_to_string(path).map_err(|source| StudyError::Read { path: path.to_path_buf(), source })
}

/// Every run of a study, in folders below `out`: seed after seed, so that all arms have as many of them at any time.
///
/// # Errors
/// A study without arms or seeds, with names that are no folders or stand twice, with arms that are the same or that differ in
/// what they must share; combinations that are no run.
pub fn plan(study: &StudyConfig, out: &Path) -> Result<Vec<Planned>, StudyError> {
    let bad = |text: &str| Err(StudyError::Config(text.to_owned()));
    let base = match (&study.base, &study.run) {
        (Some(path), None) => toml::from_str(&text(path)?)
            .map_err(|source| StudyError::Toml { path: path.clone(), source: Box::new(source) })?,
        (None, Some(run)) => run.clone(),
        (Some(_), Some(_)) => return bad("both `base` and `[run]` are given, expected one of them"),
        (None, None) => return bad("neither `base`, the file of a run, nor `[run]` is given"),
    };
    let seeds = seeds(&study.seeds)?;
    if study.arm.is_empty() {
        return bad("the study has no `[[arm]]`");
    }
    let only = [Part { name: ONLY.to_owned(), set: toml::Table::new() }];
    let data = if study.data.is_empty() { &only[..] } else { &study.data };
    names("arm", &study.arm)?;
    names("data", data)?;
    let budgets: Vec<Option<Amount>> = match study.budgets.is_empty() {
        true => vec![None],
        false => study.budgets.iter().copied().map(Some).collect(),
    };
    let mut planned = Vec::new();
    for data in data {
        for budget in &budgets {
            let mut of_data = base.clone();
            data.put("data set", &mut of_data)?;
            let mut folder = out.join(&data.name);
            if let Some(budget) = budget {
                let value = match *budget {
                    Amount::Count(count) => toml::Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)),
                    Amount::Share(share) => toml::Value::Float(share),
                };
                let setting = Setting { key: "labels.budget".to_owned(), value };
                let failed =
                    |source| StudyError::Setting { of: "budgets".to_owned(), key: setting.key.clone(), source };
                setting.put(&mut of_data).map_err(failed)?;
                folder.push(format!("budget-{}", amount(*budget)));
            }
            let configs = study.arm.iter().map(|arm| config(arm, &data.name, of_data.clone()));
            let configs: Vec<RunConfig> = configs.collect::<Result<_, _>>()?;
            check(&study.arm, &configs)?;
            for seed in &seeds {
                planned.extend(study.arm.iter().zip(&configs).map(|(arm, config)| Planned {
                    data: data.name.clone(),
                    budget: *budget,
                    arm: arm.name.clone(),
                    config: RunConfig { seed: *seed, ..config.clone() },
                    folder: folder.join(&arm.name).join(format!("seed-{seed:02}")),
                }));
            }
        }
    }
    Ok(planned)
}

/// The run of an arm on a data set, with any seed.
fn config(arm: &Part, data: &str, mut run: toml::Table) -> Result<RunConfig, StudyError> {
    arm.put("arm", &mut run)?;
    run.try_into().map_err(|source| StudyError::Run {
        of: format!("arm `{}`", arm.name),
        data: format!("`{data}`"),
        source: Box::new(source),
    })
}

fn seeds(seeds: &Seeds) -> Result<Vec<u64>, StudyError> {
    let list: Vec<u64> = match seeds {
        Seeds::Count(count) => (0..*count).collect(),
        Seeds::List(list) => list.clone(),
    };
    if list.is_empty() {
        return Err(StudyError::Config("`seeds` are none, expected a number of them or a list".to_owned()));
    }
    match list.iter().enumerate().find(|(place, seed)| list[..*place].contains(seed)) {
        Some((_, seed)) => Err(StudyError::Config(format!("`seeds` has {seed} twice"))),
        None => Ok(list),
    }
}

/// Names become folders, on any system.
fn names(what: &str, parts: &[Part]) -> Result<(), StudyError> {
    for (place, Part { name, .. }) in parts.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let rule = "expected letters, digits, `-`, `_` and `.`, and no `.` in front";
            return Err(StudyError::Config(format!("[[{what}]] is called `{name}`, {rule}")));
        }
        // Some systems take names for the same that differ in case alone.
        if parts[..place].iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            return Err(StudyError::Config(format!("two [[{what}]] are called `{name}`")));
        }
    }
    Ok(())
}

/// Checks that arms differ, and in nothing but what makes an arm.
fn check(arms: &[Part], configs: &[RunConfig]) -> Result<(), StudyError> {
    let Some(first) = configs.first() else { return Ok(()) };
    let expected = compare::shared(first);
    let mut known: Vec<(&str, BTreeMap<_, _>, Option<&PathBuf>)> = Vec::new();
    for (arm, config) in arms.iter().zip(configs) {
        if config.asks_people() {
            return Err(StudyError::Config(format!(
                "arm `{}` asks people for labels (oracle.kind = \"human\"), and a study is of pools whose labels are there",
                arm.name
            )));
        }
        if config.seed != first.seed {
            return Err(StudyError::Config(format!("arm `{}` sets `seed`, which the study's `seeds` do", arm.name)));
        }
        let mut differences = compare::differences(&expected, &compare::shared(config));
        let shown = |path: Option<&PathBuf>| path.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
        for (key, one, other) in [
            ("model", first.model.as_ref(), config.model.as_ref()),
            ("data.pool", Some(&first.data.pool), Some(&config.data.pool)),
            ("data.test", Some(&first.data.test), Some(&config.data.test)),
        ] {
            if one != other {
                differences.push(format!("{key} ({} and {})", shown(one), shown(other)));
            }
        }
        if !differences.is_empty() {
            let (one, other) = (&arms[0].name, &arm.name);
            let differences = differences.join(", ");
            return Err(StudyError::Config(format!(
                "arms `{one}` and `{other}` cannot be compared, they differ in {differences}"
            )));
        }
        let (options, reference) = (compare::options(config, config.task().as_deref()), config.data.reference.as_ref());
        if let Some((other, ..)) = known.iter().find(|(_, o, r)| *o == options && *r == reference) {
            return Err(StudyError::Config(format!("arms `{other}` and `{}` are the same", arm.name)));
        }
        known.push((&arm.name, options, reference));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = r#"
        seeds = [3, 5]
        budgets = [20, 0.1]
        [run]
        rounds = 2
        model = "model.onnx"
        data = { pool = "pool", test = "test", reference = "reference" }
        labels = { initial = 40, budget = 40 }
        select = { strategy = "power-margin", beta = 2.0 }
        [[arm]]
        name = "random"
        set = { select.strategy = "random" }
        [[arm]]
        name = "power"
        [[arm]]
        name = "influence"
        set = { "select.strategy" = "influence", solver = { solver = "lissa" } }
        [[data]]
        name = "digits"
        [[data]]
        name = "clothing"
        set = { data.pool = "other" }
    "#;

    fn planned(text: &str) -> Result<Vec<Planned>, StudyError> {
        plan(&toml::from_str(text).expect("a study"), Path::new("out"))
    }

    #[test]
    fn every_combination_is_a_run_in_a_folder_of_its_own() {
        let planned = planned(STUDY).expect("a plan");
        assert_eq!(planned.len(), 2 * 2 * 3 * 2);
        let mut folders: Vec<&Path> = planned.iter().map(|planned| planned.folder.as_path()).collect();
        assert_eq!(folders[0], Path::new("out/digits/budget-20/random/seed-03"));
        folders.sort_unstable();
        folders.dedup();
        assert_eq!(folders.len(), planned.len());
        let last = planned.last().expect("a run");
        assert_eq!(last.folder, Path::new("out/clothing/budget-0.1/influence/seed-05"));
        assert_eq!((last.config.seed, last.config.labels.budget), (5, Amount::Share(0.1)));
        assert_eq!(
            (last.config.data.pool.as_path(), last.setting().as_str()),
            (Path::new("other"), "clothing, budget 0.1")
        );
        assert!(last.config.solver.is_some());
        let strategies: Vec<&str> = planned[..3].iter().map(|planned| planned.config.select.row().name).collect();
        assert_eq!(
            strategies,
            ["random", "power-margin", "influence"],
            "a strategy drops the options of the run's own"
        );
    }

    #[test]
    fn what_makes_no_study_is_refused_by_name() {
        for (from, to, expected) in [
            ("seeds = [3, 5]", "seeds = [3, 3]", "3 twice"),
            ("seeds = [3, 5]", "seeds = 0", "`seeds`"),
            ("seeds = [3, 5]", "seeds = 2\nbase = \"run.toml\"", "both `base` and `[run]`"),
            ("name = \"power\"", "name = \"RANDOM\"", "two [[arm]]"),
            ("name = \"power\"", "name = \"a/b\"", "a/b"),
            ("name = \"power\"", "name = \"power\"\nset = { train.epochs = 3 }", "train.epochs (30 and 3)"),
            ("name = \"power\"", "name = \"power\"\nset = { seed = 3 }", "sets `seed`"),
            ("name = \"power\"", "name = \"power\"\nset = { oracle = { kind = \"human\" } }", "asks people"),
            ("name = \"power\"", "name = \"power\"\nset = { data.test = \"x\" }", "data.test"),
            ("name = \"power\"", "name = \"power\"\nset = { rounds.x = 3 }", "`rounds.x`"),
            ("name = \"power\"", "name = \"power\"\nset = { select.strategy = \"random\" }", "are the same"),
            ("name = \"power\"", "name = \"power\"\nset = { select.strategy = \"guess\" }", "guess"),
        ] {
            let error = planned(&STUDY.replace(from, to)).expect_err("refused").to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn the_studies_in_configs_are_studies() {
        for (name, runs) in [("strategies", 23 * 60), ("prefilter", 8 * 60), ("honesty-encoder", 10 * 20)] {
            let path = format!("configs/studies/{name}.toml");
            let study = read(Path::new(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            let planned = plan(&study, Path::new("out")).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(planned.len(), runs, "{path}");
        }
    }

    #[test]
    fn the_study_that_comes_with_the_program_is_one() {
        let study = read(Path::new("configs/studies/digits.toml")).expect("a study");
        let planned = plan(&study, Path::new("out")).expect("a plan");
        assert_eq!(planned.len(), 3 * 5);
        assert_eq!(planned[0].folder, Path::new("out/data/random/seed-00"));
    }
}
