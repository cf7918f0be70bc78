"""Feature diversity: how much the nodes of an image differ from each other (figure 3 of "Vision GNN")."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout
from pyg_vig.models import VisionGNN


def diversity(x: Tensor, layout: Layout | None = None, *, relative: bool = False) -> Tensor:
    r"""Distance of the node features of every graph from a matrix whose rows are all equal:

    .. math::
        \| X - \mathbf{1} \bar x^\top \|_{1,\infty}, \qquad \| A \|_{1,\infty} = \sqrt{\| A \|_1 \| A \|_\infty}

    with the norm of `"Attention is not all you need" <https://arxiv.org/abs/2103.03404>`_, which
    `"Vision GNN" <https://arxiv.org/abs/2206.00272>`_ adopts: :math:`\| A \|_1` is the largest column sum of
    absolute values, :math:`\| A \|_\infty` the largest row sum. Both papers use the row :math:`\bar x` that minimises
    the distance, for which there is no closed form. This function uses the median of every channel, which minimises the
    first factor; the value is an upper bound of theirs.

    Args:
        x: node features ``(N, C)``.
        layout: how the nodes group into graphs of equal size; one graph by default.
        relative: divide by :math:`\| X \|_{1,\infty}`, so that networks of different scales can be compared.

    Returns:
        One value per graph, ``(B,)``.

    Example:
        >>> import torch
        >>> from pyg_vig.analysis import diversity
        >>> diversity(torch.tensor([[1.0], [1.0], [5.0]])).tolist()  # column sum 4, largest row sum 4
        [4.0]
        >>> diversity(torch.ones(4, 8)).tolist()
        [0.0]
    """
    layout = layout or Layout.from_equal(1, x.size(0))
    graphs = x.detach().view(layout.num_graphs, layout.nodes_per_graph, -1)
    distance = _one_inf_norm(graphs - graphs.median(1, keepdim=True).values)
    return distance / _one_inf_norm(graphs) if relative else distance


@torch.no_grad()
def diversity_by_block(model: VisionGNN, images: Tensor, *, relative: bool = False) -> Tensor:
    """Compute the :func:`diversity` of the nodes before the first block and after every block.

    A network in training mode uses batch statistics, without which untrained networks are not comparable. The network
    is not changed.

    Args:
        model: the network.
        images: input of the network, ``(B, C, H, W)``.
        relative: see :func:`diversity`.

    Returns:
        ``(1 + blocks, B)``.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.analysis import diversity_by_block
        >>> diversity_by_block(pyg_vig.create_model("vig_nano"), torch.rand(2, 3, 32, 32)).shape
        torch.Size([7, 2])
    """
    values: list[Tensor] = []

    def record(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        if not values:
            values.append(diversity(*arguments[:2], relative=relative))
        values.append(diversity(output, arguments[1], relative=relative))

    model = copy.deepcopy(model)  # a forward pass in training mode updates running statistics
    for block in model.blocks:
        block.register_forward_hook(record)
    model(images)
    return torch.stack(values)


def _one_inf_norm(x: Tensor) -> Tensor:
    x = x.abs()
    return (x.sum(-2).amax(-1) * x.sum(-1).amax(-1)).sqrt()
