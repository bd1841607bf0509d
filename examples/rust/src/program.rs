//! What the two programs share: arguments, image files, the export's mapping, candidates.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};
use serde_json::Value;

use crate::{Description, Ink, describe, has_ink, make_ink_bright, preprocess};

const TOP: usize = 5;
const MIN_CONTRAST: u8 = 16; // of 255; an image on white paper with less is laid on black
const MAX_SIDE: u32 = 20_000; // pixels

pub type Failure = Box<dyn Error>;

/// An exported model and what its mapping says.
pub struct Export {
    pub content: Vec<u8>,
    pub description: Description,
    characters: Vec<String>,
    /// For each class the first of those that cannot be told from it.
    first_twins: Vec<usize>,
    /// What the largest probability must reach: below it an image shows none of the characters.
    threshold: f32,
}

impl Export {
    fn read(path: &Path) -> Result<Export, Failure> {
        let content = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let description = describe(&content).map_err(|error| format!("{}: {error:#}", path.display()))?;
        let mapping = path.with_file_name(format!("{}_mapping.json", path.file_stem().unwrap_or_default().display()));
        let name = mapping.display();
        let text = fs::read_to_string(&mapping)
            .map_err(|error| format!("{name}: {error}: convert_to_onnx.py writes it beside the model"))?;
        let json: Value = serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        let classes = 0..description.class_table.len();
        let found = classes.map(|class| json["characters"][class.to_string()]["character"].as_str().map(str::to_owned));
        let characters: Vec<String> =
            found.collect::<Option<_>>().ok_or(format!("{name}: a class has no character"))?;
        if !characters.concat().chars().eq(description.class_table.iter().copied()) {
            return Err(format!("{name}: belongs to another model than {}", path.display()).into());
        }
        let first_twins = find_first_twins(&json["model_info"]["twins"], &characters);
        let threshold = json["model_info"]["rejection_threshold"].as_f64().unwrap_or(0.0) as f32;
        Ok(Export { content, description, characters, first_twins, threshold })
    }

    /// Lists the most probable characters; those that cannot be told apart stand together, by the sum of theirs.
    fn format_candidates(&self, probabilities: &[f32]) -> String {
        let mut totals = vec![0.0; probabilities.len()];
        for (&first, probability) in self.first_twins.iter().zip(probabilities) {
            totals[first] += probability;
        }
        let mut classes: Vec<usize> = (0..probabilities.len()).collect();
        classes.sort_by(|&one, &other| {
            let [first_of_one, first_of_other] = [one, other].map(|class| self.first_twins[class]);
            let by_total = totals[first_of_other].total_cmp(&totals[first_of_one]);
            let by_group = by_total.then(first_of_one.cmp(&first_of_other));
            by_group.then(probabilities[other].total_cmp(&probabilities[one]))
        });
        let is_none = totals[self.first_twins[classes[0]]] < self.threshold;
        let note = if is_none { "none of the characters, it seems; the nearest:  " } else { "" };
        let best = classes.iter().take(TOP);
        let parts = best.map(|&class| format!("{} {:.1} %", self.characters[class], 100.0 * probabilities[class]));
        note.to_owned() + &parts.collect::<Vec<_>>().join("  ")
    }
}

fn find_first_twins(twins: &Value, characters: &[String]) -> Vec<usize> {
    let mut first_twins: Vec<usize> = (0..characters.len()).collect();
    for group in twins.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let members: Vec<usize> = (0..characters.len()).filter(|&class| group.contains(&characters[class])).collect();
        for &class in &members {
            first_twins[class] = members[0];
        }
    }
    first_twins
}

/// Reads the arguments, and prints the candidates that `read`, which `load` makes of an export, finds for each image.
pub fn run<Read>(load: impl FnOnce(&Export) -> Result<Read, Failure>) -> Result<(), Failure>
where
    Read: FnMut(&[u8]) -> Result<Vec<f32>, Failure>,
{
    let (model, images) = parse_arguments()?;
    let export = Export::read(&model)?;
    let mut read = load(&export).map_err(|error| format!("{}: {error}", model.display()))?;
    for path in images {
        let ink = read_image(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !has_ink(&ink) {
            println!("{}  no character stands out", path.display());
            continue;
        }
        let probabilities = read(&preprocess(&ink, export.description.image_size))?;
        println!("{}  {}", path.display(), export.format_candidates(&probabilities));
    }
    Ok(())
}

fn parse_arguments() -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let mut model = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pretrained/kanji_model_etl9g_64x64_3036classes_tract_int8.onnx");
    let mut images = Vec::new();
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--model" {
            model = arguments.next().ok_or("--model: name an .onnx file")?.into();
        } else {
            images.push(argument.into());
        }
    }
    if images.is_empty() {
        return Err("name an image, as in: cargo run -- drawing.png [--model MODEL.onnx]".into());
    }
    Ok((model, images))
}

/// Reads a PNG or JPEG file by the rule of docs/preprocessing.md: bright ink on dark paper.
pub fn read_image(path: &Path) -> Result<Ink, Failure> {
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    if image.width() == 0 || image.height() == 0 {
        return Err("an image without pixels".into());
    }
    let mut gray = to_gray(&image, 255);
    let darkest = gray.pixels.iter().copied().min().unwrap_or(0);
    if image.color().has_alpha() && gray.pixels.iter().all(|value| value - darkest < MIN_CONTRAST) {
        gray = to_gray(&image, 0); // white ink on no paper
    }
    Ok(make_ink_bright(gray))
}

fn to_gray(image: &DynamicImage, paper: u32) -> Ink {
    let pixels = if image.color() == ColorType::L16 {
        image.to_luma16().pixels().map(|pixel| ((u32::from(pixel[0]) + 128) / 257) as u8).collect()
    } else {
        image.to_rgba8().pixels().map(|pixel| mix(pixel.0.map(u32::from), paper)).collect()
    };
    Ink { width: image.width() as usize, height: image.height() as usize, pixels }
}

/// Lays a color on paper of one gray, and returns its luma.
fn mix([red, green, blue, alpha]: [u32; 4], paper: u32) -> u8 {
    let [red, green, blue] = [red, green, blue].map(|value| (value * alpha + paper * (255 - alpha) + 127) / 255);
    ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16) as u8
}
