"""The state of an unfinished run, from which it is resumed with the same results."""

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import load_tensors, write_tensors
from kanjinet.storage.model_card import infer_initialization
from kanjinet.training.distributed import ProcessGroup
from kanjinet.training.trainer import Trainer

STATE_NAME = "training_state.pth"
STATE_FORMAT = "kanjinet-training-state-6"
MAX_STATES = 3
SAVE_EVERY_S = 120
_WITH_FRESH_SETS = ("fresh_difficulty", "fresh_writers", "fresh_fonts_sha256")  # which have no value without them
_NO_OPTIONS = {"device": "device", "processes": "processes:", "fresh_writers": "generated samples of version"}
_REMEDY = "delete it and train without --resume"


@dataclass
class RunRecord:
    """Holds the history of a run and the best validation accuracy so far."""

    history: list[dict[str, Any]]
    best_accuracy: float = -1.0  # so that the first epoch is kept even when nothing is recognized
    best_epoch: int = 0
    sources: tuple[str, ...] = ()  # of data, as the model card names them

    @property
    def epochs_done(self) -> int:
        """Epochs in the history."""
        return len(self.history)


class Interrupted(KeyboardInterrupt):
    """Raised when the user stopped the run; its state is saved."""


class StateFile:
    """Saves the state of an unfinished run now and then; the last few are kept, should the last one be damaged."""

    def __init__(self, folder: Path, trainer: Trainer, record: RunRecord) -> None:
        self.folder, self.trainer, self.record = folder, trainer, record
        self.is_first_save = True
        self.saved_at = time.monotonic()
        self.is_stop_requested = False

    def load(self) -> Path | None:
        """Continues the run whose newest whole state is in the folder; returns the state's file, None without any.

        Raises:
            KanjinetError: all states are damaged, or of other options.
        """
        group, options = self.trainer.group, self.trainer.options
        expected = {**asdict(options), **self._describe_place()}
        found = group.broadcast(load_newest_state(self.folder, expected) if group.is_first else None)
        if found is None:
            return None
        state, path = found
        self.trainer.load_state(state["trainer"])
        # The file of --init-from may be gone by now: a run may replace it by its own weights.
        self.trainer.options = replace(options, init_from_sha256=state["options"].get("init_from_sha256"))
        vars(self.record).update(state["run"])
        self.is_first_save = False
        return path

    def save(self) -> None:
        """Writes the state, whole or not at all; the one before gets another name.

        All processes of the trainer's group must call it; the first one writes.
        """
        content = {
            "options": {**asdict(self.trainer.options), **self._describe_place()},
            "trainer": self.trainer.state(),
            "run": vars(self.record),
        }
        self.saved_at = time.monotonic()
        if not self.trainer.group.is_first:
            return
        paths = list_state_paths(self.folder)
        if self.is_first_save:  # what is there belongs to another run
            for path in paths[1:]:
                path.unlink(missing_ok=True)
            self.is_first_save = False
        elif paths[0].is_file():
            for newer, older in reversed(list(itertools.pairwise(paths))):
                if newer.is_file():
                    newer.replace(older)
        write_tensors(paths[0], {"format": STATE_FORMAT, **content})

    def _describe_place(self) -> dict[str, Any]:
        """Returns what determines the weights besides the options."""
        return {"device": self.trainer.device.type, "processes": self.trainer.group.size}

    def save_when_due(self) -> None:
        """Saves the state where the last one is old, or where a stop is requested.

        Raises:
            Interrupted: in the second case.
        """
        group, device = self.trainer.group, self.trainer.device
        is_stop_requested = group.any(self.is_stop_requested, device)
        if group.any(is_stop_requested or time.monotonic() - self.saved_at > SAVE_EVERY_S, device):
            self.save()
        if is_stop_requested:
            raise Interrupted

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Requests a stop at the next step on SIGINT or SIGTERM; a second one ends the process at once."""

        def request_stop(number: int, _frame: object) -> None:
            self.is_stop_requested = True
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def list_state_paths(folder: Path) -> list[Path]:
    """Lists the files of the last few states, the newest first."""
    stem, suffix = STATE_NAME.split(".")
    return [folder / STATE_NAME, *(folder / f"{stem}_previous_{age}.{suffix}" for age in range(1, MAX_STATES))]


def can_resume(folder: Path, group: ProcessGroup) -> bool:
    """Returns whether a folder has an interrupted run's state, as the first process sees it."""
    return group.broadcast(any(path.is_file() for path in list_state_paths(folder)))


def load_newest_state(folder: Path, expected: dict[str, Any]) -> tuple[dict[str, Any], Path] | None:
    """Loads the newest state that is whole; returns it and its file, or None where there is none at all.

    Raises:
        KanjinetError: all are damaged, or the newest whole one is of a run with other options than `expected`.
    """
    damage: KanjinetError | None = None
    for path in list_state_paths(folder):
        if path.is_file():
            try:
                state = read_state(path)
            except KanjinetError as error:
                damage = damage or error
                continue
            check_options(path, state["options"], expected)
            return state, path
    if damage:
        raise damage
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Reads one state.

    Raises:
        KanjinetError: another kind of file, or a damaged one.
    """
    state = load_tensors(path, _REMEDY)
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise KanjinetError(f"{path}: not the state of a training run of this version", _REMEDY)
    if not all(isinstance(state.get(name), dict) for name in ("options", "trainer", "run")):
        raise KanjinetError(f"{path}: incomplete state of a training run", _REMEDY)
    return state


def check_options(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Checks that a state is of a run with the same options, and on the same device in as many processes.

    Which file --init-from names is not compared.

    Raises:
        KanjinetError: naming all that differ.
    """
    found = {"initialization": infer_initialization(found), "fresh_kana": None, "fresh_others": None, **found}
    # A state from before a name was compared says nothing of it.
    differing = {name: (found[name], value) for name, value in expected.items() if found.get(name, value) != value}
    if None not in differing.get("init_from_sha256", (None,)):
        del differing["init_from_sha256"]
    elif "init_from_sha256" in differing:
        differing.pop("initialization", None)  # by that file or not
    if "dataset_sha256" in differing:
        differing.pop("image_size", None)  # the dataset's
    if any(None in differing.get(name, ()) for name in ("fresh_sets", "fresh_kana", "fresh_others")):
        differing = {name: values for name, values in differing.items() if name not in _WITH_FRESH_SETS}
    if differing:
        changes = "; ".join(_describe_change(name, *values) for name, values in differing.items())
        raise KanjinetError(
            f"{path}: the run was started with {changes}", "give the same options, or train without --resume"
        )


def _describe_change(name: str, before: Any, now: Any) -> str:
    """Describes what the run was started with and what was asked for now, options as they are typed."""
    option = f"--{name.removesuffix('_sha256').replace('_', '-')}"
    if name == "dataset_sha256":
        return "another dataset than that of --data-dir"
    if None not in (before, now) and name == "fresh_fonts_sha256":
        return "other fonts than those of --fresh-fonts"
    if isinstance(before, bool) or name.endswith("_sha256"):
        return f"{option}, now without it" if before else f"no {option}, now with it"
    if name in _NO_OPTIONS:
        return f"{_NO_OPTIONS[name]} {before}, now {now}"
    return f"{f'no {option}' if before is None else f'{option} {before}'}, now {'without it' if now is None else now}"
