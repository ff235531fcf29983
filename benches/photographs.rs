//! Photographs a second on one thread, beside Pillow in the same run: decode, resize, and all of it to float32.
//!
//! 500x375 JPEG, shorter side to 256, crop 224. Medians over rounds in which both have a turn. Pillow is looked for in
//! `PILLOW_PYTHON`, then `python3`; without it its columns hold NaN.
//!
//! Then 2000x1500 JPEG to the same floats, decoded whole and with `jpeg_least_side=256`. The decoder of the latter has threads of
//! its own, so `taskset -c 0` is for fair figures.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may stop at the first surprise")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use isal::bench::median;
use isal::data::{Dataset, Image, OpenOptions, Preprocess, Recipe};

const IMAGES: usize = 64;
const ROUNDS: usize = 7;
/// Large photographs, and the pixels that their shorter side keeps.
const LARGE: usize = 6;
const LEAST_SIDE: u32 = 256;

const PILLOW: &str = "
import glob, sys, time
import numpy as np
from PIL import Image
files = sorted(glob.glob(sys.argv[1] + '/*.jpg'))
def decode(f):
    return Image.open(f).convert('RGB')
def resize(i):
    s = 256 / min(i.size)
    i = i.resize((int(i.width * s), int(i.height * s)), Image.BILINEAR)
    l, t = (i.width - 224) // 2, (i.height - 224) // 2
    return i.crop((l, t, l + 224, t + 224))
mean = np.array([0.485, 0.456, 0.406], np.float32)
std = np.array([0.229, 0.224, 0.225], np.float32)
def floats(i):
    return np.ascontiguousarray(((np.asarray(i, np.float32) / 255 - mean) / std).transpose(2, 0, 1))
def seconds(work):
    t = time.perf_counter(); r = work(); return time.perf_counter() - t, r
print(Image.__version__, flush=True)
for _ in sys.stdin:
    a, images = seconds(lambda: [decode(f) for f in files])
    b, _r = seconds(lambda: [resize(i) for i in images])
    c, _r = seconds(lambda: [floats(resize(decode(f))) for f in files])
    print(a, b, c, flush=True)
";

/// Images with edges, gradients and texture, as photographs have them.
fn write_photographs(folder: &Path, images: usize, [width, height]: [u32; 2]) {
    for n in 0..images as u32 {
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            let wave = |a: u32, b: u32| ((f64::from(x * a + y * b + 37 * n) / 23.0).sin() * 60.0 + 120.0) as u32;
            let grain = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ n.wrapping_mul(1_299_709)) % 23;
            let edge = if (x / 50 + y / 40 + n) % 3 == 0 { 50 } else { 0 };
            image::Rgb([(wave(1, 2) + grain + edge) as u8, (wave(2, 1) + grain) as u8, (wave(1, 1) + edge) as u8])
        });
        let file = std::fs::File::create(folder.join(format!("{n:03}.jpg"))).unwrap();
        picture.write_with_encoder(image::codecs::jpeg::JpegEncoder::new_with_quality(file, 90)).unwrap();
    }
}

fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let made = work();
    (started.elapsed().as_secs_f64(), made)
}

/// Seconds from files to floats.
fn to_floats(data: &Dataset, recipe: &Recipe) -> f64 {
    let mut out = vec![0.0; recipe.len()];
    let all = || (0..data.len()).for_each(|i| recipe.apply(&data.load(i).unwrap(), &mut out).unwrap());
    seconds(all).0
}

/// Large photographs, whole and at a fraction of their size.
fn large(recipe: &Recipe) {
    let folder = tempfile::tempdir().unwrap();
    write_photographs(folder.path(), LARGE, [2000, 1500]);
    let open = |jpeg_least_side| {
        Dataset::open(folder.path(), &OpenOptions { jpeg_least_side, ..OpenOptions::default() }).unwrap()
    };
    let (whole, reduced) = (open(None), open(Some(LEAST_SIDE)));
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [to_floats(&whole, recipe), to_floats(&reduced, recipe)]).collect();
    let [a, b] = [0, 1].map(|column| LARGE as f64 / median(rounds.iter().map(|round| round[column]).collect()));
    println!("\n2000x1500 JPEG, the same recipe; images/s, medians of {ROUNDS}\n");
    println!("{:<8} {:>10} {:>16} {:>8}", "", "whole", format!("least side {LEAST_SIDE}"), "ratio");
    println!("{:<8} {a:>10.1} {b:>16.1} {:>8.2}", "floats", b / a);
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    write_photographs(folder.path(), IMAGES, [500, 375]);
    let data = Dataset::open(folder.path(), &OpenOptions::default()).unwrap();
    let mut preprocess = Preprocess::default();
    for setting in ["resize=256", "crop=224", "mean=[0.485,0.456,0.406]", "std=[0.229,0.224,0.225]"] {
        preprocess.set(setting).unwrap();
    }
    let recipe = Recipe::resolve(&preprocess, &[None, Some(3), Some(224), Some(224)], None).unwrap();

    let python = std::env::var("PILLOW_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut pillow = Command::new(&python)
        .args(["-c", PILLOW])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok();
    let mut answers = pillow.as_mut().and_then(|p| p.stdout.take()).map(std::io::BufReader::new);
    let mut line = || -> Option<String> {
        let mut text = String::new();
        std::io::BufRead::read_line(answers.as_mut()?, &mut text).ok().filter(|read| *read > 0)?;
        Some(text)
    };
    let version = line();
    let (mut ours, mut theirs): (Vec<[f64; 3]>, Vec<[f64; 3]>) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (decode, images) = seconds(|| (0..data.len()).map(|i| data.load(i).unwrap()).collect::<Vec<Image>>());
        let (resize, _) = seconds(|| images.iter().map(|image| recipe.pixels(image).unwrap()).collect::<Vec<_>>());
        let whole = to_floats(&data, &recipe);
        ours.push([decode, resize, whole]);
        let asked = pillow.as_mut().and_then(|p| p.stdin.as_mut()).and_then(|stdin| writeln!(stdin).ok());
        if let (Some(()), Some(text)) = (asked, line()) {
            let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            theirs.extend(<[f64; 3]>::try_from(numbers).ok());
        }
    }
    let rate = |rounds: &[[f64; 3]], column: usize| {
        IMAGES as f64 / median(rounds.iter().filter_map(|round| round.get(column).copied()).collect())
    };
    let peer = version.map_or_else(|| format!("no Pillow in `{python}`"), |v| format!("Pillow {}", v.trim()));
    println!("500x375 JPEG, shorter side 256, crop 224; images/s on one thread, medians of {ROUNDS}\n");
    println!("{:<8} {:>10} {:>16} {:>8}", "", "isal", peer, "ratio");
    for (column, what) in ["decode", "resize", "whole"].into_iter().enumerate() {
        let (a, b) = (rate(&ours, column), rate(&theirs, column));
        println!("{what:<8} {a:>10.0} {b:>16.0} {:>8.2}", a / b);
    }
    large(&recipe);
}
