//! Boxes over their image: believed ones with class and score, known ones in white and dashed.

use super::average::{FoundBox, KnownBox};
use crate::data::clipped;
use embedded_graphics::mono_font::{MonoTextStyle, iso_8859_1::FONT_6X10};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable as _, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};

/// A side of which text and lines are a pixel of the font wide; of larger images more, so that they can be read when these are made
/// small.
const SIDE: u32 = 240;
/// Pixels of a letter.
const LETTER: (u32, u32) = (6, 10);
/// Pixels of a dash, and of the gap after it.
const DASH: u32 = 4;
const KNOWN: Rgb<u8> = Rgb([255, 255, 255]);

/// The image with boxes; `name` gives those of classes.
pub(super) fn draw(
    image: &RgbImage,
    believed: &[FoundBox],
    known: &[KnownBox],
    name: impl Fn(usize) -> String,
) -> RgbImage {
    let mut drawn = image.clone();
    let scale = image.width().max(image.height()).div_ceil(SIDE).max(1);
    for known in known {
        outline(&mut drawn, known.corners, scale, KNOWN, true);
    }
    // The surest on top.
    let mut order: Vec<&FoundBox> = believed.iter().collect();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    for found in &order {
        outline(&mut drawn, found.corners, scale, colour(found.class), false);
    }
    for found in &order {
        let text = format!("{} {:.0}", name(found.class), 100.0 * found.score);
        label(&mut drawn, found.corners, scale, colour(found.class), &text);
    }
    drawn
}

/// A bright colour for each class: hues a golden section of the circle apart.
fn colour(class: usize) -> Rgb<u8> {
    let hue = (class as f64 * 0.618_033_988_75).fract() * 6.0;
    let channel = |at: f64| {
        let away = (hue - at).rem_euclid(6.0);
        let away = away.min(6.0 - away);
        ((2.0 - away).clamp(0.0, 1.0) * 255.0).round() as u8
    };
    Rgb([channel(0.0), channel(2.0), channel(4.0)])
}

fn put(image: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
    if let Some(pixel) = place.and_then(|(x, y)| image.get_pixel_mut_checked(x, y)) {
        *pixel = colour;
    }
}

fn outline(image: &mut RgbImage, corners: [f64; 4], scale: u32, colour: Rgb<u8>, dashed: bool) {
    let size = crate::data::Size { height: image.height() as usize, width: image.width() as usize };
    let Some(corners) = clipped(corners, size) else { return };
    let [left, top, right, bottom] = corners.map(|x| x.round() as i64);
    let (right, bottom) = (right - 1, bottom - 1);
    let dash = i64::from(DASH * scale);
    let drawn = |along: i64| !dashed || along.rem_euclid(2 * dash) < dash;
    for inward in 0..i64::from(scale) {
        for x in (left..=right).filter(|x| drawn(x - left)) {
            put(image, x, top + inward, colour);
            put(image, x, bottom - inward, colour);
        }
        for y in (top..=bottom).filter(|y| drawn(y - top)) {
            put(image, left + inward, y, colour);
            put(image, right - inward, y, colour);
        }
    }
}

/// Text on a ground of its colour, above the box where there is room.
fn label(image: &mut RgbImage, [left, top, ..]: [f64; 4], scale: u32, ground: Rgb<u8>, text: &str) {
    let letters = u32::try_from(text.chars().count()).unwrap_or(0);
    let (width, height) = ((letters * LETTER.0 + 1) * scale, LETTER.1 * scale);
    let (left, top) = (left.round() as i64, top.round() as i64);
    let left = left.min(i64::from(image.width()) - i64::from(width)).max(0);
    let top = if top >= i64::from(height) { top - i64::from(height) } else { top.max(0) };
    for y in top..top + i64::from(height) {
        (left..left + i64::from(width)).for_each(|x| put(image, x, y, ground));
    }
    let [r, g, b] = ground.0.map(u32::from);
    let dark = 299 * r + 587 * g + 114 * b < 128_000;
    let ink = if dark { Rgb([255; 3]) } else { Rgb([0; 3]) };
    let mut paper = Paper { image, left: left + i64::from(scale), top, scale, ink };
    let style = MonoTextStyle::new(&FONT_6X10, BinaryColor::On);
    let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut paper);
}

/// A part of an image whose pixels are squares of `scale`.
struct Paper<'a> {
    image: &'a mut RgbImage,
    left: i64,
    top: i64,
    scale: u32,
    ink: Rgb<u8>,
}

impl OriginDimensions for Paper<'_> {
    fn size(&self) -> Size {
        Size::new(self.image.width() / self.scale, self.image.height() / self.scale)
    }
}

impl DrawTarget for Paper<'_> {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        let scale = i64::from(self.scale);
        for Pixel(point, colour) in pixels {
            if colour == BinaryColor::On {
                let (x, y) = (self.left + i64::from(point.x) * scale, self.top + i64::from(point.y) * scale);
                for (dx, dy) in (0..scale).flat_map(|dx| (0..scale).map(move |dy| (dx, dy))) {
                    put(self.image, x + dx, y + dy, self.ink);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_drawn_on_its_outermost_pixels_with_its_class_above() {
        let image = RgbImage::from_pixel(100, 60, Rgb([9, 9, 9]));
        let found = FoundBox { corners: [20.0, 30.0, 60.0, 50.0], class: 1, score: 0.5 };
        let drawn = draw(&image, &[found], &[], |class| format!("c{class}"));
        let colour = colour(1);
        for (x, y) in [(20, 30), (59, 30), (20, 49), (59, 49), (40, 49)] {
            assert_eq!(*drawn.get_pixel(x, y), colour, "{x} {y}");
        }
        for (x, y) in [(19, 31), (60, 40), (40, 50), (21, 40), (40, 40)] {
            assert_eq!(*drawn.get_pixel(x, y), Rgb([9, 9, 9]), "{x} {y}");
        }
        // `c1 50`: five letters on the ground of the class.
        let above: Vec<&Rgb<u8>> =
            (20..30).flat_map(|y| (20..51).map(move |x| (x, y))).map(|(x, y)| drawn.get_pixel(x, y)).collect();
        assert!(above.iter().all(|pixel| **pixel != Rgb([9, 9, 9])));
        let ink = above.iter().filter(|pixel| ***pixel != colour).count();
        assert!((30..120).contains(&ink), "{ink} pixels of ink");
    }

    #[test]
    fn known_boxes_are_dashed_and_nothing_leaves_the_image() {
        let image = RgbImage::from_pixel(40, 40, Rgb([9, 9, 9]));
        let known = KnownBox { corners: [-5.0, 10.0, 50.0, 30.0], class: 0, area: 1.0, crowd: false, difficult: false };
        let far = FoundBox { corners: [-1e300, -1e12, f64::INFINITY, 5.0], class: 0, score: 0.9 };
        let drawn = draw(&image, &[far], &[known], |_| "a name that is longer than the image".to_owned());
        let row: Vec<bool> = (0..40).map(|x| *drawn.get_pixel(x, 10) == KNOWN).collect();
        assert!(row.iter().any(|on| *on) && row.iter().any(|on| !*on));
    }
}
