//! Who may see which image.

use isal::data::{
    DataError, Dataset, HoldOut, Image, Labelled, OnOverlap, OpenOptions, Pool, Reference, Source, Split, SplitError,
    Test, common_classes, content_hash,
};

use crate::truth::truth;

/// Images of 2x2 pixels that show their number; labels and ids as given.
struct Shown {
    numbers: Vec<u32>,
    labels: Vec<Option<u32>>,
    name: &'static str,
}

impl Source for Shown {
    fn len(&self) -> usize {
        self.numbers.len()
    }
    fn id(&self, index: usize) -> String {
        format!("{}/{index}", self.name)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn stamp(&self, _: usize) -> u64 {
        4
    }
    fn load(&self, index: usize) -> Result<Image, DataError> {
        Ok(Image::new(2, 2, 1, self.numbers[index].to_le_bytes().to_vec()).unwrap())
    }
}

fn shown(name: &'static str, numbers: impl IntoIterator<Item = u32>, classes: u32) -> Dataset {
    let numbers: Vec<u32> = numbers.into_iter().collect();
    let labels = numbers.iter().map(|number| Some(number % classes)).collect();
    Dataset::new(Shown { numbers, labels, name })
}

fn labelled(n: u32) -> Split<Labelled> {
    Split::<Labelled>::new(shown("labelled", 0..n, 3)).unwrap()
}

fn ids(split: &Dataset) -> Vec<String> {
    (0..split.len()).map(|index| split.id(index)).collect()
}

#[test]
fn holding_out_is_stratified_seeded_and_loses_nothing() {
    // 101 images of classes 0, 1, 2: 34, 34, 33. A quarter is 25.25: 25, of which 8.4, 8.4, 8.2 a class.
    let (kept, reference) = labelled(101).hold_out(HoldOut::Fraction(0.25), 7).unwrap();
    assert_eq!((kept.len(), reference.len()), (76, 25));
    let mut counts = [0; 3];
    reference.dataset().labels().into_iter().flatten().for_each(|label| counts[label as usize] += 1);
    assert_eq!(counts, [9, 8, 8]);
    let mut all = [ids(kept.dataset()), ids(reference.dataset())].concat();
    all.sort_by_key(|id| id[9..].parse::<u32>().unwrap());
    assert_eq!(all, ids(labelled(101).dataset()));
    let again = labelled(101).hold_out(HoldOut::Count(25), 7).unwrap().1;
    assert_eq!(ids(again.dataset()), ids(reference.dataset()));
    let other = labelled(101).hold_out(HoldOut::Count(25), 8).unwrap().1;
    assert_ne!(ids(other.dataset()), ids(reference.dataset()));
}

#[test]
fn a_seed_gives_the_split_that_another_implementation_of_the_generator_gives() {
    let (_, reference) = labelled(100).hold_out(HoldOut::Count(30), 2024).unwrap();
    let truth = truth();
    let expected: Vec<String> =
        truth["hold_out"].as_array().unwrap().iter().map(|index| format!("labelled/{index}")).collect();
    assert_eq!(ids(reference.dataset()), expected);
}

#[test]
fn no_class_loses_its_last_labelled_image() {
    let set = Split::<Labelled>::new(shown("labelled", 0..4, 4)).unwrap();
    let error = set.hold_out(HoldOut::Fraction(0.5), 1).unwrap_err();
    assert!(matches!(error, SplitError::HoldOut { labelled: 4, kept: 4, held: 2, .. }), "{error}");
    for wanted in [HoldOut::Count(0), HoldOut::Count(12), HoldOut::Fraction(f64::NAN), HoldOut::Fraction(-1.0)] {
        assert!(matches!(labelled(12).hold_out(wanted, 1), Err(SplitError::HoldOut { .. })), "{wanted:?}");
    }
}

#[test]
fn folds_cover_every_label_once_with_like_classes() {
    let folds = labelled(50).folds(4, 3).unwrap();
    let mut seen = vec![];
    for (kept, reference) in &folds {
        assert_eq!(kept.len() + reference.len(), 50);
        assert!((12..=13).contains(&reference.len()));
        let zeros = reference.dataset().labels().iter().filter(|label| **label == Some(0)).count();
        assert!((4..=5).contains(&zeros), "17 zeros over 4 folds, here {zeros}");
        assert!(ids(kept.dataset()).iter().all(|id| !ids(reference.dataset()).contains(id)));
        seen.extend(ids(reference.dataset()));
    }
    seen.sort_by_key(|id| id[9..].parse::<u32>().unwrap());
    assert_eq!(seen, ids(labelled(50).dataset()));
    assert!(matches!(labelled(3).folds(1, 0), Err(SplitError::Folds { folds: 1, labelled: 3 })));
    assert!(matches!(labelled(3).folds(4, 0), Err(SplitError::Folds { folds: 4, labelled: 3 })));
}

#[test]
fn a_given_reference_set_shares_no_image_with_labelled_or_test_data() {
    let test = Split::<Test>::new(shown("test", 100..120, 3)).unwrap();
    let given = |numbers: std::ops::Range<u32>, on_overlap| {
        Split::<Reference>::given(shown("given", numbers, 3), &labelled(50), Some(&test), on_overlap)
    };
    assert_eq!(given(50..100, OnOverlap::Refuse).unwrap().len(), 50);
    let error = given(48..60, OnOverlap::Refuse).unwrap_err();
    let text = "2 images are both labelled and reference: `labelled/48` is `given/0`, `labelled/49` is `given/1`";
    assert_eq!(error.to_string(), text);
    let Err(SplitError::Overlap { first: "test", second: "reference", pairs }) = given(90..110, OnOverlap::Refuse)
    else {
        panic!("test images in the reference set")
    };
    assert_eq!(pairs.len(), 10);
    assert_eq!(pairs[0], ("test/0".to_string(), "given/10".to_string()));
    let dropped = given(48..110, OnOverlap::Drop).unwrap();
    assert_eq!(ids(dropped.dataset()), (2..52).map(|i| format!("given/{i}")).collect::<Vec<_>>());
    assert!(matches!(given(100..105, OnOverlap::Drop), Err(SplitError::Empty { role: "reference" })));
}

#[test]
fn roles_that_need_labels_say_which_image_has_none() {
    let partly = || Dataset::new(Shown { numbers: vec![1, 2, 3], labels: vec![Some(0), None, None], name: "x" });
    let error = Split::<Test>::new(partly()).unwrap_err();
    assert_eq!(error.to_string(), "2 of 3 test images have no label, the first is `x/1`");
    assert!(Split::<Labelled>::new(partly()).is_err());
    assert_eq!(Split::<Pool>::new(partly()).unwrap().len(), 3);
    assert!(matches!(Split::<Pool>::new(shown("x", [], 1)), Err(SplitError::Empty { role: "pool" })));
}

#[test]
fn equal_pixels_have_equal_hashes_whatever_the_channels() {
    let grey = Image::new(1, 2, 1, vec![5, 9]).unwrap();
    let rgba = Image::new(1, 2, 4, vec![5, 5, 5, 0, 9, 9, 9, 77]).unwrap();
    let tall = Image::new(2, 1, 1, vec![5, 9]).unwrap();
    assert_eq!(content_hash(&grey), content_hash(&rgba));
    assert_ne!(content_hash(&grey), content_hash(&tall));
}

#[test]
fn a_reference_set_that_lacks_classes_is_counted_in_those_of_the_labelled_images() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, value: u8| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(2, 2, image::Luma([value])).save(path).unwrap();
    };
    for (value, path) in ["l/ant/1.png", "l/bee/1.png", "l/cat/1.png", "r/cat/1.png", "x/dog/1.png", "x/cat/1.png"]
        .into_iter()
        .enumerate()
    {
        write(path, value as u8);
    }
    let open = |name: &str| Dataset::open(&root.path().join(name), &OpenOptions::default()).unwrap();
    let labelled = Split::<Labelled>::new(open("l")).unwrap();
    let given = |name: &str| Split::<Reference>::given(open(name), &labelled, None, OnOverlap::Refuse);
    assert_eq!(given("r").unwrap().dataset().labels(), [Some(2)]);
    let text = r#"the labelled images have the classes ["ant", "bee", "cat"], the reference images ["cat", "dog"]"#;
    assert!(given("x").unwrap_err().to_string().starts_with(text));
    assert_eq!(common_classes(&[&open("r"), &open("l")]), ["ant", "bee", "cat"]);
    assert_eq!(common_classes(&[&open("x"), &open("l")]), ["ant", "bee", "cat", "dog"]);
    assert_eq!(common_classes(&[]), [""; 0]);
    let list = |name: &str, labels: &str| {
        let path = root.path().join(name);
        let rows = labels.split(' ').enumerate().map(|(i, label)| format!("{i}.png,{label}\n"));
        std::fs::write(&path, format!("path,label\n{}", rows.collect::<String>())).unwrap();
        Dataset::open(&path, &OpenOptions::default()).unwrap()
    };
    let numbers = common_classes(&[&list("a.csv", "0 3"), &list("b.csv", "11 2")]);
    assert_eq!(numbers, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
}
