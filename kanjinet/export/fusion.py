"""Folds a trained network for inference: fewer operators, equal logits."""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kanjinet.model import DOWNSAMPLING, LightweightKanjiNet, ResidualBlock, SqueezeExcite


class ChannelGates(nn.Module):
    """Computes SqueezeExcite's gates: (B, C, H, W) -> (B, C, 1, 1), 0-1.

    The linear layers are 1x1 convolutions, so that no tensor changes its rank. The gain is left to the layer after.
    """

    def __init__(self, module: SqueezeExcite, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.reduce = _make_pointwise(module.reduce)
        self.expand = _make_pointwise(module.expand)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.expand(F.relu(self.reduce(self.pool(x)))))


class GatedChannels(nn.Module):
    """Multiplies each channel with its gate: (B, C, H, W) -> the same shape."""

    def __init__(self, gates: ChannelGates) -> None:
        super().__init__()
        self.gates = gates

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gates(x)


class WeightedPooling(nn.Module):
    """Multiplies (B, C, H, W) with a weight for each cell (C, H, W), then pools."""

    def __init__(self, cell_weights: torch.Tensor, pool: nn.Module) -> None:
        super().__init__()
        self.cell_weights = nn.Parameter(cell_weights)
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x * self.cell_weights)


class FusedNetwork(nn.Module):
    """Represents a network whose batch norm and constant factors are folded into the weights beside them.

    Input (batch, 1, size, size), output (batch, num_classes), as of `LightweightKanjiNet`.
    """

    def __init__(self, source: LightweightKanjiNet, pool: nn.Module, gates: ChannelGates | None) -> None:
        super().__init__()
        self.stages = source.stages
        self.pool = pool
        self.gates = gates
        self.classifier = source.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stages(x)
        pooled = self.pool(x)  # (B, C, s/16, s/16) -> (B, C, 1, 1) or (B, C, 2, 2)
        if self.gates is not None:
            pooled = pooled * self.gates(x)
        logits: torch.Tensor = self.classifier(pooled.flatten(1))
        return logits


def fuse_network(model: LightweightKanjiNet, *, fixed_pooling: bool) -> FusedNetwork:
    """Folds what is constant, and orders what is left so that engines have little to do.

    Batch norm goes into the convolution before it or the linear layer after it, a depthwise convolution's bias into the
    pointwise one after it.
    Attention's gain goes into the weights that follow it. The last stage's gates, which are not negative, are applied
    to the pooled map instead of each of its cells. An average with learned weights of the cells is a convolution.

    Args:
        model: in evaluation mode; its own global pooling stays as it is.
        fixed_pooling: whether attention pools with kernels of fixed size.

    Returns:
        The arithmetic of `model` in another order: logits differ by float32 rounding (about 1e-6 of their size).
    """
    copied = copy.deepcopy(model).eval().double()  # folded in double precision, so that folding itself rounds nothing
    gates, gain = None, 1.0
    side = copied.config.image_size
    for stage in copied.stages:
        side = max(side // 2, copied.config.image_size // DOWNSAMPLING)
        assert isinstance(stage, nn.Sequential)
        if gates is not None:  # of the stage before: only the last stage's are left for the pooled map
            _scale_input(stage[0], gain)
            stage.insert(0, GatedChannels(gates))
            gates, gain = None, 1.0
        attention = stage[-1]
        if isinstance(attention, SqueezeExcite):
            gates = ChannelGates(attention, nn.AvgPool2d(side) if fixed_pooling else attention.pool)
            gain = attention.gain
            del stage[-1]
    pool = copied.pool
    if copied.config.learned_pooling:
        pool = _make_weighted_pooling(copied.cell_weights.detach() * gain, pool)
    else:
        assert gain == 1, "without learned weights there is nothing to take the gain"
    fused = FusedNetwork(copied, pool, gates)
    for layers in [module for module in fused.modules() if isinstance(module, nn.Sequential)]:
        _fold_batch_norm(layers)
    for block in [module for module in fused.modules() if isinstance(module, ResidualBlock)]:
        block.layers = _move_bias(*[layer for layer in block.layers if isinstance(layer, nn.Conv2d)])
    return fused.float()


def _make_weighted_pooling(cell_weights: torch.Tensor, pool: nn.Module) -> nn.Module:
    channels, height, width = cell_weights.shape
    averages_all = isinstance(pool, nn.AdaptiveAvgPool2d) or (
        isinstance(pool, nn.AvgPool2d) and pool.kernel_size in (height, (height, height))
    )
    if not averages_all:
        return WeightedPooling(cell_weights, pool)
    convolution = nn.Conv2d(channels, channels, (height, width), groups=channels, bias=False)
    convolution.weight = nn.Parameter(cell_weights[:, None] / (height * width))  # (C, 1, H, W)
    return convolution


def _scale_input(block: nn.Module, gain: float) -> None:
    """Multiplies what a block takes in, by way of its first convolution's weights."""
    assert not getattr(block, "is_residual", False), "its input is added to its output too"
    convolution = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    convolution.weight = nn.Parameter(convolution.weight.detach() * gain)


def _make_pointwise(linear: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False)
    convolution.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
    return convolution


def _fold_batch_norm(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        layer, after = layers[index], layers[index + 1]
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            layers[index] = fuse_conv_bn_eval(layer, after)
            layers[index + 1] = nn.Identity()
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(after, nn.Linear):
            layers[index] = nn.Identity()
            layers[index + 1] = _fuse_bn_linear(layer, after)


def _move_bias(depthwise: nn.Conv2d, pointwise: nn.Conv2d) -> nn.Sequential:
    """Uses W (d + t) + b = W d + (b + W t): nothing but the pointwise convolution stands behind the depthwise one."""
    assert depthwise.bias is not None and pointwise.bias is not None
    pointwise.bias = nn.Parameter((pointwise.bias + pointwise.weight[:, :, 0, 0] @ depthwise.bias).detach())
    depthwise.bias = None
    return nn.Sequential(depthwise, pointwise)


def _fuse_bn_linear(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    """Uses W (s x + t) + b = (W s) x + (b + W t)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    fused = nn.Linear(linear.in_features, linear.out_features)
    fused.weight = nn.Parameter((linear.weight * scale).detach())
    own_bias = 0 if linear.bias is None else linear.bias
    fused.bias = nn.Parameter((own_bias + linear.weight @ shift).detach())
    return fused
