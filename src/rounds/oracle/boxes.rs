//! Boxes that people gave, held against the image that they are of.

use crate::annotation_tools::ToolBox;
use crate::data::{Size, kept};
use crate::rounds::label::LabelledBoxes;

/// How far a box may reach beyond its image, in pixels: what tools round, and VOC's last pixel.
const SLACK: f64 = 1.0;

/// The boxes in pixels of an image of this size, cut off at its edges.
///
/// # Errors
/// In words what is wrong: boxes of an image of another `said` size, fractions for pixels, boxes that are empty or outside.
pub(super) fn fitted(boxes: &[ToolBox], said: Option<[u32; 2]>, size: Size) -> Result<LabelledBoxes, String> {
    let (width, height) = (size.width as f64, size.height as f64);
    if let Some([across, down]) = said.filter(|said| said.map(|side| side as usize) != [size.width, size.height]) {
        return Err(format!(
            "is labelled as an image of {across} x {down} pixels, and has {width} x {height}: are these labels of another data set?"
        ));
    }
    let largest = boxes.iter().flat_map(|marked| marked.corners).fold(0.0_f64, f64::max);
    if boxes.iter().all(|marked| !marked.fractions) && largest > 0.0 && largest <= 1.0 && width.min(height) > 1.0 {
        return Err("has boxes in fractions of the image, expected pixels".to_owned());
    }
    let mut fitted = LabelledBoxes { boxes: Vec::new(), classes: Vec::new(), flags: Vec::new() };
    for ToolBox { label, corners, fractions, flags } in boxes {
        let sides = [width, height, width, height];
        let mut pixels = *corners;
        if *fractions {
            pixels.iter_mut().zip(sides).for_each(|(x, side)| *x = kept(*x * side));
        }
        let [left, top, right, bottom] = pixels;
        let refused = |what: &str| Err(format!("has the box [{left}, {top}, {right}, {bottom}], which {what}"));
        let outside = format!("reaches outside of the image of {width} x {height} pixels");
        if pixels.iter().any(|x| !x.is_finite()) {
            return refused("is not four numbers");
        } else if right <= left || bottom <= top {
            return refused("is empty");
        } else if left < -SLACK || top < -SLACK || right > width + SLACK || bottom > height + SLACK {
            return refused(&outside);
        }
        pixels.iter_mut().zip(sides).for_each(|(x, side)| *x = x.clamp(0.0, side));
        if pixels[2] <= pixels[0] || pixels[3] <= pixels[1] {
            return refused(&outside);
        }
        fitted.boxes.push(pixels);
        fitted.classes.push(label.clone());
        fitted.flags.push(flags.bits());
    }
    if fitted.flags.iter().all(|flags| *flags == 0) {
        fitted.flags.clear();
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BoxFlags;

    const SIZE: Size = Size { height: 50, width: 100 };

    fn of(corners: [f64; 4], fractions: bool) -> ToolBox {
        ToolBox { label: "cat".to_owned(), corners, fractions, flags: BoxFlags::default() }
    }

    #[test]
    fn fractions_become_pixels_and_edges_are_kept_to() {
        let found = fitted(&[of([0.1, 0.2, 0.3, 0.4], true), of([-0.5, 0.0, 100.9, 50.0], false)], None, SIZE);
        assert_eq!(found.expect("boxes").boxes, [[10.0, 10.0, 30.0, 20.0], [0.0, 0.0, 100.0, 50.0]]);
        assert_eq!(fitted(&[], Some([100, 50]), SIZE).expect("none").boxes.len(), 0);
    }

    #[test]
    fn what_is_no_box_of_the_image_is_said() {
        for (marked, said, part) in [
            (of([10.0, 10.0, 10.0, 20.0], false), None, "is empty"),
            (of([10.0, 10.0, 30.0, 80.0], false), None, "outside of the image of 100 x 50"),
            (of([0.2, 0.2, 1.2, 0.5], true), None, "[20, 10, 120, 25], which reaches outside"),
            (of([100.5, 10.0, 100.9, 20.0], false), None, "outside"),
            (of([f64::NAN, 10.0, 30.0, 20.0], false), None, "not four numbers"),
            (of([0.1, 0.1, 0.5, 0.5], false), None, "fractions"),
            (of([10.0, 10.0, 30.0, 20.0], false), Some([50, 100]), "50 x 100 pixels, and has 100 x 50"),
        ] {
            let why = fitted(std::slice::from_ref(&marked), said, SIZE).expect_err("refused");
            assert!(why.contains(part), "{marked:?}: {why}");
        }
    }
}
