"""Batch norm over edges, without a row per edge."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyg_vig.graph.precision import as_float64, at_least_float32, without_autocast
from pyg_vig.nn.norm import BatchNorm, scale_and_shift, update_running_statistics


def weighted_statistics(x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of the rows if row ``i`` occurs ``count[i]`` times.

    Args:
        x: rows, ``(N, C)``.
        count: ``(N,)``.
    """
    with without_autocast(x.device):
        x = at_least_float32(x)
        share = count.to(x.dtype) / count.sum().clamp(min=1)
        mean = share @ x
        return mean, share @ (x - mean).square()


def edge_statistics(
    a: Tensor, b: Tensor, b_sum: Tensor, in_degree: Tensor, out_degree: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Mean and (biased) variance of :math:`z_{ij} = a_i + b_j` over all edges, from node-wise sums alone.

    With both parts centred, :math:`\operatorname{Var} z = (\sum_i d_i a_i^2 + \sum_j d'_j b_j^2 + 2 \sum_i a_i s_i)/E`
    where :math:`s_i = \sum_{j \in \mathcal{N}(i)} b_j`. Neighbours are similar, so these terms are large but their sum
    is small: they are computed in float64.

    Args:
        a: destination part ``(N_dst, C)``.
        b: source part ``(N_src, C)``, from :func:`~pyg_vig.graph.precision.as_float64`.
        b_sum: sum of ``b`` over the neighbours of every destination ``(N_dst, C)``.
        in_degree: number of neighbours of every destination ``(N_dst,)``.
        out_degree: how often every source is a neighbour ``(N_src,)``.
    """
    num_edges, dtype = in_degree.sum().clamp(min=1), at_least_float32(a).dtype
    a = as_float64(a)
    (mean_a, var_a), (mean_b, var_b) = weighted_statistics(a, in_degree), weighted_statistics(b, out_degree)
    b_sum = b_sum - in_degree.to(b.dtype).unsqueeze(1) * mean_b
    var = var_a + var_b + 2 * ((a - mean_a) * b_sum).sum(0) / num_edges
    return (mean_a + mean_b).to(dtype), var.clamp(min=0).to(dtype)


def training_scale_and_shift(norm: BatchNorm, mean: Tensor, var: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and shift that batch norm applies to a training batch with these statistics over ``count`` rows.

    The running statistics are updated as by the layer itself. A ``SyncBatchNorm`` combines the rows of all processes.
    """
    if isinstance(norm, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized():
        mean, var, count = _all_reduce_statistics(norm.process_group, mean, var, count)
    update_running_statistics(norm, mean, var, count)
    return scale_and_shift(norm, mean, var)


def apply_scale_and_shift(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift the rows, keeping their dtype."""
    return torch.addcmul(shift, x, scale).to(x.dtype)


def _all_reduce_statistics(
    group: dist.ProcessGroup | None, mean: Tensor, var: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from torch.distributed.nn.functional import all_reduce  # gradients flow through it

    dtype, count, mean, var = mean.dtype, as_float64(count).view(1), as_float64(mean), as_float64(var)
    sums = all_reduce(torch.cat([count, count * mean, count * (var + mean.square())]), group=group or dist.group.WORLD)
    total, first, second = sums.split([1, mean.numel(), mean.numel()])
    mean = first / total.clamp(min=1)
    var = (second / total.clamp(min=1) - mean.square()).clamp(min=0)
    return mean.to(dtype), var.to(dtype), total.to(dtype)
