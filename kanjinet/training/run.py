"""A run of training: epochs with validation, the best weights kept, and its files up to date after each."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kanjinet.data.dataset import DatasetInfo
from kanjinet.errors import KanjinetError
from kanjinet.model import count_parameters
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, Checkpoint, hash_tensors, load_checkpoint, save_checkpoint
from kanjinet.storage.files import replace_on_success, write_json
from kanjinet.storage.model_card import SYNTHETIC, Metrics, ModelCard, describe_environment, merge_sources
from kanjinet.training.calibration import calibrate
from kanjinet.training.curves import CURVES_NAME, draw_curves
from kanjinet.training.device import choose_memory_format
from kanjinet.training.history import HISTORY_NAME, write_history
from kanjinet.training.rejection import fit_rejection
from kanjinet.training.resume import STATE_NAME, RunRecord, StateFile
from kanjinet.training.samples import Parts
from kanjinet.training.trainer import Progress, Trainer
from kanjinet.training.validation import compute_metrics, measure_parts

INFO_NAME = "best_model_info.json"
PREVIOUS_NAME = "best_kanji_model_previous.pth"
OUTPUT_NAMES = (CHECKPOINT_NAME, HISTORY_NAME, CURVES_NAME, INFO_NAME, STATE_NAME)


@dataclass(frozen=True)
class EpochResult:
    """Describes an epoch that is over; accuracies in its entry of the history are 0-1."""

    entry: dict[str, Any]
    images_per_s: float
    is_best: bool  # of the validation accuracies so far
    kept_previous: bool  # an earlier run's best weights, under another name


class TrainingRun:
    """Runs a training in a folder, to which the first of the processes that train writes."""

    def __init__(
        self, trainer: Trainer, parts: Parts, info: DatasetInfo, folder: Path, sources: tuple[str, ...]
    ) -> None:
        options = trainer.options
        generated = [SYNTHETIC] if options.has_fresh_samples else []
        self.trainer, self.record = trainer, RunRecord([], sources=merge_sources(sources, generated))
        self.folder, self._parts, self._info = folder, parts, info
        self.state_file = StateFile(folder, trainer, self.record)

    def is_over(self, patience: int) -> bool:
        """Returns whether all epochs are done, or the last `patience` ones brought no better validation accuracy."""
        record = self.record
        return record.epochs_done >= self.trainer.options.epochs or record.epochs_done - record.best_epoch >= patience

    def train_epoch(self, report: Callable[[Progress], None]) -> EpochResult:
        """Trains and validates; keeps the weights if they are the best; writes history, curves and state.

        Raises:
            KanjinetError: the loss is no longer finite.
            Interrupted: a stop was requested; the state is saved.
        """
        start = time.perf_counter()
        trainer, record = self.trainer, self.record
        steps_before = trainer.position["step"] if trainer.position else 0
        trained = trainer.train_epoch(record.epochs_done, report, self.state_file.save_when_due)
        images = (trainer.steps_per_epoch - steps_before) * trainer.options.batch_size
        images_per_s = images / (time.perf_counter() - start)
        validated = compute_metrics(trainer.model, self._parts.validation, trainer.group)
        entry: dict[str, Any] = {
            "epoch": record.epochs_done + 1,
            "train_loss": trained.loss,
            "train_accuracy": trained.accuracy,
            "validation_loss": validated.loss,
            "validation_accuracy": validated.top1,
            "learning_rate": trained.learning_rate,
            "elapsed_s": round(time.perf_counter() - start, 3),
        }
        record.history.append(entry)
        is_best, kept_previous = validated.top1 > record.best_accuracy, False
        if is_best:
            if record.best_epoch == 0 and trainer.group.is_first:
                kept_previous = self._keep_previous_model()
            record.best_accuracy, record.best_epoch = validated.top1, entry["epoch"]
        if trainer.group.is_first:
            self._write_files(validated if is_best else None)
        self.state_file.save()
        return EpochResult(entry, images_per_s, is_best, kept_previous)

    def _keep_previous_model(self) -> bool:
        """Renames an earlier run's best weights before this run's first ones take their name.

        A run that was killed before it could save that they are written finds its own ones, which are no earlier run's.
        """
        path = self.folder / CHECKPOINT_NAME
        if not path.is_file():
            return False
        with contextlib.suppress(KanjinetError):
            found = load_checkpoint(path).model.state_dict()
            if hash_tensors(found) == hash_tensors(self.trainer.model.state_dict()):
                return False
        path.replace(self.folder / PREVIOUS_NAME)
        return True

    def _write_files(self, best: Metrics | None) -> None:
        """Writes the weights where they are the best, with their metrics, and the history and its curves."""
        options, info, history = asdict(self.trainer.options), self._info, self.record.history
        if best:
            card = ModelCard(
                preprocessing=info.preprocessing,
                sources=self.record.sources,
                options=self.trainer.options,
                best_epoch=self.record.best_epoch,
                metrics={"validation": best},
                environment=describe_environment(),
            )
            save_checkpoint(self.folder / CHECKPOINT_NAME, Checkpoint(self.trainer.model, card, info.character_set))
        write_history(self.folder / HISTORY_NAME, options, history, synthetic=info.synthetic)
        with replace_on_success(self.folder / CURVES_NAME) as file:
            file.write(draw_curves(history, synthetic=info.synthetic))

    def finish(self) -> Checkpoint:
        """Calibrates and tests the best weights, read from their file, and writes the result beside and into it."""
        path = self.folder / CHECKPOINT_NAME
        checkpoint = load_checkpoint(path)
        device = self.trainer.device
        model = checkpoint.model.to(device).to(memory_format=choose_memory_format(device))
        held_out = self._parts.validation, self._parts.test
        card = checkpoint.card
        if card.calibration is None:  # else the run had ended before, and is resumed
            card = replace(card, calibration=calibrate(model, *held_out))
            rejection = fit_rejection(model, held_out[0], card.options, card.preprocessing, self._info.character_set)
            card = replace(card, rejection=rejection)
        checkpoint.card = replace(card, metrics=measure_parts(model, *held_out))  # the temperature changed the loss
        save_checkpoint(path, checkpoint)
        config, described = checkpoint.config, checkpoint.card.to_dict()
        write_json(
            self.folder / INFO_NAME,
            {
                "model_version": config.version,
                "parameters": count_parameters(model),
                "image_size": config.image_size,
                "pooling_type": config.pooling_type,
                "num_classes": config.num_classes,
                "best_epoch": self.record.best_epoch,
                "validation_accuracy": self.record.best_accuracy,
                "test": described["training"]["test"],
                "temperature": described["training"]["temperature"],
                "license": checkpoint.card.license,
                **described,
            },
        )
        return checkpoint
