"""Exports a trained network as one ONNX file that keeps to its backend's spec."""

import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from kanjinet import __version__
from kanjinet.classes import SET_OF_TABLE
from kanjinet.errors import KanjinetError
from kanjinet.export.fusion import FusedNetwork, fuse_network
from kanjinet.export.onnx_graph import read_attributes, read_tensors
from kanjinet.export.spec import SPECS, ExportSpec, check_structure
from kanjinet.model import LightweightKanjiNet, ModelConfig

DYNAMO = "torch.export"
TORCHSCRIPT = "TorchScript"

_DYNAMO_OPSET = 18  # the oldest that PyTorch's exporter writes; _lower brings it down to 12
# Between opsets 12 and 18 these only took on further element types: the float32 form is the same.
_SAME_IN_OPSET_12 = {"Add", "AveragePool", "Conv", "Gemm", "MaxPool", "Mul", "Relu", "Sigmoid"}
_GLOBAL_POOLINGS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}
_TRACED_BATCH = 2  # PyTorch takes a batch of 1 for a constant


@dataclass(frozen=True)
class Export:
    """Holds an exported network."""

    model: onnx.ModelProto  # complete but for its metadata
    exporter: str  # DYNAMO or TORCHSCRIPT, with PyTorch's version
    fallback_reason: str  # why TorchScript was used in place of torch.export, or empty


def export_network(network: LightweightKanjiNet, backend: str) -> Export:
    """Exports a network, in evaluation mode, with batch norm folded.

    Input "input": (batch, 1, size, size) float32; output "output": (batch, num_classes) float32.

    Raises:
        KanjinetError: the graph does not keep to the backend's spec.
    """
    spec = SPECS[backend]
    size = network.config.image_size
    fused = fuse_network(network, fixed_pooling=spec.fixed_pooling)
    example = torch.zeros(_TRACED_BATCH if spec.dynamic_batch else 1, 1, size, size)
    reason = ""
    if backend == "tract":
        try:
            model = _finish(_export_dynamo(fused, example), network.config, spec)
            return Export(model, f"{DYNAMO}, PyTorch {torch.__version__}", "")
        except (torch.onnx.errors.OnnxExporterError, ImportError, KanjinetError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    model = _finish(_export_torchscript(fused, example, spec), network.config, spec)
    return Export(model, f"{TORCHSCRIPT}, PyTorch {torch.__version__}", reason)


def add_metadata(model: onnx.ModelProto, properties: dict[str, str]) -> None:
    """Writes what the file says about itself: producer, description and properties."""
    model.producer_name, model.producer_version = "kanjinet", __version__
    title = SET_OF_TABLE[properties["class_table"]].title.replace(",", "")
    model.doc_string = (
        f"LightweightKanjiNet {properties['model_version']}: logits of {title} for "
        "images of single characters. Metadata: class_table is the characters in the order of the logits, "
        "preprocessing_contract what must happen to an image before."
    )
    helper.set_model_props(model, properties)


def _export_dynamo(fused: FusedNetwork, example: torch.Tensor) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing here uses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the insides of PyTorch; the result is checked
        program = torch.onnx.export(
            fused,
            (example,),
            dynamo=True,
            opset_version=_DYNAMO_OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    return _lower(program.model_proto)


def _export_torchscript(fused: FusedNetwork, example: torch.Tensor, spec: ExportSpec) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls this exporter old; opset 11 needs it
        torch.onnx.export(
            fused,
            (example,),
            file,  # type: ignore[arg-type]  # this exporter takes one; the annotation is the other's
            dynamo=False,
            opset_version=spec.opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}} if spec.dynamic_batch else None,
        )
    return onnx.load_from_string(file.getvalue())


def _finish(exported: onnx.ModelProto, config: ModelConfig, spec: ExportSpec) -> onnx.ModelProto:
    """Returns a model with the exported nodes and weights, without what the exporters add.

    They leave traces of the source code, intermediate shapes with batch names that contradict a batch pinned by the
    user (tract then refuses the file), constants as nodes, and an IR version newer than the opset needs.
    """
    size, num_classes = config.image_size, config.num_classes
    tensors = read_tensors(exported)
    nodes = []
    for node in exported.graph.node:
        if node.op_type == "Constant" and [each.name for each in node.attribute] == ["value"]:
            tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        attributes = {"domain": node.domain, **read_attributes(node)}
        nodes.append(helper.make_node(node.op_type, node.input, node.output, node.name, **attributes))
    used = {name for node in nodes for name in node.input}
    weights = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items() if name in used}
    make_value, float32 = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "LightweightKanjiNet",
        [make_value("input", float32, [spec.batch, 1, size, size], "images: ink 1 on paper 0")],
        [make_value("output", float32, [spec.batch, num_classes], "logits before the softmax, in class order")],
        [numpy_helper.from_array(tensor, name) for name, tensor in weights.items()],
    )
    opsets = [helper.make_opsetid("", spec.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    check_structure(model, spec, size, num_classes)
    return model


def _lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites, in place, what differs between opset 18 and opset 12 in the few operators that the network uses."""
    constants = read_tensors(model)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    nodes = []
    for node in model.graph.node:
        if node.op_type in _GLOBAL_POOLINGS:
            node = _lower_reduction(node, constants)
        elif node.op_type == "Reshape":
            node = _lower_flattening(node, constants, shapes)
        elif node.op_type not in _SAME_IN_OPSET_12:
            raise KanjinetError(f"no opset-12 form of operator {node.op_type} is known")
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _lower_reduction(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> onnx.NodeProto:
    """Turns a reduction over both sides into a global pooling, for which onnxruntime keeps the layout in memory."""
    axes = constants.get(node.input[1]) if len(node.input) == 2 else None
    keep = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
    if axes is None or sorted(axis % 4 for axis in axes.tolist()) != [2, 3] or not keep:
        raise KanjinetError(f"{node.op_type} over axes {axes} is no global pooling, so it has no opset-12 form")
    return helper.make_node(_GLOBAL_POOLINGS[node.op_type], node.input[:1], node.output, node.name)


def _lower_flattening(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], shapes: dict[str, list[int]]
) -> onnx.NodeProto:
    """Turns Reshape to (-1, n), n = all but the batch, into Flatten, which has no allowzero and no shape to compute."""
    features = int(np.prod(shapes.get(node.input[0], [0])[1:]))
    target = constants.get(node.input[1])
    if target is None or target.tolist() != [-1, features] or features <= 0:
        raise KanjinetError(f"Reshape to {target} is no flattening, so it has no opset-12 form")
    return helper.make_node("Flatten", node.input[:1], node.output, node.name, axis=1)
