"""Runs ONNX files in real engines and compares them with PyTorch."""

import importlib.metadata
import importlib.util
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kanjinet.errors import KanjinetError
from kanjinet.export.spec import GENTLER, ExportSpec
from kanjinet.storage.onnx_file import open_session

FloatArray = npt.NDArray[np.float32]

# On a logit. onnxruntime differs by 1e-5, because it sums in another order; tract by up to 3e-4, because its sigmoid is
# a rational approximation (attention's gates differ by 1e-6, which later layers amplify).
ABSOLUTE_BOUND = 1e-3
RELATIVE_BOUND = 1e-5  # of the largest logit, for networks whose logits run into hundreds
BATCHES = (1, 5)


@dataclass(frozen=True)
class Comparison:
    """Holds how an engine's logits compare with PyTorch's."""

    engine: str  # name and version
    batch: str  # images at a time
    images: int
    difference: float  # the largest of a logit
    mean_difference: float
    agreement: float  # fraction of images with the same prediction


@dataclass(frozen=True)
class LoadedEngine:
    """Represents a file in an engine; `run` takes inputs (n, 1, size, size) to logits (n, classes)."""

    name: str
    run: Callable[[FloatArray], FloatArray]


def load_onnxruntime(content: bytes, *, device: str = "cpu", threads: int = 0) -> LoadedEngine:
    """Loads a file's bytes into onnxruntime; the arguments are those of `open_session`."""
    session = open_session(content, device=device, threads=threads)
    import onnxruntime

    name = f"onnxruntime {onnxruntime.__version__}"
    return LoadedEngine(
        name if session.get_providers()[0].startswith("CPU") else f"{name} CUDA",
        lambda batch: session.run(["output"], {"input": batch})[0],
    )


def load_tract(content: bytes, pinned: FloatArray | None) -> LoadedEngine:
    """Loads a file's bytes into tract, which computes with one thread.

    Args:
        content: the file's bytes.
        pinned: inputs of the one shape that it is to take, which makes it faster; None for what the file declares.

    Raises:
        KanjinetError: it refuses the file, now or when it runs.
    """
    import tract

    @contextmanager
    def naming_refusals() -> Iterator[None]:
        try:
            yield
        except tract.TractError as error:
            raise KanjinetError(f"tract refuses the exported graph: {error}") from error

    def run(batch: FloatArray) -> FloatArray:
        with naming_refusals():
            return runnable.run([batch])[0].to_numpy()

    with tempfile.TemporaryDirectory() as folder, naming_refusals():
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        model = tract.onnx().load(path)
        if pinned is not None:
            model.set_input_fact(0, ",".join(str(side) for side in pinned.shape) + ",f32")
        runnable = model.into_model().into_runnable()
    return LoadedEngine(f"tract {importlib.metadata.version('tract')}", run)


def run_engine(engine: LoadedEngine, inputs: FloatArray, batch: int = 1) -> FloatArray:
    """Returns an engine's logits (n, classes) of inputs (n, 1, size, size), `batch` of them at a time."""
    return np.concatenate([engine.run(inputs[start : start + batch]) for start in range(0, len(inputs), batch)])


def run_pytorch(network: torch.nn.Module, inputs: FloatArray) -> FloatArray:
    """Returns PyTorch's logits (n, classes) of inputs (n, 1, size, size), on the CPU."""
    with torch.inference_mode():
        return np.concatenate([network(part).numpy() for part in torch.from_numpy(inputs).split(64)])


def compare_engines(
    content: bytes, spec: ExportSpec, inputs: FloatArray, reference: FloatArray, device: str = "cpu"
) -> tuple[list[Comparison], list[str]]:
    """Runs a file in onnxruntime, and in tract where it is installed, and compares the logits with PyTorch's.

    Args:
        content: the file's bytes.
        spec: what the file keeps to: its batches, and how far its logits may differ.
        inputs: (n, 1, size, size) float32, 0-1.
        reference: (n, classes) logits of PyTorch.
        device: one of `storage.onnx_file.DEVICES`, in which onnxruntime runs the file beside the CPU.

    Returns:
        The comparisons, and the names of the engines that are not installed.

    Raises:
        KanjinetError: an engine refuses the file, or differs by more than the bound. (Within it, only a prediction that
            leads by less than twice the bound can change.)
    """
    engines = [load_onnxruntime(content), load_onnxruntime(content, device=device)]
    if engines[0].name == engines[1].name:
        del engines[1]
    batches = BATCHES if spec.dynamic_batch else BATCHES[:1]
    runs = [(engine, batch, str(batch)) for engine in engines for batch in batches]
    missing = [] if importlib.util.find_spec("tract") else ["tract"]
    if not missing:
        runs.append((load_tract(content, inputs[:1]), 1, "1"))
    if not missing and spec.dynamic_batch:
        runs.append((load_tract(content, None), BATCHES[-1], f"{BATCHES[-1]}, dynamic"))
    comparisons = []
    for engine, batch, label in runs:
        comparison = compare_logits(engine.name, label, reference, run_engine(engine, inputs, batch))
        check_bound(comparison, reference, spec)
        comparisons.append(comparison)
    return comparisons, missing


def compare_logits(engine: str, batch: str, reference: FloatArray, logits: FloatArray) -> Comparison:
    """Compares two arrays of logits (n, classes), whatever they hold."""
    if logits.shape != reference.shape:
        return Comparison(engine, batch, len(reference), math.inf, math.inf, 0.0)
    differences = np.abs(logits - reference)
    same = logits.argmax(axis=1) == reference.argmax(axis=1)
    largest, mean = float(differences.max()), float(differences.mean())
    return Comparison(engine, batch, len(reference), largest, mean, float(same.mean()))


def check_bound(comparison: Comparison, reference: FloatArray, spec: ExportSpec) -> None:
    """Holds a comparison to its bound, which depends on the size of PyTorch's logits (n, classes).

    Raises:
        KanjinetError: the engine's logits differ by more.
    """
    found = (
        f"{comparison.engine}, batch {comparison.batch}: logits differ from PyTorch's by up to "
        f"{comparison.difference:.2g}, {comparison.agreement:.1%} equal predictions; the bound is "
    )
    if spec.min_agreement is not None:
        if not (comparison.agreement >= spec.min_agreement and math.isfinite(comparison.difference)):
            raise KanjinetError(f"{found}{spec.min_agreement:.1%} equal predictions", GENTLER[spec.quantization])
        return
    bound = ABSOLUTE_BOUND + RELATIVE_BOUND * float(np.abs(reference).max())
    if not comparison.difference <= bound:  # "not <=" also catches NaN
        raise KanjinetError(f"{found}{bound:.2g}", GENTLER[""])
