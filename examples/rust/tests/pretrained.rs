//! The pretrained model in tract, from strokes to probabilities, and what is said of files that are no models.

use std::fs;

use kanji_reader::{Reader, rasterize};

const MODEL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../pretrained/kanji_model_etl9g_64x64_3036classes_tract_int8.onnx");

#[test]
fn the_pretrained_model_reads_strokes() {
    let reader = Reader::load(&fs::read(MODEL).unwrap()).unwrap();
    let (top, middle, bottom, left, right) = (0.2, 0.5, 0.8, 0.25, 0.75);
    let center = (left + right) / 2.0;
    let strokes = [
        vec![(left, top), (left, bottom)],
        vec![(left, top), (right, top), (right, bottom)],
        vec![(center, top), (center, bottom)],
        vec![(left, middle), (right, middle)],
        vec![(left, bottom), (right, bottom)],
    ];
    let probabilities = reader.read(&reader.prepare(&rasterize(&strokes).unwrap()).unwrap()).unwrap();
    let best = (0..3036).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap();
    assert_eq!(reader.description().class_table[best], '田');
    assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
}

#[test]
fn files_that_are_no_models_are_refused() {
    let content = fs::read(MODEL).unwrap();
    for (damaged, expected) in [
        (&b"not a model"[..], "not an ONNX file"),
        (&[][..], "the file has no preprocessing"),
        (&content[..content.len() / 2], "not an ONNX file"),
    ] {
        let error = Reader::load(damaged).err().unwrap();
        assert!(format!("{error:#}").starts_with(expected), "{error:#}");
    }
}
