"""A trained network as a SafeTensors file whose header says all that is needed to use it without this toolkit.

Source of the format: https://huggingface.co/docs/safetensors (8 bytes of header length, JSON header, raw tensors).
"""

import json
from pathlib import Path

import torch

from kanjinet.errors import KanjinetError, brief, first_line
from kanjinet.model import LightweightKanjiNet
from kanjinet.storage.checkpoint import Checkpoint, find_character_set, hash_tensors, load_checkpoint, rebuild_model
from kanjinet.storage.files import SAFETENSORS, check_kind, read_bounded, sha256_of_entries
from kanjinet.storage.model_card import ModelCard
from kanjinet.storage.zip_files import MAX_UNPACKED_BYTES

SAFETENSORS_FORMAT = "kanjinet-safetensors-1"
WEIGHTS_CHECKSUM, HEADER_CHECKSUM = "weights_sha256", "header_sha256"
INSTALL_REMEDY = "python -m pip install safetensors"
_REMEDY = "use a .safetensors file that convert_to_safetensors.py wrote, or convert the checkpoint again"


def serialize_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Serializes a network as a SafeTensors file: every tensor of the state dictionary, and a header of strings.

    Raises:
        KanjinetError: the package safetensors is missing.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise KanjinetError("the package safetensors is missing", INSTALL_REMEDY) from error
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()  # no two names may share memory
        for name, tensor in checkpoint.model.state_dict().items()
    }
    header = {
        "format": "pt",
        "kanjinet_format": SAFETENSORS_FORMAT,
        **checkpoint.to_metadata(),
        WEIGHTS_CHECKSUM: hash_tensors(tensors),
    }
    header[HEADER_CHECKSUM] = sha256_of_entries(header, HEADER_CHECKSUM)
    return _sort_header(bytes(save(tensors, metadata=header)))


def _sort_header(content: bytes) -> bytes:
    """Sorts the entries of a file's header: the package leaves those of the metadata in a random one."""
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    header = json.dumps(entries, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def load_safetensors(path: Path) -> Checkpoint:
    """Rebuilds a trained network from a SafeTensors file alone.

    Raises:
        KanjinetError: no such file, a damaged one, or one of another format, network or class table.
    """
    header, tensors = _read(path)
    format_name = header.get("kanjinet_format")
    if format_name != SAFETENSORS_FORMAT:
        problem = f"{path}: not a network of this toolkit: format {brief(format_name)}, expected {SAFETENSORS_FORMAT!r}"
        raise KanjinetError(problem, _REMEDY)
    character_set = find_character_set(header.get("class_table"), path, _REMEDY)
    try:
        checksums = {
            HEADER_CHECKSUM: sha256_of_entries(header, HEADER_CHECKSUM),
            WEIGHTS_CHECKSUM: hash_tensors(tensors),
        }
        for name, found in checksums.items():
            if header.get(name, found) != found:  # older files have none
                raise KanjinetError(f"{path}: damaged, its {name} is not that of its content", _REMEDY)
        card = ModelCard.from_strings(header, path)
        model = rebuild_model(json.loads(header["config"]), tensors, character_set)
        return Checkpoint(model, card, character_set)
    except KeyError as error:
        raise KanjinetError(f"{path}: no {error} in its header", _REMEDY) from error
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise KanjinetError(f"{path}: its tensors do not fit its header ({first_line(error)})", _REMEDY) from error


def load_trained_network(path: Path) -> Checkpoint:
    """Rebuilds a trained network from a .safetensors file or, with any other name, a checkpoint.

    Raises:
        KanjinetError: no such file, a damaged one, or one of another format, network, preprocessing or class table.
    """
    if path.suffix.lower() == ".safetensors":
        return load_safetensors(path)
    return load_checkpoint(path)


def compare_tensors(before: LightweightKanjiNet, after: LightweightKanjiNet) -> int:
    """Compares every tensor of two networks bit by bit, and returns how many there are.

    Raises:
        KanjinetError: names, shapes, types or bytes differ.
    """
    expected, found = before.state_dict(), after.state_dict()
    if expected.keys() != found.keys():
        raise KanjinetError(f"tensors differ: {', '.join(sorted(expected.keys() ^ found.keys()))}")
    for name, tensor in expected.items():
        if hash_tensors({name: tensor}) != hash_tensors({name: found[name]}):
            raise KanjinetError(f"tensor {name} differs after reloading")
    return len(expected)


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise KanjinetError("the package safetensors is missing", INSTALL_REMEDY) from error
    check_kind(path, SAFETENSORS, _REMEDY)
    # A mapped file that another process cuts short would end this one.
    content = read_bounded(path, MAX_UNPACKED_BYTES, _REMEDY)
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return dict(header.get("__metadata__", {})), tensors
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise KanjinetError(f"{path}: not a SafeTensors file, or a damaged one ({error})", _REMEDY) from error
