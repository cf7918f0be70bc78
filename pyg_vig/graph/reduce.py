"""Reduce node rows over neighbours without storing a row per edge.

On a CPU, ``neighbor_max`` is a C kernel (:mod:`pyg_vig.native`), and ``neighbor_sum`` and ``neighbor_dot`` run as an
embedding bag and as ``torch.sparse.sampled_addmm``, all fused. On a GPU they are Triton kernels
(:mod:`pyg_vig.graph.operators`). On accelerators without Triton, in exported models, and (except the maximum) inside
a compiled region on a CPU, they fall back to gather and reduce. The maximum and the sum over a
:class:`~pyg_vig.graph.CrissCross` graph reduce its cliques instead.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import segment

from pyg_vig import triton_kernels
from pyg_vig.graph import operators
from pyg_vig.graph.adjacency import Adjacency, NeighborTable, to_csr
from pyg_vig.graph.criss_cross import CrissCross, clique_max, clique_max_with_grad, clique_sum
from pyg_vig.kernels import is_exporting, is_transform_active

with warnings.catch_warnings():  # torch warns once per process that CSR tensors are in beta; users cannot act on it
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))


def neighbor_max(x: Tensor, adjacency: Adjacency) -> Tensor:
    r"""Elementwise maximum over the neighbours' rows, :math:`\max_{j \in \mathcal{N}(i)} x_j`; zero without neighbours.

    Args:
        x: source node matrix, ``(N_src, C)``.
        adjacency: a :class:`~pyg_vig.graph.NeighborTable`, a sorted ``EdgeIndex`` or a sparse ``adj_t``.

    Returns:
        ``(N_dst, C)``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, neighbor_max
        >>> table = NeighborTable(torch.tensor([[0, 1], [1, 2]]), num_src=3)
        >>> neighbor_max(torch.tensor([[1.0], [5.0], [2.0]]), table)
        tensor([[5.],
                [5.]])
    """
    if x.dim() != 2:
        raise ValueError(f"x must be a node matrix (N_src, C), got {tuple(x.shape)}")
    if isinstance(adjacency, NeighborTable) and adjacency.k == 0:
        return x.new_zeros(adjacency.num_dst, x.size(1))
    needs_grad = x.requires_grad and torch.is_grad_enabled()
    if isinstance(adjacency, CrissCross) and needs_fallback(x):
        return clique_max_with_grad(x.contiguous(), adjacency)
    if isinstance(adjacency, CrissCross) and not needs_grad:
        return clique_max(x.contiguous(), adjacency)
    if needs_fallback(x, operator_exists=True) and not triton_kernels.is_supported(x):
        if isinstance(adjacency, NeighborTable):
            return _gather(x, adjacency).amax(1)
        ptr, src = to_csr(adjacency)
        return segment(x.index_select(0, src), ptr, "max")
    if torch.compiler.is_compiling():
        return operators.neighbor_max(x, *_edge_arguments(adjacency), return_argmax=needs_grad)[0]
    if needs_grad:
        return operators.NeighborMax.apply(x, *_edge_arguments(adjacency))
    return operators.gather_max(x, *_edge_arguments(adjacency), return_argmax=False)[0]


def neighbor_sum(x: Tensor, adjacency: Adjacency, weight: Tensor | None = None) -> Tensor:
    r"""(Weighted) sum of the neighbours' rows, :math:`\sum_{j \in \mathcal{N}(i)} w_{ij} x_j`.

    Args:
        x: source node matrix, ``(N_src, C)``, or with heads, ``(N_src, H, C / H)``.
        adjacency: a :class:`~pyg_vig.graph.NeighborTable`, a sorted ``EdgeIndex`` or a sparse ``adj_t``.
        weight: one weight per edge, ``(E,)`` in the adjacency's order (``(N_dst, k)`` for a table), or with heads,
            ``(E, H)``.

    Returns:
        ``(N_dst, C)``, or ``(N_dst, H, C / H)``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, neighbor_sum
        >>> table = NeighborTable(torch.tensor([[0, 1], [1, 2]]), num_src=3)
        >>> neighbor_sum(torch.tensor([[1.0], [5.0], [2.0]]), table)
        tensor([[6.],
                [7.]])
    """
    if isinstance(adjacency, NeighborTable) and adjacency.k == 0:
        return x.new_zeros(adjacency.num_dst, *x.shape[1:])
    if x.dim() == 3:
        return _sum_by_head(x, adjacency, weight)
    if x.dim() != 2:
        raise ValueError(f"x must be a node matrix (N_src, C), or (N_src, H, C / H) by head, got {tuple(x.shape)}")
    if isinstance(adjacency, CrissCross) and weight is None:
        return clique_sum(x.contiguous(), adjacency)
    if triton_kernels.is_supported(x):
        return operators.neighbor_sum(x, *_edge_arguments(adjacency), None if weight is None else weight.reshape(-1, 1))
    weight = None if weight is None else weight.to(x.dtype)
    if isinstance(adjacency, NeighborTable) and needs_fallback(x):
        rows = _gather(x, adjacency)  # (N_dst, k, C)
        return rows.sum(1) if weight is None else (rows * weight.view(-1, adjacency.k, 1)).sum(1)
    if is_transform_active():
        return operators.sum_fallback(x, *_edge_arguments(adjacency), None if weight is None else weight.reshape(-1, 1))
    weight = None if weight is None else weight.flatten()
    return (_NeighborSum.apply if _has_sparse_products(x) else _embedding_bag_sum)(x, weight, adjacency)


def neighbor_dot(x_dst: Tensor, x_src: Tensor, adjacency: Adjacency) -> Tensor:
    r"""Inner product of every destination's row with each of its neighbours' rows, :math:`\langle x_i, y_j \rangle`.

    Args:
        x_dst: destination node matrix, ``(N_dst, C)``, or with heads, ``(N_dst, H, C / H)``.
        x_src: source node matrix, ``(N_src, C)``, or with heads, ``(N_src, H, C / H)``.
        adjacency: a :class:`~pyg_vig.graph.NeighborTable`, a sorted ``EdgeIndex`` or a sparse ``adj_t``.

    Returns:
        ``(E,)`` in the adjacency's order, or with heads, ``(E, H)``.

    Example:
        >>> import torch
        >>> from pyg_vig.graph import NeighborTable, neighbor_dot
        >>> table = NeighborTable(torch.tensor([[0, 1], [1, 2]]), num_src=3)
        >>> neighbor_dot(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [5.0], [2.0]]), table)
        tensor([ 1.,  5., 10.,  4.])
    """
    if x_dst.dim() == 3:
        return _dot_by_head(x_dst, x_src, adjacency)
    if triton_kernels.is_supported(x_dst):
        src, ptr, _ = _edge_arguments(adjacency)
        return operators.neighbor_dot(x_dst, x_src, src, ptr, 1).flatten()
    if isinstance(adjacency, NeighborTable) and needs_fallback(x_dst):
        return (x_dst.unsqueeze(1) * _gather(x_src, adjacency)).sum(-1).flatten()
    if not _has_sparse_products(x_dst):
        ptr, src = to_csr(adjacency)
        return (x_dst.repeat_interleave(ptr.diff(), 0) * x_src.index_select(0, src)).sum(-1)
    return _NeighborDot.apply(x_dst, x_src, adjacency)


def needs_fallback(x: Tensor, *, operator_exists: bool = False) -> bool:
    """Whether reductions of ``x`` must be plain tensor operations: on accelerators, while compiling and in transforms.

    Args:
        x: the tensor to reduce.
        operator_exists: whether the faster path is a registered operator, which can be compiled, but not exported.
    """
    if x.device.type != "cpu" or is_exporting() or is_transform_active():
        return True
    return torch.compiler.is_compiling() and not operator_exists


def _edge_arguments(adjacency: Adjacency) -> tuple[Tensor, Tensor | None, int]:
    """The graph as arguments of :mod:`pyg_vig.graph.operators`: ``src``, ``ptr`` (``None`` for tables), ``num_dst``."""
    if isinstance(adjacency, NeighborTable):
        return adjacency.index.reshape(-1), None, adjacency.num_dst
    ptr, src = to_csr(adjacency)
    return src, ptr, ptr.numel() - 1


def _sum_by_head(x: Tensor, adjacency: Adjacency, weight: Tensor | None) -> Tensor:
    if weight is None:
        return neighbor_sum(x.flatten(1), adjacency).unflatten(1, x.shape[1:])
    if triton_kernels.is_supported(x):
        return operators.neighbor_sum(x.flatten(1), *_edge_arguments(adjacency), weight).unflatten(1, x.shape[1:])
    pairs = zip(x.unbind(1), weight.unbind(1), strict=True)
    return _stack([neighbor_sum(rows.contiguous(), adjacency, column) for rows, column in pairs])


def _dot_by_head(x_dst: Tensor, x_src: Tensor, adjacency: Adjacency) -> Tensor:
    if triton_kernels.is_supported(x_dst):
        src, ptr, _ = _edge_arguments(adjacency)
        return operators.neighbor_dot(x_dst.flatten(1), x_src.flatten(1), src, ptr, x_dst.size(1))
    pairs = zip(x_dst.unbind(1), x_src.unbind(1), strict=True)
    return _stack([neighbor_dot(left.contiguous(), right.contiguous(), adjacency) for left, right in pairs])


def _stack(parts: list[Tensor]) -> Tensor:
    """``torch.stack(parts, dim=1)``, but without the copy for a single head."""
    return parts[0].unsqueeze(1) if len(parts) == 1 else torch.stack(parts, dim=1)


def _gather(x: Tensor, table: NeighborTable) -> Tensor:
    return x.index_select(0, table.index.reshape(-1)).view(table.num_dst, table.k, x.size(1))


def _has_sparse_products(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not is_transform_active()


def _embedding_bag_sum(x: Tensor, weight: Tensor | None, adjacency: Adjacency) -> Tensor:
    if isinstance(adjacency, NeighborTable):
        weight = None if weight is None else weight.view_as(adjacency.index)
        return F.embedding_bag(adjacency.index, x, mode="sum", per_sample_weights=weight)
    ptr, src = to_csr(adjacency)
    return F.embedding_bag(src, x, ptr, mode="sum", per_sample_weights=weight, include_last_offset=True)


def _check_sources(src: Tensor, num_src: int) -> None:
    """Raise an IndexError for sources that the sparse product would read out of bounds; other reductions check."""
    if src.numel() and not 0 <= src.min() <= src.max() < num_src:
        num_invalid = int(((src < 0) | (src >= num_src)).sum())
        raise IndexError(
            f"edges must start at source nodes 0 to {num_src - 1}, but {num_invalid} of {src.numel()} do not"
        )


def _reversed_sum(x_dst: Tensor, adjacency: Adjacency, weight: Tensor | None, num_src: int) -> Tensor:
    """Weighted sum along the reversed edges, ``(N_dst, C) -> (N_src, C)``."""
    ptr, src = to_csr(adjacency)
    dst = operators.destinations(src, ptr, x_dst.size(0))
    weight = x_dst.new_ones(src.numel()) if weight is None else weight
    size = (num_src, x_dst.size(0))
    return torch.sparse.mm(
        torch.sparse_coo_tensor(torch.stack([src, dst]), weight, size, check_invariants=False), x_dst
    )


class _NeighborSum(torch.autograd.Function):
    """Sum over neighbours whose backward pass is faster than the embedding bag's, and differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, adjacency: Adjacency) -> Tensor:
        ctx.save_for_backward(x if weight is not None else None, weight)
        ctx.adjacency, ctx.num_src = adjacency, x.size(0)
        return _embedding_bag_sum(x, weight, adjacency)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), (needs_grad_x, needs_grad_weight, _) = ctx.saved_tensors, ctx.needs_input_grad
        grad = grad.contiguous()
        grad_x = _reversed_sum(grad, ctx.adjacency, weight, ctx.num_src) if needs_grad_x else None
        return grad_x, neighbor_dot(grad, x, ctx.adjacency) if needs_grad_weight else None, None


class _NeighborDot(torch.autograd.Function):
    """Inner products of pairs of rows, computed only where the adjacency has an edge."""

    @staticmethod
    def forward(ctx: Any, x_dst: Tensor, x_src: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.save_for_backward(x_dst, x_src)
        ctx.adjacency = adjacency
        ptr, src = to_csr(adjacency)
        size = (ptr.numel() - 1, x_src.size(0))
        _check_sources(src, x_src.size(0))
        pattern = torch.sparse_csr_tensor(ptr, src, x_dst.new_zeros(src.numel()), size, check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, x_dst, x_src.t(), beta=0.0).values()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x_dst, x_src), (needs_grad_dst, needs_grad_src, _) = ctx.saved_tensors, ctx.needs_input_grad
        grad_dst = neighbor_sum(x_src, ctx.adjacency, grad) if needs_grad_dst else None
        grad_src = _reversed_sum(x_dst, ctx.adjacency, grad, x_src.size(0)) if needs_grad_src else None
        return grad_dst, grad_src, None
