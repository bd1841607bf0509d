"""Recognition with a trained network, whichever file it comes from: .pth, .safetensors or .onnx."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTER_SETS, ETL9G_SET, SET_OF_SHA256, CharacterSet
from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.image_files import ImageArray, ImageSource, read_gray
from kanjinet.data.preprocessing import to_model_input
from kanjinet.errors import KanjinetError, first_line
from kanjinet.evaluation.page import Found, find_characters, prepare_one
from kanjinet.storage.files import CHECKPOINT, ONNX, SAFETENSORS, check_kind, read_json
from kanjinet.storage.model_card import ModelCard, default_export_path
from kanjinet.storage.onnx_file import DEVICES, open_session, read_self_contained

MODEL_KINDS = {".pth": CHECKPOINT, ".safetensors": SAFETENSORS, ".onnx": ONNX}
_BATCH = 64
Mask = npt.NDArray[np.bool_]
_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "pretrained"  # in a checkout the folder lies beside the package
_PRETRAINED_DIR = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.with_name("pretrained")


def find_pretrained(character_set: CharacterSet) -> Path:
    """Returns the path of a set's pretrained model."""
    return default_export_path(_PRETRAINED_DIR / "any", character_set, 64, "_tract_int8.onnx")


PRETRAINED_PATH = find_pretrained(ETL9G_SET)


def list_pretrained() -> list[Path]:
    """Lists the pretrained models: that of the default set first."""
    return [find_pretrained(each) for each in CHARACTER_SETS.values()]


@dataclass(frozen=True)
class Candidate:
    """Represents a character that an image may show."""

    character: str  # one of the model's characters
    probability: float  # 0-1, to six decimals
    jis_code: str  # of JIS X 0213's plane 1, as JIS X 0208 has it too: four hex digits, "4544" for 田
    stroke_count: int


class Candidates(list[Candidate]):
    """Represents the candidates for an image, best first, and whether it most likely shows none of the characters."""

    def __init__(self, candidates: Iterable[Candidate] = (), *, is_none: bool = False) -> None:
        super().__init__(candidates)
        self.is_none = is_none


@dataclass(frozen=True)
class Character:
    """Represents a character of an image."""

    box: tuple[int, int, int, int]  # left, top, right, bottom: pixels, the last two one past the end
    candidates: Candidates  # best first


@dataclass(frozen=True)
class Page:
    """Represents the characters of an image, in reading order."""

    characters: list[Character]
    unsure: str | None = None  # what cannot be told, in words


class TopClasses(NamedTuple):
    """Represents the k best classes of n images, best first: (n, k); and their probabilities (n, k), 0-1.

    The confidence (n,) is the largest probability of a character together with its twins, of all that the model knows.
    """

    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recognizer:
    """Represents a trained network that is ready to run."""

    path: Path  # the file that it comes from
    # (n, 1, S, S), 0-1 -> (n, classes) logits
    run: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] = field(repr=False)
    max_batch: int  # images that `run` takes at a time
    image_size: int  # S, pixels
    card: ModelCard = field(repr=False)
    character_set: CharacterSet = ETL9G_SET

    @overload
    def read(self, images: ImageSource, top: int = 5, allow: str | None = None) -> Candidates: ...

    @overload
    def read(self, images: list[Any] | tuple[Any, ...], top: int = 5, allow: str | None = None) -> list[Candidates]: ...

    def read(self, images: Any, top: int = 5, allow: str | None = None) -> Candidates | list[Candidates]:
        """Recognizes the character in an image, or those in several.

        Args:
            images: an image of one character, dark on light or light on dark, or a list of them. Each is a path, a
                file's content, an open binary file, a Pillow image, or an array of uint8: (height, width),
                (height, width, 3) RGB or (height, width, 4) RGBA.
            top: candidates for each image, 1 to as many as the model has characters.
            allow: which characters may be given: "kanji", "kana", "hiragana", "katakana", "digits", "latin", a
                character set's name, or a text of them; by default all.

        Returns:
            The candidates, best first; none for an image in which no ink stands out. Their `is_none` says whether the
            image most likely shows none of the model's characters, allowed or not; it is never so with a model that has
            no threshold for it. Characters that cannot be told apart alone, such as カ and 力, stand together. For a
            list, a list of those.

        Raises:
            KanjinetError: an image cannot be read, `top` is out of range, or `allow` has what the model lacks.
        """
        allowed = self.check_request(top, allow)
        if not isinstance(images, list | tuple):
            return self.list_candidates([self.prepare(images)], top, allowed)[0]
        names = [None if isinstance(image, str | Path) else f"images[{index}]" for index, image in enumerate(images)]
        return self.list_candidates(list(map(self.prepare, images, names)), top, allowed)

    def read_page(self, image: ImageSource, top: int = 5, allow: str | None = None) -> Page:
        """Finds and recognizes all characters in a photograph, a page or a drawing.

        Args:
            image: as `read` takes it.
            top, allow: as `read` takes them.

        Raises:
            KanjinetError: the image cannot be read, `top` is out of range, or `allow` has what the model lacks.
        """
        allowed = self.check_request(top, allow)
        return self.read_found(self.find_characters(image), top, allowed)

    def read_found(self, found: Found, top: int, allowed: Mask | None = None) -> Page:
        """Recognizes the characters that `find_characters` returned."""
        candidates = self.list_candidates(list(found.inputs), top, allowed)
        return Page([Character(*each) for each in zip(found.boxes, candidates, strict=True)], found.unsure)

    def find_characters(self, image: ImageSource, name: str | None = None) -> Found:
        """Finds the characters of an image; raises what `prepare` raises."""

        def judge(inputs: list[ImageArray]) -> npt.NDArray[np.float64]:
            return self.find_best(np.stack(inputs), 1).confidence

        return find_characters(read_gray(image, name), self.image_size, self.card.preprocessing, judge)

    def prepare(self, image: ImageSource, name: str | None = None) -> ImageArray | None:
        """Returns what the network sees of an image, (S, S) uint8; None where no ink stands out.

        Raises:
            KanjinetError: it cannot be read; `name` is what the message calls it, by default its path.
        """
        return prepare_one(read_gray(image, name), self.image_size, self.card.preprocessing)

    def check_request(self, top: Any, allow: str | None) -> Mask | None:
        """Returns which classes are allowed, (classes,), or None for all.

        Raises:
            KanjinetError: `top` is no number of candidates, or `allow` has what the model lacks.
        """
        num_classes = self.character_set.num_classes
        if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= num_classes:
            raise KanjinetError(f"top {top!r}: not a number of candidates", f"give 1 to {num_classes:,}")
        return None if allow is None else self.character_set.find_allowed(allow)

    def list_candidates(
        self, inputs: list[ImageArray | None], top: int, allowed: Mask | None = None
    ) -> list[Candidates]:
        """Returns the candidates, best first, for each image that `prepare` returned."""
        candidates = [Candidates() for _ in inputs]
        if seen := {index: image for index, image in enumerate(inputs) if image is not None}:
            best = self.find_best(np.stack(list(seen.values())), top, allowed)
            for index, classes, probabilities, confidence in zip(seen, *map(np.ndarray.tolist, best), strict=True):
                described = map(self._describe_candidate, classes, probabilities)
                candidates[index] = Candidates(described, is_none=bool(self.says_none(confidence)))
        return candidates

    def says_none(self, largest: Any) -> Any:
        """Tells whether an image shows none of the characters, by its largest probability; of an array, of each."""
        rejection = self.card.rejection
        return largest < (rejection.threshold if rejection else 0.0)

    def _describe_candidate(self, index: int, probability: float) -> Candidate:
        known = self.character_set
        strokes = _read_stroke_counts(known)[index]
        return Candidate(known.characters[index], round(probability, 6), f"{known.jis_codes[index]:04X}", strokes)

    def find_best(self, images: npt.NDArray[np.uint8], count: int, allowed: Mask | None = None) -> TopClasses:
        """Returns the `count` best classes of each of n preprocessed images (n, S, S); of equal ones the first.

        Twins follow each other, and their place is that of all of them together. `allowed` (classes,) are those that
        may be given: as many, if they are fewer. The softmax is over these.
        """
        count = count if allowed is None else min(count, int(np.count_nonzero(allowed)))
        classes = np.empty((len(images), count), dtype=np.int64)
        probabilities, confidence = np.empty((len(images), count)), np.empty(len(images))
        for first in range(0, len(images), _BATCH):  # so that all logits of a large dataset are never held
            rows = slice(first, first + _BATCH)
            logits = self.compute_logits(images[rows])
            softmax = _compute_softmax(logits)
            confidence[rows] = self.character_set.sum_twins(softmax).max(axis=1)
            if allowed is not None:
                logits = np.where(allowed, logits, np.float32(-np.inf))
                softmax = _compute_softmax(logits)
            classes[rows] = self.rank(logits, softmax, count, allowed)
            probabilities[rows] = np.take_along_axis(softmax, classes[rows], axis=1)
        return TopClasses(classes, probabilities, confidence)

    def rank(
        self,
        logits: npt.NDArray[np.floating[Any]],
        softmax: npt.NDArray[np.float64],
        count: int,
        allowed: Mask | None = None,
    ) -> npt.NDArray[np.int64]:
        """Ranks the classes by logits (n, classes), -inf where not allowed: the best `count`, (n, count)."""
        if self.character_set.has_twins:
            members = np.arange(self.character_set.num_classes) if allowed is None else np.flatnonzero(allowed)
            return np.stack([self._rank_with_twins(*row, count, members) for row in zip(logits, softmax, strict=True)])
        ranked, line, left = np.empty((len(logits), count), dtype=np.int64), np.arange(len(logits)), logits.copy()
        for rank in range(count):  # for few candidates many times as fast as a sort
            best = left.argmax(axis=1)
            ranked[:, rank] = best
            left[line, best] = -np.inf
        return ranked

    def _rank_with_twins(
        self,
        logits: npt.NDArray[np.floating[Any]],
        softmax: npt.NDArray[np.float64],
        count: int,
        members: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        group, totals = self.character_set.twin_group, self.character_set.sum_twins(softmax[None])[0]
        of_group = totals[group[members]]
        last = len(members) - count
        lowest = np.partition(of_group, last)[last]  # to sort all takes several times as long
        chosen = members[~(of_group < lowest)]
        return chosen[np.lexsort((-logits[chosen], group[chosen], -totals[group[chosen]]))][:count]

    def compute_logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns logits (n, classes) of preprocessed images (n, S, S)."""
        firsts = range(0, len(images), self.max_batch)
        return np.concatenate([self.run(to_model_input(images[first : first + self.max_batch])) for first in firsts])


def _compute_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


@functools.cache
def _read_stroke_counts(character_set: CharacterSet) -> list[int]:
    """Returns the stroke count of each class, from the mapping of the model that ships."""
    path = find_pretrained(character_set)
    mapping_path = path.with_name(f"{path.stem}_mapping.json")
    characters = read_json(mapping_path, "install the toolkit again")["characters"]
    return [characters[str(index)]["stroke_count"] for index in range(character_set.num_classes)]


def load_recognizer(path: str | Path | None = None, device: str = "auto") -> Recognizer:
    """Loads a trained network.

    Args:
        path: a .pth, .safetensors or .onnx file of this toolkit, or the name of a character set, "etl9g" or "japanese",
            for its pretrained model; by default that of "etl9g".
        device: to run it on: "cpu", "cuda", "mps", or "auto" for the fastest of them that is there.

    Raises:
        KanjinetError: no such file, another kind of file, a damaged one, one of another class table, or no such device.
    """
    path = find_model(path)
    if device not in DEVICES:
        raise KanjinetError(f"device {device!r}: not known", f"choose one of {', '.join(DEVICES)}")
    suffix = path.suffix.lower()  # Windows has names such as MODEL.ONNX
    if suffix not in MODEL_KINDS:
        problem = "a folder, not a model" if path.is_dir() else "not a model"
        raise KanjinetError(f"{path}: {problem}", f"choose a file that ends in {', '.join(MODEL_KINDS)}")
    check_kind(path, MODEL_KINDS[suffix], "train_etl9g_model.py and the convert scripts write models")
    return _load_onnx(path, device) if suffix == ".onnx" else _load_torch(path, device)


def find_model(path: str | Path | None) -> Path:
    """Returns the path of a model: its own, or the pretrained one's where it is the name of a character set."""
    known = ETL9G_SET if path is None else CHARACTER_SETS.get(str(path))
    return find_pretrained(known) if known else Path(str(path))


def _load_torch(path: Path, device: str) -> Recognizer:
    try:
        import torch
    except ImportError as error:
        raise KanjinetError(f"{path}: needs PyTorch", "python -m pip install kanjinet[train]") from error

    from kanjinet.storage.safetensors_file import load_trained_network
    from kanjinet.training.device import choose_device, explain_device_errors

    checkpoint = load_trained_network(path)
    place = choose_device(device)
    with explain_device_errors(place, f"device {device}", "choose cpu"):
        model = checkpoint.model.to(place)

    @torch.inference_mode()
    def run(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with explain_device_errors(place, f"device {device}", "choose cpu"):
            logits: npt.NDArray[np.float32] = model(torch.from_numpy(inputs).to(place)).cpu().numpy()
        return logits

    return Recognizer(path, run, _BATCH, checkpoint.config.image_size, checkpoint.card, checkpoint.character_set)


def _load_onnx(path: Path, device: str) -> Recognizer:
    from onnxruntime.capi import onnxruntime_pybind11_state as engine

    refusals = (
        *(engine.Fail, engine.InvalidArgument, engine.InvalidGraph, engine.InvalidProtobuf, engine.NotImplemented),
        *(engine.RuntimeException, RuntimeError, MemoryError),
    )
    remedy = "write it again with convert_to_onnx.py"
    content = read_self_contained(path, remedy)
    try:
        session = open_session(content, device=device)
        properties = session.get_modelmeta().custom_metadata_map
    except (*refusals, UnicodeDecodeError) as error:
        raise KanjinetError(f"{path}: onnxruntime does not take it ({first_line(error)})", remedy) from error
    source = next(iter(session.get_inputs()), None)
    if source is None:
        raise KanjinetError(f"{path}: takes no images", remedy)
    if source.type != "tensor(float)":
        found = f"{source.type} of shape {source.shape}"
        raise KanjinetError(f"{path}: takes {found}, not preprocessed images in float32", remedy)

    checksum = properties.get("class_table_sha256", "")
    if not (character_set := SET_OF_SHA256.get(checksum)):
        problem = "another class table" if checksum else "not a model of this toolkit (no class table)"
        raise KanjinetError(f"{path}: {problem}", remedy)
    num_classes = character_set.num_classes

    def run(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            logits = session.run(None, {source.name: inputs})[0]
        except refusals as error:
            raise KanjinetError(f"{path}: onnxruntime cannot run it ({first_line(error)})", remedy) from error
        if not isinstance(logits, np.ndarray) or (logits.shape, logits.dtype) != ((len(inputs), num_classes), "<f4"):
            raise KanjinetError(f"{path}: does not return {num_classes:,} logits an image", remedy)
        return logits

    try:
        max_batch = source.shape[0] if isinstance(source.shape[0], int) else _BATCH
        image_size = int(properties["image_size"])
        card = ModelCard.from_strings(properties, path)
    except (KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise KanjinetError(f"{path}: not a model of this toolkit ({first_line(error)})", remedy) from error
    if image_size not in IMAGE_SIZES or max_batch < 1:
        raise KanjinetError(f"{path}: takes {max_batch} images of {image_size} pixels a side", remedy)
    return Recognizer(path, run, max_batch, image_size, card, character_set)
