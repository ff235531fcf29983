//! One class a pixel: which digit it is of.

use super::client;
use super::compose::{CLASSES, SIDE};
use super::place::*;
use isal::influence::spearman;

#[test]
fn a_pool_is_scored_and_the_report_draws_what_is_believed_over_the_images() {
    let place = Place::new(200);
    convolutional(CLASSES + 1).write(place.path("model.onnx")).expect("written");
    let train = ["train", "--model", "model.onnx", "--train", "labeled", "--epochs", "30", "--batch-size", "8"];
    place
        .isal(&train)
        .args(["--task", "pixel-cross-entropy", "--learning-rate", "0.1", "-o", "trained"])
        .assert()
        .success();
    let said = place.refused(place.isal(&train).args(["--task", "pixel-cross-entropy", "--flip", "-o", "flipped"]));
    assert!(said.contains("move the pixels"), "{said}");

    place.score("labeled", "out", &[]).assert().success();
    let table = place.table("out");
    assert_eq!(columns(&table), ["confidence", "entropy", "margin"]);
    let (chosen, lowest) = selected(&place, "out");
    assert_eq!(chosen, lowest);
    let run = place.json("out/run.json");
    let overlap = run["labelled"]["value"].as_f64().expect("a mean");
    assert_eq!(run["labelled"]["measure"], "mean IoU");
    assert!(overlap > 0.35 && run["labelled"]["warning"].is_null(), "{}", run["labelled"]);
    assert!(run["labelled"]["IoU"]["0"].as_f64().is_some_and(|background| background > 0.9), "{}", run["labelled"]);

    place.score("labeled", "native", &["--engine", "native"]).assert().success();
    let rank = spearman(&place.influences("out"), &place.influences("native")).expect("ranks");
    assert!(rank > 0.999, "{rank}");

    // The first picture of the report: grey where the background is believed, coloured where a digit is.
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("a page");
    let from = page.find("base64,").expect("a picture") + "base64,".len();
    let data = &page[from..from + page[from..].find('"').expect("its end")];
    let png = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).expect("base64");
    let picture = image::load_from_memory(&png).expect("a PNG").into_rgb8();
    assert_eq!(picture.dimensions(), (SIDE, SIDE));
    let coloured = picture.pixels().filter(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2]).count();
    let share = coloured as f64 / f64::from(SIDE * SIDE);
    assert!((0.01..0.6).contains(&share), "{share} of the picture is of a digit");
    // Without the model's decode graph nothing is believed, and nothing drawn: the graph alone has its own.
    let alone =
        ["score", "pool", "--influence", "out/influence.onnx", "--pool", "pool", "--budget", "20", "-o", "alone"];
    place.isal(&alone).args(["--batch-size", "16"]).env("ISAL_PLUGIN", "none").assert().success();
    assert_eq!(place.table("alone").rows, table.rows);
    let again = std::fs::read_to_string(place.path("alone/report.html")).expect("a page");
    assert!(again.contains(data), "the same picture");

    // `isal view` draws it by the influence graph, and the image alone where that is asked for.
    let address = "127.0.0.1:0".parse().expect("an address");
    let (folder, pool) = (place.path("out"), Some(place.path("pool")));
    let server = isal::view::view(isal::view::Options { folder, pool, address, threads: 1, onnxruntime: None });
    let server = server.expect("started");
    let client = client::Client::open(server.url());
    let address = client.get("/pool?selected=yes").between("<img src=\"", "\"")[0].replace("&amp;", "&");
    let shown = |address: &str| image::load_from_memory(&client.get(address).body).expect("a PNG").into_rgb8();
    let drawn = shown(&address);
    let differing = drawn.pixels().zip(picture.pixels()).filter(|(a, b)| a != b).count();
    // The last digits of a batch of one may decide a pixel between two classes otherwise.
    assert!(
        drawn.dimensions() == (SIDE, SIDE) && differing * 100 <= picture.pixels().len(),
        "{differing} pixels differ"
    );
    let alone = shown(&address.replace("&drawn=1", ""));
    assert!(alone.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]), "grey");
    let page = client.get("/label").text();
    assert!(page.contains("one class an image is labelled") && !page.contains("<form"), "{page}");
    server.stop();

    // A mask of another set.
    image::GrayImage::from_pixel(SIDE, SIDE, image::Luma([9]))
        .save(place.path("labeled/masks/0003.png"))
        .expect("a PNG");
    let said = place.refused(&mut place.score("labeled", "odd", &[]));
    assert!(said.contains("`0003.png`") && said.contains("label 9") && said.contains("0 to 5"), "{said}");
    std::fs::remove_file(place.path("labeled/masks/0003.png")).expect("removed");
    let said = place.refused(&mut place.score("labeled", "odd", &[]));
    assert!(said.contains("masks/0003.png"), "{said}");
}
