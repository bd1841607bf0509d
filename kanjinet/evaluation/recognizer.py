"""One way to run a trained network, whichever file it comes from: .pth, .safetensors or .onnx."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CLASS_TABLE_SHA256, NUM_CLASSES
from kanjinet.contract import IMAGE_SIZES, check_preprocessing
from kanjinet.errors import KanjinetError, brief

PRETRAINED_PATH = Path(__file__).parents[2] / "pretrained" / "kanji_model_etl9g_64x64_3036classes_tract_int8.onnx"
MODEL_SUFFIXES = (".pth", ".safetensors", ".onnx")
_BATCH = 64


@dataclass(frozen=True)
class Candidates:
    """The k best classes of n images, best first: (n, k) int64; and their probabilities (n, k), 0-1."""

    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recognizer:
    """A trained network that is ready to read.

    Attributes:
        path: the file that it comes from.
        run: (n, 1, S, S) float32, 0-1 -> (n, 3036) float32 logits.
        max_batch: images that `run` takes at a time.
        image_size: S, pixels.
        preprocessing: version of the preprocessing that its images must go through.
        synthetic: whether it was trained on synthetic sample writers.
        training: options and results of its training.
    """

    path: Path
    run: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    max_batch: int
    image_size: int
    preprocessing: str
    synthetic: bool
    training: dict[str, Any]

    def compute_logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Scores (n, 3036) of preprocessed images (n, S, S) uint8."""
        batches = [
            self.run(images[first : first + self.max_batch, None] / np.float32(255))
            for first in range(0, len(images), self.max_batch)
        ]
        return np.concatenate(batches)

    def find_best(self, images: npt.NDArray[np.uint8], count: int) -> Candidates:
        """The `count` best classes of each of n preprocessed images (n, S, S) uint8; of equal ones the first."""
        classes = np.empty((len(images), count), dtype=np.int64)
        probabilities = np.empty((len(images), count))
        for first in range(0, len(images), _BATCH):  # so that all logits of a large dataset are never held
            rows = slice(first, first + _BATCH)
            logits = self.compute_logits(images[rows])
            shares = _to_probabilities(logits)
            line = np.arange(len(logits))
            for rank in range(count):
                best = logits.argmax(axis=1)
                classes[rows, rank], probabilities[rows, rank] = best, shares[line, best]
                logits[line, best] = -np.inf
        return Candidates(classes, probabilities)


def _to_probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Softmax of logits (n, 3036)."""
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def load_recognizer(path: Path, device: str = "auto") -> Recognizer:
    """Loads a trained network.

    Args:
        path: the file.
        device: to run it on: "cpu", "cuda", "mps", or "auto" for the fastest of them that is there.

    Raises:
        KanjinetError: no such file, another kind of file, a damaged one, one of another class table, or no such device.
    """
    suffix = path.suffix.lower()  # Windows has names such as MODEL.ONNX
    if suffix not in MODEL_SUFFIXES:
        raise KanjinetError(f"{path}: not a model", f"choose a file that ends in {', '.join(MODEL_SUFFIXES)}")
    if not path.is_file():
        raise KanjinetError(f"{path}: not found", "train_etl9g_model.py and the convert scripts write models")
    return _load_onnx(path) if suffix == ".onnx" else _load_torch(path, device)


def _load_torch(path: Path, device: str) -> Recognizer:
    import torch

    from kanjinet.storage.safetensors_file import load_trained_network

    checkpoint = load_trained_network(path)
    place = _choose_torch_device(device)
    model = checkpoint.model.to(place)

    @torch.inference_mode()
    def run(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = model(torch.from_numpy(inputs).to(place)).cpu().numpy()
        return logits

    return Recognizer(
        path=path,
        run=run,
        max_batch=_BATCH,
        image_size=checkpoint.config.image_size,
        preprocessing=checkpoint.preprocessing,
        synthetic=checkpoint.synthetic,
        training=checkpoint.training,
    )


def _choose_torch_device(name: str) -> str:
    import torch

    is_there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(each for each in is_there if is_there[each])
    if not is_there[name]:
        raise KanjinetError(f"device {name}: PyTorch {torch.__version__} cannot use it here", "choose cpu or auto")
    return name


def _load_onnx(path: Path) -> Recognizer:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as engine

    from kanjinet.storage.onnx_file import read_self_contained

    refusals = (
        *(engine.Fail, engine.InvalidArgument, engine.InvalidGraph, engine.InvalidProtobuf, engine.NotImplemented),
        *(engine.RuntimeException, RuntimeError, MemoryError),
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    remedy = "write it again with convert_to_onnx.py"
    content = read_self_contained(path, remedy)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        properties = session.get_modelmeta().custom_metadata_map
    except (*refusals, UnicodeDecodeError) as error:
        raise KanjinetError(f"{path}: onnxruntime does not take it ({_first_line(error)})", remedy) from error
    source = next(iter(session.get_inputs()), None)
    if source is None:
        raise KanjinetError(f"{path}: takes no images", remedy)
    if source.type != "tensor(float)":
        raise KanjinetError(
            f"{path}: takes {source.type} of shape {source.shape}, not preprocessed images in float32", remedy
        )

    def run(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            logits = session.run(None, {source.name: inputs})[0]
        except refusals as error:
            raise KanjinetError(f"{path}: onnxruntime cannot run it ({_first_line(error)})", remedy) from error
        if not isinstance(logits, np.ndarray) or (logits.shape, logits.dtype) != ((len(inputs), NUM_CLASSES), "<f4"):
            raise KanjinetError(f"{path}: does not answer with {NUM_CLASSES:,} logits an image", remedy)
        return logits

    try:
        if properties["class_table_sha256"] != CLASS_TABLE_SHA256:
            raise KanjinetError(f"{path}: another class table", remedy)
        check_preprocessing(properties["preprocessing"], str(path))
        recognizer = Recognizer(
            path=path,
            run=run,
            max_batch=source.shape[0] if isinstance(source.shape[0], int) else _BATCH,
            image_size=int(properties["image_size"]),
            preprocessing=properties["preprocessing"],
            synthetic=bool(json.loads(properties["synthetic"])),
            training=dict(json.loads(properties["training"])),
        )
    except (KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise KanjinetError(f"{path}: not a model of this toolkit ({brief(error)})", remedy) from error
    if recognizer.image_size not in IMAGE_SIZES or recognizer.max_batch < 1:
        raise KanjinetError(
            f"{path}: takes {recognizer.max_batch} images of {recognizer.image_size} pixels a side", remedy
        )
    return recognizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
