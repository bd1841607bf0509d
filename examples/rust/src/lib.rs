//! Reads handwritten kanji and hiragana with the toolkit's ONNX exports, in tract.
//!
//! `preprocess` makes of an image what the network takes, `Reader` runs the network. For WebAssembly, `wasm` is all
//! that a page calls.

#[cfg(feature = "ort")]
mod ort_network;
mod preprocess;
#[cfg(feature = "programs")]
pub mod program;
mod rasterize;
mod reader;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(feature = "ort")]
pub use ort_network::OrtNetwork;
pub use preprocess::{Ink, has_ink, lower_median, make_ink_bright, preprocess};
pub use rasterize::{Stroke, rasterize};
pub use reader::{Description, Network, Reader, describe, softmax};
