"""Trained weights with everything that is needed to rebuild and to use the network that they belong to."""

import hashlib
import io
import pickle
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kanjinet import __version__
from kanjinet.classes import CHARACTERS, CLASS_TABLE_SHA256, NUM_CLASSES
from kanjinet.errors import KanjinetError, brief
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.files import read_bounded, replace_on_success
from kanjinet.storage.zip_files import MAX_UNPACKED_BYTES, open_zip

CHECKPOINT_FORMAT = "kanjinet-checkpoint-1"
CHECKPOINT_NAME = "best_kanji_model.pth"
_REMEDY = "use a best_kanji_model.pth that train_etl9g_model.py wrote, or train again"
_KINDS = {"preprocessing": str, "synthetic": bool, "training": dict, "dataset_sha256": str, "environment": dict}
MAX_VALUES, DEEPEST_VALUE = 10_000, 20  # of what a checkpoint says of its training
# What torch.load raises on damaged files besides UnpicklingError.
_DAMAGED = (
    *(RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError),
    *(OverflowError, ImportError, struct.error),
)


@dataclass
class Checkpoint:
    """A network with its provenance.

    Attributes:
        model: the network, in evaluation mode on the CPU.
        preprocessing: version of the preprocessing that its training images went through.
        synthetic: whether it was trained on synthetic sample writers.
        training: epochs, options and accuracies, as in best_model_info.json.
        dataset_sha256: checksum of the dataset that it was trained on.
        environment: versions of the software, and the git revision if there is one.
    """

    model: LightweightKanjiNet
    preprocessing: str
    synthetic: bool
    training: dict[str, Any]
    dataset_sha256: str
    environment: dict[str, str] = field(default_factory=lambda: describe_environment())

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return self.model.config


def describe_environment() -> dict[str, str]:
    """Versions that a training run depends on, and the project's git revision where it is known."""
    return {
        "kanjinet": __version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),  # TorchVersion is a class that a safe load refuses
        "git_revision": find_git_revision(Path(__file__).parent),
    }


def find_git_revision(folder: Path) -> str:
    """The commit that a folder is at, with "-dirty" where files differ from it; "unknown" outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
        return result.stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git, or a copy that is no repository
        return "unknown"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.model.state_dict().items()}
    content = {
        "format": CHECKPOINT_FORMAT,
        "config": checkpoint.config.to_dict(),
        "state_dict": weights,
        "weights_sha256": hash_tensors(weights),
        "class_table": CHARACTERS,
        "preprocessing": checkpoint.preprocessing,
        "synthetic": checkpoint.synthetic,
        "training": checkpoint.training,
        "dataset_sha256": checkpoint.dataset_sha256,
        "environment": checkpoint.environment,
    }
    write_tensors(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Rebuild a trained network from its checkpoint; nothing in the file is executed.

    Raises:
        KanjinetError: no such file, not a checkpoint, a damaged one, or one of another format, network or class table.
    """
    content = load_tensors(path, _REMEDY)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise KanjinetError(f"{path}: format {brief(found)}, expected {CHECKPOINT_FORMAT!r}", _REMEDY)
    if content.get("class_table") != CHARACTERS:
        raise KanjinetError(f"{path}: another class table than SHA-256 {CLASS_TABLE_SHA256[:12]}...", _REMEDY)
    for name, kind in _KINDS.items():
        value = content.get(name)
        if not isinstance(value, kind) or not _is_plain(value):
            raise KanjinetError(f"{path}: {name} is {brief(value)}, expected {kind.__name__}", _REMEDY)
    try:
        model = rebuild_model(content["config"], content["state_dict"])
        if content.get("weights_sha256", "") not in ("", hash_tensors(model.state_dict())):  # older files have none
            raise KanjinetError(f"{path}: damaged, its weights are not those of its checksum", _REMEDY)
        return Checkpoint(
            model=model,
            preprocessing=content["preprocessing"],
            synthetic=content["synthetic"],
            training=content["training"],
            dataset_sha256=content["dataset_sha256"],
            environment=content["environment"],
        )
    except KeyError as error:
        raise KanjinetError(f"{path}: no {error} in it", _REMEDY) from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KanjinetError(f"{path}: its weights do not fit its configuration ({first_line})", _REMEDY) from error


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hex, of tensors: of each, by name, one line with name, type and shape, then its bytes in C order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether JSON can say it, and briefly: with references to one list, a pickle can hold endless ones."""
    waiting = [(value, 0)]
    for _ in range(MAX_VALUES):
        if not waiting:
            return True
        each, depth = waiting.pop()
        if depth > DEEPEST_VALUE:
            return False
        if isinstance(each, dict):
            if not all(isinstance(name, str) for name in each):
                return False
            each = list(each.values())
        if isinstance(each, (list, tuple)):
            waiting += [(inner, depth + 1) for inner in each]
        elif not (each is None or isinstance(each, (str, float)) or (isinstance(each, int) and abs(each) < 1 << 63)):
            return False
    return False


def rebuild_model(fields: dict[str, Any], tensors: dict[str, Any]) -> LightweightKanjiNet:
    """A network in evaluation mode, with copies of a file's tensors; an absurd configuration takes no memory.

    Args:
        fields: those of the ModelConfig, as the file has them.
        tensors: by name, as in a state dictionary.

    Raises:
        ValueError, TypeError: the tensors are not those of the configuration, or it is none of this toolkit's networks.
    """
    try:
        config = ModelConfig(**fields)
    except KanjinetError as error:
        raise ValueError(str(error)) from error
    if config.num_classes != NUM_CLASSES:
        raise ValueError(f"{config.num_classes} classes")
    with torch.device("meta"):  # shapes only
        model = LightweightKanjiNet(config)
    expected = model.state_dict()
    if sum(tensor.nbytes for tensor in expected.values()) > MAX_UNPACKED_BYTES:
        raise ValueError(f"more than {MAX_UNPACKED_BYTES:,} bytes of weights")
    if differing := sorted(map(str, expected.keys() ^ tensors.keys())):
        raise ValueError(f"{len(differing)} tensors too many or too few, such as {brief(differing[0])}")
    for name, tensor in expected.items():
        found = tensors[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}")
        if found.device.type != "cpu" or found.layout != torch.strided:
            raise ValueError(f"{name} is {found.layout} on {found.device}")
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    model.load_state_dict(copies, assign=True)
    return model.eval()


def write_tensors(path: Path, content: Any) -> None:
    """`torch.save`, whole or not at all."""
    buffer = io.BytesIO()  # PyTorch's own writer hides the reason when a disk is full
    torch.save(content, buffer)
    with replace_on_success(path) as file:
        file.write(buffer.getbuffer())


def load_tensors(path: Path, remedy: str) -> Any:
    """`torch.load` on the CPU without running code from the file, after a check of its parts' checksums.

    Raises:
        KanjinetError: no such file, or not a whole one that `torch.save` wrote.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise KanjinetError(f"{path}: not found", remedy)
    content = io.BytesIO(read_bounded(path, MAX_UNPACKED_BYTES, remedy))
    try:
        _check_archive(content)
        return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise KanjinetError(
            f"{path}: not a checkpoint, or one with objects or code in it, which are never loaded", remedy
        ) from error
    except _DAMAGED as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KanjinetError(f"{path}: not a checkpoint, or a damaged one ({first_line})", remedy) from error


def _check_archive(content: io.BytesIO) -> None:
    """Compare every part of a file that `torch.save` wrote with its CRC-32, which PyTorch itself does not do.

    Raises:
        ValueError: one differs, or `open_zip` refuses the file: PyTorch would unpack it without a bound.
    """
    with open_zip(content) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} is damaged")
    content.seek(0)
