"""Trained weights with everything that is needed to rebuild and to use the network that they belong to."""

import hashlib
import io
import pickle
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kanjinet import __version__
from kanjinet.classes import CHARACTERS, CLASS_TABLE_SHA256
from kanjinet.errors import KanjinetError
from kanjinet.files import read_bytes, replace_on_success
from kanjinet.model import LightweightKanjiNet, ModelConfig

CHECKPOINT_FORMAT = "kanjinet-checkpoint-1"
CHECKPOINT_NAME = "best_kanji_model.pth"
_REMEDY = "use a best_kanji_model.pth that train_etl9g_model.py wrote, or train again"


@dataclass
class Checkpoint:
    """A network with its provenance.

    Attributes:
        model: the network, in evaluation mode on the CPU.
        preprocessing: version of the preprocessing that its training pictures went through.
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
        "git_revision": _find_git_revision(),
    }


def _find_git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
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
        raise KanjinetError(f"{path}: format {found!r}, expected {CHECKPOINT_FORMAT!r}: {_REMEDY}")
    if content.get("class_table") != CHARACTERS:
        raise KanjinetError(f"{path}: another class table than SHA-256 {CLASS_TABLE_SHA256[:12]}...: {_REMEDY}")
    for name, kind in (("preprocessing", str), ("synthetic", bool), ("training", dict), ("dataset_sha256", str)):
        if not isinstance(content.get(name), kind):
            raise KanjinetError(f"{path}: {name} is {content.get(name)!r}, expected {kind.__name__}: {_REMEDY}")
    try:
        if content.get("weights_sha256", "") not in ("", hash_tensors(content["state_dict"])):  # older files have none
            raise KanjinetError(f"{path}: damaged, its weights are not those of its checksum: {_REMEDY}")
        model = LightweightKanjiNet(ModelConfig(**content["config"]))
        model.load_state_dict(content["state_dict"])
        return Checkpoint(
            model=model.eval(),
            preprocessing=content["preprocessing"],
            synthetic=content["synthetic"],
            training=content["training"],
            dataset_sha256=content["dataset_sha256"],
            environment=content["environment"],
        )
    except KeyError as error:
        raise KanjinetError(f"{path}: no {error} in it: {_REMEDY}") from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise KanjinetError(f"{path}: its weights do not fit its configuration ({first_line}): {_REMEDY}") from error


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hex, of tensors: of each, by name, one line with name, type and shape, then its bytes in C order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
        raise KanjinetError(f"{path}: not found: {remedy}")
    content = io.BytesIO(read_bytes(path))
    try:
        _check_archive(content)
        return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise KanjinetError(
            f"{path}: not a checkpoint, or one with objects or code in it, which are never loaded: {remedy}"
        ) from error
    except (
        *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KanjinetError(f"{path}: not a checkpoint, or a damaged one ({first_line}): {remedy}") from error


def _check_archive(content: io.BytesIO) -> None:
    """Compare every part of a file that `torch.save` wrote with its CRC-32, which PyTorch itself does not do.

    Raises:
        zipfile.BadZipFile: one differs, or the file is no archive.
    """
    with zipfile.ZipFile(content) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")
    content.seek(0)
