"""An exported network with weights and activations of 8 bits: a quarter of the size."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from kanjinet.checkpoint import Checkpoint
from kanjinet.dataset import METADATA_NAME, read_dataset_info, read_images, read_labels
from kanjinet.errors import KanjinetError
from kanjinet.splits import split_as_trained

QUANTIZED_OPSET = 13  # the first whose DequantizeLinear has a scale for each channel
CALIBRATION_PICTURES = 512
_BATCH = 32


def load_calibration_inputs(data_dir: Path, checkpoint: Checkpoint) -> npt.NDArray[np.float32]:
    """Some of the pictures that a checkpoint was trained on, (512, 1, size, size) float32, 0-1.

    Raises:
        KanjinetError: no dataset, or one that was prepared in another way.
    """
    if not (data_dir / METADATA_NAME).is_file():
        raise KanjinetError(
            f"{data_dir}: --quantize int8 measures activations on training pictures, and this is no prepared dataset: "
            "name the one that the network was trained on with --data-dir"
        )
    info = read_dataset_info(data_dir)
    wanted = (checkpoint.config.image_size, checkpoint.preprocessing)
    if (info.image_size, info.preprocessing) != wanted:
        raise KanjinetError(
            f"{data_dir}: pictures of {info.image_size} pixels, preprocessed by {info.preprocessing}; the network "
            f"takes {wanted[0]} pixels and {wanted[1]}: name the dataset that it was trained on with --data-dir"
        )
    labels = read_labels(info.folder, info.chunks)
    indices = split_as_trained(labels, info.sha256, checkpoint.training)["train"]
    count = min(CALIBRATION_PICTURES, len(indices))
    images = read_images(info, np.sort(np.random.default_rng(0).choice(indices, count, replace=False)))
    return images[:, None].astype(np.float32) / np.float32(255)


def quantize_int8(model: onnx.ModelProto, inputs: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """The same network with 8-bit weights, a scale for each output channel, and 8-bit activations.

    Between a QuantizeLinear and a DequantizeLinear stands what is kept in 8 bits: an engine with integer arithmetic
    merges them with the operators beside them, any other one computes in float32 with the same rounding.

    Args:
        model: an exported network, of an opset of at most 13.
        inputs: (n, 1, size, size) float32 pictures on which the range of each activation is measured.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.starts = iter(range(0, len(inputs), step))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.starts, None)
            return None if start is None else {"input": inputs[start : start + step]}

    fixed_batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    step = fixed_batch or _BATCH
    source = onnx.ModelProto()
    source.CopyFrom(model)
    # Between opsets 11 and 13 the operators of these networks only took on further element types.
    source.opset_import[0].version = QUANTIZED_OPSET
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises to fold batch norm, which is done
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantized.onnx"
            quantize_static(
                source,
                path,
                Reader(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            quantized = onnx.load(path)
    finally:
        logger.setLevel(level)
    opsets = [helper.make_opsetid("", QUANTIZED_OPSET)]
    graph = quantized.graph
    del graph.value_info[:]  # names of the batch that contradict one pinned by the user
    return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
