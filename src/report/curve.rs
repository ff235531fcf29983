//! Curves over a number, as an SVG of its own.

use super::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for the numbers of the axes, on each side.
const MARGIN: f64 = 56.0;

/// Height of a line of the legend.
const ENTRY: f64 = 20.0;
/// Least distance between two numbers below the frame.
const APART: f64 = 34.0;

/// Colours that people who see few colours tell apart.
const COLOURS: [&str; 8] = ["#1f6fb4", "#d55e00", "#009e73", "#b0458c", "#c28a00", "#3aa6dd", "#6b4423", "#222222"];
/// Strokes, so that lines differ without their colours: the next one each time the colours have gone round, and on the way.
const DASHES: [&str; 3] = ["none", "7 3", "2 3"];

/// Lines over a number.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What is drawn.
    pub title: String,
    /// What runs across.
    pub across: &'static str,
    /// What runs up.
    pub up: String,
    /// The lines; names make a legend.
    pub lines: Vec<Line>,
}

/// Points joined by straight lines, perhaps with a band around them.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// What it is called in the legend; empty without one.
    pub name: String,
    /// In the order of the first number; finite.
    pub points: Vec<(f64, f64)>,
    /// The lower and the upper edge of the band over a number, in the order of that number; finite.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether the points stand alone, without lines between them.
    pub scattered: bool,
}

/// Where numbers lie in the drawing.
struct Axes {
    across: (f64, f64),
    up: (f64, f64),
}

impl Axes {
    /// Room for every point, and for bands as far as half the height of the points beyond them.
    fn of(lines: &[Line]) -> Axes {
        let points = || lines.iter().flat_map(|line| &line.points);
        let across = range(points().map(|point| point.0));
        let (low, high) = range(points().map(|point| point.1));
        let beyond = (high - low) / 2.0;
        let edges = || lines.iter().flat_map(|line| &line.band);
        let lowest = edges().map(|edge| edge.1).fold(low, f64::min).max(low - beyond);
        let highest = edges().map(|edge| edge.2).fold(high, f64::max).min(high + beyond);
        Axes { across, up: (lowest, highest) }
    }

    fn x(&self, value: f64) -> f64 {
        let (left, right) = self.across;
        MARGIN + (WIDTH - 2.0 * MARGIN) * (value - left) / (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.up;
        HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (value.clamp(low, high) - low) / (high - low)
    }
}

impl Curve {
    /// The drawing; without a point, its frame and its title alone.
    pub fn svg(&self) -> String {
        let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 2.0 * MARGIN);
        let named = self.lines.iter().filter(|line| !line.name.is_empty()).count();
        let whole = HEIGHT + ENTRY * named as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{whole}\" fill=\"white\"/>\n\
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
        let axes = Axes::of(&self.lines);
        self.write_numbers(&axes, &mut svg);
        for (place, line) in self.lines.iter().enumerate() {
            write_band(line, colour(place), &axes, &mut svg);
        }
        for (place, line) in self.lines.iter().enumerate() {
            write_line(line, place, &axes, &mut svg);
        }
        for (entry, (place, line)) in
            self.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty()).enumerate()
        {
            let y = HEIGHT + ENTRY * entry as f64;
            let (from, to) = (MARGIN, MARGIN + 32.0);
            let _ = writeln!(svg, "<path d=\"M{from} {y}H{to}\" {}/>", stroke(place));
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", to + 10.0, y + 4.0, escape(&line.name));
        }
        svg + "</svg>\n"
    }

    /// The numbers along the axes; those across as far as there is room for them.
    fn write_numbers(&self, axes: &Axes, svg: &mut String) {
        let mut across: Vec<f64> = self.lines.iter().flat_map(|line| &line.points).map(|point| point.0).collect();
        if across.is_empty() {
            return;
        }
        across.sort_by(f64::total_cmp);
        let mut last = f64::NEG_INFINITY;
        for value in across {
            let x = axes.x(value);
            if x - last >= APART {
                last = x;
                let (y, text) = (HEIGHT - MARGIN + 18.0, "<text text-anchor=\"middle\"");
                let _ = writeln!(svg, "{text} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", whole(value));
            }
        }
        let (low, high) = axes.up;
        for value in [low, f64::midpoint(low, high), high] {
            let (y, text) = (axes.y(value) + 4.0, "<text text-anchor=\"end\"");
            let _ = writeln!(svg, "{text} x=\"{:.1}\" y=\"{y:.1}\">{value:.2}</text>", MARGIN - 6.0);
        }
    }
}

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

fn stroke(place: usize) -> String {
    let (colour, dashes) = (colour(place), DASHES[place % DASHES.len()]);
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"")
}

fn write_band(line: &Line, colour: &str, axes: &Axes, svg: &mut String) {
    if line.band.is_empty() {
        return;
    }
    let place = |across: f64, up: f64| format!("{:.1},{:.1}", axes.x(across), axes.y(up));
    let above = line.band.iter().map(|(across, _, high)| place(*across, *high));
    let below = line.band.iter().rev().map(|(across, low, _)| place(*across, *low));
    let places: Vec<String> = above.chain(below).collect();
    let _ = writeln!(svg, "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.15\"/>", places.join(" "));
}

fn write_line(line: &Line, place: usize, axes: &Axes, svg: &mut String) {
    let places: Vec<String> = line.points.iter().map(|(a, b)| format!("{:.1},{:.1}", axes.x(*a), axes.y(*b))).collect();
    if !line.scattered {
        let _ = writeln!(svg, "<polyline points=\"{}\" {}/>", places.join(" "), stroke(place));
    }
    let colour = colour(place);
    let name = if line.name.is_empty() { String::new() } else { format!("{}, ", escape(&line.name)) };
    for (across, up) in &line.points {
        let (cx, cy, at) = (axes.x(*across), axes.y(*up), whole(*across));
        let title = format!("<title>{name}{at}: {up:.2}</title>");
        let _ = writeln!(svg, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\" fill=\"{colour}\">{title}</circle>");
    }
}

/// A number to one digit after the point, and without one where it is whole.
fn whole(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
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
        let line = Line { points: points.to_vec(), ..Line::default() };
        Curve { title: "a < b".to_owned(), across: "labels", up: "accuracy".to_owned(), lines: vec![line] }.svg()
    }

    #[test]
    fn the_ends_of_the_curve_touch_the_frame() {
        let svg = curve(&[(40.0, 50.0), (80.0, 90.0), (120.0, 70.0)]);
        assert!(svg.contains("points=\"56.0,344.0 320.0,56.0 584.0,200.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("<title>80: 90.00</title>"), "{svg}");
    }

    #[test]
    fn scattered_points_are_not_joined() {
        let line = Line { points: vec![(1.0, 2.0), (2.0, 1.0)], scattered: true, ..Line::default() };
        let svg = Curve { title: String::new(), across: "rank", up: "loss".to_owned(), lines: vec![line] }.svg();
        assert_eq!((svg.matches("<circle").count(), svg.contains("polyline")), (2, false), "{svg}");
    }

    #[test]
    fn one_point_or_none_is_no_division_by_zero() {
        for svg in [curve(&[(40.0, 50.0)]), curve(&[])] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn named_lines_have_a_legend_a_band_and_strokes_of_their_own() {
        let line = |name: &str, up: f64| Line {
            name: name.to_owned(),
            points: vec![(20.0, 50.0), (40.0, up)],
            band: vec![(20.0, 49.0, 51.0), (40.0, up - 500.0, up + 500.0)],
            scattered: false,
        };
        let lines = vec![line("random", 60.0), line("a <b>", 70.0)];
        let svg = Curve { title: String::new(), across: "labels", up: "accuracy".to_owned(), lines }.svg();
        assert_eq!((svg.matches("<polygon").count(), svg.matches("<polyline").count()), (2, 2));
        assert!(svg.contains(">a &lt;b&gt;</text>") && svg.contains("viewBox=\"0 0 640 440\""), "{svg}");
        // Points reach from 50 to 70; bands of 1000 are cut off half of that beyond.
        assert!(svg.contains(">40.00</text>") && svg.contains(">80.00</text>"), "{svg}");
        assert!(svg.contains(DASHES[1]) && svg.contains(COLOURS[1]), "{svg}");
    }
}
