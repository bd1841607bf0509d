//! Runs exported files in tract and in ort for the toolkit's tests and benchmarks, which compare them with Python's.
//!
//! Takes a folder with `images.bin` (preprocessed images of 64 x 64 bytes one after another) and `runs.txt`, a run a
//! line: file, engine (tract, ort, ort-as-is) and batch (1, 4, or `any`: as the file declares it, four at a time;
//! ort takes one). Prints a JSON object a run. Or a folder with `inks.bin`: width, height (32 bits, little-endian) and
//! pixels of each image; writes `seen_SIZE.bin` for each size.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use kanji_reader::{Ink, Network, OrtNetwork, preprocess};
use serde_json::json;

const SIZE: usize = 64;
const SIZES: [usize; 5] = [32, 48, 64, 96, 128];

type Outcome<T> = Result<T, Box<dyn Error>>;
type Compute = Box<dyn FnMut(&[u8]) -> Outcome<Vec<f32>>>;

fn main() -> Outcome<()> {
    let folder = std::env::args_os().nth(1).ok_or("name a folder")?;
    let folder = Path::new(&folder);
    if folder.join("inks.bin").is_file() {
        prepare_all(folder)?;
    }
    if !folder.join("runs.txt").is_file() {
        return Ok(());
    }
    let images = fs::read(folder.join("images.bin"))?;
    for line in fs::read_to_string(folder.join("runs.txt"))?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [file, engine, batch] = words[..] else { return Err(format!("not a run: {line}").into()) };
        let step = if batch == "1" || engine != "tract" { 1 } else { 4 };
        let found = load(&fs::read(folder.join(file))?, engine, batch).and_then(|run| measure(run, &images, step));
        let mut report = json!({ "file": file, "engine": engine, "batch": batch });
        match found {
            Ok((classes, ms)) => (report["classes"], report["ms"]) = (json!(classes), json!(ms)),
            Err(error) => report["error"] = json!(error.to_string()),
        }
        println!("{report}");
    }
    Ok(())
}

fn load(content: &[u8], engine: &str, batch: &str) -> Outcome<Compute> {
    if engine == "tract" {
        let network = Network::load(content, batch.parse().ok()).map_err(|error| format!("{error:#}"))?;
        return Ok(Box::new(move |images| Ok(network.compute_logits(images)?)));
    }
    let mut network = OrtNetwork::load(content, SIZE, engine == "ort")?;
    Ok(Box::new(move |images| network.compute_logits(images)))
}

/// Returns the best class of each image, and the median time of an image in milliseconds.
fn measure(mut compute: Compute, images: &[u8], step: usize) -> Outcome<(Vec<usize>, f64)> {
    let (mut classes, mut times) = (Vec::new(), Vec::new());
    for batch in images.chunks_exact(step * SIZE * SIZE) {
        let start = Instant::now();
        let logits = compute(batch)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0 / step as f64);
        let rows = logits.chunks_exact(logits.len() / step);
        classes.extend(
            rows.map(|row| (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })),
        );
    }
    times.sort_by(f64::total_cmp);
    Ok((classes, times[times.len() / 2]))
}

fn prepare_all(folder: &Path) -> Outcome<()> {
    let bytes = fs::read(folder.join("inks.bin"))?;
    let mut rest = &bytes[..];
    let mut inks = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let side = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (width, height) = (side(0), side(4));
        let (pixels, next) = after.split_at(width * height);
        inks.push(Ink { width, height, pixels: pixels.to_vec() });
        rest = next;
    }
    for size in SIZES {
        let seen: Vec<u8> = inks.iter().flat_map(|ink| preprocess(ink, size)).collect();
        fs::write(folder.join(format!("seen_{size}.bin")), seen)?;
    }
    Ok(())
}
