//! The recipes under `configs/` are the defaults in words: read, complete, and refused when misspelt.

use std::collections::BTreeMap;

use isal::influence::{DEFAULT_SOLVER, SOLVERS, SolverOptions};
use isal::select::{STRATEGIES, StrategyOptions};

fn recipes(kind: &str) -> BTreeMap<String, String> {
    let folder = format!("{}/configs/{kind}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_dir(&folder)
        .expect(&folder)
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn every_solver_has_a_recipe_that_says_its_defaults() {
    let recipes = recipes("solver");
    let mut names: Vec<&str> = SOLVERS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    assert_eq!(recipes.keys().collect::<Vec<_>>(), names);
    for row in SOLVERS {
        let read: SolverOptions = toml::from_str(&recipes[row.name]).expect(row.name);
        let defaults = (row.options)();
        assert_eq!(read, defaults, "{}", row.name);
        assert_eq!(SolverOptions::named(row.name).unwrap(), defaults);
        defaults.validate().expect(row.name);
        // What a recipe leaves out has the value that it says.
        let keys = |text: &str| text.parse::<toml::Table>().unwrap().keys().cloned().collect::<Vec<String>>();
        let (mut said, mut known) = (keys(&recipes[row.name]), keys(&toml::to_string(&defaults).unwrap()));
        said.sort_unstable();
        known.sort_unstable();
        assert_eq!(said, known, "{}", row.name);
    }
    assert!(SolverOptions::named(DEFAULT_SOLVER).is_ok());
}

#[test]
fn every_strategy_has_a_recipe_that_says_its_defaults() {
    let recipes = recipes("strategy");
    let mut names: Vec<&str> = STRATEGIES.iter().map(|row| row.name).collect();
    names.sort_unstable();
    assert_eq!(recipes.keys().collect::<Vec<_>>(), names);
    for row in STRATEGIES {
        let read: StrategyOptions = toml::from_str(&recipes[row.name]).expect(row.name);
        assert_eq!(read, (row.options)(), "{}", row.name);
        assert_eq!(read.row().name, row.name);
    }
}

#[test]
fn a_misspelt_key_is_refused_by_name() {
    let cases = [
        ("solver = \"cg-hessian\"\nmax_iterations = 3", "max_iterations"),
        ("solver = \"cg-hessian\"\ndamping = { relative = { fractoin = 0.1 } }", "fractoin"),
        ("solver = \"lissa\"\nstep = { given = { damping = 0.1, scale = 1.0, depth = 3 } }", "depth"),
        ("solver = \"ekfac\"", "ekfac"),
    ];
    for (text, word) in cases {
        let error = toml::from_str::<SolverOptions>(text).expect_err(text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    for (text, word) in [("strategy = \"influence\"\nseed = 1", "seed"), ("strategy = \"loudest\"", "loudest")] {
        let error = toml::from_str::<StrategyOptions>(text).expect_err(text).to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn options_outside_their_range_are_refused_before_any_work() {
    let cases = [
        ("solver = \"cg-hessian\"\ndamping = { fixed = -1.0 }", "damping.fixed"),
        ("solver = \"cg-hessian\"\ntolerance = 0.0", "tolerance"),
        ("solver = \"cg-gauss-newton\"\ndamping = { relative = { fraction = nan } }", "damping.relative.fraction"),
        (
            "solver = \"cg-gauss-newton\"\ndamping = { relative = { fraction = 0.1, lanczos-steps = 0 } }",
            "lanczos-steps",
        ),
        ("solver = \"lissa\"\nstep = { given = { damping = 1.0, scale = 1.0 } }", "step.given.damping"),
        ("solver = \"lissa\"\nstep = { automatic = { damping = { fixed = 0.0 } } }", "step.automatic.damping.fixed"),
        ("solver = \"lissa\"\nbatch = 0", "batch"),
        ("solver = \"identity\"\ndamping = { fixed = 0.0 }", "damping.fixed"),
    ];
    for (text, option) in cases {
        let error = toml::from_str::<SolverOptions>(text).expect(text).validate().expect_err(text).to_string();
        assert!(error.contains(option), "{text}: {error}");
    }
}
