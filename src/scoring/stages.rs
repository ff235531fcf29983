//! The sweep as a stage: parts that are there are not scored again.

use super::prepared::Prepared;
use super::shard::ShardFacts;
use super::{ScoreOptions, ScoringError, batch_size, draw, known};
use crate::families::Fit;
use crate::observe::Observer;
use crate::runtime::{Library, SessionOptions};
use crate::scores::{self, BeliefColumn, Parts, Rows, ScoreFormat, ScoreRow, Stored};
use crate::select::{LeftOut, Needs};
use crate::sweep::{Predictor, Scorer, Stability, SweepOptions, SweepTimes, Swept, part_size, sweep};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// Where scored rows are.
pub(super) enum ScoredRows {
    /// So few that they are all at hand.
    Memory(Vec<BeliefColumn>, Vec<ScoreRow>),
    /// In the files of the parts, or of the slices of a pool.
    Files(Stored),
}

impl ScoredRows {
    pub(super) fn view(&self) -> Rows<'_> {
        match self {
            ScoredRows::Memory(columns, rows) => Rows::Memory(columns, rows),
            ScoredRows::Files(stored) => Rows::Files(stored),
        }
    }
}

/// What the sweep stage leaves.
pub(super) struct Scored {
    /// Where the numbers come from.
    pub(super) provenance: IndexMap<String, String>,
    pub(super) rows: ScoredRows,
    /// The score file that is to have them.
    pub(super) path: PathBuf,
    pub(super) skipped: Vec<(String, String)>,
    /// How right the model is on the labelled images, where they were looked at.
    pub(super) fit: Option<Fit>,
    /// Images that were drawn and then not scored, because they need no label.
    pub(super) passed_over: LeftOut,
    /// Absent when the table was there already.
    pub(super) times: Option<SweepTimes>,
    /// What was written so far, by what it is.
    pub(super) files: IndexMap<&'static str, PathBuf>,
}

impl Scored {
    /// Rows that are to be in the score file at `path`; `times` of a sweep that had nothing left to do are none.
    pub(super) fn new(
        provenance: IndexMap<String, String>,
        rows: ScoredRows,
        path: PathBuf,
        skipped: Vec<(String, String)>,
        times: Option<SweepTimes>,
    ) -> Scored {
        let files = IndexMap::from([("scores", path.clone())]);
        let times = times.filter(|times| times.images > 0);
        Scored { provenance, rows, path, skipped, fit: None, passed_over: LeftOut::default(), times, files }
    }

    /// Writes the score file. That is for when nothing of the sweep is held any more, so that what it takes to write a file
    /// does not come on top.
    pub(super) fn keep(&self) -> Result<(), ScoringError> {
        Ok(scores::write(&self.provenance, self.rows.view(), &self.path)?)
    }
}

/// The score file, where it was named or not.
pub(super) fn scores_path(named: Option<&Path>, out: &Path) -> Result<PathBuf, ScoringError> {
    let path = named.map_or_else(|| out.join("scores.parquet"), Path::to_path_buf);
    ScoreFormat::of(&path)?;
    Ok(path)
}

/// ONNX Runtime and how this run uses it. What `auto` takes is said.
pub(super) fn runtime(
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<(Library, SessionOptions), ScoringError> {
    let library = Library::load(options.onnxruntime.as_deref())?;
    let settled = options.provider.settle(&library)?;
    if let Some(why) = &settled.why {
        observer.say(why);
    }
    Ok((library, SessionOptions { provider: settled.provider, threads: options.threads }))
}

/// Sweeps the pool for what the model believes alone.
pub(super) fn predictions(
    predictor: &mut Predictor,
    library: &Library,
    prepared: &Prepared,
    options: &ScoreOptions,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let provider = predictor.provider();
    let goes_by = options.strategy.first_pass(options.budget).0.row().needs;
    let mut stability;
    let predictor: &mut dyn Scorer = match goes_by {
        Needs::Belief { name, .. } if Stability::gives(name) => {
            stability = Stability::new(predictor, &prepared.recipe);
            &mut stability
        }
        _ => predictor,
    };
    let mut provenance = prepared.provenance.clone();
    provenance.insert("engine".into(), format!("ONNX Runtime {}", library.version()));
    provenance.insert("execution provider".into(), provider.to_string());
    predictions_by(predictor, prepared, options, provenance, observer)
}

/// [`predictions`] by whatever gives beliefs.
pub(super) fn predictions_by(
    predictor: &mut dyn Scorer,
    prepared: &Prepared,
    options: &ScoreOptions,
    provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    // What the strategy goes by is asked for before the sweep. A shard cannot know what is drawn from the whole.
    options.strategy.first_pass(options.budget).0.keys(predictor.columns())?;
    if options.strategy.draws() && options.shard.is_none() {
        return draw::scored(options, prepared, predictor, provenance, observer);
    }
    sweep_stage(options, prepared, predictor, provenance, observer)
}

/// Sweeps the pool, or takes the parts that the same sweep left.
pub(super) fn sweep_stage(
    options: &ScoreOptions,
    prepared: &Prepared,
    scorer: &mut dyn Scorer,
    mut provenance: IndexMap<String, String>,
    observer: &dyn Observer,
) -> Result<Scored, ScoringError> {
    let known = known::known_images(options, prepared, observer)?;
    provenance.extend(known::describe(&known).map(|known_images| (known::KNOWN.to_owned(), known_images)));
    let batch_size = batch_size::settle(options, prepared, scorer, &mut provenance, observer)?;
    let total = options.pool.len();
    let positions = options.shard.map_or(0..total, |shard| shard.positions(total, batch_size));
    let path = scores_path(options.scores.as_deref(), &options.out)?;
    let key = serde_json::to_string(&provenance).unwrap_or_default();
    let parts =
        Parts::open(&options.out.join("parts"), &key, scorer.columns(), part_size(batch_size), positions.clone())?;
    let sweep_options = SweepOptions {
        batch_size,
        threads: (options.threads > 0).then_some(options.threads),
        strict: options.strict,
        classes: prepared.family.goes_by_labels().then(|| prepared.classes.clone()),
        known,
    };
    let Swept { rows, skipped, times } =
        sweep(options.pool.dataset(), &prepared.recipe, scorer, &parts, &sweep_options, observer)?;
    if let Some(shard) = options.shard {
        let (skipped, classes, pool) = (skipped.clone(), prepared.classes.clone(), options.pool_name.clone());
        ShardFacts { shard, positions, total, skipped, classes, pool }.store(&mut provenance);
    }
    for (id, reason) in skipped.iter().take(5) {
        observer.say(&format!("warning: pool image `{id}` left out: {reason}"));
    }
    if skipped.len() > 5 {
        observer.say(&format!("warning: and {} more pool images left out; all are in run.json", skipped.len() - 5));
    }
    Ok(Scored::new(provenance, ScoredRows::Files(rows), path, skipped, Some(times)))
}
