"""What determines a training's weights."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from kanjinet.data.dataset import DatasetInfo
from kanjinet.model import ModelConfig
from kanjinet.storage import model_card
from kanjinet.synth.handwriting import GENERATOR_VERSION
from kanjinet.synth.online import GenerationSpec
from kanjinet.synth.writers import DEFAULT_DIFFICULTY
from kanjinet.training.recipe import peak_learning_rate


class TrainingOptions(model_card.TrainingOptions):
    """Adds to the stored options what a training derives from them."""

    @classmethod
    def collect(cls, arguments: Mapping[str, Any], info: DatasetInfo) -> "TrainingOptions":
        """Collects the options of a training on a dataset from the command line's arguments, by their names."""
        chosen = {field.name: arguments[field.name] for field in fields(cls) if field.name in arguments}
        chosen |= {"image_size": info.image_size, "dataset_sha256": info.sha256}
        if chosen["fresh_sets"]:
            chosen["fresh_writers"] = GENERATOR_VERSION
            if chosen["fresh_difficulty"] is None:
                chosen["fresh_difficulty"] = DEFAULT_DIFFICULTY
        return cls(**chosen)

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return ModelConfig.preset(self.model_version, self.image_size, self.pooling_type)

    @property
    def peak_rate(self) -> float:
        """The schedule's highest learning rate."""
        return peak_learning_rate(self.learning_rate, self.batch_size)

    def make_generation_spec(self, preprocessing: str) -> GenerationSpec | None:
        """Describes the generated samples, preprocessed as the dataset; None where there are none."""
        if not self.fresh_sets or self.fresh_difficulty is None:
            return None
        return GenerationSpec(
            self.fresh_sets, self.fresh_difficulty, self.seed, self.epochs, self.image_size, preprocessing
        )
