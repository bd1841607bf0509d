"""Is an ONNX file what its name says, and does it compute in real engines what PyTorch computes?"""

import importlib.metadata
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from kanjinet.errors import KanjinetError
from kanjinet.storage.onnx_file import open_session

FloatArray = npt.NDArray[np.float32]
Engine = Callable[[FloatArray], FloatArray]

# On a logit. onnxruntime differs by 1e-5, because it sums in another order; tract by up to 3e-4, because its sigmoid is
# a rational approximation (attention's gates differ by 1e-6, which later layers amplify).
ABSOLUTE_BOUND = 1e-3
RELATIVE_BOUND = 1e-5  # of the largest logit, for networks whose logits run into hundreds
# Share of equal best classes that a network must have whose numbers are rounded
MIN_AGREEMENT = {"int8": 0.97, "int8-weights": 0.98, "fp16": 0.995}
BATCHES = (1, 5)

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
    """What the name of an export's backend promises.

    Attributes:
        opset: version of the operator set that the file declares and keeps to.
        dynamic_batch: whether the first dimension is free, or 1.
        fixed_pooling: whether every pooling has a kernel of fixed size.
        quantization: how its numbers are rounded, one of MIN_AGREEMENT, or empty.
    """

    opset: int
    dynamic_batch: bool
    fixed_pooling: bool
    quantization: str = ""

    @property
    def least_agreement(self) -> float | None:
        """Share of equal best classes that is asked for, or None where the logits themselves must agree."""
        return MIN_AGREEMENT[self.quantization] if self.quantization else None


@dataclass(frozen=True)
class Comparison:
    """One engine against PyTorch.

    Attributes:
        engine: name and version.
        batch: images at a time, as text.
        images: how many in all.
        difference: largest absolute difference of a logit.
        mean_difference: their mean.
        agreement: share of images with the same best class, 0-1.
    """

    engine: str
    batch: str
    images: int
    difference: float
    mean_difference: float
    agreement: float


def check_structure(model: onnx.ModelProto, spec: ExportSpec, image_size: int, num_classes: int) -> None:
    """Check that a model keeps its promise.

    onnx.checker refuses an operator, attribute or number of inputs that the declared opset does not have; the rest of
    the promise is checked here.

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


def compare_engines(
    content: bytes,
    reference: FloatArray,
    inputs: FloatArray,
    *,
    dynamic_batch: bool,
    least_agreement: float | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Run an ONNX file in onnxruntime, and in tract where it is installed, against PyTorch's logits.

    Args:
        content: the file's bytes.
        reference: (n, classes) logits of PyTorch.
        inputs: (n, 1, size, size) float32, 0-1.
        dynamic_batch: whether to run batches of 5 too.
        least_agreement: share of equal best classes that must be reached, if the logits themselves need not agree.

    Returns:
        The comparisons, and the names of the engines that are not installed.

    Raises:
        KanjinetError: an engine refuses the file, or differs by more than the bound. (Within it, only a best class that
            leads by less than twice the bound can change.)
    """

    def compare(engine: LoadedEngine, batch: int, *, dynamic: bool = False) -> Comparison:
        comparison = _run(engine, reference, inputs, batch, dynamic=dynamic)
        check_bound(comparison, reference, least_agreement=least_agreement)
        return comparison

    comparisons = [
        compare(engine, batch)
        for batch in (BATCHES if dynamic_batch else (1,))
        for engine in [load_onnxruntime(content)]
    ]
    try:
        import tract
    except ImportError:
        return comparisons, ["tract"]
    try:
        comparisons.append(compare(load_tract(content, inputs[:1]), 1))
        if dynamic_batch:
            comparisons.append(compare(load_tract(content, None), BATCHES[-1], dynamic=True))
    except tract.TractError as error:
        raise KanjinetError(f"tract refuses the exported graph: {error}") from error
    return comparisons, []


@dataclass(frozen=True)
class LoadedEngine:
    """A file in an engine.

    Attributes:
        name: of the engine, with its version.
        run: inputs, as the file takes them -> (n, classes) logits.
    """

    name: str
    run: Engine


def load_onnxruntime(content: bytes, threads: int = 0) -> LoadedEngine:
    """A file in onnxruntime on the CPU.

    Args:
        content: the file's bytes.
        threads: to compute with; 0 for one a core.

    Raises:
        KanjinetError: onnxruntime is missing.
    """
    session = open_session(content, threads=threads)
    import onnxruntime

    return LoadedEngine(
        f"onnxruntime {onnxruntime.__version__}", lambda batch: session.run(["output"], {"input": batch})[0]
    )


def run_onnxruntime(content: bytes, inputs: FloatArray) -> FloatArray:
    """Scores (n, classes) of inputs (n, 1, size, size), one image at a time, which every file takes."""
    engine = load_onnxruntime(content)
    return np.concatenate([engine.run(inputs[index : index + 1]) for index in range(len(inputs))])


def load_tract(content: bytes, pinned: FloatArray | None) -> LoadedEngine:
    """A file in tract, which computes with one thread.

    Args:
        content: the file's bytes.
        pinned: inputs whose shape and type are pinned, which makes it faster; None for those that the file declares.

    Raises:
        ImportError: tract is missing.
        tract.TractError: it refuses the file.
    """
    import tract

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        model = tract.onnx().load(path)
    if pinned is not None:
        shape = ",".join(str(side) for side in pinned.shape)
        model.set_input_fact(0, f"{shape},f32")
    runnable = model.into_model().into_runnable()
    return LoadedEngine(
        f"tract {importlib.metadata.version('tract')}", lambda batch: runnable.run([batch])[0].to_numpy()
    )


def _run(engine: LoadedEngine, reference: FloatArray, inputs: FloatArray, batch: int, *, dynamic: bool) -> Comparison:
    logits = np.concatenate([engine.run(inputs[start : start + batch]) for start in range(0, len(inputs), batch)])
    return compare_logits(engine.name, f"{batch}, dynamic" if dynamic else str(batch), reference, logits)


def check_bound(comparison: Comparison, reference: FloatArray, *, least_agreement: float | None) -> None:
    """Hold a comparison to its bound.

    Args:
        comparison: of an engine with PyTorch.
        reference: (n, classes) PyTorch's logits, whose size the bound depends on.
        least_agreement: as for `compare_engines`.

    Raises:
        KanjinetError: it differs by more.
    """
    found = (
        f"{comparison.engine}, batch {comparison.batch}: logits differ from PyTorch's by up to "
        f"{comparison.difference:.2g}, {comparison.agreement:.1%} equal best classes; the bound is "
    )
    if least_agreement is not None:
        if not (comparison.agreement >= least_agreement and math.isfinite(comparison.difference)):
            raise KanjinetError(f"{found}{least_agreement:.1%} equal best classes")
        return
    bound = ABSOLUTE_BOUND + RELATIVE_BOUND * float(np.abs(reference).max())
    if not comparison.difference <= bound:  # "not <=" also catches NaN
        raise KanjinetError(f"{found}{bound:.2g}")


def compare_logits(engine: str, batch: str, reference: FloatArray, logits: FloatArray) -> Comparison:
    """The figures of a comparison, whatever they are."""
    if logits.shape != reference.shape:
        return Comparison(engine, batch, len(reference), math.inf, math.inf, 0.0)
    differences = np.abs(logits - reference)
    same = logits.argmax(axis=1) == reference.argmax(axis=1)
    largest, mean = float(differences.max()), float(differences.mean())
    return Comparison(engine, batch, len(reference), largest, mean, float(same.mean()))


def compute_logits(network: torch.nn.Module, inputs: npt.NDArray[np.float32]) -> FloatArray:
    """PyTorch's logits (n, 3036) of inputs (n, 1, size, size), on the CPU: what engines are compared with."""
    with torch.inference_mode():
        return np.concatenate([network(part).numpy() for part in torch.from_numpy(inputs).split(64)])
