"""The probability below which an image is said to show none of the characters."""

import math

import torch
from torch import nn

from kanjinet.classes import ETL9G_SET, CharacterSet
from kanjinet.storage.model_card import Rejection, TrainingOptions
from kanjinet.synth.online import generate_held_out_others
from kanjinet.training.calibration import thin_out
from kanjinet.training.samples import Samples, make_generation_spec
from kanjinet.training.validation import predict_logits

MAX_LOST = 0.01  # of the held-out images of characters: so many at most are said to show none
# A character that is more probable than all others together is read. Validation images by simulated writers, nearly all
# of which lie above 0.9, would allow more than strangers' handwriting does.
MAX_THRESHOLD = 0.5
REJECTED = 0.95  # of the other images: a threshold that rejects as many is high enough


def fit_rejection(
    model: nn.Module,
    validation: Samples,
    options: TrainingOptions,
    preprocessing: str,
    character_set: CharacterSet = ETL9G_SET,
) -> Rejection | None:
    """Fits the threshold of a calibrated network; None where its training showed it no images of other things.

    Args:
        model: put in evaluation mode.
        validation: held-out images of characters.
        options: of its training, whose generator makes other images, by writers whom it has not seen.
        preprocessing: of both.
        character_set: of the network.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    spec = make_generation_spec(options, preprocessing, character_set)
    if spec is None or not spec.other_sets:
        return None
    others = torch.from_numpy(generate_held_out_others(spec)).to(validation.labels.device)
    known = _compute_confidence(model, thin_out(validation).images, character_set)
    other = _compute_confidence(model, others, character_set)
    lowest = known.quantile(MAX_LOST, interpolation="lower"), other.quantile(REJECTED, interpolation="higher")
    threshold = min(MAX_THRESHOLD, math.floor(float(min(lowest)) * 10_000) / 10_000)
    lost, rejected = (float((part < threshold).double().mean()) for part in (known, other))
    return Rejection(threshold, lost, rejected, len(other))


def describe_rejection(rejection: Rejection) -> str:
    """Describes the result of `fit_rejection` for people."""
    return (
        f"an image shows none of the characters where none has {rejection.threshold:.1%}: so it is said of "
        f"{rejection.rejected_others:.2%} of {rejection.others:,} that show none, and of "
        f"{rejection.rejected_characters:.2%} of the validation images"
    )


def _compute_confidence(model: nn.Module, images: torch.Tensor, character_set: CharacterSet) -> torch.Tensor:
    """Computes the largest probability of a character together with its twins."""
    probabilities = predict_logits(model, images).softmax(1)
    if character_set.has_twins:
        group = torch.from_numpy(character_set.twin_group).to(probabilities.device)
        probabilities = torch.zeros_like(probabilities).index_add_(1, group, probabilities)
    return probabilities.amax(1).cpu().double()
