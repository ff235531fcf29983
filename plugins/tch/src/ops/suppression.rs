//! Non-maximum suppression of boxes.

use super::{Op, OpError, Site, input};
use tch::{Device, Tensor};

pub(super) const OPS: &[Op] = &[Op { name: "NonMaxSuppression", forward: non_max_suppression }];

/// A box by its lower and upper corner.
struct Corners {
    low: [f64; 2],
    high: [f64; 2],
}

impl Corners {
    /// From two opposite corners in any order, or from a centre and a size.
    fn new(numbers: &[f64], centre: bool) -> Corners {
        let pair = |i: usize| {
            if centre {
                let half = numbers[i + 2] / 2.0;
                (numbers[i] - half, numbers[i] + half)
            } else {
                (numbers[i].min(numbers[i + 2]), numbers[i].max(numbers[i + 2]))
            }
        };
        let (a, b) = (pair(0), pair(1));
        Corners { low: [a.0, b.0], high: [a.1, b.1] }
    }

    fn area(&self) -> f64 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Intersection over union; 0 for boxes without area.
    fn overlap(&self, other: &Corners) -> f64 {
        let side = |i: usize| (self.high[i].min(other.high[i]) - self.low[i].max(other.low[i])).max(0.0);
        let shared = side(0) * side(1);
        if shared <= 0.0 { 0.0 } else { shared / (self.area() + other.area() - shared) }
    }
}

/// [NonMaxSuppression](https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html), image by image and class by class:
/// the best box stays and drops those that overlap it by more than the threshold. Rows of the result are (image, class,
/// box).
fn non_max_suppression(site: &Site, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let boxes = input::required(inputs, 0, "boxes")?;
    let scores = input::required(inputs, 1, "scores")?;
    let box_dims = input::rank(boxes, "boxes", 3..=3)?;
    let dims = input::rank(scores, "scores", 3..=3)?;
    if box_dims != [dims[0], dims[2], 4] {
        let expected = format!("the shape {:?}", [dims[0], dims[2], 4]).into();
        return Err(OpError::Input { name: "boxes", expected, found: format!("{box_dims:?}") });
    }
    let most = match input::optional(inputs, 2) {
        Some(most) => usize::try_from(input::int(most, "max_output_boxes_per_class")?).unwrap_or(0),
        None => 0,
    };
    let threshold = input::optional(inputs, 3).map(|t| input::float(t, "iou_threshold")).transpose()?.unwrap_or(0.0);
    let least = input::optional(inputs, 4).map(|t| input::float(t, "score_threshold")).transpose()?;
    let centre = site.flag("center_point_box", false)?;
    let on_host = |t: &Tensor| -> Result<Vec<f64>, OpError> {
        Ok(Vec::<f64>::try_from(t.f_detach()?.f_to_device(Device::Cpu)?.f_reshape([-1])?)?)
    };
    let (boxes, scores) = (on_host(boxes)?, on_host(scores)?);
    let (classes, count) = (input::at(dims[1]), input::at(dims[2]));
    let mut chosen: Vec<i64> = Vec::new();
    for image in 0..input::at(dims[0]) {
        let corners: Vec<Corners> =
            (0..count).map(|i| Corners::new(&boxes[(image * count + i) * 4..][..4], centre)).collect();
        for class in 0..classes {
            let scores = &scores[(image * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|i| least.is_none_or(|least| scores[*i] > least)).collect();
            // A stable sort: of equal scores the first box leads.
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            let mut kept: Vec<usize> = Vec::new();
            for i in order {
                if kept.len() >= most {
                    break;
                }
                if kept.iter().all(|k| corners[i].overlap(&corners[*k]) <= threshold) {
                    kept.push(i);
                    chosen.extend([image as i64, class as i64, i as i64]);
                }
            }
        }
    }
    Ok(vec![site.ints_tensor(&chosen, &[chosen.len() as i64 / 3, 3])?])
}
