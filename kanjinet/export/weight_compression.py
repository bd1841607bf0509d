"""Stores an exported network's weights with fewer bits; they are float32 again when an engine loads the file.

Engines compute a Cast or a Mul of constants once, on loading: the file is small, and as fast as a float32 one.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from kanjinet.export.onnx_graph import (
    Array,
    GraphWriter,
    align,
    is_weighted,
    keep_graph_output,
    read_attributes,
    read_tensors,
)

MAX_LAYER = 1_000_000  # weights; tract 0.23 computes larger constants again at every run
MIN_TENSOR = 64  # values; a smaller one takes no room worth a node


def store_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stores the weights in 16 bits; computation, input and output stay float32."""

    def write(writer: GraphWriter, array: Array, _is_weights: bool) -> str:
        if array.size < MIN_TENSOR:
            return writer.tensor(array)
        return writer.add("Cast", writer.tensor(array.astype(np.float16)), to=onnx.TensorProto.FLOAT)

    return _rewrite_tensors(model, write)


def store_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stores the weights in 8 bits, with a scale for each output channel; all else stays float32."""

    def write(writer: GraphWriter, array: Array, is_weights: bool) -> str:
        if not is_weights:
            return writer.tensor(array)
        scale, codes = quantize_weights(array)
        whole = writer.add("Cast", writer.tensor(codes), to=onnx.TensorProto.FLOAT)
        factor = writer.add("Cast", writer.tensor(align(scale, array.ndim)), to=onnx.TensorProto.FLOAT)
        return writer.add("Mul", whole, factor)

    return _rewrite_tensors(model, write)


def _rewrite_tensors(model: onnx.ModelProto, write: Callable[[GraphWriter, Array, bool], str]) -> onnx.ModelProto:
    """Divides large layers, and copies the nodes with each constant as `write` writes it: once for all its users."""
    model = split_large_layers(model)
    tensors, writer = read_tensors(model), GraphWriter()
    weights = {node.input[1] for node in model.graph.node if is_weighted(node)}
    names = {name: write(writer, array, name in weights) for name, array in tensors.items()}
    for node in model.graph.node:
        writer.copy(node, names)
    return writer.build(model)


def quantize_weights(
    weights: Array, min_scale: npt.ArrayLike = 0, max_code: int = 127, shrinkages: Sequence[float] | Array = (1.0,)
) -> tuple[Array, Array]:
    """Rounds weights (channels, ...) to scales (channels,) float16 and codes of the weights' shape, int8.

    Scales of 16 bits halve their room and lose nothing: the codes are computed for the rounded scale.

    Args:
        weights: one row a channel.
        min_scale: no channel's scale is smaller, one number or (channels,).
        max_code: codes lie in -max_code ... max_code.
        shrinkages: fractions of a channel's largest weight for max_code to stand for, which cuts off larger ones; each
            channel gets the one with the smallest squared error.
    """
    rows = weights.reshape(len(weights), -1)
    full = np.maximum(np.abs(rows).max(axis=1), 1e-3) / max_code  # float16 has few digits for less
    scales, codes = np.zeros(len(rows), np.float16), np.zeros(rows.shape, np.int8)
    errors = np.full(len(rows), np.inf)
    for shrinkage in shrinkages:
        target = np.maximum(full * shrinkage, min_scale)
        scale = target.astype(np.float16)
        scale = np.where(scale < target, np.nextafter(scale, np.float16(np.inf)), scale)
        exact = scale.astype(np.float32)[:, None]
        rounded = np.clip(np.rint(rows / exact), -max_code, max_code)
        error = np.square(rounded * exact - rows).sum(axis=1)
        better = error < errors
        scales[better], codes[better], errors[better] = scale[better], rounded[better], error[better]
    return scales, codes.reshape(weights.shape)


def split_large_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Divides linear layers of more than MAX_LAYER weights into several with a part of the outputs each."""
    tensors, writer = read_tensors(model), GraphWriter()
    names = {name: writer.tensor(array) for name, array in tensors.items()}
    for node in model.graph.node:
        weights = tensors.get(node.input[1]) if node.op_type == "Gemm" else None
        if weights is None or weights.size <= MAX_LAYER:
            writer.copy(node, names)
            continue
        count = -(-weights.size // MAX_LAYER)
        parts = zip(np.array_split(weights, count), np.array_split(tensors[node.input[2]], count), strict=True)
        outputs = [
            writer.add("Gemm", names[node.input[0]], writer.tensor(part), writer.tensor(bias), **read_attributes(node))
            for part, bias in parts
        ]
        names[node.output[0]] = writer.add("Concat", *outputs, output=keep_graph_output(node), axis=1)
    return writer.build(model)
