//! Pool images that show what a labelled, a reference or another pool image shows: left out of the selection, and counted.

use crate::digits;
use crate::place::{Place, files, stderr};
use isal::scores::{SameAs, ScoreRow, ScoreTable};
use std::collections::{HashMap, HashSet};
use std::fs;

/// Writes what the images of `from` show into `to`, named otherwise and in forms that lose nothing.
fn again(place: &Place, from: &str, to: &str, prefix: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for (number, (id, path)) in files(&place.path(from)).into_iter().enumerate() {
        let (class, name) = id.split_once('/').expect("a class");
        let ending = ["png", "bmp", "tiff"][number % 3];
        let id = format!("{class}/{prefix}{}.{ending}", name.trim_end_matches(".png"));
        fs::create_dir_all(place.path(to).join(class)).expect("a folder");
        let image = image::open(path).expect("an image");
        let image = if number % 2 == 0 { image.to_rgb8().into() } else { image };
        image.save(place.path(to).join(&id)).expect("written");
        ids.push(id);
    }
    ids
}

/// A place with 20 reference images, and a pool of 200 that also holds the labelled and the reference images.
fn everything() -> (Place, HashSet<String>, HashSet<String>) {
    let place = small();
    digits::write(&place.path("reference"), 100, 2);
    let labelled = again(&place, "labeled", "pool", "l");
    let reference = again(&place, "reference", "pool", "r");
    (place, labelled.into_iter().collect(), reference.into_iter().collect())
}

/// A place with a pool of 200.
fn small() -> Place {
    let place = Place::new();
    fs::remove_dir_all(place.path("pool")).expect("removed");
    digits::write(&place.path("pool"), 10, 20);
    place
}

fn rows(place: &Place, out: &str) -> Vec<ScoreRow> {
    ScoreTable::read_parquet(&place.path(out).join("scores.parquet")).expect("scores").rows
}

fn selected(place: &Place, out: &str) -> Vec<String> {
    let selection = place.json(&format!("{out}/selection.json"));
    let ids = selection["selected"].as_array().expect("a list").iter();
    ids.map(|selected| selected["id"].as_str().expect("an id").to_owned()).collect()
}

/// The ids of the lowest influence of those that pass.
fn lowest(rows: &[ScoreRow], most: usize, pass: impl Fn(&ScoreRow) -> bool) -> Vec<String> {
    let mut rows: Vec<&ScoreRow> = rows.iter().filter(|row| pass(row)).collect();
    rows.sort_by(|a, b| a.influence.partial_cmp(&b.influence).expect("numbers").then(a.id.cmp(&b.id)));
    rows.iter().take(most).map(|row| row.id.clone()).collect()
}

fn summary(place: &Place, out: &str) -> String {
    place.json(&format!("{out}/run.json"))["summary"].to_string()
}

#[test]
fn pool_images_that_are_labelled_or_reference_images_are_left_out_and_counted() {
    let (place, labelled, reference) = everything();
    let given = ["--reference", "reference", "-o", "out"];
    place.score(&given).assert().success();
    let rows = rows(&place, "out");
    assert_eq!(rows.len(), 200 + 100 + 20);
    for row in &rows {
        let expected = match () {
            () if labelled.contains(&row.id) => Some(SameAs::Labelled),
            () if reference.contains(&row.id) => Some(SameAs::Reference),
            () => None,
        };
        assert_eq!(row.same_as, expected, "{}", row.id);
    }
    let expected = lowest(&rows, 20, |row| !labelled.contains(&row.id) && !reference.contains(&row.id));
    assert_eq!(selected(&place, "out"), expected);
    let counts = serde_json::json!({"labelled": 100, "reference": 20, "excluded": 0, "copies": 0});
    assert_eq!(place.json("out/selection.json")["left_out"], counts);
    assert_eq!(place.json("out/run.json")["left_out"], counts);
    let said = summary(&place, "out");
    assert!(said.contains("Left out of the selection: 100 labelled images, 20 reference images"), "{said}");
    assert!(String::from_utf8_lossy(&place.read("out/report.html")).contains("100 labelled images"));

    // What is there is not done again, and the labelled images are known all the same.
    let selection = place.read("out/selection.json");
    let said = stderr(place.score(&given).output().expect("it runs"));
    assert!(said.contains("not solved again") && !said.contains("looking at the labelled"), "{said}");
    assert!(place.read("out/selection.json") == selection);
    assert!(place.json("out/run.json")["times"].is_null(), "no image was scored again");

    place.score(&given).arg("--keep-duplicates").assert().success();
    assert_eq!(selected(&place, "out"), lowest(&rows, 20, |_| true));
    assert!(place.json("out/run.json")["times"].is_null(), "another treatment of duplicates costs no sweep");
}

#[test]
fn identical_pool_images_are_selected_once_and_the_selection_says_of_how_many() {
    let place = small();
    for copy in ["b", "a"] {
        fs::create_dir(place.path(copy)).expect("a folder");
        again(&place, "pool", copy, copy);
    }
    for copy in ["b", "a"] {
        for (id, path) in files(&place.path(copy)) {
            fs::rename(path, place.path("pool").join(id)).expect("moved");
        }
    }
    place.score(&["-o", "out"]).assert().success();
    let all = rows(&place, "out");
    assert_eq!(all.len(), 600);
    // What an image shows, by another library's word: the grey pixels themselves.
    let pixels: HashMap<String, Vec<u8>> = files(&place.path("pool"))
        .into_iter()
        .map(|(id, path)| (id, image::open(path).expect("an image").to_luma8().into_raw()))
        .collect();
    let mut seen = HashSet::new();
    let mut expected = lowest(&all, 600, |_| true);
    expected.retain(|id| seen.insert(&pixels[id]));
    assert_eq!(expected.len(), 200);
    assert_eq!(selected(&place, "out"), expected[..20]);
    let selection = place.json("out/selection.json");
    assert!(selection["selected"].as_array().expect("a list").iter().all(|selected| selected["copies"] == 3));
    assert_eq!(selection["left_out"]["copies"], 40);
    let said = summary(&place, "out");
    assert!(said.contains("40 more pool images show the same as a selected one"), "{said}");

    // A pool that runs out of different images.
    let request = ["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool", "-o", "out"];
    place.isal(&request).args(["--budget", "500", "--batch-size", "8", "--threads", "1"]).assert().success();
    assert_eq!(selected(&place, "out"), expected);
    assert_eq!(place.json("out/selection.json")["shortfall"], 300);
}

#[test]
fn shards_with_duplicates_in_and_across_them_join_to_the_unbroken_run() {
    let (place, ..) = everything();
    for (id, path) in files(&place.path("pool")).into_iter().step_by(2) {
        let class = place.path("pool").join(format!("z{}", &id[..1]));
        fs::create_dir_all(&class).expect("a folder");
        fs::copy(path, class.join(&id[2..])).expect("copied");
    }
    let entropy = ["--strategy", "entropy"];
    for keep in [&[][..], &["--keep-duplicates"]] {
        place.score(&["-o", "whole"]).args(entropy).args(keep).assert().success();
        for number in 1..=2 {
            let (slice, out) = (format!("{number}/2"), format!("shard-{number}"));
            place.score(&["--shard", &slice, "-o", &out]).args(entropy).assert().success();
        }
        let merge = ["score", "merge", "shard-1", "shard-2", "--budget", "20", "-o", "merged"];
        place.isal(&merge).args(entropy).args(keep).assert().success();
        for file in ["scores.parquet", "selection.json"] {
            assert!(place.read(&format!("whole/{file}")) == place.read(&format!("merged/{file}")), "{file} {keep:?}");
        }
        let (whole, merged) = (place.json("whole/run.json"), place.json("merged/run.json"));
        assert_eq!(whole["left_out"], merged["left_out"]);
        assert_eq!(whole["provenance"], merged["provenance"]);
        if keep.is_empty() {
            assert_eq!(whole["left_out"]["labelled"], 150);
            assert!(whole["left_out"]["copies"].as_u64() > Some(0), "{}", whole["left_out"]);
        }
    }
}

#[test]
fn a_broken_sweep_goes_on_to_the_same_selection_with_duplicates() {
    let (place, ..) = everything();
    let entropy = ["--strategy", "entropy"];
    place.score(&["-o", "whole"]).args(entropy).assert().success();
    place.score(&["-o", "broken"]).args(entropy).assert().success();
    for file in ["broken/scores.parquet", "broken/selection.json", "broken/parts/000000256-000000320.parquet"] {
        fs::remove_file(place.path(file)).expect(file);
    }
    let said = stderr(place.score(&["-o", "broken"]).args(entropy).output().expect("it runs"));
    assert!(said.contains("256 of 320 images were scored before"), "{said}");
    for file in ["scores.parquet", "selection.json"] {
        assert!(place.read(&format!("whole/{file}")) == place.read(&format!("broken/{file}")), "{file}");
    }
}

#[test]
fn a_random_draw_passes_over_what_is_known_and_what_was_drawn() {
    let place = small();
    again(&place, "labeled", "pool", "l");
    let twice = again(&place, "pool", "pool", "z");
    assert_eq!(twice.len(), 300);
    let draw = |out: &str, more: &[&str]| -> Vec<String> {
        let request = ["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "pool"];
        place.isal(&request).args(["--strategy", "random", "-o", out]).args(more).assert().success();
        selected(&place, out)
    };
    let order = draw("all", &["--keep-duplicates", "--budget", "600"]);
    assert_eq!(order.len(), 600);
    let pixels = |id: &String| image::open(place.path("pool").join(id)).expect("an image").to_luma8().into_raw();
    let labelled: HashSet<Vec<u8>> = files(&place.path("labeled"))
        .into_iter()
        .map(|(_, path)| image::open(path).expect("an image").to_luma8().into_raw())
        .collect();
    let mut seen = labelled;
    let expected: Vec<String> = order.into_iter().filter(|id| seen.insert(pixels(id))).collect();
    assert_eq!(expected.len(), 200);
    assert_eq!(draw("some", &["--budget", "30"]), expected[..30]);
    assert_eq!(draw("whole", &["--budget", "400"]), expected);
    let selection = place.json("whole/selection.json");
    assert_eq!((&selection["shortfall"], &selection["pool"]), (&200.into(), &600.into()));
    assert_eq!(
        selection["left_out"],
        serde_json::json!({"labelled": 200, "reference": 0, "excluded": 0, "copies": 200})
    );
}

#[test]
fn a_pool_of_one_image_gives_that_image_once() {
    let place = small();
    let (_, one) = files(&place.path("pool")).swap_remove(7);
    for number in 0..300 {
        fs::create_dir_all(place.path("same/0")).expect("a folder");
        fs::copy(&one, place.path(&format!("same/0/{number:03}.png"))).expect("copied");
    }
    for strategy in ["influence", "margin", "random"] {
        let out = format!("out-{strategy}");
        let mut command =
            place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "same"]);
        // No ranks to compare in images that are all alike: the exact derivative needs no such check.
        command.args(["--engine", "native", "--strategy", strategy, "--budget", "5", "-o", &out]).assert().success();
        let selection = place.json(&format!("{out}/selection.json"));
        assert_eq!((&selection["shortfall"], &selection["left_out"]["copies"]), (&4.into(), &299.into()), "{strategy}");
        let ids = selected(&place, &out);
        assert_eq!(ids.len(), 1, "{strategy}");
        if strategy != "random" {
            assert_eq!(
                (ids[0].as_str(), &selection["selected"][0]["copies"]),
                ("0/000.png", &300.into()),
                "{strategy}"
            );
        }
    }
}

#[test]
fn a_pool_that_is_labelled_already_gives_nothing_and_says_so() {
    let place = Place::new();
    for strategy in ["influence", "entropy", "random"] {
        let out = format!("out-{strategy}");
        let mut command =
            place.isal(&["score", "pool", "--model", "model.onnx", "--labeled", "labeled", "--pool", "labeled"]);
        command.args(["--strategy", strategy, "--budget", "5", "-o", &out]).assert().success();
        let selection = place.json(&format!("{out}/selection.json"));
        assert_eq!(selection["selected"].as_array().map(Vec::len), Some(0), "{strategy}");
        assert_eq!(
            (&selection["shortfall"], &selection["left_out"]["labelled"]),
            (&5.into(), &100.into()),
            "{strategy}"
        );
        let said = summary(&place, &out);
        assert!(said.contains("nothing is selected") && said.contains("100 labelled images"), "{strategy}: {said}");
    }
}

#[test]
fn images_that_are_excluded_by_name_are_left_out_of_any_strategy_and_of_a_graph_alone() {
    let (place, labelled, reference) = everything();
    let exclude = ["--exclude", "labeled", "--exclude", "reference"];
    place.score(&["-o", "out"]).assert().success();
    for (out, strategy) in [("alone", "influence"), ("alone-entropy", "entropy")] {
        let mut command = place.isal(&["score", "pool", "--influence", "out/influence.onnx", "--pool", "pool"]);
        command.args(["--budget", "20", "--batch-size", "8", "--strategy", strategy, "-o", out]).args(exclude);
        command.assert().success();
        let ids = selected(&place, out);
        assert!(ids.iter().all(|id| !labelled.contains(id) && !reference.contains(id)), "{ids:?}");
        assert_eq!(place.json(&format!("{out}/run.json"))["left_out"]["excluded"], 120);
    }
    // Without a word of them they cannot be known, and that is said.
    let mut command = place.isal(&["score", "pool", "--influence", "out/influence.onnx", "--pool", "pool"]);
    command.args(["--budget", "20", "-o", "unknown"]).assert().success();
    assert!(summary(&place, "unknown").contains("`--exclude` names images that are not to be selected"));
}

#[test]
fn a_labelled_image_that_is_there_twice_or_unreadable_changes_nothing_for_the_others() {
    let (place, labelled, _) = everything();
    let (_, one) = files(&place.path("labeled")).swap_remove(3);
    fs::copy(one, place.path("labeled/3/twice.png")).expect("copied");
    fs::write(place.path("labeled/3/corrupt.png"), b"\x89PNG\r\n\x1a\n and then nothing").expect("written");
    let said = stderr(place.score(&["-o", "out", "--strategy", "entropy"]).output().expect("it runs"));
    assert!(said.contains("1 labelled images cannot be read"), "{said}");
    assert_eq!(place.json("out/run.json")["left_out"]["labelled"], labelled.len());

    // Other labelled images, other images that are left out, though the model and the pool are the same.
    let (_, gone) = files(&place.path("labeled")).swap_remove(0);
    fs::remove_file(gone).expect("removed");
    place.score(&["-o", "out", "--strategy", "entropy"]).assert().success();
    assert_eq!(place.json("out/run.json")["left_out"]["labelled"], labelled.len() - 1);
}
