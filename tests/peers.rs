//! Strategies that draw no lots against scikit-activeml 1.0.1: the same images in the same order (`make peers`).

use isal::observe::Unobserved;
use isal::select::{CoreSet, Embedded, Gate, ProbCover, Rule, Sets, TypiClust, UncertaintyHerding};
use isal_exporters::seeded;
use ndarray::{Array2, Axis, s};
use std::fs;
use std::path::Path;
use std::process::Command;

const WIDTH: usize = 6;
const CANDIDATES: usize = 360;
const LABELLED: usize = 6;
const BUDGET: usize = 6;

/// Twelve groups of 30 and more, far from each other; every row of unit length. The labelled ones are of the first six groups,
/// each a class of its own.
fn blobs() -> (Embedded, Embedded) {
    let centres =
        Array2::from_shape_vec((12, WIDTH), seeded::uniform(5, "centres", 12 * WIDTH, -1.0..1.0)).expect("rows");
    let images = CANDIDATES + LABELLED;
    let noise = seeded::uniform(6, "noise", images * WIDTH, -0.05..0.05);
    let mut features = Array2::from_shape_vec((images, WIDTH), noise).expect("rows");
    for (i, mut row) in features.axis_iter_mut(Axis(0)).enumerate() {
        // Groups of different sizes, so that their order is settled.
        let group = if i < CANDIDATES { (i * i / 7 + i) % 12 } else { i - CANDIDATES };
        row += &centres.row(group);
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    let part = |rows: Array2<f32>, labels: Vec<Option<u32>>| Embedded {
        logits: Array2::zeros((rows.nrows(), 0)),
        features: rows,
        labels,
    };
    let candidates = part(features.slice(s![..CANDIDATES, ..]).to_owned(), vec![None; CANDIDATES]);
    let labelled = part(features.slice(s![CANDIDATES.., ..]).to_owned(), (0..LABELLED as u32).map(Some).collect());
    (candidates, labelled)
}

const PEER: &str = "
import sys, numpy
from skactiveml import pool
folder, what, number = sys.argv[1:]
x = numpy.fromfile(f'{folder}/features.f32', '<f4').reshape(-1, 6).astype('f8')
y = numpy.full(len(x), numpy.nan)
y[360:] = numpy.arange(6)
strategy = {
    'core-set': lambda: pool.CoreSet(random_state=0),
    'typiclust': lambda: pool.TypiClust(random_state=0, k=20, cluster_algo_dict={'n_init': 20}),
    'max-herding': lambda: pool.MaxHerding(random_state=0, metric='rbf', metric_dict={'gamma': float(number)}),
}[what]()
print(*strategy.query(x, y, batch_size=6))
";

/// What each of our choices is worth to them after those before it, and the most that any image is.
const WORTH: &str = "
import sys, numpy
from skactiveml import pool
folder, radius, *chosen = sys.argv[1:]
x = numpy.fromfile(f'{folder}/features.f32', '<f4').reshape(-1, 6).astype('f8')
y = numpy.full(len(x), numpy.nan)
y[360:] = numpy.arange(6)
for place in map(int, chosen):
    _, worth = pool.ProbCover(random_state=0, deltas=[float(radius)]).query(x, y, batch_size=1, return_utilities=True)
    print(int(worth[0][place]), int(numpy.nanmax(worth[0])))
    y[place] = 0
";

fn peer(what: &str, number: f64) -> Vec<usize> {
    python(PEER, &[what.to_owned(), number.to_string()])
}

fn python(script: &str, arguments: &[String]) -> Vec<usize> {
    let (candidates, labelled) = blobs();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let all = candidates.features.iter().chain(&labelled.features);
    fs::write(folder.path().join("features.f32"), all.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        .expect("written");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".toolchain/peers/bin/python");
    let mut python = Command::new(&program);
    python.args(["-c", script]).arg(folder.path()).args(arguments);
    let output = python.output().unwrap_or_else(|e| panic!("{}: {e}: run `make peers`", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().map(|place| place.parse().expect("a place")).collect()
}

fn ours(rule: &dyn Rule, budget: usize) -> Vec<usize> {
    let (candidates, labelled) = blobs();
    let sets = Sets { candidates: &candidates, labelled: &labelled, target: Some(&candidates) };
    rule.choose(&sets, budget, &mut Gate::open(), &Unobserved)
        .expect("chosen")
        .into_iter()
        .map(|chosen| chosen.place)
        .collect()
}

#[test]
#[ignore = "needs scikit-activeml: make peers"]
fn core_set_is_theirs() {
    assert_eq!(ours(&CoreSet::default(), BUDGET), peer("core-set", 0.0));
}

#[test]
#[ignore = "needs scikit-activeml: make peers"]
fn prob_cover_takes_what_is_worth_most_to_them() {
    // Balls of equal size are taken by lots there, so choices are compared one by one.
    let found = ours(&ProbCover { radius: Some(0.08), ..ProbCover::default() }, BUDGET);
    let arguments: Vec<String> = std::iter::once("0.08".to_owned()).chain(found.iter().map(usize::to_string)).collect();
    let worth = python(WORTH, &arguments);
    assert_eq!(worth.len(), 2 * BUDGET);
    for pair in worth.chunks(2) {
        assert!(pair[0] == pair[1] && pair[0] > 1, "{worth:?}");
    }
}

#[test]
#[ignore = "needs scikit-activeml: make peers"]
fn max_herding_is_theirs() {
    let (_, labelled) = blobs();
    let mut least = f64::INFINITY;
    for a in 0..LABELLED {
        for b in 0..a {
            let apart = |k: usize| f64::from(labelled.features[[a, k]]) - f64::from(labelled.features[[b, k]]);
            least = least.min((0..WIDTH).map(|k| apart(k).powi(2)).sum());
        }
    }
    let rule = UncertaintyHerding { uncertainty: false, ..UncertaintyHerding::default() };
    assert_eq!(ours(&rule, BUDGET), peer("max-herding", 1.0 / least));
}

#[test]
#[ignore = "needs scikit-activeml: make peers"]
fn typiclust_is_theirs_where_clusters_are_plain() {
    let mut theirs = peer("typiclust", 0.0);
    let mut found = ours(&TypiClust::default(), BUDGET);
    // Clusters of one size come in an order of lots there.
    theirs.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, theirs);
}
