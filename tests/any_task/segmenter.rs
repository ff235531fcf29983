//! A small U-Net with a loss of its own, both exported from PyTorch (`tests/fixtures/segmenter.py`).

use super::place::*;
use super::scenes;

#[test]
fn the_influence_of_a_segmenter_with_its_own_loss_is_the_exact_derivative_of_that_loss() {
    let place = scenes::place("unet", |n| format!("\"labels\": \"{n:02}.mask.png\""));
    for (n, mask) in scenes::strip("unet.masks.png").take(30) {
        mask.into_luma8().save(place.path(&format!("labeled/{n:02}.mask.png"))).expect("a PNG");
    }
    // Means over thousands of pixels: float32 rounds their differences over the step by some thousandths of the largest.
    scenes::hold(&place, "all", ("weights", "cg-fisher"), 5e-3);
    scenes::hold(&place, "head", ("head", "cg-gauss-newton"), 5e-3);
    let table = place.table("all");
    assert_eq!(columns(&table), ["entropy"]);
    place.score("labeled/list.jsonl", "entropy", &["--strategy", "entropy"]).assert().success();
    let first = place.json("entropy/selection.json")["selected"][0]["entropy"].as_f64().expect("an entropy");
    let highest = table.rows.iter().map(|row| row.beliefs[0]).fold(0.0, f64::max);
    assert!((first - highest).abs() < 1e-6, "{first} {highest}");
}
