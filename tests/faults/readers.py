"""How each of the toolkit's readers takes a damaged file."""

from kanjinet.cli import run_script

import contextlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kanjinet.data.dataset import check_chunk, read_chunk, read_dataset_info
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.storage.checkpoint import Checkpoint, load_checkpoint
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.storage.safetensors_file import load_safetensors
from kanjinet.training.history import read_history
from kanjinet.training.resume import read_state
from prepare_etl9g_dataset import verify_dataset
from tests.faults.campaign import Row
from tests.faults.damage import damage
from tests.faults.server import Outcome
from tests.faults.stages import FaultError, Workshop, check_refusal, is_equal


@dataclass(frozen=True)
class Reader:
    """One kind of file and the code that reads it.

    Attributes:
        place: of the file, below a workshop's inputs.
        read: inputs -> all that the toolkit takes from the file.
        names: of which one must stand in a refusal.
    """

    place: str
    read: Callable[[Path], Any]
    names: tuple[str, ...]


def read_every_chunk(inputs: Path) -> Any:
    info = read_dataset_info(inputs / "dataset")
    for chunk in info.chunks:
        check_chunk(info, chunk)
    return [read_chunk(info.folder, chunk)["y"].tolist() for chunk in info.chunks]


def read_description(inputs: Path) -> Any:
    verify_dataset(inputs / "dataset")
    info = read_dataset_info(inputs / "dataset")
    # of the sources the dataset knows no more than this
    chunks = tuple(replace(chunk, source_sha256="", source_name="", source_bytes=0) for chunk in info.chunks)
    return [vars(replace(info, chunks=chunks, folder=Path()))]


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    return {**vars(checkpoint), "model": checkpoint.model.state_dict(), "config": checkpoint.config.to_dict()}


def read_onnx(inputs: Path) -> Any:
    recognizer = load_recognizer(inputs / "model.onnx")
    size = recognizer.image_size
    logits = recognizer.compute_logits(np.arange(size * size, dtype=np.uint32).astype(np.uint8).reshape(1, size, size))
    return {**vars(recognizer), "run": None, "path": None, "logits": logits.tolist()}


def read_epochs(inputs: Path) -> Any:
    return read_history(inputs / "best_kanji_model.pth", load_history_options(inputs))


def load_history_options(inputs: Path) -> TrainingOptions:
    return TrainingOptions(**json.loads((inputs / "options.json").read_text(encoding="utf-8")))


DATASET = ("dataset", "etl9g_dataset_chunk", "json")
READERS = {
    "chunk (.npz)": Reader("dataset/etl9g_dataset_chunk_01.npz", read_every_chunk, DATASET),
    "metadata.json": Reader("dataset/metadata.json", read_description, DATASET),
    "chunk_info.json": Reader("dataset/chunk_info.json", read_description, DATASET),
    "character_mapping.json": Reader("dataset/character_mapping.json", read_description, DATASET),
    "checkpoint (.pth)": Reader(
        "model.pth", lambda inputs: describe(load_checkpoint(inputs / "model.pth")), ("model.pth",)
    ),
    "training state (.pth)": Reader(
        "training_state.pth", lambda inputs: read_state(inputs / "training_state.pth"), ("training_state.pth",)
    ),
    "SafeTensors": Reader(
        "model.safetensors",
        lambda inputs: describe(load_safetensors(inputs / "model.safetensors")),
        ("model.safetensors",),
    ),
    "ONNX": Reader("model.onnx", read_onnx, ("model.onnx",)),
    "training_progress.json": Reader("training_progress.json", read_epochs, ("training_progress.json",)),
}


def run_mutations(bench: "Bench", name: str, seed: int, count: int) -> tuple[Row, Counter[str]]:
    """Damage a kind of file so many times; how it went, and how often it was refused or read right."""
    row, ways = Row(), Counter[str]()
    outcome, expected = bench.read(READERS[name])
    assert outcome.status == 0, outcome.stderr
    for number in range(count):
        row.trials += 1
        try:
            ways[bench.try_damage(name, expected, random.Random(f"{seed} {name} {number}"))] += 1
            row.struck += 1
        except FaultError as error:
            row.wrong.append(f"{error} (trial {number})")
    return row, ways


@dataclass
class Bench:
    """A copy of a workshop's inputs in which one file at a time is damaged, read in this process, and put right."""

    inputs: Path

    @classmethod
    def make(cls, workshop: Workshop) -> "Bench":
        """Copy the inputs, and what a training leaves."""
        inputs = workshop.folder / "bench"
        if not inputs.exists():
            shutil.copytree(workshop.inputs, inputs)
            for name in ("training_state.pth", "training_progress.json"):
                shutil.copy(workshop.undisturbed("train") / name, inputs)
            history = json.loads((inputs / "training_progress.json").read_text(encoding="utf-8"))
            (inputs / "options.json").write_text(json.dumps(history["options"]), encoding="utf-8")
        return cls(inputs)

    def read(self, reader: Reader) -> tuple[Outcome, Any]:
        """Read as a script does, with its way to tell of errors; how it ended, and what was read."""
        values: list[Any] = []
        stdout, stderr, status = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                run_script(lambda: values.append(reader.read(self.inputs)))
            except SystemExit as ending:
                status = int(ending.code or 0)
        return Outcome(status, stdout.getvalue(), stderr.getvalue(), 0), values[0] if values else None

    def try_damage(self, name: str, expected: Any, rng: random.Random) -> str:
        """Damage a file of a kind; says how it was taken: "refused" or "right".

        Raises:
            FaultError: neither.
        """
        reader = READERS[name]
        path = self.inputs / reader.place
        whole = path.read_bytes()
        how = damage(path, rng)
        try:
            outcome, found = self.read(reader)
        except Exception as error:
            raise FaultError(f"{name}, {how}: {type(error).__name__}: {error}") from error
        finally:
            path.write_bytes(whole)
        if outcome.status:
            check_refusal(f"{name}, {how}", outcome, reader.names)
            return "refused"
        if not is_equal(expected, found):
            raise FaultError(f"{name}, {how}: read as if it were whole, but not what was written")
        return "right"
