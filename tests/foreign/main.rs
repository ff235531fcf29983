//! Models that others made: each is read, transformed and run in both forms, and held against the plugin's derivative or a
//! central difference of ONNX Runtime's own outputs.
//!
//! `docs/MODELS.md` has a line for each; `make models` writes it. Whatever runs agrees, or the test fails: nothing is
//! silently different. Needs the plugin and ONNX Runtime (`make plugin`), and the ONNX wheel's test data.

#[path = "../fixtures/classes.rs"]
mod classes;
mod examine;
mod network;
mod table;

use examine::Bench;
use isal::plugin::Plugin;
use isal::runtime::Library;
use isal_onnx::testing::whole_suite;
use network::{Source, fetched, in_the_wheel};
use table::Row;

fn measure(sources: &[Source]) -> Vec<Row> {
    let library = Library::load(None).expect("ONNX Runtime: run `make setup`");
    let plugin = Plugin::find(None).expect("the plugin: run `make plugin`");
    let bench = Bench { library, plugin };
    sources
        .iter()
        .map(|source| {
            let row = Row::of(source, &bench);
            println!("{}", row.line());
            row
        })
        .collect()
}

#[test]
fn models_in_the_onnx_wheel_work_in_the_forms_that_the_table_says() {
    let mut sources = in_the_wheel();
    sources.retain(|source| !source.is_heavy() && (whole_suite() || !source.has_its_like()));
    assert!(sources.len() >= 45, "only {} models", sources.len());
    table::hold(&measure(&sources));
}

#[test]
#[ignore = "takes the models of `toolchain/models`, which a test does not fetch, and gigabytes; `make models`"]
fn large_models_and_trained_ones_from_packages_work_in_the_forms_that_the_table_says() {
    let mut sources = fetched();
    assert_eq!(sources.len(), 6, "run `toolchain/models` first");
    let bless = std::env::var_os("ISAL_BLESS").is_some();
    sources.extend(in_the_wheel().into_iter().filter(|source| bless || source.is_heavy()));
    let rows = measure(&sources);
    if bless {
        table::write(&rows);
    }
    table::hold(&rows);
}
