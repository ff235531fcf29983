//! Who is let in.

use super::client::{Client, ask};
use super::pool::{scored, started};
use isal::view::Options;

#[test]
fn without_the_token_or_under_another_name_nothing_is_shown() {
    let place = scored("margin");
    let (server, client) = started(place.path("out"), None);
    let Client { address, cookie } = &client;
    let get = |path: &str, head: &str| ask(*address, &format!("GET {path} HTTP/1.1\r\n{head}"), "");
    let own = format!("Host: {address}");
    for path in ["/", "/pool", "/picture?at=0", "/label"] {
        assert_eq!(get(path, &own).status, 403, "{path}");
        assert_eq!(
            get(path, &format!("Host: evil.example\r\nCookie: {cookie}")).status,
            403,
            "a name that points here"
        );
        assert_eq!(get(path, &format!("{own}\r\nCookie: {cookie}")).status, 200, "{path}");
    }
    let port = address.port();
    assert_eq!(get("/pool", &format!("Host: localhost:{port}\r\nCookie: {cookie}")).status, 200);
    assert_eq!(get("/?token=guess", &own).status, 403);
    let token = server.url().split_once('?').expect("a token").1;
    assert_eq!(get(&format!("/?{token}"), "Host: evil.example").status, 403);
    let let_in = get(&format!("/?{token}"), &own);
    let set = &let_in.headers["set-cookie"];
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let page = client.get("/pool");
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "nothing is loaded from elsewhere");
    server.stop();
}

#[test]
fn other_pages_write_no_labels() {
    let place = scored("margin");
    let (server, client) = started(place.path("out"), None);
    let Client { address, cookie } = &client;
    let id = place.json("out/selection.json")["selected"][0]["id"].as_str().expect("an id").to_owned();
    let body = format!("at=1&label=3&id={}", super::client::encoded(&id));
    let post = |head: &str| {
        let head = format!(
            "POST /label HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n{head}"
        );
        ask(*address, &head, &body).status
    };
    let with = format!("Cookie: {cookie}");
    for head in [
        "X-Nothing: 1".to_owned(),
        format!("{with}\r\nOrigin: http://evil.example"),
        format!("{with}\r\nOrigin: null"),
        format!("{with}\r\nOrigin: http://localhost:1"),
        format!("{with}\r\nSec-Fetch-Site: cross-site"),
        format!("{with}\r\nSec-Fetch-Site: same-site"),
    ] {
        assert_eq!(post(&head), 403, "{head}");
    }
    assert!(!place.path("out/view/labels.csv").exists());
    assert_eq!(post(&format!("{with}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: same-origin")), 303);
    assert!(place.path("out/view/labels.csv").exists());
    let large = "x".repeat(100_000);
    let head = format!("POST /label HTTP/1.1\r\nHost: {address}\r\n{with}");
    assert_eq!(ask(*address, &head, &format!("label={large}")).status, 413);
    assert_eq!(ask(*address, &format!("DELETE /pool HTTP/1.1\r\nHost: {address}\r\n{with}"), "").status, 405);
    server.stop();
}

#[test]
fn a_folder_of_neither_kind_and_a_pool_that_is_none_are_refused_by_name() {
    let place = scored("margin");
    let options = |folder: &str, pool: Option<&str>| Options {
        folder: place.path(folder),
        pool: pool.map(|pool| place.path(pool)),
        address: "127.0.0.1:0".parse().expect("an address"),
        threads: 1,
        onnxruntime: None,
    };
    let said = |folder: &str, pool| isal::view::view(options(folder, pool)).expect_err("refused").to_string();
    assert!(said("pool", None).contains("neither a run nor scores"));
    assert!(said("nowhere", None).contains("nowhere"));
    assert!(said("out", Some("nowhere")).contains("nowhere"));
    std::fs::write(place.path("out/scores.parquet"), b"PAR1 and no more").expect("written");
    assert!(said("out", None).contains("scores.parquet"));
    let output = place.isal(&["view", "pool"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
