"""An exported network that computes with 8 bits: a quarter of the size, and fast where there is integer arithmetic."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from kanjinet.data.dataset import METADATA_NAME, DatasetInfo, read_dataset_info
from kanjinet.data.preprocessing import to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_graph import INPUT, OUTPUT, GraphWriter, list_users, read_attributes, read_tensors
from kanjinet.export.weight_compression import WEIGHTED, quantize_weights, split_large_layers
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.onnx_file import open_session
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.held_out import read_part
from kanjinet.training.samples import to_float_images

QUANTIZED_OPSET = 13  # the first whose DequantizeLinear has a scale for each channel
CALIBRATION_IMAGES = 512
HELD_OUT_IMAGES = 4096
OUTLIERS = 1e-4  # share of an activation's values, at either end, that its range may cut off
_BATCH = 32
_MAX_STEPS = 1 << 30  # of a bias, with room for the sum that it is added to

# These pass values on, so that their output has the steps of their input.
_UNSCALED = {"Flatten", "MaxPool", "GlobalMaxPool"}
_BEFORE_RELU = {"Conv", "Gemm", "Add"}  # whose codes end at 0 where ReLU would cut them

Inputs = npt.NDArray[np.float32]


def load_calibration_inputs(data_dir: Path, checkpoint: Checkpoint) -> Inputs:
    """Some of the images that a checkpoint was trained on, varied as in training: (512, 1, size, size) float32, 0-1.

    The variation matters: measured on neat images only, ranges are too small for coarse and blurred ones.

    Raises:
        KanjinetError: no dataset, or one that was prepared in another way.
    """
    images, _ = read_part(_read_matching_info(data_dir, checkpoint), checkpoint, "train", CALIBRATION_IMAGES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        batches = to_float_images(torch.from_numpy(images)).split(_BATCH)
        return torch.cat([Augmentation()(batch) for batch in batches]).numpy()


def load_held_out_inputs(data_dir: Path, checkpoint: Checkpoint) -> tuple[Inputs, npt.NDArray[np.int64]]:
    """Images (n, 1, size, size) that were held out from training, and their classes (n,); at most 4,096.

    Raises:
        KanjinetError: no dataset, or one that was prepared in another way.
    """
    images, labels = read_part(_read_matching_info(data_dir, checkpoint), checkpoint, "test", HELD_OUT_IMAGES)
    return to_model_input(images), labels


def has_matching_dataset(data_dir: Path, checkpoint: Checkpoint) -> bool:
    """Whether a folder is a dataset whose images were prepared as those that a network was trained on."""
    if not (data_dir / METADATA_NAME).is_file():
        return False
    info = read_dataset_info(data_dir)
    return (info.image_size, info.preprocessing) == (checkpoint.config.image_size, checkpoint.card.preprocessing)


def _read_matching_info(data_dir: Path, checkpoint: Checkpoint) -> DatasetInfo:
    if not has_matching_dataset(data_dir, checkpoint):
        raise KanjinetError(
            f"{data_dir}: no prepared dataset with images of {checkpoint.config.image_size} pixels and preprocessing "
            f"{checkpoint.card.preprocessing}, on which --quantize int8 measures activations",
            "name the one that the network was trained on with --data-dir",
        )
    return read_dataset_info(data_dir)


def quantize_int8(model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    """The same network with 8-bit weights, a scale for each output channel, and 8-bit activations.

    Between a QuantizeLinear and a DequantizeLinear stands what is kept in 8 bits: an engine with integer arithmetic
    merges them with the operators beside them, any other one computes in float32 with the same rounding.

    Args:
        model: an exported network, of an opset of at most 13.
        inputs: (n, 1, size, size) float32 images on which the range of each activation is measured.
    """
    model = split_large_layers(model)
    return _Quantizer(model, measure_ranges(model, inputs)).run()


def measure_ranges(model: onnx.ModelProto, inputs: Inputs) -> dict[str, tuple[float, float]]:
    """The range of each value in a graph but for outliers: the mean, over batches, of both quantiles."""
    names = [name for node in model.graph.node for name in node.output]
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"  # also where the file pins it
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(opened.SerializeToString())
    found: dict[str, list[tuple[float, float]]] = {}
    for start in range(0, len(inputs), _BATCH):
        batch = inputs[start : start + _BATCH]
        for name, values in zip([INPUT, *names], [batch, *session.run(names, {INPUT: batch})], strict=True):
            cut = round(values.size * OUTLIERS)
            ordered = np.partition(values.ravel(), [cut, values.size - 1 - cut])
            found.setdefault(name, []).append((float(ordered[cut]), float(ordered[values.size - 1 - cut])))
    return {
        name: (float(low), float(high)) for name, (low, high) in ((n, np.mean(v, axis=0)) for n, v in found.items())
    }


class _Quantizer:
    """Writes a graph with 8-bit values.

    Attributes:
        names: of the values in the new graph, by those in the old one.
        steps: of quantized values of the old graph: the new graph's names of scale and zero point.
    """

    def __init__(self, model: onnx.ModelProto, ranges: dict[str, tuple[float, float]]) -> None:
        self.model = model
        self.ranges = ranges
        self.tensors = read_tensors(model)
        self.writer = GraphWriter()
        self.names: dict[str, str] = {}
        self.steps: dict[str, tuple[str, str]] = {}
        self.scales: dict[str, np.float32] = {}

    def run(self) -> onnx.ModelProto:
        users = list_users(self.model.graph.node)
        self._quantize(INPUT, INPUT)
        merged: set[str] = set()  # outputs of ReLUs that the clipping of codes does
        for node in self.model.graph.node:
            result = node.output[0]
            if result in merged:
                continue
            followers = users.get(result, [])
            if node.op_type in _BEFORE_RELU and [each.op_type for each in followers] == ["Relu"]:
                result = followers[0].output[0]
                merged.add(result)
            ends = result == OUTPUT or any(OUTPUT in each.output for each in followers if each.op_type == "Concat")
            inputs, kept = self._write_inputs(node), OUTPUT if result == OUTPUT else ""
            computed = self.writer.add(node.op_type, *inputs, output=kept, **read_attributes(node))
            if ends:  # logits keep their precision
                self.names[result] = computed
            else:
                self._quantize(result, computed, like=node.input[0] if node.op_type in _UNSCALED else "")
        return self.writer.build(self.model, QUANTIZED_OPSET)

    def _quantize(self, value: str, computed: str, like: str = "") -> None:
        """Put a value of the old graph, computed as `computed` in the new one, into 8 bits and back."""
        if like in self.steps:
            self.steps[value], self.scales[value] = self.steps[like], self.scales[like]
        else:
            low, high = min(self.ranges[value][0], 0.0), max(self.ranges[value][1], 0.0)
            scale = np.float32(max(high - low, 1e-6) / 255)
            zero = np.uint8(np.clip(round(-low / float(scale)), 0, 255))
            self.steps[value], self.scales[value] = (self.writer.tensor(scale), self.writer.tensor(zero)), scale
        codes = self.writer.add("QuantizeLinear", computed, *self.steps[value])
        self.names[value] = self.writer.add("DequantizeLinear", codes, *self.steps[value])

    def _write_inputs(self, node: onnx.NodeProto) -> list[str]:
        if node.op_type not in WEIGHTED:
            return [
                self.writer.tensor(self.tensors[name]) if name in self.tensors else self.names[name]
                for name in node.input
            ]
        source, weights = node.input[0], self.tensors[node.input[1]]
        bias = self.tensors[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights), np.float32)
        # Where the activation is nearly dead, a bias would need more steps than 32 bits count.
        least_scale = np.abs(bias) / (np.float64(self.scales[source]) * _MAX_STEPS)
        scale, codes = quantize_weights(weights, least_scale)
        steps = self.writer.add("Cast", self.writer.tensor(scale), to=onnx.TensorProto.FLOAT)
        zeros = self.writer.tensor(np.zeros(len(scale), np.int8))  # without them onnxruntime computes in float32
        inputs = [
            self.names[source],
            self.writer.add("DequantizeLinear", self.writer.tensor(codes), steps, zeros, axis=0),
        ]
        if len(node.input) > 2:  # a bias has the steps of the products that it is added to
            product_steps = self.writer.add("Mul", steps, self.steps[source][0])
            exact = scale.astype(np.float32) * self.scales[source]
            bias_codes = self.writer.tensor(np.rint(bias / exact).astype(np.int32))
            inputs.append(self.writer.add("DequantizeLinear", bias_codes, product_steps, axis=0))
        return inputs
