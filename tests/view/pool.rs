//! The pool: the order, the filters, and the images.

use super::client::{Answer, Client, encoded};
use super::place::{Place, digits};
use isal::scores::{ScoreRow, ScoreTable};
use isal::view::{Options, Server, view};
use std::path::PathBuf;

/// A trained LeNet and 300 digits that it scored, in `out`.
pub fn scored(strategy: &str) -> Place {
    let place = Place::new();
    digits::write(&place.path("labeled"), 44, 4);
    let train = [
        "train",
        "--model",
        "model.onnx",
        "--train",
        "labeled",
        "--epochs",
        "8",
        "--batch-size",
        "10",
        "-o",
        "trained",
    ];
    place.isal(&train).assert().success();
    let score = ["score", "pool", "--model", "trained/model.onnx", "--labeled", "labeled", "--reference", "reference"];
    let more = ["--pool", "pool", "--budget", "20", "--batch-size", "32", "--strategy", strategy, "-o", "out"];
    place.isal(&score).args(more).assert().success();
    place
}

/// A server over a folder; paths of a run count from the folder that its command was called in.
pub fn started(folder: PathBuf, pool: Option<PathBuf>) -> (Server, Client) {
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = view(Options { folder, pool, address, threads: 2, onnxruntime: None }).expect("started");
    let client = Client::open(server.url());
    (server, client)
}

fn table(place: &Place) -> ScoreTable {
    ScoreTable::read_parquet(&place.path("out/scores.parquet")).expect("a table")
}

/// Ids of the images of a page, in their order.
fn shown(page: &Answer) -> Vec<String> {
    page.between("<span class=\"id\">", "</span></figcaption>")
}

/// Ids of all pages of an address.
fn all(client: &Client, address: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for page in 1.. {
        let answer = client.get(&format!("/pool?{address}&page={page}"));
        assert_eq!(answer.status, 200, "{address}");
        ids.extend(shown(&answer));
        if !answer.text().contains(">next</a>") {
            return ids;
        }
    }
    unreachable!()
}

#[test]
fn images_are_in_the_order_asked_for_and_filters_keep_what_they_say() {
    let place = scored("influence");
    let (server, client) = started(place.path("out"), None);
    assert_eq!((server.images(), server.notices()), (300, &[][..]));
    let table = table(&place);
    let confidence = table.columns.iter().position(|column| column.name == "confidence").expect("a column");
    let class = table.columns.iter().position(|column| column.name == "pseudo_label").expect("a column");
    let entropy = table.columns.iter().position(|column| column.name == "entropy").expect("a column");
    let selection = place.json("out/selection.json");
    let selected: Vec<&str> = selection["selected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|image| image["id"].as_str().expect("an id"))
        .collect();
    let influence = |row: &ScoreRow| row.influence.expect("an influence");
    let expected = |admits: &dyn Fn(&ScoreRow) -> bool, key: &dyn Fn(&ScoreRow) -> f64| {
        let mut rows: Vec<&ScoreRow> = table.rows.iter().filter(|row| admits(row)).collect();
        rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
        rows.into_iter().map(|row| row.id.clone()).collect::<Vec<_>>()
    };
    let any = |_: &ScoreRow| true;
    assert_eq!(all(&client, ""), expected(&any, &influence), "the most useful first");
    assert_eq!(all(&client, "falling=yes"), expected(&any, &|row| -influence(row)));
    assert_eq!(all(&client, "by=entropy"), expected(&any, &|row| row.beliefs[entropy]));
    assert_eq!(all(&client, "by=pool"), table.rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>());
    assert_eq!(all(&client, "class=3"), expected(&|row| row.beliefs[class] == 3.0, &influence));
    let between = |row: &ScoreRow| (0.25..=0.75).contains(&row.beliefs[confidence]);
    let found = all(&client, "least=25&most=75");
    assert!(!found.is_empty() && found.len() < 300, "the filter says something");
    assert_eq!(found, expected(&between, &influence));
    assert_eq!(all(&client, "selected=yes"), selected, "lowest influence first is how they were selected");
    assert_eq!(all(&client, "selected=no"), expected(&|row| !selected.contains(&row.id.as_str()), &influence));
    assert_eq!(all(&client, "source=7"), expected(&|row| row.id.starts_with("7/"), &influence));
    assert_eq!(all(&client, "text=%2F0"), expected(&|row| row.id.contains("/0"), &influence));
    let both = |row: &ScoreRow| row.id.starts_with("4/") && row.beliefs[class] == 4.0;
    assert_eq!(all(&client, "source=4&class=4"), expected(&both, &influence));
    assert_eq!(all(&client, "source=nobody"), Vec::<String>::new());
    // What means nothing is not an error.
    assert_eq!(all(&client, "class=cat&by=colour&round=x").len(), 300);
    server.stop();
}

#[test]
fn an_image_has_its_pixels_its_beliefs_and_the_reason_why() {
    let place = scored("influence");
    let (server, client) = started(place.path("out"), None);
    let table = table(&place);
    let best = table.rows.iter().min_by(|a, b| a.influence.partial_cmp(&b.influence).expect("numbers")).expect("a row");
    let list = client.get("/pool");
    let first = list.between("<a href=\"/image?", "\"").first().expect("a link").replace("&amp;", "&");
    let page = client.get(&format!("/image?{first}"));
    let text = page.text();
    assert!(text.contains(&best.id) && text.contains("0 of 300 images have a lower"), "{text}");
    assert!(
        text.contains("expected to lower the reference loss") && text.contains("More negative influence ="),
        "{text}"
    );
    assert!(text.contains("Selected as number <b>1</b> of 20 by <code>influence</code>"), "{text}");
    let column = |name: &str| table.columns.iter().position(|column| column.name == name).expect("a column");
    let sure = format!("{:.1} %", 100.0 * best.beliefs[column("confidence")]);
    assert!(text.contains(&sure), "{sure}: {text}");
    // The picture is the file's own pixels.
    let picture = page.between("<img src=\"", "\"").first().expect("a picture").replace("&amp;", "&");
    let shown = client.get(&picture);
    assert_eq!((shown.status, shown.headers["content-type"].as_str()), (200, "image/png"));
    let shown = image::load_from_memory(&shown.body).expect("a PNG").into_luma8();
    assert_eq!(shown, image::open(place.path(&format!("pool/{}", best.id))).expect("a PNG").into_luma8());

    // An image that was changed since is said to be another.
    let plain = image::GrayImage::from_pixel(28, 28, image::Luma([9]));
    plain.save(place.path(&format!("pool/{}", best.id))).expect("saved");
    assert!(client.get(&format!("/image?{first}")).text().contains("not the one that was scored"));
    std::fs::write(place.path(&format!("pool/{}", best.id)), b"no image").expect("written");
    assert!(client.get(&format!("/image?{first}")).text().contains("cannot decode"));
    assert_eq!(client.get(&picture).status, 404);
    server.stop();
}

#[test]
fn a_strategy_without_influence_has_its_own_order_and_a_pool_that_is_gone_is_said() {
    let place = scored("margin");
    std::fs::rename(place.path("pool"), place.path("elsewhere")).expect("moved");
    let (server, client) = started(place.path("out"), None);
    assert!(server.notices()[0].contains("--pool"), "{:?}", server.notices());
    let page = client.get("/pool?by=margin");
    let text = page.text();
    assert!(text.contains("not in the pool") && !text.contains("<img"), "{text}");
    assert!(!text.contains("influence"), "none is spoken of");
    let first = &shown(&page)[0];
    let selection = place.json("out/selection.json");
    assert_eq!(&selection["selected"][0]["id"], first.as_str(), "the least margin first");
    server.stop();
    // Where it is now.
    let (server, client) = started(place.path("out"), Some(place.path("elsewhere")));
    assert!(server.notices().is_empty(), "{:?}", server.notices());
    let picture = client.get("/pool").between("<img src=\"", "\"")[0].replace("&amp;", "&");
    assert_eq!(client.get(&picture).status, 200);
    server.stop();
}

#[test]
fn what_is_not_of_the_pool_is_not_served() {
    let place = scored("margin");
    let (server, client) = started(place.path("out"), None);
    for path in [
        "/picture",
        "/picture?at=300",
        "/picture?at=-1",
        "/picture?at=../../etc/passwd",
        "/picture?at=4294967296",
        "/etc/passwd",
        "/../out/run.json",
        "/image?row=300",
        "/image",
        "/run.json",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let long = client.get(&format!("/pool?text={}", encoded(&"<b>".repeat(2_000))));
    assert_eq!(long.status, 414);
    let marked = client.get(&format!("/pool?text={}", encoded("\"><script>alert(1)</script>"))).text();
    assert!(!marked.contains("<script>"), "{marked}");
    server.stop();
}
