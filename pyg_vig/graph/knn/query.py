"""What a search for nearest neighbours is asked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pyg_vig.graph.layout import Layout


@dataclass(frozen=True)
class Query:
    """The ``count`` nearest sources of every destination of the same graph.

    Attributes:
        src: sources ``(N_src, C)``.
        dst: destinations ``(N_dst, C)``; the same object where nodes look for each other.
        layout_src: graphs of the sources.
        layout_dst: graphs of the destinations.
        count: neighbours asked for, as many as the smallest graph has.
        loop: ``True``: a node is its own first neighbour; ``False``: it is none; ``None``: it is like others.
        bias: added to the squared distance, ``(n_dst, n_src)``, where graphs are of equal size.
        cosine: compare directions instead of Euclidean distances.
    """

    src: Tensor
    dst: Tensor
    layout_src: Layout
    layout_dst: Layout
    count: int
    loop: bool | None
    bias: Tensor | None
    cosine: bool
