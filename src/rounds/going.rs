//! A run under way: what it is, and one round of it.

use super::config::{Amount, BudgetIn, RunConfig};
use super::draw::{Purpose, draw};
use super::label::Label;
use super::oracle::{self, Answers, Begin, Expected, ToAsk, Waiting, Wanted};
use super::sets::Sets;
use super::state::{self, Identity, Labeled, Layout, Round, SCHEMA};
use super::training::{self, Kind, Training, train_by_command, train_ourselves};
use super::{Execution, RoundsError, boxes, selecting};
use crate::annotation_tools::Words;
use crate::data::{Dataset, Labelled, Preprocess, Split, Test};
use crate::families::{LabelKind, label_kind};
use crate::observe::Observer;
use crate::task::{self, ModelOptions, TaskModel};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// A run under way.
pub(super) struct Going<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) execution: &'a Execution,
    pub(super) observer: &'a dyn Observer,
    pub(super) task: ModelOptions,
    pub(super) preprocess: Preprocess,
    /// What images are labelled with; `None` of a task that people have no form for.
    pub(super) label_kind: Option<LabelKind>,
    /// Without labels where people give them.
    pub(super) pool: Dataset,
    /// Positions in the pool by id.
    pub(super) places: HashMap<String, usize>,
    pub(super) reference: Option<Dataset>,
    pub(super) target: Option<Dataset>,
    pub(super) test: Split<Test>,
    /// Names of the classes; empty where the task has none.
    pub(super) classes: Vec<String>,
    initial: usize,
    pub(super) budget: usize,
}

/// What has been said of the pool up to a round.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// Positions of labelled images, in the order of the pool.
    pub(super) positions: Vec<usize>,
    /// Labels that people gave, by position.
    by_people: HashMap<usize, Label>,
    /// Positions of images that people left out for good.
    skipped: Vec<usize>,
}

impl Labels {
    /// Positions of the images that may be selected, of so many.
    pub(super) fn open(&self, pool: usize) -> Vec<usize> {
        let settled =
            |place: &usize| self.positions.binary_search(place).is_ok() || self.skipped.binary_search(place).is_ok();
        (0..pool).filter(|place| !settled(place)).collect()
    }
}

/// How far a round came.
pub(super) enum Step {
    /// To its end.
    Ended(Round),
    /// It cannot begin.
    Waits(Waiting),
}

impl<'a> Going<'a> {
    /// Reads and checks everything, and settles what the folder's run is.
    pub(super) fn prepare(
        config: &'a RunConfig,
        execution: &'a Execution,
        observer: &'a dyn Observer,
    ) -> Result<Self, RoundsError> {
        let path = Layout(&execution.out).run();
        Going::open(config, execution, observer, |identity, sets| match state::read::<Identity>(&path)? {
            None => {
                sets.check(config)?;
                state::write(&path, identity)
            }
            Some(found) => {
                check_same(&found, identity, execution)?;
                if found == *identity { Ok(()) } else { state::write(&path, identity) }
            }
        })
    }

    /// Reads everything of a run that is there, and writes nothing.
    pub(super) fn look(
        recorded: &'a Identity,
        execution: &'a Execution,
        observer: &'a dyn Observer,
    ) -> Result<Self, RoundsError> {
        Going::open(&recorded.config, execution, observer, |identity, _| check_same(recorded, identity, execution))
    }

    /// Reads everything; `settle` says whether the run is the folder's.
    fn open(
        config: &'a RunConfig,
        execution: &'a Execution,
        observer: &'a dyn Observer,
        settle: impl FnOnce(&Identity, &Sets) -> Result<(), RoundsError>,
    ) -> Result<Self, RoundsError> {
        let bad = |text: String| Err(RoundsError::Config(text));
        if let Some(problem) = config.problem() {
            return bad(problem);
        }
        let (mut task, mut preprocess, mut model) = (ModelOptions::default(), Preprocess::default(), None);
        if let Some(path) = &config.model {
            task.task = task::of_file(path)?;
            preprocess = task::preprocess_of_file(path, &task)?;
            model = Some(TaskModel::read(path, &task)?);
        }
        let label_kind = kind_of_labels(config, model.as_ref())?;
        let sets = Sets::open(config, label_kind, model.as_ref())?;
        let images = |key: &str, amount: Amount| {
            let refused = || format!("labels.{key} is no number of images from 1 on, and no share between 0 and 1");
            amount.of(sets.pool.len()).ok_or_else(|| RoundsError::Config(refused()))
        };
        let initial = config.labels.initial.map(|amount| images("initial", amount)).transpose()?.unwrap_or_default();
        let budget = match (config.labels.budget_in, config.labels.budget) {
            (BudgetIn::Boxes, Amount::Count(boxes)) if boxes > 0 => boxes,
            (_, amount) => images("budget", amount)?,
        };
        let wanted = budget.saturating_mul(config.rounds - 1).saturating_add(initial);
        if config.labels.budget_in == BudgetIn::Images && wanted > sets.pool.len() {
            let (rounds, images) = (config.rounds, sets.pool.len());
            return bad(format!("{rounds} rounds label {wanted} images in all, and the pool holds {images}"));
        }
        let identity = Identity {
            schema: SCHEMA.to_owned(),
            config: config.clone(),
            model: model.map(|model| model.network.sha256).unwrap_or_default(),
            task: task.built_in().map(str::to_owned),
            pool: sets.pool.fingerprint(),
            reference: sets.reference.as_ref().map(Dataset::fingerprint),
            target: sets.target.as_ref().map(Dataset::fingerprint),
            test: sets.test.dataset().fingerprint(),
            classes: sets.classes.clone(),
            label_kind: label_kind.unwrap_or(LabelKind::Class),
        };
        settle(&identity, &sets)?;
        let Sets { pool, reference, target, test, classes } = sets;
        let places = (0..pool.len()).map(|place| (pool.id(place), place)).collect();
        let going = Going {
            config,
            execution,
            observer,
            task,
            preprocess,
            label_kind,
            pool,
            places,
            reference,
            target,
            test,
            classes,
            initial,
            budget,
        };
        if config.labels.budget_in == BudgetIn::Boxes {
            let all = boxes::costs(&going, 0..going.pool.len())?;
            let wanted = budget.saturating_mul(config.rounds - 1);
            if wanted > all {
                let rounds = config.rounds;
                return bad(format!("{rounds} rounds label {wanted} boxes after the first, and the pool holds {all}"));
            }
        }
        Ok(going)
    }

    pub(super) fn layout(&self) -> Layout<'a> {
        Layout(&self.execution.out)
    }

    /// Trains, evaluates, and selects for the next round where there is one.
    pub(super) fn round(&self, round: usize) -> Result<Step, RoundsError> {
        if round == 0 && !oracle::is_asked(self, 0)? {
            self.first()?;
        }
        if let Begin::Later(waiting) = oracle::begin(self, round)? {
            return Ok(Step::Waits(waiting));
        }
        let labels = self.labels(round)?;
        let Training { test, figure, seconds } = self.train(round, &labels)?;
        let test_figure = match self.config.train.kind {
            Kind::Isal => training::figure(self, round)?,
            // Measured before the program's model was taken.
            Kind::Command => figure,
        };
        let mut score_s = None;
        if round + 1 < self.config.rounds && !oracle::is_asked(self, round + 1)? {
            let began = Instant::now();
            let selected = selecting::select(self, round, &labels)?;
            oracle::ask(self, round + 1, selected)?;
            score_s = Some(began.elapsed().as_secs_f64());
        }
        Ok(Step::Ended(Round {
            round,
            labeled: labels.positions.len(),
            boxes: boxes::drawn(&self.pool, &labels.positions),
            reference_labeled: self.trained_reference().map_or(0, Dataset::len),
            test_loss: test.map(|test| test.loss).filter(|loss| loss.is_finite()),
            test_accuracy: test.and_then(|test| test.accuracy),
            test_figure,
            train_s: seconds,
            score_s,
            skipped: labels.skipped.len(),
        }))
    }

    /// Settles the images of the first round: those whose labels are given, or some that the seed draws.
    fn first(&self) -> Result<(), RoundsError> {
        let Some(path) = &self.config.labels.initial_labels else {
            let (balanced, seed) = (self.config.labels.balanced, self.config.seed);
            let drawn = draw(&self.pool, self.initial, balanced, Purpose::Initial, seed);
            let ids = drawn.into_iter().map(|place| self.pool.id(place)).collect();
            return oracle::ask(self, 0, ToAsk { ids, ..ToAsk::default() });
        };
        let (kind, words) = (self.label_kind.unwrap_or(LabelKind::Class), self.words());
        let expected = Expected { kind, classes: &self.classes, words, unmarked_is_empty: false };
        let (answers, refused) = Answers::read(path, &Wanted::in_pool(&self.pool), &expected)?;
        let answers = answers.unless(refused)?;
        let (skipped, said): (Vec<_>, Vec<_>) = answers.labels.into_iter().partition(|(_, label)| label.is(words.skip));
        let (ids, labels): (Vec<_>, Vec<_>) = said.into_iter().unzip();
        if ids.is_empty() {
            let path = path.display();
            return Err(RoundsError::Config(format!("labels.initial-labels: `{path}` labels no image of the pool")));
        }
        let layout = self.layout();
        let labels = match self.config.asks_people() {
            true => labels.into_iter().map(|label| oracle::kept(label, &layout, 0)).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let skipped = skipped.into_iter().map(|(id, _)| id).collect();
        layout.settle(0, &Labeled::by_people(ids, labels, skipped))
    }

    /// What has been said of the pool for the rounds up to this one.
    pub(super) fn labels(&self, round: usize) -> Result<Labels, RoundsError> {
        let mut labels = Labels::default();
        for round in 0..=round {
            let Some(labeled) = self.layout().labeled(round)? else { continue };
            let place = |id: &String| {
                let lost = || RoundsError::Lost { id: id.clone(), round };
                self.places.get(id).copied().ok_or_else(lost)
            };
            for (at, id) in labeled.ids.iter().enumerate() {
                let place = place(id)?;
                labels.positions.push(place);
                labels.by_people.extend(labeled.labels.get(at).map(|label| (place, label.clone())));
            }
            for id in &labeled.skipped {
                labels.skipped.push(place(id)?);
            }
        }
        labels.positions.sort_unstable();
        labels.skipped.sort_unstable();
        Ok(labels)
    }

    /// The reference images, where they are trained on as well.
    fn trained_reference(&self) -> Option<&Dataset> {
        self.reference.as_ref().filter(|_| self.config.train.with_reference)
    }

    /// All images that are trained on: the labelled ones, and the reference images where the run says so.
    pub(super) fn labelled(&self, labels: &Labels) -> Result<Split<Labelled>, RoundsError> {
        let failed = |source| RoundsError::data("data.pool", &self.config.data.pool, source);
        let images = match self.config.asks_people() {
            false => self.subset(&labels.positions)?,
            true => self.as_people_said(labels)?.subset(&labels.positions).map_err(failed)?,
        };
        let Some(reference) = self.trained_reference() else { return Ok(Split::<Labelled>::new(images)?) };
        let as_reference = |source| RoundsError::data("data.reference", self.config.reference_path(), source);
        let counted = match images.classes() {
            [] => Ok(reference.clone()),
            classes => reference.with_classes(classes),
        };
        // Archives number their images from 0 on, each set of its own.
        let reference = counted.map_err(as_reference)?.prefixed("reference/");
        Ok(Split::<Labelled>::new(Dataset::concat(&[images, reference]).map_err(as_reference)?)?)
    }

    /// The pool with the labels that people gave.
    fn as_people_said(&self, labels: &Labels) -> Result<Dataset, RoundsError> {
        let lost = |label: String, place: usize| RoundsError::LostClass { label, id: self.pool.id(place) };
        let places = 0..self.pool.len();
        if self.label_kind == Some(LabelKind::Class) {
            let class = |place: usize| {
                let Some(label) = labels.by_people.get(&place) else { return Ok(None) };
                let class = self.classes.iter().position(|class| label.is(class));
                class.map(|class| Some(class as u32)).ok_or_else(|| lost(label.to_string(), place))
            };
            return Ok(self.pool.with_labels(places.map(class).collect::<Result<_, RoundsError>>()?, &self.classes));
        }
        let described = |place: usize| match labels.by_people.get(&place) {
            None => Ok(None),
            Some(label) => label.described(&self.classes, &self.execution.out).map_err(|label| lost(label, place)),
        };
        Ok(self.pool.described(places.map(described).collect::<Result<_, RoundsError>>()?, &self.classes))
    }

    /// Labels that are no class.
    pub(super) fn words(&self) -> Words<'a> {
        Words { skip: &self.config.oracle.skip, empty: &self.config.oracle.empty }
    }

    /// Whether lists are written that show what the model believes.
    pub(super) fn shows_guesses(&self) -> bool {
        self.config.asks_people() && !self.config.oracle.forms.is_empty()
    }

    /// The seed of whatever is drawn in `round`.
    pub(super) fn seed(&self, round: usize) -> u64 {
        self.config.seed.wrapping_mul(1_000_003).wrapping_add(round as u64)
    }

    /// The images of the pool at these positions.
    pub(super) fn subset(&self, positions: &[usize]) -> Result<Dataset, RoundsError> {
        self.pool.subset(positions).map_err(|source| RoundsError::data("data.pool", &self.config.data.pool, source))
    }

    /// The model whose weights the training of `round` starts from.
    pub(super) fn start_model(&self, round: usize) -> Option<PathBuf> {
        match round.checked_sub(1).filter(|_| self.config.train.warm_start) {
            Some(before) => Some(self.layout().model(before)),
            None => self.config.model.clone(),
        }
    }

    fn train(&self, round: usize, labels: &Labels) -> Result<Training, RoundsError> {
        let labelled = self.labelled(labels)?;
        match self.config.train.kind {
            Kind::Isal => train_ourselves(self, round, labelled),
            Kind::Command => train_by_command(self, round, &labelled),
        }
    }
}

/// What images are labelled with: what the model's task says, else the configuration; `None` of a task that people have no form for.
fn kind_of_labels(config: &RunConfig, model: Option<&TaskModel>) -> Result<Option<LabelKind>, RoundsError> {
    let bad = |text: String| Err(RoundsError::Config(text));
    let said = config.labels.kind;
    let forms = config.oracle.forms.iter().filter(|_| config.asks_people());
    let Some(TaskModel { task, .. }) = model else {
        let kind = said.unwrap_or(LabelKind::Class);
        forms.clone().try_for_each(|form| form.check(Some(kind), kind.in_words()))?;
        return Ok(Some(kind));
    };
    let found = label_kind(&task.name, &task.annotations().cloned().collect::<Vec<_>>());
    if let Some(said) = said.filter(|said| found != Some(*said)) {
        let of_model = found.map_or("something else", LabelKind::in_words);
        let said = said.in_words();
        return bad(format!(
            "labels.kind says that an image has {said}, and by the task `{}` of the model it has {of_model}",
            task.name
        ));
    }
    let by_people = [
        (config.asks_people(), "oracle.kind = \"human\""),
        (config.labels.initial_labels.is_some(), "labels.initial-labels"),
    ];
    match (found, by_people.iter().find(|(is, _)| *is)) {
        (None, Some((_, key))) => bad(format!(
            "{key} needs a form for what people say of an image, and there is none for the task `{}`",
            task.name
        )),
        _ => {
            forms.clone().try_for_each(|form| form.check(found, &task.name))?;
            Ok(found)
        }
    }
}

/// That the folder's run is this one.
fn check_same(found: &Identity, identity: &Identity, execution: &Execution) -> Result<(), RoundsError> {
    let differing = [
        ("version", found.schema != identity.schema),
        ("configuration", found.config.what_decides() != identity.config.what_decides()),
        ("model", found.model != identity.model),
        ("pool", found.pool != identity.pool),
        ("reference set", found.reference != identity.reference),
        ("target set", found.target != identity.target),
        ("test set", found.test != identity.test),
        ("list of classes", found.classes != identity.classes),
        ("kind of labels", found.label_kind != identity.label_kind),
    ];
    match differing.into_iter().find(|(_, differs)| *differs) {
        Some((what, _)) => Err(RoundsError::Another { folder: execution.out.clone(), what }),
        None => Ok(()),
    }
}
