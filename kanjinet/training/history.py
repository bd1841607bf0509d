"""The history of a training, epoch by epoch, as train_etl9g_model.py leaves it beside the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kanjinet.errors import KanjinetError, brief
from kanjinet.storage.files import make_folder, read_json, sha256_of_entries, write_json
from kanjinet.storage.model_card import TrainingOptions

HISTORY_NAME = "training_progress.json"
_CHECKSUM = "content_sha256"
_CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def write_history(path: Path, options: dict[str, Any], epochs: list[dict[str, Any]], *, synthetic: bool) -> None:
    """Writes the history of a training with its options, whole or not at all, and with a checksum."""
    content = {"options": options, "synthetic": synthetic, "epochs": epochs}
    write_json(path, {**content, _CHECKSUM: sha256_of_entries(content, _CHECKSUM)})


def read_history(model_path: Path, options: TrainingOptions) -> list[dict[str, float]]:
    """Reads the epochs of a model's training: "epoch", and loss and accuracy, 0-1, on both parts.

    The history stands beside the model's file. Where there is none, or one of other options, the list is empty.

    Raises:
        KanjinetError: the file is damaged.
    """
    path = model_path.parent / HISTORY_NAME
    if not path.is_file():
        return []
    remedy = "remove it, or train again"
    content = read_json(path, remedy)
    try:
        if content.get(_CHECKSUM, "") not in ("", sha256_of_entries(content, _CHECKSUM)):  # older files have none
            raise KanjinetError(f"{path}: damaged, its {_CHECKSUM} is not that of its content", remedy)
        if any(getattr(options, name, None) != value for name, value in content["options"].items()):
            return []
        return [
            {"epoch": int(entry["epoch"]), **{name: float(entry[name]) for name in _CURVES}}
            for entry in content["epochs"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise KanjinetError(f"{path}: not the history of a training ({brief(error)})", remedy) from error


def open_tensorboard(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Returns what writes an epoch's entry of the history into TensorBoard's files in a folder.

    Raises:
        KanjinetError: TensorBoard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise KanjinetError("--tensorboard: TensorBoard is missing", "python -m pip install tensorboard") from error
    board = SummaryWriter(str(make_folder(folder)))

    def write(entry: dict[str, Any]) -> None:
        for name, value in entry.items():
            if name != "epoch":
                board.add_scalar(name, value, entry["epoch"])
        board.flush()

    return write
