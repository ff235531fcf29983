//! Images per second of every kind of pass over a model of the zoo:
//! `cargo run --release -p isal-plugin-tch --example throughput -- [MODEL [BATCH [ROUNDS]]]`.
//!
//! The passes take turns, so that another program on the machine slows all of them alike; the fastest round of each
//! counts.

use isal_exporters::{build, seeded, zoo};
use isal_plugin_tch::{Batch, Engine, Failure, Options, Step};
use std::error::Error;
use std::time::Instant;
use tch::{Kind, Tensor};

#[path = "../tests/engine/small.rs"]
#[allow(dead_code)]
mod small;
use small::single_label;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "resnet18".to_owned());
    let batch: usize = arguments.next().map_or(Ok(64), |a| a.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |a| a.parse())?;
    let entry = zoo().iter().find(|e| e.name == name).ok_or("no such model in the zoo")?;
    let mut model = build(entry.name, &entry.defaults)?;
    seeded::overwrite(&mut model, 0, 0.9);
    let statistic = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
    let parameters = model.graph.initializers.keys().filter(|n| !statistic(n)).cloned().collect();
    let options = Options {
        parameters,
        loss: Some(single_label("logits", entry.defaults.classes)),
        device: "cpu".to_owned(),
        kind: Kind::Float,
        threads: 0,
    };
    let mut engine = Engine::load(&model, &options)?;
    let [c, h, w] = entry.defaults.input;
    let dims = [batch, c, h, w];
    let pixels = seeded::images(0, dims).to_vec::<f32>().ok_or("float32 images")?;
    let images = Tensor::f_from_slice(&pixels)?.f_reshape(dims.map(|d| d as i64))?;
    let labels: Vec<i64> = (0..batch as i64).map(|i| i % 10).collect();
    let targets = Tensor::f_from_slice(&labels)?.f_one_hot(entry.defaults.classes as i64)?.f_to_kind(Kind::Float)?;
    let batch_size = batch;
    let batch = Batch(vec![("images".to_owned(), images), ("weights".to_owned(), targets)]);
    let v = engine.gradient(&batch)?.1;
    let step = Step {
        learning_rate: 0.0,
        momentum: 0.9,
        weight_decay: 0.0,
        decay_all: false,
        clip_norm: None,
        bias_rate: 1.0,
        nesterov: false,
        seed: 0,
    };

    type Pass<'a> = (&'static str, Box<dyn FnMut(&mut Engine) -> Result<(), Failure> + 'a>);
    let mut passes: Vec<Pass> = vec![
        ("forward", Box::new(|e| e.forward(&batch).map(drop))),
        ("jvp", Box::new(|e| e.jvp(&batch, &v).map(drop))),
        ("gradient", Box::new(|e| e.gradient(&batch).map(drop))),
        ("hvp, forward over reverse", Box::new(|e| e.hessian_product(&batch, &v).map(drop))),
        ("hvp, reverse over reverse", Box::new(|e| e.hessian_product_by_reverse(&batch, &v).map(drop))),
        ("gauss-newton", Box::new(|e| e.gauss_newton_product(&batch, &v).map(drop))),
        ("training step", Box::new(|e| e.train_step(&batch, &step).map(drop))),
    ];
    let mut best = vec![f64::INFINITY; passes.len()];
    for _ in 0..=rounds {
        for (best, (_, pass)) in best.iter_mut().zip(&mut passes) {
            let start = Instant::now();
            pass(&mut engine)?;
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    println!("{name}, batch {batch_size}, {} threads, best of {}", tch::get_num_threads(), rounds + 1);
    for (seconds, (pass, _)) in best.iter().zip(&passes) {
        println!("{pass:<26} {:>8.1} images/s  {:>5.2} x forward", batch_size as f64 / seconds, seconds / best[0]);
    }
    Ok(())
}
