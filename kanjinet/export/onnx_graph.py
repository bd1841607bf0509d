"""Writes ONNX graphs node by node."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]

INPUT, OUTPUT = "input", "output"  # of every exported network


class GraphWriter:
    """Collects nodes and tensors; names are as short as they can be, because a file holds each several times.

    Attributes:
        nodes: in the order in which they are computed.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._tensors: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._arrays: dict[str, Array] = {}

    def tensor(self, array: npt.ArrayLike | np.generic) -> str:
        """The name of a constant; equal ones share it."""
        value = np.ascontiguousarray(array).reshape(np.shape(array))  # ascontiguousarray makes a scalar a vector
        name = self._tensors.setdefault((str(value.dtype), value.shape, value.tobytes()), f"c{len(self._tensors)}")
        self._arrays[name] = value
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of its output, by default a new one."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def copy(self, node: onnx.NodeProto, names: dict[str, str]) -> None:
        """Append a node of another graph.

        Args:
            node: with one output.
            names: this graph's names of the other's values, to which its output is added.
        """
        inputs = [names.get(name, name) for name in node.input]
        names[node.output[0]] = self.add(node.op_type, *inputs, output=keep_graph_output(node), **read_attributes(node))

    def build(self, source: onnx.ModelProto, opset: int | None = None) -> onnx.ModelProto:
        """A model with these nodes, and the name, inputs and outputs of another one.

        Args:
            source: the other one.
            opset: to declare; by default the other one's.
        """
        used = {each for node in self.nodes for each in node.input}
        tensors = [numpy_helper.from_array(array, key) for key, array in self._arrays.items() if key in used]
        opsets = [helper.make_opsetid("", opset or source.opset_import[0].version)]
        graph = helper.make_graph(self.nodes, source.graph.name, source.graph.input, source.graph.output, tensors)
        return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def read_tensors(model: onnx.ModelProto) -> dict[str, Array]:
    """A model's constants by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def read_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def keep_graph_output(node: onnx.NodeProto) -> str:
    """The graph's output keeps its name; every other value gets a new one, which is what "" stands for."""
    return OUTPUT if node.output[0] == OUTPUT else ""


def list_users(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that take each value in."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users
