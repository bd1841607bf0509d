//! Prints the candidates for the character in each image: `cargo run -- drawing.png`.

use kanji_reader::{Network, program, softmax};

fn main() {
    let result = program::run(|export| {
        let network = Network::load(&export.content, Some(1))?;
        Ok(move |seen: &[u8]| Ok(softmax(&network.compute_logits(seen)?)))
    });
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
