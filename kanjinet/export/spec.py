"""What a backend asks of its exported files, and whether a graph keeps to it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx

from kanjinet.errors import KanjinetError

# Minimum fraction of equal predictions for a network whose numbers are rounded
MIN_AGREEMENT = {"int8": 0.97, "int8-weights": 0.98, "fp16": 0.995}
QUANTIZATIONS = tuple(MIN_AGREEMENT)
GENTLER = {  # what changes a network's predictions less
    "": "install the versions of constraints.txt",
    "int8": "use --quantize int8-weights or fp16, or train longer",
    "int8-weights": "use --quantize fp16, or train longer",
    "fp16": "leave --quantize out",
}
QUANTIZED_OPSET = 13  # of int8: the first whose DequantizeLinear has a scale for each channel

# All that a network needs. No Shape, Gather or Reshape: engines for small devices stumble over them.
OPERATORS = {
    *("Conv", "Relu", "Add", "Mul", "Sigmoid", "Flatten", "Gemm"),
    *("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"),
}
QUANTIZED_OPERATORS = {  # Concat: large layers are divided
    "int8": {"QuantizeLinear", "DequantizeLinear", "Cast", "Concat"},
    "int8-weights": {"Cast", "Concat"},
    "fp16": {"Cast", "Concat"},
}
ADAPTIVE_OPERATORS = {"GlobalAveragePool", "GlobalMaxPool"}


@dataclass(frozen=True)
class ExportSpec:
    """Represents what a backend asks of its exported files."""

    opset: int  # of the operators that the file declares and keeps to
    dynamic_batch: bool  # whether the first dimension is free, or 1
    fixed_pooling: bool  # whether every pooling has a kernel of fixed size
    quantization: str = ""  # how its numbers are rounded, one of QUANTIZATIONS, or empty

    @property
    def min_agreement(self) -> float | None:
        """Fraction of equal predictions that is required, or None where the logits themselves must agree."""
        return MIN_AGREEMENT[self.quantization] if self.quantization else None

    @property
    def batch(self) -> str | int:
        """The first dimension, as the file names it."""
        return "batch" if self.dynamic_batch else 1


SPECS = {
    "tract": ExportSpec(opset=12, dynamic_batch=True, fixed_pooling=False),
    "ort-tract": ExportSpec(opset=11, dynamic_batch=True, fixed_pooling=True),
    "strict": ExportSpec(opset=11, dynamic_batch=False, fixed_pooling=True),
}
BACKENDS = tuple(SPECS)


def get_spec(backend: str, quantization: str = "") -> ExportSpec:
    """Returns the spec of a backend's files, in float32 or with one of QUANTIZATIONS."""
    spec = SPECS[backend]
    return replace(spec, quantization=quantization, opset=QUANTIZED_OPSET if quantization == "int8" else spec.opset)


def pooling_of_backend(pooling_type: str, backend: str) -> str:
    """Returns the pooling type in a backend's files: adaptive_* becomes fixed_*, which computes the same, or stays."""
    return pooling_type.replace("adaptive", "fixed") if SPECS[backend].fixed_pooling else pooling_type


def check_structure(model: onnx.ModelProto, spec: ExportSpec, image_size: int, num_classes: int) -> None:
    """Checks that a model keeps to its spec.

    onnx.checker refuses an operator, attribute or number of inputs that the declared opset does not have; the rest is
    checked here.

    Raises:
        KanjinetError: with all that is wrong.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise KanjinetError(f"the exported graph is not valid ONNX: {error}") from error
    problems = list(_find_problems(model, spec))
    batch = 0 if spec.dynamic_batch else 1
    float32 = onnx.TensorProto.FLOAT
    for values, name, shape in (
        (model.graph.input, "input", [batch, 1, image_size, image_size]),
        (model.graph.output, "output", [batch, num_classes]),
    ):
        # dim_value is 0 where a dimension has a name instead
        found = [
            (each.name, each.type.tensor_type.elem_type, [dim.dim_value for dim in each.type.tensor_type.shape.dim])
            for each in values
        ]
        if found != [(name, float32, shape)]:
            problems.append(f"{name}: {found}, expected {[(name, float32, shape)]} (0: dynamic)")
    if problems:
        raise KanjinetError(f"the exported graph does not keep to opset {spec.opset}: {'; '.join(problems)}")


def _find_problems(model: onnx.ModelProto, spec: ExportSpec) -> Iterator[str]:
    declared = [(entry.domain, entry.version) for entry in model.opset_import]
    if declared != [("", spec.opset)]:
        yield f"operator sets {declared}"
    if model.ir_version != onnx.helper.find_min_ir_version_for(list(model.opset_import)):
        yield f"IR version {model.ir_version} is newer than the opset needs"
    if model.functions or model.graph.sparse_initializer:
        yield "functions or sparse tensors"
    for tensor in model.graph.initializer:
        if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
            yield f"{tensor.name} lies in another file"
    allowed = OPERATORS | QUANTIZED_OPERATORS.get(spec.quantization, set())
    for node in model.graph.node:
        if node.op_type not in allowed or (spec.fixed_pooling and node.op_type in ADAPTIVE_OPERATORS):
            yield f"operator {node.op_type}"
