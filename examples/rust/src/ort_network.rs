//! Runs an exported ONNX file through the `ort` crate, with tract as its engine.

use std::sync::LazyLock;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;

use crate::program::Failure;

/// ort allows a process only one.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    ort::set_api(ort_tract::api());
    ort::init().build().expect("no environment was built before")
});

/// A network that is ready to run in ort.
pub struct OrtNetwork {
    session: Session,
    image_size: usize,
}

impl OrtNetwork {
    /// Loads a file's bytes. Without `optimize`, which ort's tract asks for, the graph runs as it stands in the file.
    pub fn load(content: &[u8], image_size: usize, optimize: bool) -> Result<OrtNetwork, Failure> {
        let mut builder = Session::builder(&ENVIRONMENT)?;
        if optimize {
            builder =
                builder.with_optimization_level(GraphOptimizationLevel::Level3).map_err(|error| error.to_string())?;
        }
        Ok(OrtNetwork { session: builder.commit_from_memory(content)?, image_size })
    }

    /// Returns the logits, class by class, of each of the preprocessed images that lie one after another in `images`.
    pub fn compute_logits(&mut self, images: &[u8]) -> Result<Vec<f32>, Failure> {
        let size = self.image_size;
        let values: Vec<f32> = images.iter().map(|&value| f32::from(value) / 255.0).collect();
        let input = Tensor::from_array(([images.len() / (size * size), 1, size, size], values))?;
        let outputs = self.session.run(ort::inputs![input])?;
        Ok(outputs[0].try_extract_tensor::<f32>()?.1.to_vec())
    }
}
