"""The k smallest entries of every row: how neighbours are chosen among distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyg_vig import native

_MOST = 1024  # of more the kernel's ranking, which compares all with all, would be slow


def smallest(
    product: Tensor,
    k: int,
    *,
    factor: float = 1.0,
    base: Tensor | None = None,
    bias: Tensor | None = None,
    diagonal: int = 0,
    own: float = math.nan,
) -> Tensor:
    r"""Columns of the ``k`` smallest distances of every row, in increasing order.

    The distance is :math:`f P_{bij} + a_{bj} + B_{ij}`. A kernel in C reads the products once; where it does not serve
    (:mod:`pyg_vig.native`; other types than float32), distances are written out and :func:`torch.topk` chooses.

    Args:
        product: :math:`P`, ``(B, N, M)``.
        k: columns wanted.
        factor: :math:`f`.
        base: :math:`a`, ``(B, M)``.
        bias: :math:`B`, ``(N, M)``.
        diagonal: column that stands for the first row itself; one further for every row.
        own: distance of a row to itself, in place of what the formula says; by default the formula holds.

    Returns:
        ``(B, N, k)`` int64. Of equal distances the kernel takes the lower column first.

    Example:
        >>> import torch
        >>> from pyg_vig.graph.nearest import smallest
        >>> smallest(torch.tensor([[[3.0, 1.0, 2.0]]]), 2)
        tensor([[[1, 2]]])
    """
    if product.device.type != "cpu" or torch.compiler.is_exporting():
        return _plainly(product, k, factor, base, bias, diagonal, own)
    choose = torch.ops.pyg_vig.smallest if torch.compiler.is_compiling() else _choose
    return choose(product, k, factor, base, bias, diagonal, own)


def _choose(
    product: Tensor, k: int, factor: float, base: Tensor | None, bias: Tensor | None, diagonal: int, own: float
) -> Tensor:
    if product.dtype == torch.float32 and k <= _MOST and native.serves(product):
        return native.smallest(product, k, factor, base, bias, diagonal, own)
    return _plainly(product, k, factor, base, bias, diagonal, own)


torch.library.define(  # for compilers; by hand, since `custom_op` adds tens of microseconds to a call
    "pyg_vig::smallest",
    "(Tensor product, SymInt k, float factor, Tensor? base, Tensor? bias, SymInt diagonal, float own) -> Tensor",
)
torch.library.impl("pyg_vig::smallest", "CPU", _choose)


@torch.library.register_fake("pyg_vig::smallest")
def _(
    product: Tensor, k: int, factor: float, base: Tensor | None, bias: Tensor | None, diagonal: int, own: float
) -> Tensor:
    return product.new_empty((*product.shape[:-1], k), dtype=torch.int64)


def _plainly(
    product: Tensor, k: int, factor: float, base: Tensor | None, bias: Tensor | None, diagonal: int, own: float
) -> Tensor:
    distance = product if factor == 1 else product * factor
    for start in (None if base is None else base.unsqueeze(1), bias):
        distance = distance if start is None else distance + start
    if not math.isnan(own):
        row, column = (torch.arange(size, device=distance.device) for size in distance.shape[1:])
        distance = distance.masked_fill(row.unsqueeze(1) + diagonal == column, own)
    return distance.topk(k, dim=-1, largest=False, sorted=True).indices
