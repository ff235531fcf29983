//! Runs: the curve, the rounds, and labels that the run takes.

use super::client::Client;
use super::place::Place;
use super::pool::started;
use std::collections::BTreeMap;

/// Runs of people name their data by full paths here, as a server in this process stands elsewhere.
fn people() -> (Place, BTreeMap<String, String>) {
    let place = Place::new();
    let truth = place.flat();
    let path = |name: &str| place.path(name).display().to_string();
    place.configure(&format!(
        "seed = 5\nrounds = 3\nmodel = \"{}\"\ndata = {{ pool = \"{}\", test = \"{}\" }}\nlabels = {{ initial = 20, budget = 5 }}\n\
         train = {{ epochs = 2, batch-size = 10 }}\nselect = {{ strategy = \"margin\" }}\noracle = {{ kind = \"human\" }}\n",
        path("model.onnx"),
        path("flat"),
        path("test"),
    ));
    (place, truth)
}

/// Labels what the page shows until nothing is left, as `label` says. Gives how many there were.
fn label_all(client: &Client, mut label: impl FnMut(&str) -> Option<String>) -> usize {
    for count in 0.. {
        let page = client.get("/label");
        if page.text().contains("aria-pressed") {
            return count;
        }
        let field = |name: &str| page.between(&format!("name=\"{name}\" value=\""), "\"")[0].clone();
        let (at, id) = (field("at"), field("id"));
        let said = label(&id);
        let what = said.as_deref().map_or(("do", "skip"), |class| ("label", class));
        let answer = client.post("/label", &[("at", &at), ("id", &id), what]);
        assert_eq!(answer.status, 303, "{}", answer.text());
    }
    unreachable!()
}

fn decoded(address: &str) -> String {
    address.replace("%60", "`").replace("%3B", ";").replace("%3A", ":").replace("%2C", ",").replace('+', " ")
}

#[test]
fn a_run_takes_the_labels_that_were_given_on_its_page() {
    let (place, truth) = people();
    place.run("out", &[]).assert().success();
    let (server, client) = started(place.path("out"), None);
    let home = client.get("/").text();
    assert!(home.contains("It waits for labels") && home.contains("no curve before"), "{home}");
    assert_eq!(client.get("/pool").status, 404, "nothing is scored yet");
    let page = client.get("/label").text();
    assert!(
        page.contains("0 of 20 images") && page.contains("no model has seen it yet") && page.contains("<img"),
        "{page}"
    );
    let mut count = 0;
    let labelled = label_all(&client, |id| {
        count += 1;
        (count > 2).then(|| truth[id].clone())
    });
    assert_eq!(labelled, 20);
    // The run has them when they are handed over, not before.
    assert!(place.isal(&["label", "status", "out"]).output().expect("it runs").stdout.starts_with(b"round 1: 0 of 20"));
    let to = client.post("/import", &[]).headers["location"].clone();
    assert!(decoded(&to).contains("took 20 labels") && decoded(&to).contains("can go on"), "{to}");
    place.run("out", &[]).assert().success();
    let labeled = place.json("out/round-00/labeled.json");
    assert_eq!(labeled["skipped"].as_array().expect("a list").len(), 2);
    let (ids, labels) = (labeled["ids"].as_array().expect("ids"), labeled["labels"].as_array().expect("labels"));
    assert_eq!(ids.len(), 18);
    for (id, label) in ids.iter().zip(labels) {
        assert_eq!(truth[id.as_str().expect("an id")], label.as_str().expect("a label"));
    }

    // The same server sees that the run has gone on: another list, with what the model believes.
    let home = client.get("/").text();
    assert!(home.contains("<svg") && home.contains("1 of 3 rounds") && home.contains("/pool?round=1"), "{home}");
    let page = client.get("/label").text();
    assert!(
        page.contains("0 of 5 images")
            && page.contains("The model believes")
            && page.contains("by <code>margin</code>"),
        "{page}"
    );
    assert!(client.get("/pool?round=1").text().contains("<h1>280 images"));

    // Half of them, by the list itself, and the run goes on with what is there.
    let (mut left, mut said) = (2, Vec::new());
    for at in 1..=left {
        let page = client.get(&format!("/label?at={at}"));
        let id = page.between("name=\"id\" value=\"", "\"")[0].clone();
        assert_eq!(client.post("/label", &[("at", &at.to_string()), ("id", &id), ("label", &truth[&id])]).status, 303);
        said.push(id);
    }
    let list = place.path("out/view/round-01.csv").display().to_string();
    place.isal(&["label", "import", "out", &list]).assert().success();
    let page = client.get("/label").text();
    assert!(page.contains("2 of 5 images"), "{page}");
    // What the run has already is changed only where that is said.
    let other = if truth[&said[0]] == "7" { "8" } else { "7" };
    assert_eq!(client.post("/label", &[("at", "1"), ("id", &said[0]), ("label", other)]).status, 303);
    let to = client.post("/import", &[]).headers["location"].clone();
    assert!(decoded(&to).contains("labelled otherwise before"), "{to}");
    let to = client.post("/import", &[("replace", "yes"), ("partial", "yes")]).headers["location"].clone();
    assert!(decoded(&to).contains("1 changed"), "{to}");
    place.run("out", &[]).assert().success();
    left = place.json("out/round-01/labeled.json")["ids"].as_array().expect("ids").len();
    assert_eq!(left, 2, "the others went back to the pool");
    server.stop();
}

#[test]
fn a_run_with_labels_of_its_own_is_looked_at_and_not_labelled() {
    let place = Place::new();
    let text = super::place::CONFIG
        .replace("\"pool\"", &format!("\"{}\"", place.path("pool").display()))
        .replace("\"reference\"", &format!("\"{}\"", place.path("reference").display()))
        .replace("\"test\"", &format!("\"{}\"", place.path("test").display()))
        .replace("\"model.onnx\"", &format!("\"{}\"", place.path("model.onnx").display()));
    place.configure(&text);
    place.run("out", &[]).assert().success();
    let (server, client) = started(place.path("out"), None);
    let curve = std::fs::read_to_string(place.path("out/curve.svg")).expect("a drawing");
    let home = client.get("/").text();
    assert!(home.contains(&curve), "the curve is the run's own");
    assert!(!home.contains("/label\">Label the images"), "{home}");
    assert!(client.get("/label").text().contains("takes no labels now"));
    // Two rounds selected by scores; the second is shown where none is named.
    let newest = client.get("/pool").between("<a href=\"/image?", "\"")[0].clone();
    assert!(newest.starts_with("round=2&"), "{newest}");
    let of = |round: usize| {
        client
            .get(&format!("/pool?round={}&selected=yes", round + 1))
            .between("<span class=\"id\">", "</span></figcaption>")
    };
    for round in 0..2 {
        let selection = place.json(&format!("out/round-{round:02}/scored/selection.json"));
        let ids: Vec<&str> = selection["selected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|image| image["id"].as_str().expect("an id"))
            .collect();
        assert_eq!(of(round), ids);
        let picture =
            client.get(&format!("/pool?round={}", round + 1)).between("<img src=\"", "\"")[0].replace("&amp;", "&");
        assert_eq!(client.get(&picture).status, 200);
    }
    assert_eq!(client.get("/pool?round=3").status, 404);
    assert_eq!(client.post("/label", &[("row", "1"), ("id", "x"), ("label", "1")]).status, 400);
    server.stop();
}
