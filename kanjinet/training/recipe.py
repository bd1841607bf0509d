"""The recipe of a training: its constants, the learning rate's schedule, and the optimizer."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kanjinet.classes import ETL9G_SET, NUM_CLASSES, SCRIPTS, CharacterSet
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.model_card import FITTED, PUBLISHED, TrainingOptions
from kanjinet.synth.other_characters import FREQUENT_OTHERS, Kind

LABEL_SMOOTHING = 0.1  # of the targets' probability, spread evenly over all classes
WEIGHT_DECAY = 0.05  # of matrices and kernels; biases and normalization have none
BETAS = (0.9, 0.99)  # AdamW's decay rates a step of the gradient's mean and mean square
MAX_GRADIENT_NORM = 5.0  # longer gradients are scaled down to it: a single bad batch undoes little
PEAK_LR_FACTOR = 4.0  # the schedule's highest learning rate / --learning-rate, at the reference batch size
REFERENCE_BATCH_SIZE = 64  # images
WARM_UP_FRACTION = 0.15  # of all steps
FINAL_LR_FRACTION = 1e-3  # the last learning rate / the highest
JIS_LEVEL_2 = 0x5021  # the first code of JIS X 0208's second level
_JOYO_BEYOND_LEVEL_1 = FREQUENT_OTHERS[Kind.JOYO] + "籠頰"
RARE_KANJI_FREQUENCY = 1 / 5  # of a kanji of level 2 that is no Joyo kanji, against one of level 1
# Of these scripts, against what is shown: a text has many digits, and few Latin letters.
FREQUENCY_OF_SCRIPT = {"katakana": 1 / 3, "digits": 2, "latin": 1 / 3}
LONG_TRAINING_IMAGES = 1_500_000  # epochs x images from which on a random initialization reads more in the end


@dataclass(frozen=True)
class Rates:
    """Represents learning rates that hang on how a network began."""

    peak_factor: float = 1.0  # on the schedule's highest learning rate
    classifier_scale: float = 1.0  # of the learning rate: a classifier that knows the images has less far to go


RATES_AT_RANDOM = Rates()
RATES_OF_TRAINED = Rates(classifier_scale=0.3)  # its classifier was fitted or trained
RATES_OF_FITTED_HIDDEN = Rates(peak_factor=3.0, classifier_scale=0.05)  # two layers were fitted, the stages only set


def make_config(options: TrainingOptions, num_classes: int = NUM_CLASSES) -> ModelConfig:
    """Makes the configuration of the network that is trained with these options."""
    return ModelConfig.preset(options.model_version, options.image_size, options.pooling_type, num_classes)


def choose_initialization(options: TrainingOptions, num_samples: int) -> str:
    """Chooses how a new network begins best: fitted, but at random where it has a hidden layer and is trained long.

    `docs/recipes.md` has figures of both.
    """
    is_long = options.epochs * min(num_samples, options.sample_limit or num_samples) >= LONG_TRAINING_IMAGES
    return PUBLISHED if is_long and make_config(options).hidden_features else FITTED


def expect_frequencies(character_set: CharacterSet) -> npt.NDArray[np.float32] | None:
    """Returns how often each class is to be expected, (num_classes,), against what a training shows; None: as shown.

    Where characters that are often written look much like others that seldom are, 子 like 孑 and み like a, a network
    that is shown as many of both would take one for the other as often as not.
    """
    if character_set == ETL9G_SET:
        return None
    is_joyo = np.isin(list(character_set.characters), list(_JOYO_BEYOND_LEVEL_1))
    is_rare = character_set.is_of("kanji") & (character_set.jis_codes >= JIS_LEVEL_2) & ~is_joyo
    of_script = np.array([FREQUENCY_OF_SCRIPT.get(script, 1) for script in SCRIPTS])[character_set.scripts]
    return np.where(is_rare, RARE_KANJI_FREQUENCY, of_script).astype(np.float32)


def choose_rates(config: ModelConfig, initialization: str) -> Rates:
    """Chooses the learning rates for a kind of initialization."""
    if initialization == PUBLISHED:
        return RATES_AT_RANDOM
    return RATES_OF_FITTED_HIDDEN if initialization == FITTED and config.hidden_features else RATES_OF_TRAINED


def peak_learning_rate(learning_rate: float, batch_size: int) -> float:
    """Returns the schedule's highest rate: 4 x the given one at batch size 64, times sqrt(batch / 64) at others."""
    return PEAK_LR_FACTOR * learning_rate * math.sqrt(batch_size / REFERENCE_BATCH_SIZE)


def schedule_factor(step: int, total_steps: int) -> float:
    """Returns a step's fraction of the highest rate: linear warm-up, then half a cosine to FINAL_LR_FRACTION."""
    warm_up_steps = max(1, round(total_steps * WARM_UP_FRACTION))
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    done = min(1.0, (step - warm_up_steps) / max(1, total_steps - warm_up_steps))
    return FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * (1 + math.cos(math.pi * done)) / 2


def make_optimizer(model: LightweightKanjiNet, peak_rate: float, classifier_scale: float) -> torch.optim.AdamW:
    """Makes AdamW with parameter groups by weight decay and by `lr_scale`, a group's factor on the schedule's rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
        scale = classifier_scale if name.startswith("classifier.") else 1.0
        groups.setdefault((decay, scale), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr_scale": scale}
            for (decay, scale), parameters in groups.items()
        ],
        lr=peak_rate,
        betas=BETAS,
        fused=next(model.parameters()).device.type in ("cpu", "cuda"),
    )
