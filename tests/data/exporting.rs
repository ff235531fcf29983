//! Archives written out as folders of PNG files.

use isal::data::{
    DataError, Dataset, Division, ExportError, Loader, LoaderOptions, OpenOptions, Preprocess, Recipe, export_folder,
};

use crate::{digits, truth};

fn division(name: &str, images: Option<usize>, by_class: bool) -> Division {
    Division { name: name.to_string(), images, by_class }
}

fn floats(data: &Dataset) -> Vec<Vec<u32>> {
    let recipe = Recipe::resolve(&Preprocess::default(), &[None, Some(1), Some(28), Some(28)], None).unwrap();
    let loader =
        Loader::new(data.clone(), recipe, &LoaderOptions { strict: true, ..LoaderOptions::default() }).unwrap();
    let batches = loader.flat_map(|batch| {
        let images = batch.unwrap().images;
        images.outer_iter().map(|image| image.iter().map(|v| v.to_bits()).collect()).collect::<Vec<Vec<u32>>>()
    });
    batches.collect()
}

#[test]
fn digits_come_back_from_the_folder_as_they_went_in() {
    let root = tempfile::tempdir().unwrap();
    let digits = Dataset::open(&digits::path(), &OpenOptions::default()).unwrap();
    let digits = digits.subset(&(0..5_000).step_by(5).collect::<Vec<_>>()).unwrap();
    let divisions =
        [division("train", Some(203), true), division("pool", None, false), division("test", Some(100), true)];
    let out = root.path().join("digits");
    let exported = export_folder(&digits, &out, &divisions, 11).unwrap();
    assert_eq!(exported.counts, [("train".to_string(), 203), ("pool".to_string(), 697), ("test".to_string(), 100)]);
    assert!(exported.skipped.is_empty());
    let open = |name: &str| Dataset::open(&out.join(name), &OpenOptions::default()).unwrap();
    let (train, pool, test) = (open("train"), open("pool.csv"), open("test"));
    assert_eq!(open("pool").labels(), vec![None; 697]);
    let mut pairs = vec![];
    for part in [&train, &pool, &test] {
        assert_eq!(part.classes(), digits.classes());
        let mut counts = [0_usize; 10];
        part.labels().into_iter().flatten().for_each(|label| counts[label as usize] += 1);
        // 1,000 images, 100 of each class: every part has its tenth of each, to rounding.
        assert!(counts.iter().all(|count| count.abs_diff(part.len() / 10) <= 1), "{counts:?}");
        pairs.extend(part.labels().into_iter().zip(floats(part)));
    }
    let mut expected: Vec<_> = digits.labels().into_iter().zip(floats(&digits)).collect();
    expected.sort();
    pairs.sort();
    assert!(pairs == expected, "the parts together are the data set");
    // The same again, byte for byte; another seed divides otherwise.
    let again = root.path().join("again");
    export_folder(&digits, &again, &divisions, 11).unwrap();
    let listing = |root: &std::path::Path| {
        let data = Dataset::open(&root.join("train"), &OpenOptions::default()).unwrap();
        (0..data.len()).map(|i| (data.id(i), std::fs::read(data.path(i).unwrap()).unwrap())).collect::<Vec<_>>()
    };
    assert!(listing(&out) == listing(&again));
    let other = root.path().join("other");
    export_folder(&digits, &other, &divisions, 12).unwrap();
    assert!(listing(&out) != listing(&other));
    assert!(listing(&out)[0].0.starts_with("0/mnist_5k-0"));
}

#[test]
fn what_cannot_be_divided_is_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let images = Dataset::open(&truth::folder().join("images"), &OpenOptions::default()).unwrap();
    let out = root.path().join("out");
    let export = |divisions: &[Division]| export_folder(&images, &out, divisions, 1);
    let n = images.len();
    let too_few = export(&[division("a", Some(n), false), division("b", Some(1), false)]);
    assert!(matches!(too_few, Err(ExportError::TooFew { wanted, available }) if wanted == n + 1 && available == n));
    for name in ["", "..", "a/b", ".hidden"] {
        let refused = export(&[division(name, None, false)]);
        assert!(matches!(refused, Err(ExportError::Name { .. })), "{name}");
    }
    let twice = export(&[division("a", Some(1), false), division("a", Some(1), false)]);
    assert!(matches!(twice, Err(ExportError::Name { name }) if name == "a"));
    let rests = export(&[division("a", None, false), division("b", None, false)]);
    assert!(matches!(rests, Err(ExportError::TwoRests { .. })));
    let unlabelled = export(&[division("a", None, true)]);
    assert!(matches!(unlabelled, Err(ExportError::Unlabelled { division, .. }) if division == "a"));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    std::fs::create_dir(&out).unwrap();
    assert!(matches!(export(&[division("a", None, false)]), Err(ExportError::Exists { .. })));
}

#[test]
fn images_that_cannot_be_decoded_are_counted_and_left_out() {
    let root = tempfile::tempdir().unwrap();
    let images = Dataset::open(&truth::folder().join("images"), &OpenOptions::default()).unwrap();
    let out = root.path().join("out");
    std::fs::create_dir_all(root.path().join("out.partial/left")).unwrap();
    let exported = export_folder(&images, &out, &[division("all", None, false)], 1).unwrap();
    let ids: Vec<&str> = exported.skipped.iter().map(|skipped| skipped.id.as_str()).collect();
    assert_eq!(ids, ["bomb.png", "float.tif"]);
    assert!(exported.skipped.iter().all(|skipped| matches!(skipped.reason, DataError::Decode { .. })));
    assert_eq!(exported.counts, [("all".to_string(), images.len() - 2)]);
    let again = Dataset::open(&out.join("all"), &OpenOptions::default()).unwrap();
    assert_eq!(again.len(), images.len() - 2);
    assert!(!root.path().join("out.partial").exists());
    // rgb.png, rgb.bmp, rgb.tif and rgb.jpg become four files.
    let named = (0..again.len()).filter(|index| again.id(*index).starts_with("rgb")).count();
    assert_eq!(named, 6, "with rgb16.png and rgba.png");
}
