"""The initialization of a network: its classifier is fitted to the training images instead of being random.

With 3,036 classes and a few images of each, a random layer needs many epochs until a class has been seen often
enough. Linear discriminant analysis gives, in closed form, the layer that separates the classes' mean features best.

The stages before it must see strokes already. Those of version 3.0 do by their own initialization; those of the
published versions, which are random, are set to filters of the same kind (`set_stages`).

Source: R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936; the covariance is shrunk towards
a multiple of the identity as in J. Friedman, "Regularized discriminant analysis", 1989.

It is computed here and not by scikit-learn, whose `LinearDiscriminantAnalysis` takes 31 s (lsqr) or 70 s (eigen) for
32,768 images of 3,036 classes on one core, where this takes 1.3 s, and knows no class without an image.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.classes import NO_CLASS, CharacterSet
from kanjinet.data.dataset import DatasetInfo
from kanjinet.errors import KanjinetError
from kanjinet.model import LightweightKanjiNet, init_corner_means_, init_edge_filters_, init_orthogonal_
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.model_card import FITTED, TrainingOptions
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.device import choose_algebra_device, choose_memory_format
from kanjinet.training.recipe import LABEL_SMOOTHING, make_config
from kanjinet.training.samples import Samples, TrainingSamples, to_float_images

MAX_IMAGES = 32_768  # for the class means: about ten of each class
_MAX_IMAGES_OF_HIDDEN = 3 * MAX_IMAGES  # where dropout makes more of them worth their time
_STAGE_IMAGES = 1_024  # for the scale of what the stages compute
_MAX_COPIES = 8  # of each image, augmented
_NORM_IMAGES = 2_048  # for the statistics of batch normalization
_SCALE_IMAGES = 1_024  # for the scale of the logits
_BATCH_SIZE = 256
_SHRINKAGE = 0.1
_MIN_SINGULAR_VALUE_ROOT = 0.01  # of the largest
_LIFT = 1.0  # standard deviations by which what is mixed lies above 0, so that ReLU takes little of it away
_LAST_LIFT = -0.8  # of what is pooled: the fewer cells are above 0, the less does dropout cost
_IMAGES_OF_NEW_CLASS = 10  # on the average
_LOGIT_SHIFTS = (-8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
_LOGIT_SCALES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


def load_initial_network(path: Path, options: TrainingOptions, info: DatasetInfo) -> Checkpoint:
    """Loads the trained network of --init-from, which may be of another character set.

    Raises:
        KanjinetError: it is of another configuration or preprocessing than this training.
    """
    checkpoint = load_trained_network(path)
    config = make_config(options, info.character_set.num_classes).to_dict()
    for name, found in checkpoint.config.to_dict().items():
        if found != config[name] and name != "num_classes":
            raise KanjinetError(
                f"{path}: --init-from: a network with {name} {found}, this training is of one with {config[name]}",
                "give the options that it was trained with, or another file",
            )
    if checkpoint.card.preprocessing != info.preprocessing:
        raise KanjinetError(
            f"{path}: --init-from: trained on images preprocessed by {checkpoint.card.preprocessing}, "
            f"{info.folder} holds those of {info.preprocessing}",
            "prepare the dataset with the same --preprocess",
        )
    return checkpoint


def initialize_network(
    options: TrainingOptions, samples: TrainingSamples, checkpoint: Checkpoint | None = None
) -> LightweightKanjiNet:
    """Makes a network as a training begins with it, on the samples' device, channels last.

    It is fitted to the samples of the first epoch, or, with `options.initialization` PUBLISHED, as its layers are made.
    With a checkpoint it is that network, with a classifier for the samples' characters where it is of others.
    """
    if checkpoint and checkpoint.character_set == samples.character_set:
        return checkpoint.model
    samples.refresh(epoch=0)
    count = len(samples) - samples.num_others
    known = Samples(samples.images[:count], samples.labels[:count])
    torch.manual_seed(options.seed)
    if checkpoint:
        return change_characters(checkpoint, samples.character_set, known)
    device = samples.labels.device
    model = LightweightKanjiNet(make_config(options, samples.character_set.num_classes))
    if options.initialization == FITTED and model.config.block == "separable":
        chosen = torch.randperm(len(known), device=device)[:_STAGE_IMAGES]
        set_stages(model, to_float_images(known.images[chosen].cpu()))
    model = model.to(device).to(memory_format=choose_memory_format(device))
    if options.initialization == FITTED:
        fit_classifier(model, known, Augmentation())
    return model


@torch.no_grad()
def set_stages(model: LightweightKanjiNet, images: torch.Tensor) -> None:
    """Sets the stages of versions 1.0-2.1 to filters that see strokes, and their normalization to fit images.

    1. A blurred image, 32 times. 2. Edges in eight directions. Later stages: means of 2 x 2 pixels. What a stage mixes
    goes on twice, with both signs, as ReLU takes one of them away. Squeeze-and-excitation scales all channels alike.

    Args:
        model: on the CPU.
        images: (n, 1, S, S), 0-1; a thousand or so.
    """
    x = images
    for index, stage in enumerate(model.stages):
        block, *attention = cast(Any, stage)
        depthwise, first_norm, _, pointwise, last_norm, _ = block
        if index == 0:
            depthwise.weight.copy_(torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)
            pointwise.weight.fill_(1)
        else:
            (init_edge_filters_ if index == 1 else init_corner_means_)(depthwise.weight)
            half = pointwise.weight[: len(pointwise.weight) // 2]
            init_orthogonal_(half)
            pointwise.weight[len(half) :] = -half
        x = _normalize(first_norm, depthwise(x), None)
        is_last = index == len(model.stages) - 1
        x = _normalize(last_norm, pointwise(x), None if index == 0 else _LAST_LIFT if is_last else _LIFT)
        for module in attention:
            nn.init.zeros_(module.expand.weight)
            x = module(x)


def _normalize(norm: nn.BatchNorm2d, x: torch.Tensor, lift: float | None) -> torch.Tensor:
    """Applies batch normalization, then ReLU; sets its shift to `lift`, or, with None, so that 0 stays 0."""
    variance, mean = torch.var_mean(x, (0, 2, 3))
    norm.bias.copy_(mean / (variance + norm.eps).sqrt() if lift is None else torch.full_like(mean, lift))
    return F.relu(norm.train()(x))


@torch.no_grad()
def fit_classifier(model: LightweightKanjiNet, samples: Samples, augmentation: Augmentation) -> None:
    """Sets the classifier of an untrained network, and the statistics of its batch normalization, from images.

    The global random generator chooses the images where there are many. The scale of the logits is chosen on augmented
    ones. A hidden layer, of twice the width of what it keeps, holds that with both signs, as ReLU takes one away;
    dropout around it costs less where augmented images, too, say how much each class varies.
    """
    max_images = MAX_IMAGES
    if model.config.hidden_features:
        max_images, samples = _MAX_IMAGES_OF_HIDDEN, _add_augmented(samples, augmentation)
    chosen = torch.randperm(len(samples), device=samples.labels.device)[:max_images]
    images, labels = samples.images[chosen], samples.labels[chosen]
    _fit_stage_norms(model, images[:_NORM_IMAGES])
    features = torch.cat([_compute_features(model, to_float_images(part)) for part in images.split(_BATCH_SIZE)])
    layers = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    norm = model.classifier[0]
    if not isinstance(norm, nn.BatchNorm1d):  # what a hidden layer does beside its own work
        norm = nn.BatchNorm1d(features.shape[1], affine=False, device=features.device).eval()
    norm.running_mean, norm.running_var = features.mean(0), features.var(0)
    place = choose_algebra_device(features.device)
    features = norm(features).to(place)
    weight, bias = discriminate(features, labels.to(place), model.config.num_classes)
    matrices = [weight]
    if rank := model.config.classifier_rank or model.config.hidden_features // 2:
        matrices = factorize(weight, features, rank)
        weight = matrices[1] @ matrices[0]

    augmented = norm(_compute_features(model, augmentation(to_float_images(images[:_SCALE_IMAGES]))))
    weight, bias = weight.to(augmented.device), bias.to(augmented.device)
    logits = F.linear(augmented, weight, bias)
    targets = labels[:_SCALE_IMAGES]
    losses = [
        F.cross_entropy(logits * scale, targets, label_smoothing=LABEL_SMOOTHING).item() for scale in _LOGIT_SCALES
    ]
    scale = _LOGIT_SCALES[losses.index(min(losses))]
    matrices = [matrix * scale ** (1 / len(matrices)) for matrix in matrices]
    if model.config.hidden_features:
        hidden = matrices[0].to(augmented.device) / (norm.running_var + norm.eps).sqrt()
        shift = -hidden @ norm.running_mean
        layers[0].bias.copy_(torch.cat([shift, -shift]))
        matrices = [torch.cat([hidden, -hidden]), torch.cat([matrices[1], -matrices[1]], dim=1)]
    for layer, matrix in zip(layers, matrices, strict=True):
        layer.weight.copy_(matrix)
    layers[-1].bias.copy_(bias * scale)


@torch.no_grad()
def change_characters(checkpoint: Checkpoint, character_set: CharacterSet, samples: Samples) -> LightweightKanjiNet:
    """Makes a network for another character set from a trained one, in evaluation mode on the samples' device.

    The classifier's rows of characters that it knows stay. Those of others are fitted by linear discriminant analysis
    to what the last layer takes of the samples' images; a factor on them and a shift of their biases are chosen so that
    both kinds go together, on augmented images.
    """
    config = replace(checkpoint.config, num_classes=character_set.num_classes)
    model, device = LightweightKanjiNet(config), samples.labels.device
    name, count = f"classifier.{len(model.classifier) - 1}", character_set.num_classes
    state = checkpoint.model.state_dict()
    old_weight, old_bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
    model.load_state_dict(state, strict=False)
    model = model.to(device).to(memory_format=choose_memory_format(device)).eval()
    last = cast(nn.Linear, model.classifier[-1])
    classes = checkpoint.character_set.class_of_character
    source = torch.tensor([classes.get(each, NO_CLASS) for each in character_set.characters])
    is_known = source != NO_CLASS
    weight, bias = torch.zeros(last.weight.shape), torch.zeros(count)
    weight[is_known], bias[is_known] = old_weight[source[is_known]], old_bias[source[is_known]]
    if not is_known.all():
        new, middle = ~is_known, (old_weight.mean(0), old_bias.mean())  # a shift of all logits changes no probability
        inputs, labels = _compute_last_inputs(model, samples, max(MAX_IMAGES, _IMAGES_OF_NEW_CLASS * count))
        fitted = [part - part.mean(0) for part in discriminate(inputs, labels, count)]
        augmented, targets = _compute_last_inputs(model, samples, _SCALE_IMAGES, Augmentation())
        known = F.linear(augmented, weight - middle[0], bias - middle[1])
        scale, shift = _match_scale(known, F.linear(augmented, *fitted), targets, new)
        weight[new], bias[new] = fitted[0][new] * scale + middle[0], fitted[1][new] * scale + shift + middle[1]
    last.weight.copy_(weight)
    last.bias.copy_(bias)
    return model


def _compute_last_inputs(
    model: LightweightKanjiNet, samples: Samples, count: int, augmentation: Augmentation | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes what the last layer takes of some samples (n, d), and returns their labels (n,); both on the CPU."""
    chosen = torch.randperm(len(samples), device=samples.labels.device)[:count]
    parts = []
    for part in samples.images[chosen].split(_BATCH_SIZE):
        images = to_float_images(part)
        parts.append(model.classifier[:-1](_compute_features(model, augmentation(images) if augmentation else images)))
    return torch.cat(parts).cpu(), samples.labels[chosen].cpu()


def _match_scale(
    known: torch.Tensor, fitted: torch.Tensor, labels: torch.Tensor, is_new: torch.Tensor
) -> tuple[float, float]:
    """Finds the factor on fitted logits (n, c), and what to add, with which they go best with the known ones."""
    losses = {}
    for scale in _LOGIT_SCALES:
        for shift in _LOGIT_SHIFTS:
            logits = torch.where(is_new, fitted * scale + shift, known)
            losses[scale, shift] = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING).item()
    return min(losses, key=losses.__getitem__)


def _add_augmented(samples: Samples, augmentation: Augmentation) -> Samples:
    """Adds augmented copies of all samples, at most _MAX_COPIES, to about _MAX_IMAGES_OF_HIDDEN images in all."""
    copies = min(_MAX_COPIES, round(_MAX_IMAGES_OF_HIDDEN / len(samples)) - 1)
    if copies < 1:
        return samples
    augmented = [
        (augmentation(to_float_images(part)) * 255).round().to(torch.uint8).squeeze(1)
        for _ in range(copies)
        for part in samples.images.split(_BATCH_SIZE)
    ]
    return Samples(torch.cat([samples.images, *augmented]), samples.labels.repeat(1 + copies))


def _fit_stage_norms(model: LightweightKanjiNet, images: torch.Tensor) -> None:
    """Sets the stages' batch normalization to the statistics of images; leaves the network in evaluation mode."""
    norms = [module for module in model.stages.modules() if isinstance(module, nn.BatchNorm2d)]
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    model.train()
    _compute_features(model, to_float_images(images))
    for norm, momentum in zip(norms, momentums, strict=True):
        norm.momentum = momentum
    model.eval()


def discriminate(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fits a linear discriminant analysis to features (n, d) and their labels (n,).

    Returns:
        Weights (num_classes, d) and biases (num_classes,); 0 for a class of which there is no image.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    overall = features.mean(0)
    means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], overall)
    within = features - means[labels]
    covariance = within.T @ within / len(features)
    # By the variance of all features: that within the classes is 0 where each has one image.
    variance = features.var(0, correction=0).mean().clamp(min=1e-6)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * variance * torch.eye(len(covariance), device=features.device)
    weight = torch.linalg.solve(shrunk, (means - overall).T).T
    return weight, -(weight * (means + overall)).sum(1) / 2


def factorize(weight: torch.Tensor, features: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """Finds matrices (rank, d) and (k, rank) which, one after the other, give logits nearest to those of weight (k, d).

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
    # Few images show fewer directions than there are ranks, and blank ones none.
    roots = roots.clamp(min=_MIN_SINGULAR_VALUE_ROOT * (roots[0].item() or 1))
    return [(directions / roots).T @ weight, directions * roots]


def _compute_features(model: LightweightKanjiNet, images: torch.Tensor) -> torch.Tensor:
    """Computes what the classifier takes: (n, 1, S, S) -> (n, features)."""
    batches = images.contiguous(memory_format=choose_memory_format(images.device)).split(_BATCH_SIZE)
    return torch.cat([model.compute_features(batch) for batch in batches])
