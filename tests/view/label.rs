//! Labels over a sweep: each on disk before it is answered.

use super::client::Client;
use super::place::Place;
use super::pool::{scored, started};
use isal::data::{Dataset, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

fn selected(place: &Place) -> Vec<String> {
    let selection = place.json("out/selection.json");
    selection["selected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|image| image["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// `path,label,id` lines of a list, without its first.
fn lines(place: &Place, file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(place.path(file)).unwrap_or_default();
    let mut table = csv::Reader::from_reader(text.as_bytes());
    table.records().map(|row| row.expect("a row")).map(|row| (row[2].to_owned(), row[1].to_owned())).collect()
}

fn say(client: &Client, at: usize, id: &str, field: (&str, &str)) -> (u16, String) {
    let answer = client.post("/label", &[("at", &at.to_string()), ("id", id), field]);
    let to = answer.headers.get("location").cloned().unwrap_or_else(|| answer.text());
    (answer.status, to)
}

#[test]
fn labels_go_into_a_list_that_every_command_takes() {
    let place = scored("influence");
    let ids = selected(&place);
    let (server, client) = started(place.path("out"), None);
    let page = client.get("/label");
    let text = page.text();
    assert!(
        text.contains(&ids[0]) && text.contains("data-key=\"7\"") && text.contains("0 of 20 images have a label"),
        "{text}"
    );
    assert_eq!(say(&client, 1, &ids[0], ("label", "7")), (303, "/label?at=2".to_owned()));
    assert_eq!(say(&client, 2, &ids[1], ("do", "skip")), (303, "/label?at=3".to_owned()));
    // Out of order, then on to the first without a label behind it.
    assert_eq!(say(&client, 4, &ids[3], ("label", "2")), (303, "/label?at=5".to_owned()));
    let expected = vec![(ids[0].clone(), "7".to_owned()), (ids[3].clone(), "2".to_owned())];
    assert_eq!(lines(&place, "out/view/labels.csv"), expected);
    assert_eq!(lines(&place, "out/view/skipped.csv"), [(ids[1].clone(), "skip".to_owned())]);
    // The list is one of labelled images.
    let list = Dataset::open(&place.path("out/view/labels.csv"), &OpenOptions::default()).expect("a list");
    assert_eq!(
        (list.len(), list.id(0), list.classes()[list.label(0).expect("a label") as usize].as_str()),
        (2, ids[0].clone(), "7")
    );
    assert_eq!(list.load(0).expect("an image").height(), 28);

    // An image of the pool that was not selected, on its own page.
    let other = client.get("/pool?selected=no").between("<a href=\"/image?", "\"")[3].replace("&amp;", "&");
    let page = client.get(&format!("/image?{other}"));
    let hidden: Vec<(String, String)> = page
        .between("<input type=\"hidden\" name=\"", ">")
        .iter()
        .filter_map(|input| input.split_once("\" value=\""))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("label", "0"));
    let answer = client.post("/label", &fields);
    assert_eq!(answer.status, 303);
    let next = client.get("/pool?selected=no").between("<a href=\"/image?", "\"")[4].replace("&amp;", "&");
    assert_eq!(answer.headers["location"], format!("/image?{next}"), "on to the next in the same order");
    assert_eq!(lines(&place, "out/view/labels.csv").len(), 3);
    let labelled = client.get("/pool?labelled=yes").between("<span class=\"id\">", "</span></figcaption>");
    assert_eq!(labelled.len(), 4, "with the one to leave out");

    // Where the query is of images without a label, the next one comes all the same.
    let links = client.get("/pool?labelled=no").between("<a href=\"/image?", "\"");
    let page = client.get(&format!("/image?{}", links[0].replace("&amp;", "&")));
    let row = page.between("name=\"row\" value=\"", "\"")[0].clone();
    let id = page.between("name=\"id\" value=\"", "\"")[0].clone();
    let answer = client.post("/label", &[("row", &row), ("id", &id), ("labelled", "no"), ("label", "5")]);
    assert_eq!(answer.headers["location"], format!("/image?{}", links[1].replace("&amp;", "&")));
    let undo = || client.post("/label", &[("at", "1"), ("do", "undo")]).headers["location"].clone();
    undo();

    // Undone, the last first; a label that was changed becomes what it was.
    assert_eq!(say(&client, 1, &ids[0], ("label", "1")).0, 303);
    assert_eq!(undo(), "/label?at=1");
    assert!(lines(&place, "out/view/labels.csv").contains(&(ids[0].clone(), "7".to_owned())));
    undo();
    assert_eq!((undo(), undo()), ("/label?at=4".to_owned(), "/label?at=2".to_owned()));
    assert_eq!(lines(&place, "out/view/labels.csv"), [(ids[0].clone(), "7".to_owned())]);
    assert_eq!(lines(&place, "out/view/skipped.csv"), []);
    assert_eq!((undo(), undo()), ("/label?at=1".to_owned(), "/label".to_owned()), "nothing is left to undo");

    // What is no class, or of another list, changes nothing.
    for (at, id, label) in
        [(1, ids[0].as_str(), "cat"), (1, ids[1].as_str(), "7"), (99, ids[0].as_str(), "7"), (1, ids[0].as_str(), "")]
    {
        let (status, said) = say(&client, at, id, ("label", label));
        assert!(status == 400 || status == 404, "{at} {id} {label}: {status} {said}");
    }
    assert_eq!(lines(&place, "out/view/labels.csv"), []);
    server.stop();
}

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `isal view out` as a program, and the address that it prints.
fn program(place: &Place) -> (Started, String) {
    let child = Command::new(assert_cmd::cargo::cargo_bin!("isal"))
        .current_dir(place.path("."))
        .args(["view", "out", "--port", "0", "--json", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut started = Started(child);
    let mut text = String::new();
    for line in BufReader::new(started.0.stdout.as_mut().expect("a pipe")).lines() {
        text.push_str(&line.expect("text"));
        if let Ok(said) = serde_json::from_str::<serde_json::Value>(&text) {
            return (started, said["url"].as_str().expect("an address").to_owned());
        }
    }
    panic!("it ended: {text}");
}

#[test]
fn a_label_that_was_answered_survives_a_kill_and_only_one_server_writes() {
    let place = scored("margin");
    let ids = selected(&place);
    for (at, id) in ids.iter().enumerate().take(6) {
        let (mut killed, url) = program(&place);
        let client = Client::open(&url);
        let text = client.get("/label").text();
        assert!(text.contains(&format!("{at} of 20 images have a label")), "{text}");
        assert_eq!(say(&client, at + 1, id, ("label", &at.to_string())).0, 303);
        let _ = killed.0.kill();
        let _ = killed.0.wait();
    }
    let expected: Vec<_> = (0..6).map(|at| (ids[at].clone(), at.to_string())).collect();
    assert_eq!(lines(&place, "out/view/labels.csv"), expected);
    let (server, client) = started(place.path("out"), None);
    let (other, second) = started(place.path("out"), None);
    assert!(other.notices()[0].contains("another `isal view`"), "{:?}", other.notices());
    assert_eq!(say(&second, 7, &ids[6], ("label", "0")).0, 400);
    assert_eq!(say(&client, 7, &ids[6], ("label", "0")).0, 303);
    other.stop();
    server.stop();
}
