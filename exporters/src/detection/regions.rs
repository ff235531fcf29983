//! Features of proposals, each taken from the level of the pyramid that its size is for (Lin et al., arXiv 1612.03144, equation 1).

use super::faster_rcnn::PROPOSALS;
use crate::Result;
use crate::losses::draft::{Draft, Role};
use isal_onnx::{DataType, Dim, Graph, Value};

/// How regions are sampled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regions {
    /// Rows and columns of bins.
    pub bins: usize,
    /// Samples along each axis of a bin.
    pub samples: usize,
    /// Sides, in pixels, of the square that belongs to the level of stride 16.
    pub canonical: f32,
}

/// What of a size is rounding, in levels: torchvision adds it before it rounds down.
const ROUNDING: f64 = 1e-6;
/// Area of no region.
const ANY: f64 = 1e18;

impl Regions {
    /// A graph from `proposals` `[N, P, 4]` and levels of the pyramid, `level.0` and so on, `[N, C, H, W]`, the first of `stride`, to `features`
    /// `[R, C bins bins]` of the R = N P regions, level after level, and `places` `[R, 2]`, the image and the proposal of each.
    pub fn graph(&self, count: usize, levels: &[[usize; 3]], stride: usize, opset: i64) -> Result<Graph> {
        let with_batch =
            |shape: &[usize]| std::iter::once(Dim::from("N")).chain(shape.iter().map(|d| (*d).into())).collect();
        let names: Vec<String> = (0..levels.len()).map(|level| format!("level.{level}")).collect();
        let mut inputs: Vec<(&str, Vec<Dim>)> = vec![(PROPOSALS, with_batch(&[count, 4]))];
        inputs.extend(names.iter().zip(levels).map(|(name, shape)| (name.as_str(), with_batch(shape))));
        let (mut g, values) = Draft::of("regions", Role::Decode, &inputs, opset)?;
        let (features, places) = self.found(&mut g, values[0], &values[1..], stride, opset);
        let channels = levels.first().map_or(0, |shape| shape[0]);
        let row = |last: usize| vec![Dim::Unknown, last.into()];
        let features = g.reshape(features, &[-1, (channels * self.bins * self.bins) as i64]);
        g.give_annotation("features", features, DataType::Float, row(channels * self.bins * self.bins));
        g.give_annotation("places", places, DataType::Int64, row(2));
        Ok(g.finish().graph)
    }

    /// From which area on a region belongs to the level of this stride.
    fn least_area(&self, stride: usize) -> f32 {
        let levels = (stride as f64 / 16.0).log2() - ROUNDING;
        (f64::from(self.canonical) * levels.exp2()).powi(2) as f32
    }

    fn found(&self, g: &mut Draft, proposals: Value, levels: &[Value], stride: usize, opset: i64) -> (Value, Value) {
        let [left, top, right, bottom] = g.four(proposals, 3);
        let sides = [[right, left], [bottom, top]].map(|pair| g.op("Sub", pair));
        let area = g.op("Mul", sides);
        let area = g.reshape(area, &[0, -1]);
        let (mut features, mut places) = (Vec::new(), Vec::new());
        for (number, level) in levels.iter().enumerate() {
            let of_level = stride << number;
            // The finest level has the smaller ones too, the coarsest the larger ones.
            let low = if number == 0 { -1.0 } else { self.least_area(of_level) };
            let high = if number + 1 == levels.len() { ANY as f32 } else { self.least_area(2 * of_level) };
            let (low, high) = (g.number(low), g.number(high));
            let (above, below) = (g.op("GreaterOrEqual", [area, low]), g.op("Less", [area, high]));
            let own = g.op("And", [above, below]);
            let at = g.op("NonZero", [own]);
            let image = g.slice(at, 0, 0, 1);
            let image = g.reshape(image, &[-1]);
            let place = g.node("Transpose", [at]).attr("perm", vec![1i64, 0]).value();
            let region = g.op("GatherND", [proposals, place]);
            let mut node = g
                .node("RoiAlign", [*level, region, image])
                .attr("mode", "avg")
                .attr("output_height", self.bins as i64)
                .attr("output_width", self.bins as i64)
                .attr("sampling_ratio", self.samples as i64)
                .attr("spatial_scale", 1.0 / of_level as f32);
            if opset >= 16 {
                node = node.attr("coordinate_transformation_mode", "output_half_pixel");
            }
            features.push(node.value());
            places.push(place);
        }
        (g.concat(features, 0), g.concat(places, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torchvision's `LevelMapper(2, 5)`: 4 + log2(sqrt(area) / 224) + 1e-6, rounded down.
    #[test]
    fn a_square_of_224_pixels_belongs_to_stride_16() {
        let regions = Regions { bins: 7, samples: 2, canonical: 224.0 };
        assert!(regions.least_area(16) < 224.0 * 224.0 && regions.least_area(16) > 223.99 * 223.99);
        assert!(regions.least_area(32) < 448.0 * 448.0 && regions.least_area(32) > 447.99 * 447.99);
    }
}
