//! A curve over a number, as an SVG of its own.

use super::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for the numbers of the axes, on each side.
const MARGIN: f64 = 56.0;

/// Points joined by lines.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What is drawn.
    pub title: String,
    /// What runs across.
    pub across: &'static str,
    /// What runs up.
    pub up: &'static str,
    /// In the order of the first number; finite.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// The drawing; without a point, its frame and its title alone.
    pub fn svg(&self) -> String {
        let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 2.0 * MARGIN);
        let (left, right) = range(self.points.iter().map(|point| point.0));
        let (low, high) = range(self.points.iter().map(|point| point.1));
        let x = |value: f64| MARGIN + width * (value - left) / (right - left);
        let y = |value: f64| HEIGHT - MARGIN - height * (value - low) / (high - low);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <rect x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#999\"/>\n\
             <text x=\"{}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
            WIDTH / 2.0,
            escape(&self.title),
            WIDTH / 2.0,
            HEIGHT - 14.0,
            self.across,
            MARGIN - 10.0,
            self.up,
        );
        for (across, _) in &self.points {
            let text = "<text text-anchor=\"middle\"";
            let _ = writeln!(svg, "{text} x=\"{:.1}\" y=\"{:.1}\">{across}</text>", x(*across), HEIGHT - MARGIN + 18.0);
        }
        if !self.points.is_empty() {
            for value in [low, f64::midpoint(low, high), high] {
                let text = "<text text-anchor=\"end\"";
                let _ = writeln!(svg, "{text} x=\"{:.1}\" y=\"{:.1}\">{value:.2}</text>", MARGIN - 6.0, y(value) + 4.0);
            }
        }
        let places: Vec<String> = self.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6fb4\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for (across, up) in &self.points {
            let (cx, cy) = (x(*across), y(*up));
            let _ = writeln!(
                svg,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\" fill=\"#1f6fb4\"><title>{across}: {up:.2}</title></circle>"
            );
        }
        svg + "</svg>\n"
    }
}

/// From the least to the largest of them, apart even where there is but one.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.fold(None, |ends: Option<(f64, f64)>, v| Some(ends.map_or((v, v), |e| (e.0.min(v), e.1.max(v)))));
    match ends {
        None => (0.0, 1.0),
        Some((low, high)) if low == high => (low - 1.0, high + 1.0),
        Some(ends) => ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> String {
        Curve { title: "a < b".to_owned(), across: "labels", up: "accuracy", points: points.to_vec() }.svg()
    }

    #[test]
    fn the_ends_of_the_curve_touch_the_frame() {
        let svg = curve(&[(40.0, 50.0), (80.0, 90.0), (120.0, 70.0)]);
        assert!(svg.contains("points=\"56.0,344.0 320.0,56.0 584.0,200.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("<title>80: 90.00</title>"), "{svg}");
    }

    #[test]
    fn one_point_or_none_is_no_division_by_zero() {
        for svg in [curve(&[(40.0, 50.0)]), curve(&[])] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
