//! Runs that people label, with folder names for people.

use super::place::{Place, list, stderr};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const CONFIG: &str = r#"
seed = 5
rounds = 3
model = "model.onnx"
data = { pool = "flat", test = "test" }
labels = { initial = 20, budget = 0.05 }
train = { epochs = 2, batch-size = 10 }
select = { strategy = "margin" }
oracle = { kind = "human" }
"#;

/// A place with a pool without labels, and their answers.
fn place() -> (Place, BTreeMap<String, String>) {
    let place = Place::new();
    let truth = place.flat();
    place.configure(CONFIG);
    (place, truth)
}

/// Ids that a round asks about, the most useful first.
fn asked(place: &Place, out: &str, round: usize) -> Vec<String> {
    let text = fs::read_to_string(place.path(&format!("{out}/round-{round:02}/to-label.jsonl"))).expect("a list");
    let id = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
    text.lines().map(id).collect()
}

/// A list of answers.
fn answers<'a>(place: &Place, name: &str, rows: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let lines: Vec<String> = rows.into_iter().map(|(id, label)| format!("flat/{id},{label},{id}\n")).collect();
    fs::write(place.path(name), format!("path,label,id\n{}", lines.concat())).expect("written");
}

fn stdout(command: &mut assert_cmd::Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(place: &Place, out: &str) -> Value {
    serde_json::from_str(&stdout(&mut place.isal(&["run", "--status", out, "--json"]))).expect("JSON")
}

/// Labels all that a round asks about as the folders had it.
fn label_all(place: &Place, truth: &BTreeMap<String, String>, out: &str, round: usize) {
    let ids = asked(place, out, round);
    answers(place, "all.csv", ids.iter().map(|id| (id.as_str(), truth[id].as_str())));
    place.isal(&["label", "import", out, "all.csv"]).assert().success();
}

#[test]
fn a_run_waits_for_people_and_takes_what_they_say() {
    let (place, truth) = place();
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("waiting for labels: 20 of the 20 images of round 1"), "{said}");
    assert!(said.contains("isal label import out"), "{said}");
    assert_eq!(status(&place, "out")["state"], "waiting");
    let first = asked(&place, "out", 0);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 20);
    let links = list(&place.path("out/round-00/to-label"));
    for (place_in_list, (link, id)) in links.iter().zip(&first).enumerate() {
        assert_eq!(*link, format!("{:04}-{id}", place_in_list + 1));
        let shown = fs::read(place.path(&format!("out/round-00/to-label/{link}"))).expect("a link to an image");
        assert_eq!(shown, fs::read(place.path(&format!("flat/{id}"))).expect("an image"));
    }

    // All that is wrong is named, and nothing of the file is taken.
    let of = |at: usize| (first[at].as_str(), truth[&first[at]].as_str());
    answers(
        &place,
        "wrong.csv",
        [("nobody.png", "3"), ("neither.png", "4"), (of(0).0, "ten"), (of(1).0, "cat"), of(2)],
    );
    let said = stderr(&mut place.isal(&["label", "import", "out", "wrong.csv"]), 2);
    for name in ["nobody.png", "neither.png", "`ten`", "`cat`", of(0).0, of(1).0, "0, 1, 2, 3"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(!said.contains(of(2).0), "{said}");
    assert_eq!(status(&place, "out")["waiting"]["missing"], 20);

    // Some, of which two are skipped: the run still waits, and says for what.
    let some = (0..12).map(|at| if at < 2 { (of(at).0, "skip") } else { of(at) });
    answers(&place, "some.csv", some);
    let said = stdout(&mut place.isal(&["label", "import", "out", "some.csv"]));
    assert!(said.contains("12 labels taken") && said.contains("10 of 20 images labelled, 2 skipped"), "{said}");
    let said = stdout(&mut place.isal(&["label", "status", "out"]));
    assert!(said.contains("8 images have no label") && said.contains(of(12).0), "{said}");
    let missing = stdout(&mut place.isal(&["label", "status", "out", "--json"]));
    let missing: Value = serde_json::from_str(&missing).expect("JSON");
    assert_eq!(missing["missing"], serde_json::to_value(&first[12..]).expect("JSON"));
    assert!(stdout(&mut place.run("out", &[])).contains("8 of the 20 images"));
    assert!(!place.path("out/round-00/labeled.json").exists());

    // A label changes only where that is meant.
    let other = if of(3).1 == "7" { "8" } else { "7" };
    answers(&place, "other.csv", [(of(3).0, other)]);
    let said = stderr(&mut place.isal(&["label", "import", "out", "other.csv"]), 2);
    assert!(said.contains(of(3).0) && said.contains("--replace"), "{said}");
    place.isal(&["label", "import", "out", "other.csv", "--replace"]).assert().success();
    answers(&place, "back.csv", [of(3)]);
    let said = stdout(&mut place.isal(&["label", "import", "out", "back.csv", "--replace"]));
    assert!(said.contains("1 changed"), "{said}");

    // The others sorted into folders, under the names that the folder of images has.
    for (at, link) in links.iter().enumerate().skip(12) {
        let folder = place.path(&format!("sorted/{}", of(at).1));
        fs::create_dir_all(&folder).expect("made");
        fs::copy(place.path(&format!("out/round-00/to-label/{link}")), folder.join(link)).expect("copied");
    }
    let said = stdout(&mut place.isal(&["label", "import", "out", "sorted"]));
    assert!(said.contains("8 labels taken") && said.contains("can go on"), "{said}");
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("15 of the 15 images of round 2"), "{said}");
    let begun = stderr(&mut place.isal(&["label", "import", "out", "some.csv", "--round", "1"]), 2);
    assert!(begun.contains("round 1 takes no labels"), "{begun}");

    // The list itself, filled in for ten of them; the others go back to the pool.
    let second = asked(&place, "out", 1);
    let list_file = place.path("out/round-01/to-label.csv");
    let mut filled = Vec::new();
    for (row, line) in fs::read_to_string(&list_file).expect("a list").lines().enumerate() {
        let (path, id) = line.split_once(",,").unwrap_or((line, ""));
        let label = truth.get(id).filter(|_| row <= 10).map_or("", String::as_str);
        filled.push(if row == 0 { line.to_owned() } else { format!("{path},{label},{id}") });
    }
    fs::write(&list_file, filled.join("\n")).expect("written");
    let list_name = list_file.display().to_string();
    let said = stdout(&mut place.isal(&["label", "import", "out", &list_name, "--accept-partial"]));
    assert!(said.contains("10 of 15 images labelled") && said.contains("can go on"), "{said}");
    stdout(&mut place.run("out", &[]));
    let third = asked(&place, "out", 2);
    label_all(&place, &truth, "out", 2);
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("3 of 3 rounds") && said.contains("curve:"), "{said}");

    let labeled: Vec<String> = place.labeled("out").into_iter().flatten().collect();
    assert_eq!(labeled.len(), 18 + 10 + 15);
    assert_eq!(labeled.iter().collect::<BTreeSet<_>>().len(), labeled.len(), "no image is labelled twice");
    let skipped: Vec<&String> = first[..2].iter().collect();
    assert!(!second.iter().chain(&third).chain(&labeled).any(|id| skipped.contains(&id)), "never offered again");
    let end = status(&place, "out");
    assert_eq!(
        (&end["state"], &end["cost"]["labeled"], &end["cost"]["skipped"]),
        (&"done".into(), &43.into(), &2.into())
    );
    let said = stderr(&mut place.isal(&["label", "import", "out", "some.csv"]), 2);
    assert!(said.contains("waits for no labels"), "{said}");
}

#[test]
fn a_run_of_people_that_is_killed_at_its_writes_ends_with_the_same_bytes() {
    let (place, truth) = place();
    for out in ["whole", "broken"] {
        for round in 0..3 {
            match out {
                "whole" => drop(stdout(&mut place.run(out, &[]))),
                _ => assert!(place.run_with_kills(out) >= 2),
            }
            let ids = asked(&place, out, round);
            answers(&place, "all.csv", ids.iter().map(|id| (id.as_str(), truth[id].as_str())));
            for at in 1..=2 {
                // Before the labels are taken, and after.
                let mut import = place.isal(&["label", "import", out, "all.csv"]);
                if out == "broken" {
                    import.env("ISAL_TEST_KILL_AT_WRITE", at.to_string());
                    assert_eq!(import.output().expect("it runs").status.code(), None, "killed");
                }
                let missing = status(&place, out)["waiting"]["missing"].clone();
                assert_eq!(
                    missing,
                    if out == "whole" || at == 1 { asked(&place, out, round).len().into() } else { Value::Null }
                );
            }
            place.isal(&["label", "import", out, "all.csv"]).assert().success();
        }
        stdout(&mut place.run(out, &[]));
    }
    let (whole, broken) = (place.made("whole"), place.made("broken"));
    assert_eq!(whole.len(), 3 + 3 + 3 + 2 + 1);
    for (broken, whole) in broken.iter().zip(&whole) {
        assert_eq!(broken.0, whole.0);
        assert!(broken.1 == whole.1, "{} differs", whole.0);
    }
}

#[test]
fn labels_that_are_there_begin_a_run_and_images_of_archives_are_shown_as_files() {
    let (place, truth) = place();
    let known: Vec<(&str, &str)> = truth.iter().step_by(15).map(|(id, label)| (id.as_str(), label.as_str())).collect();
    answers(&place, "known.csv", known.iter().copied());
    place.configure(&CONFIG.replace("initial = 20", "initial-labels = \"known.csv\""));
    let said = stdout(&mut place.run("out", &[]));
    assert!(said.contains("15 of the 15 images of round 2"), "{said}");
    assert_eq!(place.json("out/round-00/labeled.json")["ids"].as_array().expect("ids").len(), known.len());
    answers(&place, "known.csv", [("nobody.png", "3")]);
    let said = stderr(&mut place.run("other", &[]), 2);
    assert!(said.contains("nobody.png"), "{said}");

    // A table of pixels, whose images have no file.
    let pixels = (1..784).map(|at| (at % 256).to_string()).collect::<Vec<_>>().join(",");
    let rows: Vec<String> = (0..12).map(|row| format!("{row},{pixels},{}\n", row % 10)).collect();
    fs::write(place.path("table.csv"), rows.concat()).expect("written");
    place.configure(&CONFIG.replace("flat", "table.csv").replace("initial = 20", "initial = 4").replace("0.05", "2"));
    let said = stdout(&mut place.run("table", &[]));
    assert!(said.contains("4 of the 4 images of round 1"), "{said}");
    let files = list(&place.path("table/round-00/to-label"));
    assert!(files.len() == 4 && files.iter().all(|file| file.ends_with(".png")), "{files:?}");
}
