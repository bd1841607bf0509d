"""LightweightKanjiNet: one class, whose published versions are presets of its configuration."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from kanjinet.classes import NUM_CLASSES
from kanjinet.contract import IMAGE_SIZES
from kanjinet.errors import KanjinetError, brief

MODEL_VERSIONS = ("1.0", "2.0", "2.1", "3.0")
DEFAULT_VERSION = "3.0"
POOLING_TYPES = ("adaptive_avg", "adaptive_max", "avg_2x2", "max_2x2", "fixed_avg", "fixed_max")
BLOCKS = ("separable", "residual")
STEMS = ("block", "conv5x5")
NUM_DOWNSAMPLING_STAGES = 4  # of stride 2; any later stage keeps the size
DOWNSAMPLING = 2**NUM_DOWNSAMPLING_STAGES  # 64 pixels -> a 4 x 4 map
MAX_WIDTH, MAX_STAGES, MAX_BLOCKS = 1 << 16, 16, 64  # far beyond any version: what a file can make us build
_CHANNELS = (32, 64, 128, 256, 512)
_NUM_DIRECTIONS = 8
_EDGE_FILTER_SIGMA = 1.3  # pixels, standard deviation of the Gaussian window of an edge filter


@dataclass(frozen=True)
class ModelConfig:
    """Says all that is needed to rebuild a network; `ModelConfig.preset` fills it for a version.

    Attributes:
        version: one of MODEL_VERSIONS.
        image_size: side of the square input, pixels.
        pooling_type: one of POOLING_TYPES; `fixed_*` also makes the squeeze-and-excitation modules pool with a
            kernel of fixed size, which computes the same numbers.
        channels: output channels of each stage.
        depths: blocks of each stage.
        se_reductions: for each stage, the reduction of its squeeze-and-excitation module, or 0 for none.
        hidden_features: width of the classifier's hidden layer, or 0 for a linear classifier.
        num_classes: number of logits.
        classifier_rank: of a linear classifier's weights, which are then the product of two matrices, or 0 for a
            single matrix.
        block: one of BLOCKS.
        stem: one of STEMS: what the first stage begins with, a block like the others or a dense 5x5 convolution.
        learned_pooling: whether each cell of the last feature map has a learned weight of its own.
        se_gain: factor on the gates of squeeze-and-excitation. With 2 and zeros as the last weights, a module starts as
            the identity: 2 x sigmoid(0) = 1.
    """

    version: str
    image_size: int
    pooling_type: str
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    se_reductions: tuple[int, ...]
    hidden_features: int
    num_classes: int = NUM_CLASSES
    classifier_rank: int = 0
    block: str = "separable"
    stem: str = "block"
    learned_pooling: bool = False
    se_gain: float = 1.0

    def __post_init__(self) -> None:
        for name in ("channels", "depths", "se_reductions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list after a trip through JSON
        for name, value, choices in (
            ("model version", self.version, MODEL_VERSIONS),
            ("pooling type", self.pooling_type, POOLING_TYPES),
            ("image size", self.image_size, IMAGE_SIZES),
            ("block", self.block, BLOCKS),
            ("stem", self.stem, STEMS),
            ("learned_pooling", self.learned_pooling, (False, True)),
            ("se_gain", self.se_gain, (1.0, 2.0)),
        ):
            if value not in choices:
                raise KanjinetError(f"{name} {brief(value)}", f"choose one of {', '.join(map(str, choices))}")
        for name, numbers, minimum in (
            ("channels", self.channels, 1),
            ("depths", self.depths, 1),
            ("se_reductions", self.se_reductions, 0),
            ("hidden_features", (self.hidden_features,), 0),
            ("num_classes", (self.num_classes,), 1),
            ("classifier_rank", (self.classifier_rank,), 0),
        ):
            if not all(type(number) is int and minimum <= number <= MAX_WIDTH for number in numbers):
                raise KanjinetError(f"{name} {brief(numbers)}: no network of this kind has them")
        if self.hidden_features and self.classifier_rank:
            raise KanjinetError(
                f"hidden_features {self.hidden_features}, classifier_rank {self.classifier_rank}",
                "a classifier has one of them",
            )
        if not 1 <= len(self.channels) <= MAX_STAGES or max(self.depths) > MAX_BLOCKS:
            raise KanjinetError(f"channels {brief(self.channels)}, depths {brief(self.depths)}: too many layers")

    @classmethod
    def preset(
        cls, version: str, image_size: int = 64, pooling_type: str = "adaptive_avg", num_classes: int = NUM_CLASSES
    ) -> "ModelConfig":
        """Returns the configuration of a version."""
        no_se, se = (0, 0, 0, 0, 0), (0, 0, 8, 16, 16)
        if version == "1.0":
            return cls(version, image_size, pooling_type, _CHANNELS[:4], (1, 1, 1, 1), no_se[:4], 512, num_classes)
        if version in ("2.0", "2.1"):
            reductions = no_se if version == "2.0" else se
            return cls(version, image_size, pooling_type, _CHANNELS, (1, 1, 1, 1, 1), reductions, 1024, num_classes)
        return cls(
            version,
            image_size,
            pooling_type,
            _CHANNELS,
            depths=(1, 1, 2, 3, 1),
            se_reductions=se,
            hidden_features=0,
            num_classes=num_classes,
            classifier_rank=192,
            block="residual",
            stem="conv5x5",
            learned_pooling=True,
            se_gain=2.0,
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
        """Builds a configuration from a file's fields; what an older file does not say, its version's preset does.

        Raises:
            KanjinetError: a value that no network of this toolkit has.
            TypeError: unknown or missing fields.
        """
        if "block" not in fields and fields.get("version") in MODEL_VERSIONS:
            preset = cls.preset(fields["version"]).to_dict()
            fields = fields | {name: preset[name] for name in ("block", "stem", "learned_pooling", "se_gain")}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON knows them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def feature_size(self) -> int:
        """Side of the last feature map."""
        return self.image_size // DOWNSAMPLING

    @property
    def pooled_size(self) -> int:
        """Side of the pooled map."""
        return 2 if self.pooling_type.endswith("2x2") else 1

    @property
    def is_fixed(self) -> bool:
        """Whether every pooling has a kernel of fixed size."""
        return self.pooling_type.startswith("fixed")


def make_global_pooling(pooling_type: str, feature_size: int) -> nn.Module:
    """Makes the layer that pools a (B, C, feature_size, feature_size) map to (B, C, 1, 1), `*_2x2` to (B, C, 2, 2)."""
    if pooling_type == "adaptive_avg":
        return GlobalAveragePool()
    if pooling_type == "adaptive_max":
        return nn.AdaptiveMaxPool2d(1)
    kernel, stride = feature_size, feature_size
    if pooling_type.endswith("2x2"):
        stride = feature_size // 2
        kernel = feature_size - stride  # 4 x 4: 2; 3 x 3: overlapping windows, as AdaptiveAvgPool2d(2) lays them
    return nn.AvgPool2d(kernel, stride) if "avg" in pooling_type else nn.MaxPool2d(kernel, stride)


class GlobalAveragePool(nn.AdaptiveAvgPool2d):
    """Computes the mean of each channel: (B, C, H, W) -> (B, C, 1, 1).

    In training, the gradient of a map that is laid out channels last is laid out in the same way, so that all that
    is computed from it need not change between layouts.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        return x.flatten(2).mT.mean(1)[:, :, None, None]  # the view (B, H * W, C) -> (B, C, 1, 1)


class SqueezeExcite(nn.Module):
    """Applies channel attention: (B, C, H, W) -> the same shape, each channel scaled by a gate.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018.
    """

    def __init__(self, channels: int, reduction: int, *, fixed_size: int, gain: float) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AvgPool2d(fixed_size) if fixed_size else GlobalAveragePool()
        self.reduce = nn.Linear(channels, channels // reduction, bias=False)
        self.expand = nn.Linear(channels // reduction, channels, bias=False)
        self.gain = gain
        if gain == 2:  # gates of 2 x sigmoid(0) = 1: initialized as the identity
            nn.init.zeros_(self.expand.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = self.pool(x).flatten(1)  # (B, C, H, W) -> (B, C)
        gates = self.gain * torch.sigmoid(self.expand(F.relu(self.reduce(squeezed))))
        return x * gates[:, :, None, None]


class SeparableBlock(nn.Sequential):
    """Represents the block of versions 1.0-2.1: 3x3 depthwise - BN - ReLU - 1x1 pointwise - BN - ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Represents the block of version 3.0: 3x3 depthwise - BN - 1x1 pointwise - BN, plus the input, then ReLU.

    The input is added where shapes allow.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False)
        pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        last_norm = nn.BatchNorm2d(channels_out)
        self.layers = nn.Sequential(depthwise, nn.BatchNorm2d(channels_in), pointwise, last_norm)
        self.is_residual = stride == 1 and channels_in == channels_out
        if self.is_residual:  # initialized as the identity
            nn.init.zeros_(last_norm.weight)
        else:
            init_corner_means_(depthwise.weight)
            init_orthogonal_(pointwise.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x)
        return F.relu(x + out if self.is_residual else out)


@torch.no_grad()
def init_edge_filters_(weight: torch.Tensor) -> None:
    """Fills a stem's kernels (C, 1, k, k) with edge filters of norm 1: C / 8 in turn of each of eight directions.

    With the corner means and orthogonal mixtures below, the network tells strokes apart before its first step, as the
    directional features of the classical kanji recognizers do: a linear classifier on the pooled features of an
    untrained network reads 58 % of unseen sample writers' characters with these kernels, 2 % with random ones.
    """
    if weight.is_meta:  # of a network of shapes only
        return
    channels, _, size, _ = weight.shape
    offsets = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * _EDGE_FILTER_SIGMA**2))
    for channel in range(channels):
        angle = 2 * math.pi * (channel % _NUM_DIRECTIONS) / _NUM_DIRECTIONS
        edge = (x * math.cos(angle) + y * math.sin(angle)) * window
        weight[channel, 0] = edge / edge.norm()


@torch.no_grad()
def init_corner_means_(weight: torch.Tensor) -> None:
    """Fills depthwise kernels (C, 1, 3, 3): each takes the mean of 2 x 2 pixels, in one of its four corners.

    Eight channels in a row have the same corner, one for each direction of the stem.
    """
    if weight.is_meta:
        return
    weight.zero_()
    for channel in range(len(weight)):
        top, left = divmod(channel // _NUM_DIRECTIONS % 4, 2)
        weight[channel, 0, top : top + 2, left : left + 2] = 0.25


@torch.no_grad()
def init_orthogonal_(weight: torch.Tensor) -> None:
    """Fills pointwise kernels (C, C', 1, 1) with an orthogonal mixture, which loses nothing."""
    if not weight.is_meta:
        nn.init.orthogonal_(weight.flatten(1))


class LightweightKanjiNet(nn.Module):
    """Computes logits of the classes for images of single characters.

    Input: (batch, 1, size, size) or flattened (batch, size * size) floats, ink 1 on paper 0.
    Output: (batch, num_classes) logits, in class order (kanjinet.classes).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = self._make_stages()  # (B, 1, size, size) -> (B, C, size / 16, size / 16)
        features = config.channels[-1]
        if config.learned_pooling:
            side = config.feature_size
            is_mean = "avg" in config.pooling_type  # each channel is then initialized to another mixture of the cells
            self.cell_weights = nn.Parameter((torch.randn if is_mean else torch.ones)(features, side, side))
        self.pool = make_global_pooling(config.pooling_type, config.feature_size)
        self.classifier = self._make_classifier(features * config.pooled_size**2)

    def _make_stages(self) -> nn.Sequential:
        config = self.config
        stages: list[nn.Module] = []
        channels_in, side = 1, config.image_size
        for index, (channels, depth, reduction) in enumerate(
            zip(config.channels, config.depths, config.se_reductions, strict=True)
        ):
            stride = 2 if index < NUM_DOWNSAMPLING_STAGES else 1
            side //= stride
            layers: list[nn.Module] = []
            for block in range(depth):
                layers.append(self._make_block(index, channels_in, channels, stride if block == 0 else 1))
                channels_in = channels
            if reduction:
                fixed_size = side if config.is_fixed else 0
                layers.append(SqueezeExcite(channels, reduction, fixed_size=fixed_size, gain=config.se_gain))
            stages.append(nn.Sequential(*layers))
        return nn.Sequential(*stages)

    def _make_block(self, stage: int, channels_in: int, channels: int, stride: int) -> nn.Module:
        if stage == 0 and self.config.stem == "conv5x5":  # a depthwise kernel on one channel would see almost nothing
            stem = nn.Conv2d(channels_in, channels, 5, stride, padding=2, bias=False)
            init_edge_filters_(stem.weight)
            return nn.Sequential(stem, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        make_block = ResidualBlock if self.config.block == "residual" else SeparableBlock
        return make_block(channels_in, channels, stride)

    def _make_classifier(self, features: int) -> nn.Sequential:
        config = self.config
        if config.classifier_rank:
            return nn.Sequential(
                nn.BatchNorm1d(features),
                nn.Linear(features, config.classifier_rank, bias=False),
                nn.Linear(config.classifier_rank, config.num_classes),
            )
        if not config.hidden_features:
            return nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, config.num_classes))
        return nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(features, config.hidden_features),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(config.hidden_features, config.num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 2:
            x = x.unflatten(1, (1, self.config.image_size, self.config.image_size))  # (B, s * s) -> (B, 1, s, s)
        logits: torch.Tensor = self.classifier(self.compute_features(x))
        return logits

    def compute_features(self, x: torch.Tensor) -> torch.Tensor:
        """Computes what the classifier takes: (B, 1, s, s) -> (B, C), or (B, 4C) where the pooled map is 2 x 2."""
        x = self.stages(x)
        if self.config.learned_pooling:
            x = x * self.cell_weights
        return self.pool(x).flatten(1)  # (B, C, s/16, s/16) -> (B, C) or (B, 4C)


def use_channels_last(model: LightweightKanjiNet) -> LightweightKanjiNet:
    """Lays a network's weights and feature maps out channels last, in which convolutions are faster.

    A map of a single channel looks the same in either layout, and what follows would take it for the other one: so
    the first convolution gets its input with the strides stated explicitly.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 1:
            module.register_forward_pre_hook(_state_channels_last)
    return model.to(memory_format=torch.channels_last)


def _state_channels_last(_module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    (x,) = inputs
    return x.reshape(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)  # a view


def count_parameters(model: nn.Module) -> int:
    """Counts the weights: 1,735,527 / 3,818,599 / 3,863,655 / 1,076,444 for versions 1.0 / 2.0 / 2.1 / 3.0 at 64."""
    return sum(parameter.numel() for parameter in model.parameters())


def change_pooling(model: LightweightKanjiNet, pooling_type: str) -> LightweightKanjiNet:
    """Copies a trained network, in evaluation mode, with another global pooling.

    `adaptive_*` <-> `fixed_*` computes the same numbers. Average pooling -> `avg_2x2` spreads each classifier weight
    over the four cells, which is exact where the four windows tile the map (every size but 48). Any other change
    makes another network than the trained one: measure it.
    """
    changed = LightweightKanjiNet(replace(model.config, pooling_type=pooling_type))
    state = dict(model.state_dict())
    cells_before, cells_after = model.config.pooled_size**2, changed.config.pooled_size**2
    if cells_before != cells_after:
        first = next(index for index, layer in enumerate(model.classifier) if isinstance(layer, nn.Linear))
        for name in list(state):
            layer, _, kind = name.removeprefix("classifier.").partition(".")
            if not name.startswith("classifier.") or int(layer) > first or kind == "num_batches_tracked":
                continue
            if int(layer) == first:
                if kind == "weight":
                    state[name] = _spread(state[name], cells_before, cells_after) * cells_before / cells_after
            else:  # batch norm before the linear layer: one value a feature
                state[name] = _spread(state[name][None], cells_before, cells_after)[0]
    changed.load_state_dict(state)
    return changed.eval()


def _spread(weights: torch.Tensor, cells_before: int, cells_after: int) -> torch.Tensor:
    """Puts the mean over a feature's cells into each of its new cells: (n, C * before) -> (n, C * after)."""
    per_feature = weights.unflatten(1, (-1, cells_before)).mean(dim=2)  # (n, C)
    return per_feature.repeat_interleave(cells_after, dim=1)
