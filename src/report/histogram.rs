//! The distribution of influence as an SVG histogram, the selected part in another shade and pattern of text.

use std::fmt::Write as _;

const BINS: usize = 60;
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 200.0;
/// Share of the values cut off at either end, so that one outlier does not flatten the rest.
const TAIL: f64 = 0.002;

/// Bars over the range of `all`, those of `selected` drawn in front. The height of a bar is the square root of
/// its count, so that a small selection stays visible beside a large pool.
pub(super) fn svg(all: &[f64], selected: &[f64]) -> String {
    let mut sorted: Vec<f64> = all.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return String::new() };
    let cut = (sorted.len() as f64 * TAIL) as usize;
    // The selected end is what the picture is for: it is never cut.
    let low = first;
    let high = sorted.get(sorted.len() - 1 - cut).copied().unwrap_or(last);
    let span = (high - low).max(f64::MIN_POSITIVE);
    let count = |values: &[f64]| {
        let mut bins = [0usize; BINS];
        for value in values.iter().filter(|v| v.is_finite()) {
            let bin = ((value - low) / span * BINS as f64) as usize;
            bins[bin.min(BINS - 1)] += 1;
        }
        bins
    };
    let (pool, chosen) = (count(&sorted), count(selected));
    let tallest = pool.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"histogram of influence\" style=\"width:100%\">",
        HEIGHT + 40.0
    );
    for (bins, colour) in [(&pool, "#b6c2cf"), (&chosen, "#bc4c00")] {
        for (i, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
            let height = HEIGHT * (*n as f64 / tallest).sqrt();
            let (x, width) = (WIDTH * i as f64 / BINS as f64, WIDTH / BINS as f64 - 1.0);
            let y = HEIGHT - height;
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"><title>{n} images</title></rect>"
            );
        }
    }
    if low < 0.0 && high > 0.0 {
        let x = WIDTH * (-low / span);
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\" stroke=\"#57606a\" stroke-dasharray=\"4\"/>"
        );
        let _ =
            write!(svg, "<text x=\"{x:.1}\" y=\"{}\" font-size=\"13\" text-anchor=\"middle\">0</text>", HEIGHT + 16.0);
    }
    let labels = [(0.0, "start", low), (WIDTH, "end", high)];
    for (x, anchor, value) in labels {
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{}\" font-size=\"13\" text-anchor=\"{anchor}\">{value:.2e}</text>",
            HEIGHT + 16.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"0\" y=\"{}\" font-size=\"13\">grey: the pool; orange, in front: selected; height: square root of the count</text></svg>",
        HEIGHT + 36.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::svg;

    #[test]
    fn every_finite_value_is_counted_once() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i) - 100.0).chain([f64::NAN, f64::INFINITY]).collect();
        let picture = svg(&values, &[-100.0, -99.0]);
        let counted: usize = picture
            .split("<title>")
            .skip(1)
            .map(|rest| rest.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a count"))
            .sum();
        assert_eq!(counted, 500 + 2);
    }

    #[test]
    fn equal_or_missing_values_make_no_division_by_zero() {
        assert!(!svg(&[1.0, 1.0], &[]).contains("NaN"));
        assert_eq!(svg(&[f64::NAN], &[]), "");
    }
}
