"""Normalisation layers by name, and batch norm as the fused paths need it: folded into weights, or frozen."""

from __future__ import annotations

from typing import Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

_NORMS = {"batch": nn.BatchNorm1d, "batch_norm": nn.BatchNorm1d, "layer": nn.LayerNorm, "layer_norm": nn.LayerNorm}


def norm_resolver(name: str | None, channels: int) -> nn.Module:
    """Return a normalisation layer for node features by name: ``"batch"``, ``"layer"``, or ``None`` / ``"none"``.

    Upper and lower case are the same, as in PyG's resolvers.

    Raises:
        ValueError: for an unknown name (including ``"instance"``: a conv sees edges, not images).

    Example:
        >>> from pyg_vig.nn import norm_resolver
        >>> type(norm_resolver("layer", 16)).__name__
        'LayerNorm'
    """
    lower = "none" if name is None else name.lower()
    if lower == "none":
        return nn.Identity()
    if lower not in _NORMS:
        raise ValueError(f"unknown norm {name!r}: choose 'batch', 'layer' or None")
    return _NORMS[lower](channels)


class BatchNorm(Protocol):
    """Attributes of a batch norm, of any class, that the fused paths read."""

    eps: float
    momentum: float | None
    weight: Tensor | None
    bias: Tensor
    track_running_stats: bool
    running_mean: Tensor  # this and the next two are None if no statistics are tracked
    running_var: Tensor
    num_batches_tracked: Tensor


_LARGE_OUTPUT = 1 << 25  # entries; beyond, a pass over them takes a GPU longer than launching a few small kernels


def is_foldable(norm: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether ``norm`` is a batch norm that is currently an affine map with constant coefficients."""
    return isinstance(norm, nn.modules.batchnorm._BatchNorm) and not norm.training and norm.running_mean is not None


def uses_batch_statistics(norm: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether ``norm`` is a batch norm that currently uses the statistics of its input rows."""
    return isinstance(norm, (nn.BatchNorm1d, nn.SyncBatchNorm)) and not is_foldable(norm)


def freeze_batch_norms(model: nn.Module, *, affine: bool = False) -> None:
    """Make all batch norms in ``model`` use their running statistics without updating them.

    This lasts until the next ``model.train()``, which a module may override to freeze them again.

    Args:
        model: the network, or a part of it.
        affine: also freeze scale and shift.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn import freeze_batch_norms
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> freeze_batch_norms(model)
        >>> [module.training for module in model]
        [True, False]
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            if affine:
                module.requires_grad_(False)


def folded_weight_and_bias(weight: Tensor, bias: Tensor | None, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a linear layer or convolution with the subsequent batch norm folded into them."""
    scale, shift = folded_scale_and_shift(norm, bias)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), shift


def fold_batch_norm_(layer: nn.Linear | nn.Conv2d, norm: BatchNorm) -> None:
    """Fold the batch norm permanently into the weight and bias of ``layer``."""
    remove_parametrizations(layer)
    weight, bias = folded_weight_and_bias(layer.weight, layer.bias, norm)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)


def remove_parametrizations(layer: nn.Module) -> None:
    """Replace parametrisations (weight norm, pruning) permanently by parameters with their current values."""
    if parametrize.is_parametrized(layer):
        values = {name: getattr(layer, name) for name in cast("nn.ModuleDict", layer.parametrizations)}
        del layer.parametrizations
        layer.__class__ = parametrize.type_before_parametrizations(layer)  # copies share the other class: keep it
        for name, value in values.items():
            setattr(layer, name, nn.Parameter(value))
    for name in ("weight", "bias"):
        if hasattr(layer, f"{name}_orig"):
            prune.remove(layer, name)


def folded_scale_and_shift(norm: BatchNorm, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the batch norm after a layer, with the layer's bias folded into the shift."""
    scale, shift = scale_and_shift(norm, norm.running_mean, norm.running_var)
    return scale, shift if bias is None else torch.addcmul(shift, bias, scale)


def should_fold(x: Tensor, out_channels: int) -> bool:
    """Whether folding the batch norm into the weights on every call is faster than normalising the output.

    On a GPU, folding launches half a dozen small kernels and normalising one, which compilers fuse with what follows.
    """
    if not x.is_cuda:
        return True
    return not torch.compiler.is_compiling() and x.size(0) * out_channels > _LARGE_OUTPUT


def tracks_running_statistics(norm: BatchNorm) -> bool:
    """Whether ``norm`` updates running statistics in training."""
    return norm.track_running_stats and norm.running_mean is not None


@torch.no_grad()
def update_running_statistics(norm: BatchNorm, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
    """Update the running statistics as the layer itself does after a batch.

    Args:
        norm: the batch norm.
        mean: mean of the rows ``(C,)``.
        var: biased variance of the rows ``(C,)``.
        count: number of rows; if this is a tensor of zero, running mean and variance stay unchanged.
    """
    if not tracks_running_statistics(norm):
        return
    norm.num_batches_tracked.add_(1)
    momentum: Tensor | float = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    dtype = norm.running_mean.dtype
    if isinstance(count, Tensor):
        momentum = momentum * (count > 0).to(dtype)
        var = var * count / (count - 1).clamp(min=1)
    else:
        var = var * (count / (count - 1))
    norm.running_mean.lerp_(mean.to(dtype), momentum)
    norm.running_var.lerp_(var.to(dtype), momentum)


def scale_and_shift(norm: BatchNorm, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the batch norm for the given statistics."""
    scale = torch.rsqrt(var + norm.eps)
    if norm.weight is None:
        return scale, -mean * scale
    scale = scale * norm.weight
    return scale, torch.addcmul(norm.bias, mean, scale, value=-1)
