//! The distribution of influence as an SVG histogram, the selected part in another colour.

use super::figure;
use crate::lowest::{Lowest, Total};
use std::cmp::Reverse;
use std::fmt::Write as _;

const BINS: usize = 60;
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 200.0;
/// Share of the values cut off at the upper end, so that one outlier does not flatten the rest.
const TAIL: f64 = 0.002;

/// A first pass over the values: from where to where the bars go. Of the values themselves it keeps the upper end alone.
#[derive(Debug, Clone)]
pub struct Extent {
    finite: usize,
    lowest: Option<Total>,
    /// The highest values; a number tells equal ones apart.
    highest: Lowest<(Reverse<Total>, usize), ()>,
}

impl Extent {
    /// For at most so many values.
    pub fn expecting(values: usize) -> Extent {
        Extent { finite: 0, lowest: None, highest: Lowest::of(cut(values) + 1) }
    }

    /// Takes note of a value; one that is not finite has no place in the picture.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let value = Total::of(value);
        self.finite += 1;
        self.lowest = Some(self.lowest.map_or(value, |lowest| lowest.min(value)));
        if self.highest.bar().is_none_or(|(least, _)| least.0 < value) {
            self.highest.add((Reverse(value), self.finite), ());
        }
    }

    /// Empty bars over the range of the values.
    pub fn bars(self) -> Histogram {
        let highest: Vec<Total> = self.highest.into_sorted().map(|((value, _), ())| value.0).collect();
        // The selected end is what the picture is for: it is never cut.
        let range = self.lowest.zip(highest.get(cut(self.finite)).or(highest.last()));
        let range = range.map(|(low, high)| (low.value(), high.value()));
        Histogram { range, pool: [0; BINS], selected: [0; BINS] }
    }
}

/// How many of so many values are cut off.
fn cut(values: usize) -> usize {
    (values as f64 * TAIL) as usize
}

/// Bars over the range of all values, those of the selected drawn in front. The height of a bar is the square root of its
/// count, so that a small selection stays visible beside a large pool.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// `None` where no value is finite.
    range: Option<(f64, f64)>,
    pool: [usize; BINS],
    selected: [usize; BINS],
}

impl Histogram {
    /// Counts a value of the pool.
    pub fn add(&mut self, value: f64) {
        count(self.range, value, &mut self.pool);
    }

    /// Counts a value of the selection.
    pub fn select(&mut self, value: f64) {
        count(self.range, value, &mut self.selected);
    }

    /// The picture; empty where no value is finite.
    pub fn svg(&self) -> String {
        self.range.map_or_else(String::new, |(low, high)| svg(low, high, &self.pool, &self.selected))
    }
}

fn count(range: Option<(f64, f64)>, value: f64, bins: &mut [usize; BINS]) {
    let Some((low, high)) = range.filter(|_| value.is_finite()) else { return };
    let bin = ((value - low) / span(low, high) * BINS as f64) as usize;
    bins[bin.min(BINS - 1)] += 1;
}

fn span(low: f64, high: f64) -> f64 {
    (high - low).max(f64::MIN_POSITIVE)
}

fn svg(low: f64, high: f64, pool: &[usize; BINS], chosen: &[usize; BINS]) -> String {
    let span = span(low, high);
    let tallest = pool.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"histogram of influence\">", HEIGHT + 20.0);
    for (bins, class) in [(pool, "pool"), (chosen, "chosen")] {
        for (i, n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
            let height = HEIGHT * (*n as f64 / tallest).sqrt();
            let (x, width) = (WIDTH * i as f64 / BINS as f64, WIDTH / BINS as f64 - 1.0);
            let y = HEIGHT - height;
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"><title>{n} images</title></rect>"
            );
        }
    }
    if low < 0.0 && high > 0.0 {
        let x = WIDTH * (-low / span);
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\" stroke=\"currentColor\" stroke-dasharray=\"4\"/>"
        );
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">0</text>", HEIGHT + 16.0);
    }
    let labels = [(0.0, "start", low), (WIDTH, "end", high)];
    for (x, anchor, value) in labels {
        let _ =
            write!(svg, "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>", HEIGHT + 16.0, figure(value));
    }
    svg.push_str(
        "</svg><p class=\"note\"><i class=\"key pool\"></i>the pool &ensp; <i class=\"key chosen\"></i>selected &ensp; (a bar's height is the square root of its count)</p>",
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(all: &[f64], selected: &[f64]) -> Histogram {
        let mut extent = Extent::expecting(all.len());
        all.iter().for_each(|value| extent.add(*value));
        assert!(extent.highest.len() <= cut(all.len()) + 1, "more is kept than the upper end");
        let mut bars = extent.bars();
        all.iter().for_each(|value| bars.add(*value));
        selected.iter().for_each(|value| bars.select(*value));
        bars
    }

    #[test]
    fn every_finite_value_is_counted_once() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i) - 100.0).chain([f64::NAN, f64::INFINITY]).collect();
        let picture = drawn(&values, &[-100.0, -99.0]).svg();
        let counted: usize = picture
            .split("<title>")
            .skip(1)
            .map(|rest| rest.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a count"))
            .sum();
        assert_eq!(counted, 500 + 2);
    }

    #[test]
    fn equal_or_missing_values_make_no_division_by_zero() {
        assert!(!drawn(&[1.0, 1.0], &[]).svg().contains("NaN"));
        assert_eq!(drawn(&[f64::NAN], &[]).svg(), "");
    }

    #[test]
    fn the_range_leaves_out_the_highest_two_in_a_thousand() {
        // 0 to 2999 in another order, and one that is no number: 5 of 2999.9 are cut, so the sixth highest is the end.
        let mut values: Vec<f64> = (0..3_000).map(|i| f64::from(i * 7 % 3_000)).collect();
        values[5] = f64::NAN;
        let bars = drawn(&values, &[]);
        assert_eq!(bars.range, Some((0.0, 2_994.0)));
        let mut few = drawn(&[3.0, 1.0, 2.0], &[]);
        assert_eq!(few.range, Some((1.0, 3.0)));
        few.select(1.5);
        assert_eq!((few.pool[0], few.pool[30], few.pool[59], few.selected[15]), (1, 1, 1, 1));
    }
}
