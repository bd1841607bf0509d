//! The same through the `ort` crate: `cargo run --features ort --bin kanji-reader-ort -- drawing.png`.

use kanji_reader::{OrtNetwork, program, softmax};

fn main() {
    let result = program::run(|export| {
        let mut network = OrtNetwork::load(&export.content, export.description.image_size, true)?;
        Ok(move |seen: &[u8]| Ok(softmax(&network.compute_logits(seen)?)))
    });
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
