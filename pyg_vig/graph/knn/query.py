"""Parameters of a nearest-neighbour search."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pyg_vig.graph.layout import Layout


@dataclass(frozen=True)
class Query:
    """Search for the ``count`` nearest sources of every destination in the same graph.

    Attributes:
        src: sources ``(N_src, C)``.
        dst: destinations ``(N_dst, C)``; the same object as ``src`` for neighbours within one node set.
        layout_src: graphs of the sources.
        layout_dst: graphs of the destinations.
        count: number of neighbours, at most the size of the smallest graph.
        loop: ``True``: a node is its own first neighbour; ``False``: never its own neighbour; ``None``: no exception.
        bias: added to the squared distance, ``(n_dst, n_src)``, for graphs of equal size.
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
