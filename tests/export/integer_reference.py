"""Computes an 8-bit graph in NumPy with exact integers, as the ONNX definitions of its operators say.

Optionally as CPUs without VNNI do: products of u8 and s8 are added in pairs, in 16 bits with saturation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Quantized:
    """Codes and what they stand for: (codes - zero) * scale, along an axis where scale is not a scalar."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int | None

    def to_float(self) -> np.ndarray:
        shape = [-1 if axis == self.axis else 1 for axis in range(self.codes.ndim)] if self.scale.ndim else []
        return (self.codes.astype(np.int64) - self.zero.reshape(shape)) * self.scale.astype(np.float64).reshape(shape)


def run_in_integers(content: bytes, inputs: np.ndarray, *, saturating: bool = False) -> np.ndarray:
    """Logits (n, classes) float64."""
    model = onnx.load_model_from_string(content)
    values: dict[str, Any] = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    values["input"] = inputs.astype(np.float64)
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        values[node.output[0]] = _compute(node.op_type, [values[name] for name in node.input], attributes, saturating)
    return values["output"]


def list_weight_codes(content: bytes) -> list[np.ndarray]:
    """The codes of each convolution and linear layer, (channels, ...) int8."""
    model = onnx.load_model_from_string(content)
    tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return [tensors[sources[node.input[1]].input[0]] for node in layers]


def _compute(operator: str, inputs: list[Any], attributes: dict[str, Any], saturating: bool) -> Any:
    if operator == "Cast":
        return inputs[0].astype(np.float32)
    if operator == "QuantizeLinear":
        x, scale, zero = inputs
        return np.clip(np.rint(x / np.float64(scale)) + int(zero), 0, 255).astype(np.uint8)
    if operator == "DequantizeLinear":
        codes, scale = inputs[:2]
        zero = inputs[2].astype(np.int64) if len(inputs) > 2 else np.zeros_like(scale, np.int64)
        return Quantized(codes, np.asarray(scale), np.asarray(zero), attributes.get("axis") if np.ndim(scale) else None)
    if operator in ("Conv", "Gemm"):
        x, weights, bias = [*inputs, None][:3]
        return _multiply(x, weights, bias, attributes, saturating)
    floats = [each.to_float() if isinstance(each, Quantized) else np.asarray(each, np.float64) for each in inputs]
    if operator == "MaxPool":
        assert attributes["kernel_shape"] == attributes["strides"]
        k = attributes["kernel_shape"][0]
        return sliding_window_view(floats[0], (k, k), (2, 3))[:, :, ::k, ::k].max(axis=(4, 5))
    if operator == "AveragePool":
        k = attributes["kernel_shape"][0]
        return sliding_window_view(floats[0], (k, k), (2, 3))[:, :, ::k, ::k].mean(axis=(4, 5))
    return {
        "Mul": lambda: floats[0] * floats[1],
        "Add": lambda: floats[0] + floats[1],
        "Relu": lambda: np.maximum(floats[0], 0),
        "Sigmoid": lambda: 1 / (1 + np.exp(-floats[0])),
        "Flatten": lambda: floats[0].reshape(len(floats[0]), -1),
        "Concat": lambda: np.concatenate(floats, axis=attributes["axis"]),
        "GlobalAveragePool": lambda: floats[0].mean(axis=(2, 3), keepdims=True),
        "GlobalMaxPool": lambda: floats[0].max(axis=(2, 3), keepdims=True),
    }[operator]()


def _multiply(
    x: Quantized, weights: Quantized, bias: Quantized | None, attributes: dict[str, Any], saturating: bool
) -> np.ndarray:
    """A convolution or a linear layer: sums of integer products, which scales turn into floats."""
    assert x.codes.dtype == np.uint8 and weights.codes.dtype == np.int8 and not weights.zero.any()
    w = weights.codes if weights.codes.ndim == 4 else weights.codes[:, :, None, None]  # (O, C / groups, kh, kw)
    codes = x.codes if x.codes.ndim == 4 else x.codes[:, :, None, None]
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    padded = np.pad(
        codes, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=int(x.zero)
    )  # whose value is 0
    stride = attributes.get("strides", [1, 1])
    windows = sliding_window_view(padded, w.shape[2:], (2, 3))[:, :, :: stride[0], :: stride[1]]
    groups = attributes.get("group", 1)
    n, _, height, width = windows.shape[:4]
    # (n, groups, height * width, products), (groups, products, O / groups)
    columns = windows.reshape(n, groups, -1, height, width, *w.shape[2:]).transpose(0, 1, 3, 4, 2, 5, 6)
    columns = columns.reshape(n, groups, height * width, -1).astype(np.int64)
    rows = w.reshape(groups, len(w) // groups, -1).transpose(0, 2, 1).astype(np.int64)
    sums = _add_in_saturating_pairs(columns, rows) if saturating else columns @ rows
    sums = sums - int(x.zero) * rows.sum(axis=1)[:, None, :]
    sums = sums.transpose(0, 1, 3, 2).reshape(n, len(w), height, width)
    if bias is not None:
        sums = sums + bias.codes.astype(np.int64)[:, None, None]
    floats = sums * (weights.scale.astype(np.float64) * np.float64(x.scale))[:, None, None]
    return floats if x.codes.ndim == 4 else floats[:, :, 0, 0]


def _add_in_saturating_pairs(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The product of matrices, each two neighboring terms of a sum saturating in 16 bits (vpmaddubsw)."""
    total = np.zeros((*columns.shape[:-1], rows.shape[-1]), np.int64)
    for first in range(0, columns.shape[-1], 2):
        pair = columns[..., first : first + 2] @ rows[:, first : first + 2]
        total += np.clip(pair, -32768, 32767)
    return total
