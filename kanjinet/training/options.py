"""What determines a training's weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kanjinet.data.dataset import DatasetInfo
from kanjinet.model import DEFAULT_VERSION, ModelConfig
from kanjinet.synth.handwriting import GENERATOR_VERSION
from kanjinet.synth.online import GenerationSpec
from kanjinet.synth.writers import DEFAULT_DIFFICULTY
from kanjinet.training.recipe import peak_learning_rate


@dataclass(frozen=True)
class TrainingOptions:
    """Says what determines a training's weights; stored with them, and compared when a run is resumed.

    Attributes are named as in the files, and most as the command line's options.

    Attributes:
        image_size: side of the dataset's images, pixels.
        fresh_sets: data sets of generated samples in an epoch.
        fresh_difficulty: of their writers, 0-1.
        fresh_writers: version of their generator.
        dataset_sha256: checksum of the dataset.
        init_from_sha256: checksum of the file of --init-from.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.001
    sample_limit: int | None = None
    model_version: str = DEFAULT_VERSION
    image_size: int = 64
    pooling_type: str = "adaptive_avg"
    split: str = "random"
    seed: int = 0
    hiragana_repeats: int = 1
    fresh_sets: int | None = None
    fresh_difficulty: float | None = None
    fresh_writers: str | None = None
    compile: bool = False
    dataset_sha256: str = ""
    init_from_sha256: str | None = None

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

    def to_dict(self) -> dict[str, Any]:
        """Returns the options as the files hold them."""
        return asdict(self)

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
