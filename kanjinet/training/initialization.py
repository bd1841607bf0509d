"""Start a network's last layer where the training images already lie, instead of at random.

With 3,036 classes and a few images of each, a random layer needs many epochs until a class has been named often
enough. Linear discriminant analysis gives, in closed form, the layer that parts the classes' mean features best.

Source: R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936; the covariance is shrunk towards
a multiple of the identity as in J. Friedman, "Regularized discriminant analysis", 1989.
"""

import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.trainer import LABEL_SMOOTHING, Samples, as_input

MAX_IMAGES = 32_768  # what classes' means are taken from: about ten of each
_NORM_IMAGES = 2_048  # what batch normalization's statistics are taken from
_JUDGING_IMAGES = 1_024
_BATCH = 256
_SHRINKAGE = 0.1
_MIN_ROOT = 0.01  # of the largest
_TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


def start_network(config: ModelConfig, samples: Samples, seed: int, augmentation: Augmentation) -> LightweightKanjiNet:
    """A network as a training from scratch starts with it, on the samples' device, channels last.

    The classifier of version 3.0 is fitted to the samples; the published versions start at random, as they did.
    """
    torch.manual_seed(seed)
    model = LightweightKanjiNet(config).to(samples.classes.device).to(memory_format=torch.channels_last)
    if config.hidden_features == 0:
        fit_classifier(model, samples, augmentation)
    return model


@torch.no_grad()
def fit_classifier(model: LightweightKanjiNet, samples: Samples, augmentation: Augmentation) -> None:
    """Set the classifier of an untrained network, and the statistics of its batch normalization, from images.

    The global random generator chooses the images where there are many.

    Args:
        model: of a version whose classifier is linear.
        samples: the training's, on the network's device.
        augmentation: the variation of the training: with it the logits' scale is chosen.
    """
    chosen = torch.randperm(len(samples), device=samples.classes.device)[:MAX_IMAGES]
    images, classes = samples.images[chosen], samples.classes[chosen]
    stage_norms = [module for module in model.stages.modules() if isinstance(module, nn.BatchNorm2d)]
    momentums = [each.momentum for each in stage_norms]
    for each in stage_norms:
        each.momentum = None  # the mean of all batches
    model.train()
    _compute_features(model, as_input(images[:_NORM_IMAGES]))
    for each, momentum in zip(stage_norms, momentums, strict=True):
        each.momentum = momentum
    model.eval()
    features = torch.cat([_compute_features(model, as_input(part)) for part in images.split(_BATCH)])
    norm, *layers = model.classifier
    factors = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert isinstance(norm, nn.BatchNorm1d) and len(factors) == len(layers)
    norm.running_mean, norm.running_var = features.mean(0), features.var(0)
    features = norm(features)
    weight, bias = discriminate(features, classes, model.config.num_classes)
    matrices = [weight]
    if model.config.classifier_rank:
        matrices = factorize(weight, features, model.config.classifier_rank)
        weight = matrices[1] @ matrices[0]

    judged = images[:_JUDGING_IMAGES]
    varied = norm(_compute_features(model, augmentation(as_input(judged))))
    logits = F.linear(varied, weight, bias)
    wanted = classes[: len(judged)]
    losses = [
        F.cross_entropy(logits * scale, wanted, label_smoothing=LABEL_SMOOTHING).item() for scale in _TEMPERATURES
    ]
    scale = _TEMPERATURES[losses.index(min(losses))]
    for factor, matrix in zip(factors, matrices, strict=True):
        factor.weight.copy_(matrix * scale ** (1 / len(factors)))
    factors[-1].bias.copy_(bias * scale)


def discriminate(features: torch.Tensor, classes: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear discriminant analysis of features (n, d) with their classes (n,).

    Returns:
        Weights (num_classes, d) and biases (num_classes,); 0 for a class of which there is no image.
    """
    counts = torch.bincount(classes, minlength=num_classes)
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, classes, features)
    overall = features.mean(0)
    means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], overall)
    within = features - means[classes]
    covariance = within.T @ within / len(features)
    # By the variance of all features: that within the classes is 0 where each has one image.
    variance = features.var(0, correction=0).mean().clamp(min=1e-6)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * variance * torch.eye(len(covariance), device=features.device)
    weight = torch.linalg.solve(shrunk, (means - overall).T).T
    return weight, -(weight * (means + overall)).sum(1) / 2


def factorize(weight: torch.Tensor, features: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """Two matrices (rank, d) and (k, rank) which, one after the other, give logits nearest to those of weight (k, d).

    Args:
        weight: of a linear layer.
        features: (n, d) of the images on which the logits are to be near; their mean is taken for 0.
        rank: at most d.

    Returns:
        Both, balanced: what lies between them has variances that are the square roots of those of the logits' parts.
    """
    variances, axes = torch.linalg.eigh(features.T @ features / len(features))
    directions, lengths, _ = torch.linalg.svd(weight @ (axes * variances.clamp(min=0).sqrt()), full_matrices=False)
    directions, roots = directions[:, :rank], lengths[:rank].sqrt()
    roots = roots.clamp(min=_MIN_ROOT * roots[0].item())  # few images show fewer directions than there are ranks
    return [(directions / roots).T @ weight, directions * roots]


def _compute_features(model: LightweightKanjiNet, images: torch.Tensor) -> torch.Tensor:
    """(n, 1, S, S) -> (n, features): what the classifier takes."""
    batches = images.contiguous(memory_format=torch.channels_last).split(_BATCH)
    return torch.cat([model.compute_features(batch) for batch in batches])
