//! Loads an exported ONNX file into tract and runs it.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{TractErrorContext, ensure};

use crate::preprocess::{Ink, PREPROCESSING, has_ink, preprocess};

const MAX_IMAGE_SIZE: usize = 128; // the largest that the toolkit trains

/// What an exported file says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    /// The character of each class.
    pub class_table: Vec<char>,
    /// The side of the images that the network takes, pixels.
    pub image_size: usize,
}

/// Reads what an exported file says of itself, and refuses one that needs images prepared in another way.
pub fn describe(content: &[u8]) -> TractResult<Description> {
    read_description(&parse(content)?)
}

fn parse(mut content: &[u8]) -> TractResult<ModelProto> {
    tract_onnx::onnx().proto_model_for_read(&mut content).context("not an ONNX file")
}

fn read_description(model: &ModelProto) -> TractResult<Description> {
    let read = |key: &str| {
        let entry = model.metadata_props.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.as_str()).with_context(|| format!("the file has no {key}: not of this toolkit"))
    };
    let preprocessing = read("preprocessing")?;
    ensure!(preprocessing == PREPROCESSING, "needs images of preprocessing {preprocessing}, not {PREPROCESSING}");
    let image_size = read("image_size")?.parse()?;
    ensure!((1..=MAX_IMAGE_SIZE).contains(&image_size), "takes images of {image_size} pixels a side");
    Ok(Description { class_table: read("class_table")?.chars().collect(), image_size })
}

/// A network that is ready to run.
pub struct Network {
    plan: Arc<TypedRunnableModel>,
    pub description: Description,
}

impl Network {
    /// Loads a file's bytes. With a fixed `batch`, tract plans for it and takes a third of the time; `None` leaves
    /// it as the file declares it.
    pub fn load(content: &[u8], batch: Option<usize>) -> TractResult<Network> {
        let model = parse(content)?;
        let description = read_description(&model)?;
        let size = description.image_size;
        let mut graph = tract_onnx::onnx().parse(&model, None)?.model;
        if let Some(batch) = batch {
            graph.set_input_fact(0, f32::fact([batch, 1, size, size]).into())?;
        }
        Ok(Network { plan: graph.into_optimized()?.into_runnable()?, description })
    }

    /// Returns the logits, class by class, of each of the preprocessed images that lie one after another in `images`.
    pub fn compute_logits(&self, images: &[u8]) -> TractResult<Vec<f32>> {
        let size = self.description.image_size;
        let shape = (images.len() / (size * size), 1, size, size);
        let values = images.iter().map(|&value| f32::from(value) / 255.0).collect();
        let input: Tensor = tract_ndarray::Array4::from_shape_vec(shape, values)?.into();
        let outputs = self.plan.run(tvec!(input.into()))?;
        Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())
    }
}

/// Reads one image at a time: preprocessing, network and softmax.
pub struct Reader {
    network: Network,
}

impl Reader {
    pub fn load(content: &[u8]) -> TractResult<Reader> {
        Ok(Reader { network: Network::load(content, Some(1))? })
    }

    pub fn description(&self) -> &Description {
        &self.network.description
    }

    /// Returns what the network sees of an image; `None` where no character stands out.
    pub fn prepare(&self, ink: &Ink) -> Option<Vec<u8>> {
        has_ink(ink).then(|| preprocess(ink, self.description().image_size))
    }

    /// Returns the probability of each class for what `prepare` returned.
    pub fn read(&self, seen: &[u8]) -> TractResult<Vec<f32>> {
        let logits = self.network.compute_logits(seen)?;
        let classes = self.description().class_table.len();
        ensure!(logits.len() == classes, "returns {} logits for {classes} classes", logits.len());
        Ok(softmax(&logits))
    }
}

/// Turns logits into probabilities that sum to 1.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
