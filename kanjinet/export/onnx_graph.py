"""Writes ONNX graphs node by node."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from kanjinet.storage.onnx_file import open_session

Array = npt.NDArray[Any]

INPUT, OUTPUT = "input", "output"  # of every exported network


class GraphWriter:
    """Collects nodes and tensors; names are as short as they can be, because a file holds each several times.

    Attributes:
        nodes: in the order in which they are computed.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._tensors: dict[tuple[str, tuple[int, ...], bytes], tuple[str, Array]] = {}

    def tensor(self, array: npt.ArrayLike | np.generic) -> str:
        """Returns the name of a constant; equal ones share it."""
        value = np.ascontiguousarray(array).reshape(np.shape(array))  # ascontiguousarray makes a scalar a vector
        key = (str(value.dtype), value.shape, value.tobytes())
        return self._tensors.setdefault(key, (f"c{len(self._tensors)}", value))[0]

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends a node and returns the name of its output, by default a new one."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def copy(self, node: onnx.NodeProto, names: dict[str, str]) -> None:
        """Appends a node of another graph, with one output.

        Args:
            node: the other graph's.
            names: this graph's names of the other's values; the node's output is added.
        """
        inputs = [names.get(name, name) for name in node.input]
        names[node.output[0]] = self.add(node.op_type, *inputs, output=keep_graph_output(node), **read_attributes(node))

    def build(self, source: onnx.ModelProto, opset: int | None = None) -> onnx.ModelProto:
        """Builds a model with these nodes, and the name, inputs, outputs and, by default, opset of another one."""
        used = {each for node in self.nodes for each in node.input}
        tensors = [numpy_helper.from_array(array, key) for key, array in self._tensors.values() if key in used]
        opsets = [helper.make_opsetid("", opset or source.opset_import[0].version)]
        graph = helper.make_graph(self.nodes, source.graph.name, source.graph.input, source.graph.output, tensors)
        return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def read_tensors(model: onnx.ModelProto) -> dict[str, Array]:
    """Returns a model's constants by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def read_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Returns a node's attributes as Python values."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def keep_graph_output(node: onnx.NodeProto) -> str:
    """Returns the graph output's name for the node that computes it, "" for any other, which gets a new name."""
    return OUTPUT if node.output[0] == OUTPUT else ""


def list_users(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """Returns the nodes that take each value in."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def is_weighted(node: onnx.NodeProto) -> bool:
    """Returns whether a node has weights by output channel as its input 1, and a bias, if any, as its input 2."""
    return node.op_type in ("Conv", "Gemm")


def align(factors: Array, rank: int) -> Array:
    """Reshapes (channels,) to (channels, 1, ...), which multiplies a tensor of this rank by channel."""
    return factors.reshape(-1, *[1] * (rank - 1))


def replace_tensors(model: onnx.ModelProto, tensors: dict[str, Array]) -> onnx.ModelProto:
    """Returns the same graph with other constants, float32, by name."""
    replaced = onnx.ModelProto()
    replaced.CopyFrom(model)
    del replaced.graph.initializer[:]
    replaced.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in tensors.items()
    )
    return replaced


def open_with_all_values(model: onnx.ModelProto) -> tuple[list[str], Any]:
    """Opens a session that returns each value in a graph, for any batch; returns their names, and the session."""
    names = [name for node in model.graph.node for name in node.output]
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"  # also where the file pins it
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return names, open_session(opened.SerializeToString())
