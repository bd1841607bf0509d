"""What an unfinished run leaves behind, so that it can go on as if nothing had happened."""

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kanjinet.errors import KanjinetError
from kanjinet.storage.checkpoint import load_tensors, write_tensors
from kanjinet.training.trainer import Trainer

STATE_NAME = "training_state.pth"
STATE_FORMAT = "kanjinet-training-state-5"
STATES_KEPT = 3
SAVE_EVERY_S = 120


@dataclass
class Run:
    """What a run remembers from epoch to epoch: the history and the best validation accuracy so far."""

    history: list[dict[str, Any]]
    best_accuracy: float = -1.0  # so that the first epoch is kept even when it reads nothing
    best_epoch: int = 0

    @property
    def epochs_done(self) -> int:
        """Epochs in the history."""
        return len(self.history)

    def is_stuck(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought no better validation accuracy."""
        return self.epochs_done - self.best_epoch >= patience


class SavedAndInterrupted(KeyboardInterrupt):
    """The user ended the run, and its state is saved."""


class StateFile:
    """The state of an unfinished run, saved now and then; the last few are kept, should the last one be damaged.

    Ctrl-C and SIGTERM, from `watch` on, end the run between two steps, after a save; a second one ends it at once.
    """

    def __init__(self, folder: Path, options: dict[str, Any], trainer: Trainer, run: Run) -> None:
        """Keep what `trainer.state()`, `vars(run)` and `options` say, in `folder`."""
        self.folder, self.options, self.trainer, self.run = folder, options, trainer, run
        self.is_first_save = not run.history and trainer.position is None
        self.saved_at = time.monotonic()
        self.is_interrupted = False

    def save(self) -> None:
        """Write the state, whole or not at all; the one before gets another name.

        All processes of the trainer's group must call it; the first one writes.
        """
        content = {"options": self.options, "trainer": self.trainer.state(), "run": vars(self.run)}
        self.saved_at = time.monotonic()
        if self.trainer.group.is_first:
            self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
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

    def between_steps(self) -> None:
        """Save where it is time to, or where the user wants the run to end.

        Raises:
            SavedAndInterrupted: in the second case.
        """
        group, device = self.trainer.group, self.trainer.device
        is_interrupted = group.any(self.is_interrupted, device)
        if group.any(is_interrupted or time.monotonic() - self.saved_at > SAVE_EVERY_S, device):
            self.save()
        if is_interrupted:
            raise SavedAndInterrupted

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a wish that `between_steps` grants."""

        def take_note(number: int, _frame: object) -> None:
            self.is_interrupted = True
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.signal(number, take_note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def list_state_paths(folder: Path) -> list[Path]:
    """The files of the last few states, the newest first."""
    stem, suffix = STATE_NAME.split(".")
    return [folder / STATE_NAME, *(folder / f"{stem}_previous_{age}.{suffix}" for age in range(1, STATES_KEPT))]


def load_newest_state(folder: Path, options: dict[str, Any]) -> tuple[dict[str, Any], Path] | None:
    """The newest state that is whole, and its file; None where there is none at all.

    Raises:
        KanjinetError: all are damaged, or the newest whole one is of a run with other options than `options`.
    """
    damage: KanjinetError | None = None
    for path in list_state_paths(folder):
        if path.is_file():
            try:
                state = read_state(path)
            except KanjinetError as error:
                damage = damage or error
                continue
            check_options(path, state["options"], options)
            return state, path
    if damage:
        raise damage
    return None


def read_state(path: Path) -> dict[str, Any]:
    """Read one state.

    Raises:
        KanjinetError: another kind of file, or a damaged one.
    """
    state = load_tensors(path, "delete it and train without --resume")
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise KanjinetError(
            f"{path}: not the state of a training run of this version", "delete it and train without --resume"
        )
    if not all(isinstance(state.get(name), dict) for name in ("options", "trainer", "run")):
        raise KanjinetError(f"{path}: incomplete state of a training run", "delete it and train without --resume")
    return state


def check_options(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse the state of a run with other options.

    Raises:
        KanjinetError: naming the first that differs.
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            raise KanjinetError(
                f"{path}: the run was started with {name} = {found.get(name)}, now it is {value}",
                "give the same options, or train without --resume",
            )
