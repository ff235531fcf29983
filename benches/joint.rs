//! Seconds and memory of each joint strategy on numbers in the place of images.
//!
//!     cargo bench --bench joint [-- [STRATEGY] [BUDGET [FEATURES [CLASSES [CANDIDATES]]]]]
//!
//! The candidates are as many as the strategy takes for the budget of a pool of a million (those alone are embedded), beside
//! 1,000 labelled and 2,000 target images. Each strategy runs in a process of its own, so that its peak memory is its own. CPU
//! is seconds of all cores together, which others who use the machine change less than the time.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may stop at the first surprise")]

use isal::observe::Unobserved;
use isal::select::{Embedded, Gate, STRATEGIES, Sets, StrategyOptions};
use ndarray::Array2;
use std::process::Command;
use std::time::Instant;

const POOL: usize = 1_000_000;

/// Numbers of a hash: uniform sums, near enough to normal.
fn numbers(images: usize, width: usize, salt: u64) -> Array2<f32> {
    let at = |n: u64| {
        let mut x = (n ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 32;
        let parts = [x & 0xFFFF, (x >> 16) & 0xFFFF, (x >> 32) & 0xFFFF, x >> 48];
        (parts.iter().sum::<u64>() as f32 / 65_536.0 - 2.0) * 1.7
    };
    Array2::from_shape_fn((images, width), |(i, j)| at((i * width + j) as u64))
}

/// Images of ten groups, whose beliefs follow them.
fn embedded(images: usize, width: usize, classes: usize, salt: u64) -> Embedded {
    let centres = numbers(classes, width, 7);
    let mut features = numbers(images, width, salt);
    for (i, mut row) in features.rows_mut().into_iter().enumerate() {
        row += &centres.row(i % classes);
    }
    let mut logits = numbers(images, classes, salt + 1);
    (0..images).for_each(|i| logits[[i, i % classes]] += 2.0);
    Embedded { features, logits, labels: (0..images).map(|i| Some((i % classes) as u32)).collect() }
}

/// Peak memory of this process, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Seconds of all cores that this process has taken.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // In ticks, of which Linux has 100 a second for whoever asks.
    after_name.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn one(name: &str, [budget, width, classes, candidates]: [usize; 4]) {
    let options = StrategyOptions::named(name).unwrap();
    let candidates = if candidates > 0 { candidates } else { options.first_pass(budget).1 };
    let candidates = embedded(candidates.min(POOL), width, classes, 1);
    let (labelled, target) = (embedded(1_000, width, classes, 2), embedded(2_000, width, classes, 3));
    let rule = options.rule().unwrap();
    let sets = Sets { candidates: &candidates, labelled: &labelled, target: rule.target().map(|_| &target) };
    let (began, before) = (Instant::now(), cpu());
    let chosen = rule.choose(&sets, budget, &mut Gate::open(), &Unobserved).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, peak) = (cpu() - before, peak());
    println!("{name:<20} {:>10} {:>10} {seconds:>9.1} s {cpu:>9.1} s {peak:>8.0} MB", candidates.len(), chosen.len());
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let sizes = |texts: &[String]| {
        let size = |at: usize, or: usize| texts.get(at).and_then(|text| text.parse().ok()).unwrap_or(or);
        [size(0, 1_000), size(1, 512), size(2, 10), size(3, 0)]
    };
    if let Some(name) = given.first().filter(|name| StrategyOptions::named(name).is_ok()) {
        return one(name, sizes(&given[1..]));
    }
    let sizes = sizes(&given);
    println!("budget {}, {} features, {} classes", sizes[0], sizes[1], sizes[2]);
    println!("{:<20} {:>10} {:>10} {:>11} {:>11} {:>11}", "strategy", "candidates", "chosen", "time", "CPU", "peak");
    let joint = STRATEGIES.iter().filter(|row| (row.options)().rule().is_some());
    for row in joint {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(row.name).args(sizes.map(|size| size.to_string()));
        assert!(command.status().unwrap().success(), "{}", row.name);
    }
}
