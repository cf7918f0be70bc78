"""Normalisation by name, and batch norm as the fused paths need it: folded into weights, or frozen."""

from __future__ import annotations

from typing import Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

_NORMS = {"batch": nn.BatchNorm1d, "batch_norm": nn.BatchNorm1d, "layer": nn.LayerNorm, "layer_norm": nn.LayerNorm}


def norm_resolver(name: str | None, channels: int) -> nn.Module:
    """The normalisation of that name for node matrices: ``"batch"``, ``"layer"``, or ``None`` / ``"none"``.

    Raises:
        ValueError: for an unknown name (``"instance"`` among them: a conv sees edges, not images).

    Example:
        >>> from pyg_vig.nn import norm_resolver
        >>> type(norm_resolver("layer", 16)).__name__
        'LayerNorm'
    """
    if name is None or name == "none":
        return nn.Identity()
    if name not in _NORMS:
        raise ValueError(f"unknown norm {name!r}: choose 'batch', 'layer' or None")
    return _NORMS[name](channels)


class BatchNorm(Protocol):
    """What the fused paths read of a batch norm, whichever class it has."""

    eps: float
    momentum: float | None
    weight: Tensor | None
    bias: Tensor
    track_running_stats: bool
    running_mean: Tensor  # none where it tracks no statistics, like the next two
    running_var: Tensor
    num_batches_tracked: Tensor


_LARGE_OUTPUT = 1 << 25  # entries; then a pass over them takes a GPU longer than starting some small kernels


def is_foldable(norm: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether ``norm`` is, right now, an affine map with constant coefficients."""
    return isinstance(norm, nn.modules.batchnorm._BatchNorm) and not norm.training and norm.running_mean is not None


def normalises_batch(norm: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether ``norm`` is a batch norm that takes, right now, its statistics from the rows it is given."""
    return isinstance(norm, nn.BatchNorm1d | nn.SyncBatchNorm) and not is_foldable(norm)


def freeze_batch_norms(model: nn.Module, *, affine: bool = False) -> None:
    """Let all batch norms in ``model`` normalise with their running statistics, and leave these as they are.

    Holds until the next ``model.train()``, which a module may override to freeze them again.

    Args:
        model: the network, or a part of it.
        affine: freeze scale and shift as well.

    Example:
        >>> from torch import nn
        >>> from pyg_vig.nn.norm import freeze_batch_norms
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


def fold(weight: Tensor, bias: Tensor | None, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer or convolution followed by the batch norm, as one layer."""
    scale, shift = folded(norm, bias)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), shift


def fold_into(layer: nn.Linear | nn.Conv2d, norm: BatchNorm) -> None:
    """Give a layer, for good, the weight and bias that it has together with the batch norm."""
    remove_parametrizations(layer)
    weight, bias = fold(layer.weight, layer.bias, norm)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)


def remove_parametrizations(layer: nn.Module) -> None:
    """Replace what computes parameters (weight norm, pruning), for good, by the parameters that it makes right now."""
    if parametrize.is_parametrized(layer):
        made = {name: getattr(layer, name) for name in cast("nn.ModuleDict", layer.parametrizations)}
        del layer.parametrizations
        layer.__class__ = parametrize.type_before_parametrizations(layer)  # copies share the other, which thus stays
        for name, value in made.items():
            setattr(layer, name, nn.Parameter(value))
    for name in ("weight", "bias"):
        if hasattr(layer, f"{name}_orig"):
            prune.remove(layer, name)


def folded(norm: BatchNorm, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scale of the outputs, and shift with the bias in it, of a layer followed by the batch norm."""
    scale, shift = affine_of(norm, norm.running_mean, norm.running_var)
    return scale, shift if bias is None else torch.addcmul(shift, bias, scale)


def folding_pays(x: Tensor, out_channels: int) -> bool:
    """Whether a layer of ``x`` takes less time with its batch norm folded into the weights in every call.

    On a GPU that is half a dozen small kernels, and normalising the output is one. Compilers fuse that one with what
    follows.
    """
    if x.device.type != "cuda":
        return True
    return not torch.compiler.is_compiling() and x.size(0) * out_channels > _LARGE_OUTPUT


def tracks_statistics(norm: BatchNorm) -> bool:
    """Whether ``norm`` moves running statistics in training."""
    return norm.track_running_stats and norm.running_mean is not None


@torch.no_grad()
def move_running_statistics(norm: BatchNorm, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
    """Move the running statistics as the layer itself does after a batch.

    Args:
        norm: the batch norm.
        mean: mean of the rows ``(C,)``.
        var: their biased variance ``(C,)``.
        count: their number; where there are none, nothing is learnt.
    """
    if not tracks_statistics(norm):
        return
    norm.num_batches_tracked.add_(1)
    momentum: Tensor | float = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    kind = norm.running_mean.dtype
    if isinstance(count, Tensor):
        momentum = momentum * (count > 0).to(kind)
        var = var * count / (count - 1).clamp(min=1)
    else:
        var = var * (count / (count - 1))
    norm.running_mean.lerp_(mean.to(kind), momentum)
    norm.running_var.lerp_(var.to(kind), momentum)


def affine_of(norm: BatchNorm, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of batch norm with these statistics."""
    scale = torch.rsqrt(var + norm.eps)
    if norm.weight is None:
        return scale, -mean * scale
    scale = scale * norm.weight
    return scale, torch.addcmul(norm.bias, mean, scale, value=-1)
