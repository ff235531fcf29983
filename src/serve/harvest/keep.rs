//! Which requests are kept, and which go when better ones come.

use crate::data::harvest::{Graph, Hash, Part, Row};
use crate::lowest::Total;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a request costs besides its bytes: its row, and the ends of pages.
const BESIDE: u64 = 4096;
/// From which part of the bytes on a model takes only what is better than what it has.
const NEARLY_FULL: (u64, u64) = (15, 16);

/// What is to be done to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Put it there with its bytes.
    Add(Hash, Part),
    /// Put another row in the place of its own; its bytes are there.
    Renew(Hash, Part),
    /// It is kept for another reason now.
    Move(Hash, Part),
    /// Take it out.
    Remove(Hash),
}

/// Bounds on what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) images: usize,
    pub(super) sample: usize,
    pub(super) bytes: u64,
}

/// A request as far as the choice goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) part: Part,
    /// Its influence and the number of the graph that it is by.
    pub(super) influence: f32,
    pub(super) graph: u64,
    pub(super) priority: u64,
    pub(super) bytes: u64,
}

/// Requests by influence, those of the graph that was served last first.
type ByInfluence = BTreeSet<(Reverse<u64>, Total, Hash)>;
/// Requests by their random numbers, likewise.
type ByPriority = BTreeSet<(Reverse<u64>, u64, Hash)>;

#[derive(Debug, Default)]
pub(super) struct OfModel {
    places: HashMap<Hash, Place>,
    lowest: ByInfluence,
    sample: ByPriority,
    /// Bytes in the one and the other.
    bytes: [u64; 2],
    /// When each graph was served last, and the number of each by its SHA-256.
    turns: HashMap<u64, u64>,
    numbers: HashMap<String, u64>,
}

/// What is kept of all models, without the bytes.
#[derive(Debug)]
pub(super) struct Keep {
    bounds: Bounds,
    models: BTreeMap<String, OfModel>,
}

fn index(part: Part) -> usize {
    match part {
        Part::Lowest => 0,
        Part::Sample => 1,
    }
}

impl OfModel {
    fn turn(&self, graph: u64) -> Reverse<u64> {
        Reverse(self.turns.get(&graph).copied().unwrap_or(0))
    }

    fn insert(&mut self, hash: Hash, place: Place) {
        let turn = self.turn(place.graph);
        match place.part {
            Part::Lowest => self.lowest.insert((turn, Total::of(place.influence.into()), hash)),
            Part::Sample => self.sample.insert((turn, place.priority, hash)),
        };
        self.bytes[index(place.part)] += place.bytes + BESIDE;
        self.places.insert(hash, place);
    }

    fn take(&mut self, hash: Hash) -> Option<Place> {
        let place = self.places.remove(&hash)?;
        let turn = self.turn(place.graph);
        match place.part {
            Part::Lowest => self.lowest.remove(&(turn, Total::of(place.influence.into()), hash)),
            Part::Sample => self.sample.remove(&(turn, place.priority, hash)),
        };
        self.bytes[index(place.part)] -= place.bytes + BESIDE;
        Some(place)
    }

    fn len(&self, part: Part) -> usize {
        match part {
            Part::Lowest => self.lowest.len(),
            Part::Sample => self.sample.len(),
        }
    }

    /// The one of a part that goes first.
    fn last(&self, part: Part) -> Option<Hash> {
        match part {
            Part::Lowest => self.lowest.last().map(|(.., hash)| *hash),
            Part::Sample => self.sample.last().map(|(.., hash)| *hash),
        }
    }

    /// Puts a request in; gives those that have no place any more, which may be itself.
    fn settle(&mut self, hash: Hash, place: Place, bounds: Bounds) -> (Vec<(Hash, Part)>, Vec<Hash>) {
        let (mut moved, mut out) = (Vec::new(), Vec::new());
        self.insert(hash, Place { part: Part::Lowest, ..place });
        if self.lowest.len() > bounds.images
            && let Some(last) = self.last(Part::Lowest)
            && let Some(displaced) = self.take(last)
        {
            self.insert(last, Place { part: Part::Sample, ..displaced });
            moved.push((last, Part::Sample));
            if self.sample.len() > bounds.sample
                && let Some(last) = self.last(Part::Sample)
            {
                self.take(last);
                out.push(last);
            }
        }
        (moved, out)
    }
}

impl Keep {
    /// Nothing kept yet.
    pub(super) fn new(bounds: Bounds) -> Keep {
        Keep { bounds, models: BTreeMap::new() }
    }

    /// A graph that stands in the database.
    pub(super) fn known_graph(&mut self, model: &str, number: u64, graph: &Graph) {
        let of = self.models.entry(model.to_owned()).or_default();
        of.turns.insert(number, graph.turn);
        of.numbers.insert(graph.sha256.clone(), number);
    }

    /// A request that stands in the database.
    pub(super) fn known_row(&mut self, model: &str, hash: Hash, row: &Row) {
        let Row { part, influence, priority, graph, bytes, .. } = *row;
        let place = Place { part, influence, graph, priority, bytes };
        self.models.entry(model.to_owned()).or_default().insert(hash, place);
    }

    /// A graph that is served last from now on. Gives its number and turn where something changed by that.
    pub(super) fn serve(&mut self, model: &str, sha256: &str) -> Option<(u64, u64)> {
        let of = self.models.entry(model.to_owned()).or_default();
        let newest = of.turns.values().copied().max().unwrap_or(0);
        let number = match of.numbers.get(sha256) {
            Some(number) if of.turns.get(number) == Some(&newest) => return None,
            Some(number) => *number,
            None => of.turns.keys().max().map_or(0, |last| last + 1),
        };
        // Its requests, where it has any, stand elsewhere in the order from now on.
        let own: Vec<Hash> =
            of.places.iter().filter(|(_, place)| place.graph == number).map(|(hash, _)| *hash).collect();
        let own: Vec<(Hash, Place)> = own.into_iter().filter_map(|hash| Some((hash, of.take(hash)?))).collect();
        of.numbers.insert(sha256.to_owned(), number);
        of.turns.insert(number, newest + 1);
        own.into_iter().for_each(|(hash, place)| of.insert(hash, place));
        Some((number, newest + 1))
    }

    /// The number of a graph of a model.
    pub(super) fn number(&self, model: &str, sha256: &str) -> Option<u64> {
        self.models.get(model)?.numbers.get(sha256).copied()
    }

    /// What is to be done so that the bounds hold, which may be others than those of the last start.
    pub(super) fn trim(&mut self) -> Vec<(String, Step)> {
        let mut steps = Vec::new();
        let bounds = self.bounds;
        for (name, of) in &mut self.models {
            for (part, most) in [(Part::Lowest, bounds.images), (Part::Sample, bounds.sample)] {
                while of.len(part) > most {
                    let Some(hash) = of.last(part) else { break };
                    of.take(hash);
                    steps.push((name.clone(), Step::Remove(hash)));
                }
            }
        }
        self.shrink(&mut steps);
        steps
    }

    /// Offers a request; gives what is to be done to the database, in order.
    pub(super) fn offer(&mut self, model: &str, hash: Hash, place: Place) -> Vec<(String, Step)> {
        let bounds = self.bounds;
        let of = self.models.entry(model.to_owned()).or_default();
        let known = of.places.get(&hash).map(|known| known.graph);
        if known.is_some_and(|known| of.turn(known) <= of.turn(place.graph)) {
            return Vec::new();
        }
        // Seen under an earlier graph: the later graph's influence counts.
        of.take(hash);
        let (moved, out) = of.settle(hash, place, bounds);
        let mut steps = Vec::new();
        let named = |step| (model.to_owned(), step);
        match of.places.get(&hash).map(|place| place.part) {
            Some(part) if known.is_some() => steps.push(named(Step::Renew(hash, part))),
            Some(part) => steps.push(named(Step::Add(hash, part))),
            None => {}
        }
        let others = moved.into_iter().filter(|(other, _)| *other != hash && of.places.contains_key(other));
        steps.extend(others.map(|(other, part)| named(Step::Move(other, part))));
        // What never was there need not be taken out.
        let gone = out.into_iter().filter(|other| *other != hash || known.is_some());
        steps.extend(gone.map(|other| named(Step::Remove(other))));
        self.shrink(&mut steps);
        steps
    }

    /// Takes out what is over the bytes: of the model that has most of them, of the part that has most, the last.
    fn shrink(&mut self, steps: &mut Vec<(String, Step)>) {
        while self.bytes() > self.bounds.bytes {
            let largest = self.models.iter_mut().max_by_key(|(_, of)| of.bytes.iter().sum::<u64>());
            let Some((name, of)) = largest else { return };
            let part = if of.bytes[0] >= of.bytes[1] { Part::Lowest } else { Part::Sample };
            let Some(hash) = of.last(part) else { return };
            of.take(hash);
            steps.retain(|(model, step)| model != name || !matches!(step, Step::Move(other, _) if *other == hash));
            let added =
                |(model, step): &(String, Step)| model == name && matches!(step, Step::Add(other, _) if *other == hash);
            match steps.iter().position(added) {
                Some(at) => drop(steps.remove(at)),
                None => steps.push((name.clone(), Step::Remove(hash))),
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.models.values().flat_map(|of| of.bytes).sum()
    }

    /// What influence and random number a request of this graph must be below to be kept.
    pub(super) fn bars(&self, model: &str, graph: Option<u64>) -> (f32, u64) {
        let (Some(of), Some(graph)) = (self.models.get(model), graph) else { return (f32::INFINITY, u64::MAX) };
        let full = self.bytes() > self.bounds.bytes / NEARLY_FULL.1 * NEARLY_FULL.0;
        let turn = of.turn(graph);
        let influence = match of.lowest.last() {
            _ if self.bounds.images == 0 => f32::NEG_INFINITY,
            Some((last, bar, _)) if full || of.lowest.len() >= self.bounds.images => match turn.cmp(last) {
                std::cmp::Ordering::Less => f32::INFINITY,
                std::cmp::Ordering::Equal => bar.value() as f32,
                std::cmp::Ordering::Greater => f32::NEG_INFINITY,
            },
            _ => f32::INFINITY,
        };
        let priority = match of.sample.last() {
            _ if self.bounds.sample == 0 => 0,
            Some((last, bar, _)) if full || of.sample.len() >= self.bounds.sample => match turn.cmp(last) {
                std::cmp::Ordering::Less => u64::MAX,
                std::cmp::Ordering::Equal => *bar,
                std::cmp::Ordering::Greater => 0,
            },
            _ => u64::MAX,
        };
        (influence, priority)
    }

    /// What is kept of each model in each part: requests and their bytes.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, Part, super::Held)> {
        self.models.iter().flat_map(|(name, of)| {
            Part::ALL.map(|part| {
                let images = of.len(part) as u64;
                (name.as_str(), part, super::Held { images, bytes: of.bytes[index(part)] - images * BESIDE })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Bounds = Bounds { images: 3, sample: 2, bytes: u64::MAX };

    fn hash(number: u64) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Hash(bytes)
    }

    fn place(influence: f32, priority: u64) -> Place {
        Place { part: Part::Lowest, influence, graph: 0, priority, bytes: 100 }
    }

    /// A database that does as it is told, and refuses what cannot be.
    #[derive(Debug, Default, PartialEq)]
    struct Told(BTreeMap<(String, Hash), Part>);

    impl Told {
        fn follow(&mut self, steps: Vec<(String, Step)>) {
            for (model, step) in steps {
                match step {
                    Step::Add(hash, part) => assert_eq!(self.0.insert((model, hash), part), None, "added twice"),
                    Step::Renew(hash, part) | Step::Move(hash, part) => {
                        assert!(self.0.insert((model, hash), part).is_some(), "it was not there");
                    }
                    Step::Remove(hash) => assert!(self.0.remove(&(model, hash)).is_some(), "it was not there"),
                }
            }
        }
    }

    fn kept(keep: &Keep) -> Told {
        let of_model = |(name, of): (&String, &OfModel)| {
            of.places.iter().map(|(hash, place)| ((name.clone(), *hash), place.part)).collect::<Vec<_>>()
        };
        Told(keep.models.iter().flat_map(of_model).collect())
    }

    proptest! {
        /// Whatever the order and however often each comes: the lowest influences, and of all others the lowest random numbers.
        #[test]
        fn what_is_kept_is_what_a_whole_sort_keeps(order in prop::collection::vec(0_u64..30, 0..120)) {
            let (mut keep, mut told) = (Keep::new(ROOM), Told::default());
            keep.serve("m", "a");
            // Influences and random numbers that go in unlike orders.
            let influence = |number: u64| ((number * 7) % 31) as f32 - 15.0;
            let priority = |number: u64| (number * 11) % 37;
            for number in &order {
                let graph = keep.number("m", "a");
                let (bar, other) = keep.bars("m", graph);
                let known = keep.models["m"].places.contains_key(&hash(*number));
                let let_in = influence(*number) < bar || priority(*number) < other;
                let steps = keep.offer("m", hash(*number), place(influence(*number), priority(*number)));
                prop_assert!(let_in || known || steps.is_empty(), "the bars keep out what would be kept");
                told.follow(steps);
            }
            let mut seen: Vec<u64> = order.clone();
            seen.sort_unstable();
            seen.dedup();
            seen.sort_by(|a, b| influence(*a).total_cmp(&influence(*b)));
            let (low, rest) = seen.split_at(seen.len().min(ROOM.images));
            let mut rest = rest.to_vec();
            rest.sort_by_key(|number| priority(*number));
            rest.truncate(ROOM.sample);
            let parts = [(low, Part::Lowest), (rest.as_slice(), Part::Sample)];
            let named = |(numbers, part): (&[u64], Part)| {
                numbers.iter().map(|number| (("m".to_owned(), hash(*number)), part)).collect::<Vec<_>>()
            };
            let expected = Told(parts.into_iter().flat_map(named).collect());
            prop_assert_eq!(&kept(&keep), &expected);
            prop_assert_eq!(&told, &expected, "the database has the same");
        }

        #[test]
        fn the_database_follows_and_the_bytes_have_a_bound(
            offers in prop::collection::vec((0_u64..40, 0_u64..3, 0_u64..20_000, prop::bool::ANY), 0..80),
        ) {
            let bounds = Bounds { images: 6, sample: 4, bytes: 60_000 };
            let (mut keep, mut told) = (Keep::new(bounds), Told::default());
            for (number, graph, bytes, first) in offers {
                let model = if first { "m" } else { "n" };
                keep.serve(model, &graph.to_string());
                let graph = keep.number(model, &graph.to_string()).expect("it is served");
                let influence = (number * 7 % 31) as f32 - graph as f32;
                let place = Place { part: Part::Lowest, influence, graph, priority: number * 11 % 37, bytes };
                told.follow(keep.offer(model, hash(number), place));
                prop_assert!(keep.bytes() <= bounds.bytes);
                prop_assert_eq!(&told, &kept(&keep));
                prop_assert!(keep.models.values().all(|of| of.lowest.len() <= 6 && of.sample.len() <= 4));
            }
        }
    }

    #[test]
    fn the_graph_that_is_served_last_comes_first_and_nothing_is_thrown_away_for_it() {
        let mut keep = Keep::new(ROOM);
        let mut told = Told::default();
        assert_eq!(keep.serve("m", "old"), Some((0, 1)));
        (0..3).for_each(|number| told.follow(keep.offer("m", hash(number), place(-10.0 - number as f32, number))));
        assert_eq!(keep.bars("m", Some(0)).0, -10.0);
        assert_eq!(keep.serve("m", "new"), Some((1, 2)));
        assert_eq!(keep.serve("m", "new"), None, "it is the last already");
        assert_eq!(kept(&keep).0.len(), 3);
        assert_eq!(keep.bars("m", Some(1)).0, f32::INFINITY, "everything of the new graph");
        assert_eq!(keep.bars("m", Some(0)).0, -10.0);
        // Higher than all of the old graph, and yet it comes in; the highest of the old graph leaves.
        told.follow(keep.offer("m", hash(9), Place { graph: 1, ..place(5.0, 9) }));
        assert_eq!(keep.models["m"].places[&hash(9)].part, Part::Lowest);
        assert_eq!(keep.models["m"].places[&hash(0)].part, Part::Sample);
        // The same request again, by the new graph.
        told.follow(keep.offer("m", hash(1), Place { graph: 1, ..place(4.0, 1) }));
        assert_eq!((keep.models["m"].places[&hash(1)].influence, keep.models["m"].places.len()), (4.0, 4));
        assert!(keep.offer("m", hash(1), place(-99.0, 1)).is_empty(), "the old graph does not take it back");
        // Back to the old model: its requests come first again.
        assert_eq!(keep.serve("m", "old"), Some((0, 3)));
        assert_eq!(keep.bars("m", Some(0)).0, f32::INFINITY);
        assert_eq!(told, kept(&keep));
    }

    #[test]
    fn smaller_bounds_are_kept_from_the_start() {
        let mut keep = Keep::new(ROOM);
        keep.serve("m", "a");
        let mut told = Told::default();
        (0..5).for_each(|number| told.follow(keep.offer("m", hash(number), place(number as f32, number))));
        keep.bounds = Bounds { images: 1, sample: 1, bytes: u64::MAX };
        told.follow(keep.trim());
        assert_eq!((told.0.len(), &told), (2, &kept(&keep)));
        keep.bounds = Bounds { bytes: 4200, ..keep.bounds };
        told.follow(keep.trim());
        assert_eq!((told.0.len(), &told), (1, &kept(&keep)));
    }
}
