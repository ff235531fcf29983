//! Every strategy, the one slice that lists them, and the selection itself.

use super::joint::{
    self, Badge, Bait, By, CoreSet, Epig, Flqmi, InfluenceBatch, InfluenceKernel, PoolTarget, ProbCover, Rule, Target,
    TypiClust, UncertaintyHerding,
};
use super::power_margin::PowerMargin;
use super::random::Random;
use super::ranking::{Ranked, Ranking};
use super::selection::{LeftOut, SelectError, Selected, Selection};
use super::{entropy, influence, least_confidence, margin, of_boxes, power_margin, random};
use crate::data::Content;
use crate::repeats::Repeats;
use crate::scores::{BeliefColumn, BeliefKind, Rows, ScoreRow, belief};
use indexmap::IndexMap;
use serde_json::Number;
use std::collections::HashMap;

/// What a sweep must have left behind for a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Sample ids alone.
    Nothing,
    /// A belief of the model.
    Belief {
        /// Its column.
        name: &'static str,
        /// Which images come first.
        first: First,
    },
    /// Influences.
    Influence,
    /// Features, and mostly beliefs, of a shortlist and of the images beside it: see [`StrategyOptions::rule`].
    Embedding,
}

/// Which end of a belief comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum First {
    /// The lowest.
    Lowest,
    /// The highest.
    Highest,
}

/// A line of [`STRATEGIES`].
#[derive(Debug, Clone, Copy)]
pub struct StrategyRow {
    /// The name users type.
    pub name: &'static str,
    /// One line for `--help` and the documentation.
    pub about: &'static str,
    /// What it needs of a sweep.
    pub needs: Needs,
    /// Its default options.
    pub options: fn() -> StrategyOptions,
}

/// Every strategy, the default first.
pub const STRATEGIES: &[StrategyRow] = &[
    influence::ROW,
    random::ROW,
    entropy::ROW,
    margin::ROW,
    power_margin::ROW,
    least_confidence::ROW,
    joint::INFLUENCE_BATCH,
    joint::INFLUENCE_KERNEL,
    joint::BAIT,
    joint::BADGE,
    joint::CORE_SET,
    joint::UNCERTAINTY_HERDING,
    joint::EPIG,
    joint::FLQMI,
    joint::TYPICLUST,
    joint::PROB_COVER,
    of_boxes::MEAN_ENTROPY,
    of_boxes::MAX_ENTROPY,
    of_boxes::STABILITY,
    of_boxes::STABILITY_CONFIDENCE,
];

/// No options at all; unlike a unit variant it refuses unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// The options of a strategy; its variant says which. In TOML the key `strategy` holds the variant.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "strategy", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StrategyOptions {
    /// Lowest influence first.
    Influence(NoOptions),
    /// Uniformly at random.
    Random(Random),
    /// Highest entropy first.
    Entropy(NoOptions),
    /// Smallest margin first.
    Margin(NoOptions),
    /// Small margins more often.
    PowerMargin(PowerMargin),
    /// Lowest confidence first.
    LeastConfidence(NoOptions),
    /// Jointly, for the reference set's expected loss.
    InfluenceBatch(InfluenceBatch),
    /// Jointly, for the reference set, by distances.
    InfluenceKernel(InfluenceKernel),
    /// Jointly, for the pool's expected loss.
    Bait(Bait),
    /// Spread among gradients.
    Badge(Badge),
    /// Farthest from what is labelled.
    CoreSet(CoreSet),
    /// Jointly, to cover what is unsure.
    UncertaintyHerding(UncertaintyHerding),
    /// Whose labels tell most about the targets'.
    Epig(Epig),
    /// Jointly, to have something like each target.
    Flqmi(Flqmi),
    /// Typical of clusters without a label.
    #[serde(rename = "typiclust")]
    TypiClust(TypiClust),
    /// Whose neighbourhoods cover most.
    ProbCover(ProbCover),
    /// Highest mean entropy of the pseudo-boxes first.
    MeanEntropy(NoOptions),
    /// Highest entropy of any pseudo-box first.
    MaxEntropy(NoOptions),
    /// Pseudo-boxes that move most under noise first.
    LocalisationStability(NoOptions),
    /// Pseudo-boxes that are unsure and move under noise first.
    LocalisationStabilityConfidence(NoOptions),
}

impl StrategyOptions {
    /// The defaults of the line of [`STRATEGIES`] called `name`.
    ///
    /// # Errors
    /// [`SelectError::UnknownStrategy`].
    pub fn named(name: &str) -> Result<Self, SelectError> {
        match STRATEGIES.iter().find(|row| row.name == name) {
            Some(row) => Ok((row.options)()),
            None => Err(SelectError::UnknownStrategy {
                name: name.to_owned(),
                known: STRATEGIES.iter().map(|row| row.name).collect(),
            }),
        }
    }

    /// The strategy's line of [`STRATEGIES`].
    pub fn row(&self) -> &'static StrategyRow {
        match self {
            StrategyOptions::Influence(_) => &influence::ROW,
            StrategyOptions::Random(_) => &random::ROW,
            StrategyOptions::Entropy(_) => &entropy::ROW,
            StrategyOptions::Margin(_) => &margin::ROW,
            StrategyOptions::PowerMargin(_) => &power_margin::ROW,
            StrategyOptions::LeastConfidence(_) => &least_confidence::ROW,
            StrategyOptions::InfluenceBatch(_) => &joint::INFLUENCE_BATCH,
            StrategyOptions::InfluenceKernel(_) => &joint::INFLUENCE_KERNEL,
            StrategyOptions::Bait(_) => &joint::BAIT,
            StrategyOptions::Badge(_) => &joint::BADGE,
            StrategyOptions::CoreSet(_) => &joint::CORE_SET,
            StrategyOptions::UncertaintyHerding(_) => &joint::UNCERTAINTY_HERDING,
            StrategyOptions::Epig(_) => &joint::EPIG,
            StrategyOptions::Flqmi(_) => &joint::FLQMI,
            StrategyOptions::TypiClust(_) => &joint::TYPICLUST,
            StrategyOptions::ProbCover(_) => &joint::PROB_COVER,
            StrategyOptions::MeanEntropy(_) => &of_boxes::MEAN_ENTROPY,
            StrategyOptions::MaxEntropy(_) => &of_boxes::MAX_ENTROPY,
            StrategyOptions::LocalisationStability(_) => &of_boxes::STABILITY,
            StrategyOptions::LocalisationStabilityConfidence(_) => &of_boxes::STABILITY_CONFIDENCE,
        }
    }

    /// The rule of a strategy that chooses jointly; `None` of one that orders images one by one.
    pub fn rule(&self) -> Option<&dyn Rule> {
        match self {
            StrategyOptions::InfluenceBatch(options) => Some(options),
            StrategyOptions::InfluenceKernel(options) => Some(options),
            StrategyOptions::Bait(options) => Some(options),
            StrategyOptions::Badge(options) => Some(options),
            StrategyOptions::CoreSet(options) => Some(options),
            StrategyOptions::UncertaintyHerding(options) => Some(options),
            StrategyOptions::Epig(options) => Some(options),
            StrategyOptions::Flqmi(options) => Some(options),
            StrategyOptions::TypiClust(options) => Some(options),
            StrategyOptions::ProbCover(options) => Some(options),
            _ => None,
        }
    }

    /// The same strategy serving these images; `None` of one that serves none.
    pub fn aimed_at(self, target: Target) -> Option<StrategyOptions> {
        match self {
            StrategyOptions::InfluenceBatch(options) => {
                Some(StrategyOptions::InfluenceBatch(InfluenceBatch { target, ..options }))
            }
            StrategyOptions::InfluenceKernel(options) => {
                Some(StrategyOptions::InfluenceKernel(InfluenceKernel { target, ..options }))
            }
            StrategyOptions::UncertaintyHerding(options) => {
                Some(StrategyOptions::UncertaintyHerding(UncertaintyHerding { target, ..options }))
            }
            StrategyOptions::Epig(options) => Some(StrategyOptions::Epig(Epig { target, ..options })),
            StrategyOptions::Flqmi(options) => Some(StrategyOptions::Flqmi(Flqmi { target, ..options })),
            StrategyOptions::Bait(options) => {
                let target = match target {
                    Target::Pool => PoolTarget::Pool,
                    Target::PoolAndReference => PoolTarget::PoolAndReference,
                    Target::Reference => return None,
                };
                Some(StrategyOptions::Bait(Bait { target, ..options }))
            }
            _ => None,
        }
    }

    /// Whether images are drawn by chance before they are looked at.
    pub fn draws(&self) -> bool {
        self.first_pass(0).0.row().needs == Needs::Nothing
    }

    /// The strategy that puts images in an order, and how many of them: of a rule that chooses jointly, its shortlist.
    pub fn first_pass(&self, budget: usize) -> (StrategyOptions, usize) {
        let Some(rule) = self.rule() else { return (*self, budget) };
        let (shortlist, seed) = rule.shortlist();
        let by = match shortlist.by {
            By::Random => StrategyOptions::Random(Random { seed }),
            By::Margin => StrategyOptions::Margin(NoOptions {}),
            By::Influence => StrategyOptions::Influence(NoOptions {}),
        };
        (by, shortlist.count(budget, rule.least_candidates()))
    }

    /// Lowest influence first.
    pub fn influence() -> StrategyOptions {
        StrategyOptions::Influence(NoOptions {})
    }

    /// Jointly for the reference set, or for the pool where there is none.
    pub fn influence_batch() -> StrategyOptions {
        StrategyOptions::InfluenceBatch(InfluenceBatch::default())
    }

    /// The same strategy with this seed, where it draws.
    #[must_use]
    pub fn seeded(self, seed: u64) -> StrategyOptions {
        match self {
            StrategyOptions::Random(_) => StrategyOptions::Random(Random { seed }),
            StrategyOptions::PowerMargin(options) => StrategyOptions::PowerMargin(PowerMargin { seed, ..options }),
            StrategyOptions::InfluenceBatch(options) => {
                StrategyOptions::InfluenceBatch(InfluenceBatch { seed, ..options })
            }
            StrategyOptions::InfluenceKernel(options) => {
                StrategyOptions::InfluenceKernel(InfluenceKernel { seed, ..options })
            }
            StrategyOptions::Bait(options) => StrategyOptions::Bait(Bait { seed, ..options }),
            StrategyOptions::Badge(options) => StrategyOptions::Badge(Badge { seed, ..options }),
            StrategyOptions::CoreSet(options) => StrategyOptions::CoreSet(CoreSet { seed, ..options }),
            StrategyOptions::UncertaintyHerding(options) => {
                StrategyOptions::UncertaintyHerding(UncertaintyHerding { seed, ..options })
            }
            StrategyOptions::Epig(options) => StrategyOptions::Epig(Epig { seed, ..options }),
            StrategyOptions::Flqmi(options) => StrategyOptions::Flqmi(Flqmi { seed, ..options }),
            StrategyOptions::TypiClust(options) => StrategyOptions::TypiClust(TypiClust { seed, ..options }),
            StrategyOptions::ProbCover(options) => StrategyOptions::ProbCover(ProbCover { seed, ..options }),
            StrategyOptions::Influence(_)
            | StrategyOptions::Entropy(_)
            | StrategyOptions::Margin(_)
            | StrategyOptions::LeastConfidence(_)
            | StrategyOptions::MeanEntropy(_)
            | StrategyOptions::MaxEntropy(_)
            | StrategyOptions::LocalisationStability(_)
            | StrategyOptions::LocalisationStabilityConfidence(_) => self,
        }
    }

    /// How the strategy orders rows with these beliefs.
    ///
    /// # Errors
    /// [`SelectError::NoBelief`] where they lack the one it goes by.
    pub fn keys(&self, columns: &[BeliefColumn]) -> Result<Keys<'_>, SelectError> {
        let row = self.row();
        let belief = match row.needs {
            Needs::Belief { name, first } => match columns.iter().position(|column| column.name == name) {
                Some(place) => Some((place, first)),
                None => {
                    let there = columns.iter().map(|column| column.name.clone()).collect();
                    return Err(SelectError::NoBelief { strategy: row.name, belief: name, there });
                }
            },
            Needs::Embedding => return Err(SelectError::NeedsImages { strategy: row.name }),
            Needs::Nothing | Needs::Influence => None,
        };
        Ok(Keys { options: self, belief })
    }
}

/// How a strategy orders rows of some columns.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    options: &'a StrategyOptions,
    /// The place of the belief it goes by, and which end comes first.
    belief: Option<(usize, First)>,
}

impl Keys<'_> {
    /// The number by which the strategy orders `row`, the lowest first.
    ///
    /// # Errors
    /// [`SelectError::NoInfluence`] of a strategy that goes by it.
    pub fn of(&self, row: &ScoreRow) -> Result<f64, SelectError> {
        let belief = |place: usize| row.beliefs.get(place).copied().unwrap_or(f64::NAN);
        match (self.options, self.belief) {
            (StrategyOptions::Random(options), _) => Ok(options.key(&row.id)),
            (StrategyOptions::PowerMargin(options), Some((place, _))) => Ok(options.key(&row.id, belief(place))),
            (_, Some((place, First::Highest))) => Ok(-belief(place)),
            (_, Some((place, First::Lowest))) => Ok(belief(place)),
            (_, None) => row.influence.ok_or_else(|| SelectError::NoInfluence { id: row.id.clone() }),
        }
    }
}

/// What becomes of images in which a detector finds no box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutBoxes {
    /// They have the influence of images that show nothing.
    #[default]
    Score,
    /// They are not selected, as in the reference implementation.
    LeaveOut,
}

/// What becomes of pool images that show what another image shows, pixel for pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// Images of a known set are left out, and of those that show the same the first in order is selected alone.
    #[default]
    LeaveOut,
    /// Every image stands for itself.
    Keep,
}

/// Selects up to `budget` of the pool's `rows`, and keeps no more of them than that.
///
/// A pool with fewer candidates than the budget is selected whole, and [`Selection::shortfall`] says how many
/// are missing. The result does not depend on the order of `rows`.
///
/// # Errors
/// A budget of zero, an empty pool, a doubled sample id, a strategy that needs influences over rows without; rows that
/// cannot be read.
pub fn select(
    rows: Rows,
    budget: usize,
    options: &StrategyOptions,
    duplicates: Duplicates,
) -> Result<Selection, SelectError> {
    select_with(rows, budget, options, duplicates, WithoutBoxes::Score)
}

/// [`select`], where images without a pseudo box may be left out.
///
/// # Errors
/// As [`select`]; [`SelectError::NoBoxes`].
pub fn select_with(
    rows: Rows,
    budget: usize,
    options: &StrategyOptions,
    duplicates: Duplicates,
    without_boxes: WithoutBoxes,
) -> Result<Selection, SelectError> {
    if budget == 0 {
        return Err(SelectError::NoBudget);
    }
    if rows.is_empty() {
        return Err(SelectError::EmptyPool);
    }
    let keys = options.keys(rows.columns())?;
    let boxes = belief::BOXES.iter().find_map(|name| rows.belief(name));
    if without_boxes == WithoutBoxes::LeaveOut && boxes.is_none() {
        return Err(SelectError::NoBoxes);
    }
    let boxes = boxes.filter(|_| without_boxes == WithoutBoxes::LeaveOut);
    let leave_out = duplicates == Duplicates::LeaveOut;
    let mut ranking = Ranking::of(budget);
    let mut ids = Repeats::expecting(rows.len());
    let (mut not_finite, mut left_out) = (0, LeftOut::default());
    rows.each(|row| {
        let key = keys.of(row)?;
        match row.same_as.filter(|_| leave_out) {
            Some(set) => left_out.count(set),
            None if boxes.is_some_and(|place| row.beliefs.get(place) == Some(&0.0)) => left_out.without_boxes += 1,
            None if !key.is_finite() => not_finite += 1,
            None => ranking.offer(key, &row.id, leave_out.then_some(row.content), || Seen::of(row)),
        }
        ids.add(&row.id);
        Ok::<(), SelectError>(())
    })?;
    if let Some(mut suspects) = ids.suspects() {
        rows.each(|row| {
            suspects.add(&row.id);
            Ok::<(), SelectError>(())
        })?;
        if let Some(id) = suspects.first() {
            return Err(SelectError::DoubledId { id });
        }
    }
    let lowest = ranking.lowest();
    let mut copies: HashMap<Content, usize> = lowest.iter().map(|ranked| (ranked.held.content, 0)).collect();
    rows.contents(|content| {
        if let Some(copies) = copies.get_mut(&content) {
            *copies += 1;
        }
    })?;
    let selected = (1..).zip(lowest).map(|(rank, Ranked { key, id, held })| Selected {
        rank,
        id,
        score: key,
        influence: held.influence.filter(|x| x.is_finite()),
        beliefs: named(rows.columns(), &held.beliefs),
        copies: copies.get(&held.content).copied(),
    });
    let selected: Vec<Selected> = selected.collect();
    if leave_out {
        left_out.copies = copies.values().sum::<usize>() - selected.len();
    }
    Ok(Selection::new(*options, budget, rows.len(), not_finite, left_out, selected))
}

/// Beliefs under the names of their columns; what is not known is nothing.
fn named(columns: &[BeliefColumn], beliefs: &[f64]) -> IndexMap<String, Option<Number>> {
    let number = |kind: BeliefKind, belief: f64| match kind {
        BeliefKind::Whole => (belief >= 0.0).then(|| Number::from(belief as u64)),
        BeliefKind::Number => Number::from_f64(belief),
    };
    columns.iter().zip(beliefs).map(|(column, belief)| (column.name.clone(), number(column.kind, *belief))).collect()
}

/// What a selection says of an image besides its id and key.
struct Seen {
    influence: Option<f64>,
    beliefs: Vec<f64>,
    content: Content,
}

impl Seen {
    fn of(row: &ScoreRow) -> Seen {
        Seen { influence: row.influence, beliefs: row.beliefs.clone(), content: row.content }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;
    use crate::scores::{SameAs, belief};

    fn select(rows: &[ScoreRow], budget: usize, options: &StrategyOptions) -> Result<Selection, SelectError> {
        super::select(Rows::Memory(&columns(), rows), budget, options, Duplicates::LeaveOut)
    }

    fn columns() -> Vec<BeliefColumn> {
        vec![
            BeliefColumn::whole("pseudo_label"),
            BeliefColumn::number("confidence"),
            BeliefColumn::number("entropy"),
            BeliefColumn::number("margin"),
            BeliefColumn::number(belief::MEAN_ENTROPY),
            BeliefColumn::number(belief::MAX_ENTROPY),
            BeliefColumn::number(belief::STABILITY),
            BeliefColumn::number(belief::UNSURE_AND_UNSTABLE),
        ]
    }

    fn row(id: &str, influence: f64, confidence: f64) -> ScoreRow {
        let margin = 2.0 * confidence - 1.0;
        let entropy = -confidence * confidence.ln() - (1.0 - confidence) * (1.0 - confidence).ln();
        ScoreRow {
            id: id.to_owned(),
            influence: Some(influence),
            beliefs: vec![1.0, confidence, entropy, margin, entropy, -margin, confidence, entropy],
            // Every id shows something else.
            content: Content::from_bits(id.bytes().fold(0, |bits, byte| bits * 257 + u64::from(byte))),
            ..ScoreRow::default()
        }
    }

    fn pool() -> Vec<ScoreRow> {
        vec![row("e", 0.5, 0.6), row("b", -2.0, 0.9), row("d", -0.1, 0.7), row("a", -2.0, 0.8), row("c", 0.0, 0.55)]
    }

    fn chosen(rows: &[ScoreRow], budget: usize, name: &str) -> Vec<String> {
        let selection = select(rows, budget, &StrategyOptions::named(name).unwrap()).unwrap();
        selection.selected.into_iter().map(|s| s.id).collect()
    }

    #[test]
    fn each_strategy_takes_what_its_name_says_and_ties_go_by_id() {
        let cases = [
            ("influence", vec!["a", "b", "d", "c"]),
            ("entropy", vec!["c", "e", "d", "a"]),
            ("margin", vec!["c", "e", "d", "a"]),
            ("least-confidence", vec!["c", "e", "d", "a"]),
            ("mean-entropy", vec!["c", "e", "d", "a"]),
            ("max-entropy", vec!["c", "e", "d", "a"]),
            ("localisation-stability", vec!["c", "e", "d", "a"]),
            ("localisation-stability-confidence", vec!["c", "e", "d", "a"]),
        ];
        for (name, expected) in cases {
            assert_eq!(chosen(&pool(), 4, name), expected, "{name}");
        }
    }

    #[test]
    fn three_classes_tell_the_uncertainty_strategies_apart() {
        // (p): x = .5 .25 .25, y = .45 .44 .11, z = .4 .3 .3
        let of = |id: &str, p: [f64; 3]| ScoreRow {
            beliefs: vec![0.0, p[0], -p.iter().map(|p| p * p.ln()).sum::<f64>(), p[0] - p[1], 0.0, 0.0, 0.0, 0.0],
            ..row(id, 0.0, 0.5)
        };
        let rows = [of("x", [0.5, 0.25, 0.25]), of("y", [0.45, 0.44, 0.11]), of("z", [0.4, 0.3, 0.3])];
        assert_eq!(chosen(&rows, 3, "margin"), ["y", "z", "x"]);
        assert_eq!(chosen(&rows, 3, "entropy"), ["z", "x", "y"]);
        assert_eq!(chosen(&rows, 3, "least-confidence"), ["z", "y", "x"]);
    }

    #[test]
    fn the_order_of_the_pool_changes_nothing() {
        let mut reversed = pool();
        reversed.reverse();
        for strategy in STRATEGIES.iter().filter(|row| row.needs != Needs::Embedding) {
            assert_eq!(chosen(&pool(), 3, strategy.name), chosen(&reversed, 3, strategy.name), "{}", strategy.name);
        }
    }

    #[test]
    fn zero_and_negative_zero_tie() {
        assert_eq!(chosen(&[row("b", -0.0, 0.5), row("a", 0.0, 0.5)], 2, "influence"), ["a", "b"]);
    }

    #[test]
    fn what_is_not_a_number_is_counted_and_never_selected() {
        let mut rows = pool();
        rows.push(row("nan", f64::NAN, 0.5));
        rows.push(row("lowest", f64::NEG_INFINITY, 0.5));
        let selection = select(&rows, 100, &StrategyOptions::named("influence").unwrap()).unwrap();
        assert_eq!((selection.not_finite, selection.selected.len(), selection.shortfall), (2, 5, 95));
        assert!(selection.selected.iter().all(|s| s.id != "nan" && s.id != "lowest"));
    }

    fn showing(shown: u64, row: ScoreRow) -> ScoreRow {
        ScoreRow { content: Content::from_bits(shown), ..row }
    }

    #[test]
    fn images_that_show_the_same_are_selected_once_and_the_selection_says_of_how_many() {
        let mut rows = vec![
            showing(1, row("a", -0.5, 0.9)),
            showing(1, row("z", -3.0, 0.6)),
            showing(1, row("m", -3.0, 0.8)),
            showing(2, row("c", -2.0, 0.7)),
            showing(3, row("d", -1.0, 0.7)),
            showing(3, row("nan", f64::NAN, 0.7)),
        ];
        let of = |rows: &[ScoreRow], budget| {
            let selection = select(rows, budget, &StrategyOptions::named("influence").unwrap()).unwrap();
            let chosen: Vec<(String, Option<usize>)> =
                selection.selected.iter().map(|s| (s.id.clone(), s.copies)).collect();
            (chosen, selection.left_out.copies, selection.shortfall)
        };
        let id = |id: &str, copies| (id.to_owned(), Some(copies));
        assert_eq!(of(&rows, 2), (vec![id("m", 3), id("c", 1)], 2, 0));
        let all = (vec![id("m", 3), id("c", 1), id("d", 2)], 3, 7);
        assert_eq!(of(&rows, 10), all);
        rows.reverse();
        assert_eq!(of(&rows, 10), all, "whatever their order");
        let influence = StrategyOptions::named("influence").unwrap();
        let kept = super::select(Rows::Memory(&columns(), &rows), 4, &influence, Duplicates::Keep).unwrap();
        let ids: Vec<&str> = kept.selected.iter().map(|s| s.id.as_str()).collect();
        assert_eq!((ids, kept.left_out), (vec!["m", "z", "c", "d"], LeftOut::default()));
    }

    #[test]
    fn images_of_a_known_set_are_counted_and_never_selected() {
        let known = |set, row: ScoreRow| ScoreRow { same_as: Some(set), ..row };
        let rows = [
            known(SameAs::Labelled, row("a", -9.0, 0.5)),
            known(SameAs::Labelled, row("b", f64::NAN, 0.5)),
            known(SameAs::Reference, row("c", -8.0, 0.5)),
            known(SameAs::Excluded, row("d", -7.0, 0.5)),
            row("e", 1.0, 0.5),
        ];
        for strategy in STRATEGIES.iter().filter(|row| row.needs != Needs::Embedding) {
            let selection = select(&rows, 3, &StrategyOptions::named(strategy.name).unwrap()).unwrap();
            let ids: Vec<&str> = selection.selected.iter().map(|s| s.id.as_str()).collect();
            assert_eq!(ids, ["e"], "{}", strategy.name);
            assert_eq!(selection.left_out, LeftOut { labelled: 2, reference: 1, excluded: 1, ..LeftOut::default() });
            assert_eq!((selection.pool, selection.shortfall, selection.not_finite), (5, 2, 0));
        }
        let none = select(&rows[..4], 3, &StrategyOptions::named("influence").unwrap()).unwrap();
        assert_eq!((none.selected.len(), none.shortfall, none.left_out.known()), (0, 3, 4));
        let kept = super::select(
            Rows::Memory(&columns(), &rows),
            2,
            &StrategyOptions::named("influence").unwrap(),
            Duplicates::Keep,
        );
        assert_eq!(kept.unwrap().selected[0].id, "a");
    }

    #[test]
    fn random_is_uniform_and_another_seed_selects_others() {
        let rows: Vec<ScoreRow> = (0..20_000).map(|i| row(&format!("{i:05}"), 0.0, 0.5)).collect();
        let of_seed = |seed| {
            let selection = select(&rows, 2_000, &StrategyOptions::Random(Random { seed })).unwrap();
            selection.selected.into_iter().map(|s| s.id).collect::<std::collections::BTreeSet<String>>()
        };
        let (a, b) = (of_seed(1), of_seed(2));
        assert_eq!(a, of_seed(1));
        // Hypergeometric: two draws of a tenth share 200 on average with a standard deviation of 12.7.
        let shared = a.intersection(&b).count();
        assert!((140..260).contains(&shared), "{shared}");
        // A tenth of each tenth of the pool, 200 with a standard deviation below 13.5.
        for tenth in 0..10 {
            let count = a.iter().filter(|id| id.parse::<usize>().unwrap() / 2_000 == tenth).count();
            assert!((130..270).contains(&count), "tenth {tenth}: {count}");
        }
    }

    #[test]
    fn removing_an_image_leaves_the_random_order_of_the_others() {
        let rows: Vec<ScoreRow> = (0..50).map(|i| row(&format!("{i}"), 0.0, 0.5)).collect();
        let whole = chosen(&rows, 50, "random");
        let without: Vec<ScoreRow> = rows.into_iter().filter(|r| r.id != whole[3]).collect();
        let expected: Vec<String> = whole.iter().filter(|id| **id != whole[3]).cloned().collect();
        assert_eq!(chosen(&without, 50, "random"), expected);
    }

    #[test]
    fn requests_that_mean_nothing_are_refused() {
        let influence = StrategyOptions::named("influence").unwrap();
        assert!(matches!(select(&pool(), 0, &influence), Err(SelectError::NoBudget)));
        assert!(matches!(select(&[], 1, &influence), Err(SelectError::EmptyPool)));
        let doubled = [row("a", 0.0, 0.5), row("b", 0.0, 0.5), row("a", 1.0, 0.5)];
        assert!(matches!(select(&doubled, 1, &influence), Err(SelectError::DoubledId { id }) if id == "a"));
        let bare = [ScoreRow { influence: None, ..row("a", 0.0, 0.5) }];
        assert!(matches!(select(&bare, 1, &influence), Err(SelectError::NoInfluence { id }) if id == "a"));
        assert!(select(&bare, 1, &StrategyOptions::named("margin").unwrap()).is_ok());
        let unknown = StrategyOptions::named("loudest").unwrap_err().to_string();
        assert!(unknown.contains("least-confidence"), "{unknown}");
    }
}
