"""Checkpoints: trained weights with all that is needed to rebuild and to use their network."""

import hashlib
import io
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kanjinet.classes import ETL9G_SET, SET_OF_TABLE, CharacterSet
from kanjinet.contract import CONTRACTS, check_preprocessing
from kanjinet.errors import KanjinetError, brief, first_line
from kanjinet.model import LightweightKanjiNet, ModelConfig, count_parameters
from kanjinet.storage.files import CHECKPOINT, check_kind, read_bounded, replace_on_success
from kanjinet.storage.model_card import ModelCard
from kanjinet.storage.zip_files import MAX_UNPACKED_BYTES, open_zip

CHECKPOINT_FORMAT = "kanjinet-checkpoint-1"
CHECKPOINT_NAME = "best_kanji_model.pth"
_REMEDY = "use a best_kanji_model.pth that train_etl9g_model.py wrote, or train again"
# What torch.load raises on damaged files besides UnpicklingError.
_DAMAGED = (
    *(RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError),
    *(OverflowError, ImportError, struct.error),
)


@dataclass
class Checkpoint:
    """Holds a network, in evaluation mode on the CPU, with its model card and the characters that it reads."""

    model: LightweightKanjiNet
    card: ModelCard
    character_set: CharacterSet = ETL9G_SET

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network."""
        return self.model.config

    def to_metadata(self) -> dict[str, str]:
        """Returns what an exported file says of its network: text only, structures as JSON."""
        return {
            "model_version": self.config.version,
            "config": json.dumps(self.config.to_dict()),
            "image_size": str(self.config.image_size),
            "pooling_type": self.config.pooling_type,
            "parameters": str(count_parameters(self.model)),
            "num_classes": str(self.character_set.num_classes),
            "class_table": self.character_set.characters,
            "class_table_sha256": self.character_set.sha256,
            **_describe_set(self.character_set),
            "preprocessing_contract": CONTRACTS[self.card.preprocessing],
            "accuracy": json.dumps({part: asdict(metrics) for part, metrics in self.card.metrics.items()}),
            "license": self.card.license,
            **self.card.to_strings(),
        }


def _describe_set(character_set: CharacterSet) -> dict[str, str]:
    """Returns what an exported file says of another set than the default one: its name, and its twins as JSON."""
    if character_set == ETL9G_SET:
        return {}
    return {"character_set": character_set.name, "twins": json.dumps(character_set.twins, ensure_ascii=False)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, whole or not at all."""
    weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.model.state_dict().items()}
    content = {
        "format": CHECKPOINT_FORMAT,
        "config": checkpoint.config.to_dict(),
        "state_dict": weights,
        "weights_sha256": hash_tensors(weights),
        "class_table": checkpoint.character_set.characters,
        **checkpoint.card.to_dict(),
    }
    write_tensors(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Rebuilds a trained network from its checkpoint; nothing in the file is executed.

    Raises:
        KanjinetError: no such file, not a checkpoint, a damaged one, or one of another format, network or class table.
    """
    content = load_tensors(path, _REMEDY)
    found = content.get("format") if isinstance(content, dict) else None
    if found != CHECKPOINT_FORMAT:
        problem = f"{path}: not a checkpoint of this toolkit: format {brief(found)}, expected {CHECKPOINT_FORMAT!r}"
        raise KanjinetError(problem, _REMEDY)
    character_set = find_character_set(content.get("class_table"), path, _REMEDY)
    try:
        model = rebuild_model(content["config"], content["state_dict"], character_set)
        if content.get("weights_sha256", "") not in ("", hash_tensors(model.state_dict())):  # older files have none
            raise KanjinetError(f"{path}: damaged, its weights are not those of its checksum", _REMEDY)
        card = ModelCard.from_dict(content)
    except KeyError as error:
        raise KanjinetError(f"{path}: no {error} in it", _REMEDY) from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise KanjinetError(f"{path}: its parts do not fit together ({first_line(error)})", _REMEDY) from error
    check_preprocessing(card.preprocessing, str(path))
    return Checkpoint(model, card, character_set)


def find_character_set(class_table: object, path: Path, remedy: str) -> CharacterSet:
    """Finds the character set of a file by its class table: all characters in class order.

    Raises:
        KanjinetError: it is none that this toolkit knows.
    """
    if not isinstance(class_table, str) or class_table not in SET_OF_TABLE:
        known = ", ".join(each.name for each in SET_OF_TABLE.values())
        raise KanjinetError(f"{path}: another class table than those of {known}", remedy)
    return SET_OF_TABLE[class_table]


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Computes the SHA-256, in hex, of tensors, by name: of a line with name, type and shape, then of the bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def rebuild_model(fields: dict[str, Any], tensors: dict[str, Any], character_set: CharacterSet) -> LightweightKanjiNet:
    """Builds a network in evaluation mode from a file's fields of a ModelConfig and copies of its tensors.

    An absurd configuration takes no memory.

    Raises:
        ValueError, TypeError: the tensors are not those of the configuration, or it is none of this toolkit's networks.
    """
    try:
        config = ModelConfig.from_dict(fields)
    except KanjinetError as error:
        raise ValueError(str(error)) from error
    if config.num_classes != character_set.num_classes:
        raise ValueError(f"{config.num_classes} classes, and {character_set.num_classes} characters")
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
    """Calls `torch.save`, whole or not at all."""
    buffer = io.BytesIO()  # PyTorch's own writer hides the reason when a disk is full
    torch.save(content, buffer)
    with replace_on_success(path) as file:
        file.write(buffer.getbuffer())


def load_tensors(path: Path, remedy: str) -> Any:
    """Calls `torch.load` on the CPU without running code from the file, after a check of its parts' checksums.

    Raises:
        KanjinetError: no such file, or not a whole one that `torch.save` wrote.
        OSError: it cannot be read.
    """
    check_kind(path, CHECKPOINT, remedy)
    content = io.BytesIO(read_bounded(path, MAX_UNPACKED_BYTES, remedy))
    try:
        with open_zip(content) as archive:  # PyTorch neither unpacks within bounds nor looks at the parts' CRC-32
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        content.seek(0)
        return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise KanjinetError(
            f"{path}: not a checkpoint, or one with objects or code in it, which are never loaded", remedy
        ) from error
    except _DAMAGED as error:
        raise KanjinetError(f"{path}: not a checkpoint, or a damaged one ({first_line(error)})", remedy) from error
