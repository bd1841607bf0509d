"""Equalizes the channels between two layers, so that one scale for a tensor of 8 bits suits all of its channels.

Source of the method: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, 2019.
"""

import numpy as np
import numpy.typing as npt
import onnx

from kanjinet.export.onnx_graph import (
    INPUT,
    Array,
    align,
    is_weighted,
    list_users,
    open_with_all_values,
    read_tensors,
    replace_tensors,
)

NUM_IMAGES = 64
MAX_RATIO = 1e3  # of the largest channel to the smallest, beyond which a channel counts as dead
_SCALABLE = {"Relu", "Mul", "Flatten"}  # f(r * x) = r * f(x) for a channel's r > 0; Mul: by attention's gates


def equalize_channels(model: onnx.ModelProto, inputs: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """Divides a layer's output channels by factors, and multiplies the weights that take them in: an equal network.

    Before a depthwise convolution, which has a scale for each channel, all channels get the same maximum. Before other
    layers that would make the weights as uneven as the channels were, so that the factors' square root is taken.

    Args:
        model: an exported network.
        inputs: (n, 1, size, size) float32 images on which the channels are measured.
    """
    names, session = open_with_all_values(model)
    values = dict(zip(names, session.run(names, {INPUT: inputs[:NUM_IMAGES]}), strict=True))
    sources = {node.output[0]: node for node in model.graph.node}
    users = list_users(model.graph.node)
    tensors = read_tensors(model)
    for node in filter(is_weighted, model.graph.node):
        name = node.input[0]
        while name in sources and sources[name].op_type in _SCALABLE and len(users[name]) == 1:
            name = sources[name].input[0]
        source = sources.get(name)
        if source is None or not is_weighted(source) or len(users[name]) > 1:
            continue
        taken, weights = values[node.input[0]], tensors[node.input[1]]
        factors = _compute_factors(taken)
        if weights.shape[1] == 1:  # depthwise
            tensors[node.input[1]] = weights * align(factors, weights.ndim)
        else:
            factors = np.sqrt(factors)
            tensors[node.input[1]] = weights * align(factors, weights.ndim - 1)
        for each in source.input[1:]:
            tensors[each] = tensors[each] / align(factors, tensors[each].ndim)
    return replace_tensors(model, tensors)


def _compute_factors(values: Array) -> Array:
    """Returns each channel's maximum (channels,) over images and places, relative to the geometric mean of all."""
    largest = np.abs(values).max(axis=(0, *range(2, values.ndim)))
    largest = np.maximum(largest, max(float(largest.max()) / MAX_RATIO, 1e-12))
    return largest / np.exp(np.log(largest).mean())
