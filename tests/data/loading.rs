//! Batches: order, bounds, bad images.

use std::path::Path;

use isal::data::{
    Augment, Batch, DataError, Dataset, DecodeError, Image, Loader, LoaderOptions, OpenOptions, Order, Preprocess,
    Recipe, Source,
};

use crate::truth::{number, truth};

/// `n` grey images of 4x4 pixels; those of `bad` cannot be decoded. Position `i` is filled with `i`.
struct Numbers {
    n: usize,
    bad: Vec<usize>,
    panicking: Vec<usize>,
}

impl Source for Numbers {
    fn len(&self) -> usize {
        self.n
    }
    fn id(&self, index: usize) -> String {
        format!("n{index}")
    }
    fn label(&self, index: usize) -> Option<u32> {
        Some(index as u32 % 7)
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn stamp(&self, _: usize) -> u64 {
        16
    }
    fn load(&self, index: usize) -> Result<Image, DataError> {
        assert!(!self.panicking.contains(&index), "broken decoder");
        if self.bad.contains(&index) {
            return Err(DataError::Decode { id: self.id(index), source: DecodeError::Empty });
        }
        let pixels = (0..16).map(|i| (index * 3 + i) as u8).collect();
        Ok(Image::new(4, 4, 1, pixels).unwrap())
    }
}

fn recipe() -> Recipe {
    Recipe::resolve(&Preprocess::default(), &[None, Some(1), Some(4), Some(4)], None).unwrap()
}

fn numbers(n: usize, bad: &[usize]) -> Dataset {
    Dataset::new(Numbers { n, bad: bad.to_vec(), panicking: vec![] })
}

/// All batches joined: positions, labels and floats.
fn joined(dataset: &Dataset, recipe: &Recipe, options: &LoaderOptions) -> (Vec<usize>, Vec<Option<u32>>, Vec<f32>) {
    let loader = Loader::new(dataset.clone(), recipe.clone(), options).unwrap();
    let mut all = (vec![], vec![], vec![]);
    for batch in loader {
        let Batch { images, indices, labels, .. } = batch.unwrap();
        assert_eq!(images.shape()[0], indices.len());
        all.0.extend(indices);
        all.1.extend(labels);
        all.2.extend(images.iter().copied());
    }
    all
}

#[test]
fn threads_batches_and_prefetch_change_nothing() {
    let dataset = numbers(1_003, &[5, 64, 65, 1_002]);
    for (order, augment) in [
        (Order::Given, None),
        (Order::Shuffled { seed: 3 }, Some(Augment { pad_crop: 2, horizontal_flip: true, seed: 9 })),
    ] {
        let base =
            LoaderOptions { batch_size: 1, threads: Some(1), order, augment, epoch: 2, ..LoaderOptions::default() };
        let expected = joined(&dataset, &recipe(), &base);
        assert_eq!(expected.0.len(), 999);
        for (batch_size, threads, prefetch) in [(7, 3, 1), (64, 2, 4), (2_000, 8, 0), (999, 1, 3)] {
            let options = LoaderOptions { batch_size, threads: Some(threads), prefetch, ..base.clone() };
            assert_eq!(joined(&dataset, &recipe(), &options), expected, "{options:?}");
        }
    }
}

#[test]
fn every_batch_but_the_last_is_full_although_images_are_skipped() {
    let mut loader = Loader::new(
        numbers(50, &[0, 9, 10, 49]),
        recipe(),
        &LoaderOptions { batch_size: 10, ..LoaderOptions::default() },
    )
    .unwrap();
    let sizes: Vec<usize> = loader.by_ref().map(|batch| batch.unwrap().indices.len()).collect();
    assert_eq!(sizes, [10, 10, 10, 10, 6]);
    let skipped: Vec<_> = loader.skipped().iter().map(|s| (s.index, s.id.clone(), s.reason.to_string())).collect();
    let expected = [0, 9, 10, 49].map(|i| (i, format!("n{i}"), format!("cannot decode `n{i}`")));
    assert_eq!(skipped, expected);
}

#[test]
fn strict_loading_ends_with_the_first_bad_image_in_order() {
    let options = LoaderOptions { batch_size: 10, strict: true, threads: Some(3), ..LoaderOptions::default() };
    let results: Vec<_> = Loader::new(numbers(5_000, &[4_000, 35]), recipe(), &options).unwrap().collect();
    assert_eq!(results.len(), 4);
    assert!(results[..3].iter().all(Result::is_ok));
    assert!(matches!(&results[3], Err(DataError::Decode { id, .. }) if id == "n35"));
}

#[test]
fn a_decoder_that_panics_counts_as_a_bad_image() {
    let dataset = Dataset::new(Numbers { n: 20, bad: vec![], panicking: vec![3] });
    let mut loader = Loader::new(dataset, recipe(), &LoaderOptions::default()).unwrap();
    assert_eq!(loader.by_ref().map(|b| b.unwrap().indices.len()).sum::<usize>(), 19);
    let reason = &loader.skipped()[0].reason;
    assert!(
        matches!(reason, DataError::Decode { source: DecodeError::Panicked { message }, .. } if message == "broken decoder")
    );
}

#[test]
fn a_loader_can_be_dropped_halfway() {
    let mut loader = Loader::new(numbers(100_000, &[]), recipe(), &LoaderOptions::default()).unwrap();
    assert!(loader.next().is_some());
    drop(loader);
}

#[test]
fn shuffling_depends_on_seed_and_epoch_and_loses_nothing() {
    let order = |seed, epoch| {
        let options = LoaderOptions { order: Order::Shuffled { seed }, epoch, ..LoaderOptions::default() };
        joined(&numbers(100, &[]), &recipe(), &options).0
    };
    let mut first = order(1, 0);
    assert_eq!(first, order(1, 0));
    let options = LoaderOptions { order: Order::Shuffled { seed: 5 }, epoch: 3, ..LoaderOptions::default() };
    let expected: Vec<usize> = truth()["order"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(joined(&numbers(50, &[]), &recipe(), &options).0, expected);
    assert_ne!(first, order(1, 1));
    assert_ne!(first, order(2, 0));
    first.sort_unstable();
    assert_eq!(first, (0..100).collect::<Vec<_>>());
}

#[test]
fn options_that_make_no_batches_are_refused() {
    let zero_batch = LoaderOptions { batch_size: 0, ..LoaderOptions::default() };
    assert!(matches!(Loader::new(numbers(3, &[]), recipe(), &zero_batch), Err(DataError::Zero { what: "batch size" })));
    let over = Loader::over(numbers(3, &[]), recipe(), vec![0, 3], &LoaderOptions::default());
    assert!(matches!(over, Err(DataError::Position { index: 3, len: 3 })));
    assert_eq!(Loader::new(numbers(0, &[]), recipe(), &LoaderOptions::default()).unwrap().count(), 0);
}

fn write_png(path: &Path, value: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(4, 4, image::Luma([value])).save(path).unwrap();
}

#[test]
fn a_folder_of_classes_is_sorted_labelled_and_told_of_its_bad_files() {
    let root = tempfile::tempdir().unwrap();
    for (name, value) in
        [("b/2.png", 2), ("b/10.PNG", 10), ("a/deep/er/x.png", 7), (".hidden/h.png", 1), ("c/gone.png", 0)]
    {
        write_png(&root.path().join(name), value);
    }
    std::fs::write(root.path().join("c/gone.png"), b"").unwrap();
    std::fs::write(root.path().join("notes.txt"), b"no image").unwrap();
    let folder = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    let listed: Vec<_> = (0..folder.len()).map(|i| (folder.id(i), folder.label(i))).collect();
    let expected = [("a/deep/er/x.png", 0), ("b/10.PNG", 1), ("b/2.png", 1), ("c/gone.png", 2)];
    assert_eq!(listed, expected.map(|(id, label)| (id.to_string(), Some(label))));
    assert_eq!(folder.classes(), ["a", "b", "c"]);
    let mut loader = Loader::new(folder, recipe(), &LoaderOptions::default()).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!(batch.indices, [0, 1, 2]);
    assert_eq!(batch.images.iter().step_by(16).copied().collect::<Vec<_>>(), [7.0 / 255.0, 10.0 / 255.0, 2.0 / 255.0]);
    assert!(loader.next().is_none());
    assert_eq!(loader.skipped()[0].id, "c/gone.png");
    assert!(matches!(loader.skipped()[0].reason, DataError::Decode { source: DecodeError::Empty, .. }));
}

#[test]
fn images_in_the_folder_itself_make_an_unlabelled_pool() {
    let root = tempfile::tempdir().unwrap();
    for name in ["x.png", "more/y.png"] {
        write_png(&root.path().join(name), 1);
    }
    let pool = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(
        (0..2).map(|i| (pool.id(i), pool.label(i))).collect::<Vec<_>>(),
        [("more/y.png".to_string(), None), ("x.png".to_string(), None)]
    );
    assert!(pool.classes().is_empty());
}

#[test]
fn what_is_no_data_set_is_named_with_what_was_looked_for() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("notes.txt"), b"hello").unwrap();
    let folder = Dataset::open(root.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(folder.contains("the folder holds `notes.txt`") && folder.contains("a folder of images"), "{folder}");
    let file = Dataset::open(&root.path().join("notes.txt"), &OpenOptions::default()).unwrap_err().to_string();
    assert!(file.contains("begins with the bytes [68, 65, 6c, 6c, 6f]"), "{file}");
    let nothing = Dataset::open(&root.path().join("none"), &OpenOptions::default()).unwrap_err().to_string();
    assert!(nothing.contains("there is no such file"), "{nothing}");
}

#[test]
fn labels_follow_their_names_into_another_list_of_classes() {
    let root = tempfile::tempdir().unwrap();
    for name in ["cat/1.png", "dog/1.png", "cat/2.png"] {
        write_png(&root.path().join(name), 1);
    }
    let few = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    let all = ["ant", "cat", "cow", "dog"].map(String::from);
    let mapped = few.with_classes(&all).unwrap();
    assert_eq!(mapped.labels(), [Some(1), Some(1), Some(3)]);
    assert_eq!(mapped.classes(), all);
    assert!(
        matches!(few.with_classes(&all[..3]), Err(DataError::UnknownClasses { unknown, .. }) if unknown == ["dog"])
    );
    let subset = mapped.subset(&[2, 0]).unwrap();
    assert_eq!(subset.labels(), [Some(3), Some(1)]);
    assert_eq!(subset.id(0), "dog/1.png");
    assert_eq!(subset.subset(&[1]).unwrap().id(0), "cat/1.png");
    assert!(matches!(few.subset(&[3]), Err(DataError::Position { index: 3, len: 3 })));
    assert!(matches!(Dataset::concat(&[few.clone(), subset.clone()]), Err(DataError::DuplicateId { .. })));
    let whole = Dataset::concat(&[subset.clone(), mapped.subset(&[1]).unwrap()]).unwrap();
    assert_eq!((0..3).map(|i| whole.id(i)).collect::<Vec<_>>(), ["dog/1.png", "cat/1.png", "cat/2.png"]);
    assert!(whole.load(2).is_ok() && whole.load(3).is_err());
    assert_ne!(whole.fingerprint(), mapped.fingerprint());
    assert_eq!(mapped.fingerprint(), mapped.subset(&[0, 1, 2]).unwrap().fingerprint());
    assert_ne!(mapped.fingerprint(), few.fingerprint());
}
