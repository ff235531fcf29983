//! A folder with labelled pictures and a pool of more.

use crate::compose::{self, CLASSES, SIDE};
use assert_cmd::Command;
use isal::scores::ScoreTable;
use isal_exporters::seeded;
use isal_onnx::{Builder, DataType, Dim, Model, Tensor, ValueType};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

pub struct Place {
    folder: tempfile::TempDir,
}

/// Files that cannot be scored name what is wrong and end with exit code 2.
pub const BAD_INPUT: i32 = 2;

impl Place {
    /// Nothing yet.
    pub fn empty() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// `labelled` pictures with all that is known of them, and the images of 300 more.
    pub fn new(labelled: usize) -> Place {
        let place = Place::empty();
        let table = compose::table();
        compose::write(&place.path("labeled"), &compose::pictures(&table, 1, labelled));
        compose::write(&place.path("rest"), &compose::pictures(&table, 2, 300));
        fs::rename(place.path("rest/images"), place.path("pool")).expect("moved");
        let names: Vec<String> = (0..CLASSES).map(|class| format!("digit {class}")).collect();
        fs::write(place.path("names.txt"), names.join("\n")).expect("written");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `isal`, one thread, in the folder.
    pub fn isal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("isal"));
        command.current_dir(self.folder.path()).args(arguments).args(["--threads", "1"]);
        command
    }

    /// `isal score pool` of `trained/model.onnx` with these labels, into `out`.
    pub fn score(&self, labelled: &str, out: &str, more: &[&str]) -> Command {
        let model = ["score", "pool", "--model", "trained/model.onnx", "--labeled", labelled, "--pool", "pool"];
        let mut command = self.isal(&model);
        command.args(["--budget", "20", "--batch-size", "16", "-o", out]).args(more);
        command
    }

    /// The score table in a folder.
    pub fn table(&self, out: &str) -> ScoreTable {
        ScoreTable::read_parquet(&self.path(out).join("scores.parquet")).expect("scores")
    }

    pub fn influences(&self, out: &str) -> Vec<f64> {
        self.table(out).rows.iter().map(|row| row.influence.expect("an influence")).collect()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).expect("read")).expect("JSON")
    }

    /// What a command that must fail says, which is bad input.
    pub fn refused(&self, command: &mut Command) -> String {
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(BAD_INPUT), "{said}");
        said
    }
}

/// The columns of beliefs in a table.
pub fn columns(table: &ScoreTable) -> Vec<&str> {
    table.columns.iter().map(|column| column.name.as_str()).collect()
}

/// Ids of the selected images, and those of the lowest influences.
pub fn selected(place: &Place, out: &str) -> (Vec<String>, Vec<String>) {
    let selection = place.json(&format!("{out}/selection.json"));
    let ids = selection["selected"].as_array().expect("a list").iter();
    let ids: Vec<String> = ids.map(|chosen| chosen["id"].as_str().expect("an id").to_owned()).collect();
    let mut rows = place.table(out).rows;
    rows.sort_by(|a, b| a.influence.expect("one").total_cmp(&b.influence.expect("one")));
    (ids.clone(), rows.into_iter().take(ids.len()).map(|row| row.id).collect())
}

fn float(dims: &[Dim]) -> ValueType {
    ValueType { data_type: DataType::Float, shape: Some(dims.to_vec()) }
}

/// Fully convolutional: down by two and up again, `classes` scores a pixel.
pub fn convolutional(classes: usize) -> Model {
    let mut b = Builder::new("fcn");
    let side = Dim::from(SIDE as usize);
    let images = b.input("images", float(&["N".into(), 1.into(), side.clone(), side.clone()]));
    let weights = |name: &str, dims: &[usize]| {
        let (outputs, inputs) = (dims[0], dims[1..].iter().product::<usize>());
        let size = (6.0 / inputs.max(outputs) as f64).sqrt();
        Tensor::new(dims.to_vec(), &seeded::uniform(5, name, dims.iter().product(), -size..size))
    };
    let layer = |b: &mut Builder, x, name: &str, op: &str, dims: [usize; 4], attributes: &[(&str, Vec<i64>)]| {
        let w = b.initializer(&format!("{name}.weight"), weights(name, &dims));
        let channels = if op == "Conv" { dims[0] } else { dims[1] };
        let bias = b.initializer(&format!("{name}.bias"), Tensor::new([channels], &vec![0.0_f32; channels]));
        let mut node = b.node(op, [x, w, bias]);
        for (key, value) in attributes {
            node = node.attr(key, value.clone());
        }
        node.value()
    };
    let x = layer(&mut b, images, "in", "Conv", [8, 1, 5, 5], &[("pads", vec![2; 4])]);
    let x = b.op("Relu", [x]);
    let x = b.node("MaxPool", [x]).attr("kernel_shape", vec![2_i64; 2]).attr("strides", vec![2_i64; 2]).value();
    let x = layer(&mut b, x, "deep", "Conv", [16, 8, 5, 5], &[("pads", vec![2; 4])]);
    let x = b.op("Relu", [x]);
    let x = layer(&mut b, x, "wide", "Conv", [16, 16, 5, 5], &[("pads", vec![2; 4])]);
    let x = b.op("Relu", [x]);
    let x = layer(&mut b, x, "up", "ConvTranspose", [16, 8, 2, 2], &[("strides", vec![2; 2])]);
    let x = b.op("Relu", [x]);
    let w = b.initializer("out.weight", weights("out", &[classes, 8, 1, 1]));
    let bias = b.initializer("out.bias", Tensor::new([classes], &vec![0.0_f32; classes]));
    let scores = b.node("Conv", [x, w, bias]).outputs(["scores"]).value();
    b.output("scores", scores, Some(float(&["N".into(), classes.into(), side.clone(), side])));
    Model::new(17, b.finish().expect("a graph"))
}
