"""The Grapher: a graph convolution between two linear layers, and the block that pairs it with an FFN."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.graph import GraphSpec, Layout, graph_resolver, to_map, to_nodes
from pyg_vig.nn.conv import ConvSpec, conv_resolver
from pyg_vig.nn.drop_path import DropPath
from pyg_vig.nn.ffn import FFN
from pyg_vig.nn.grid import ConditionalPosition
from pyg_vig.nn.layer_scale import LayerScale
from pyg_vig.nn.linear import LinearNorm
from pyg_vig.nn.rematerialize import save_recipe
from pyg_vig.nn.residual import ResidualBranch


class Grapher(ResidualBranch):
    r"""Graph convolution with a residual connection (`"Vision GNN" <https://arxiv.org/abs/2206.00272>`_, equation 4):

    .. math::
        Y = \operatorname{conv}(X W_{\text{in}}) \, W_{\text{out}} + X

    with batch norm after both products. The graph is built by :attr:`graph` from :math:`X W_{\text{in}}`, so a forward
    hook on that module sees it. With ``reduction`` :math:`r`, neighbours are taken from the :math:`r \times r`
    average-pooled nodes of the same image (Pyramid ViG).

    Args:
        channels: number of channels per node.
        conv: see :func:`~pyg_vig.nn.conv_resolver`; it maps ``channels`` to ``expansion`` times as many.
        graph: ``"knn"``, ``"grid"``, ``"svga"``, ``"dagc"``, ``"given"``, a module ``(x, layout) -> adjacency``, or a
            factory for one. The class :class:`~pyg_vig.graph.KNNGraph` is equivalent to ``"knn"``.
        k: number of neighbours per node, for ``"knn"``.
        dilation: take every ``dilation``-th of the nearest neighbours, for ``"knn"``.
        cosine: use cosine similarity instead of Euclidean distance, for ``"knn"``.
        epsilon: probability, in training, of choosing neighbours at random among the nearest, for ``"knn"``.
        position: module ``layout -> bias`` whose output is added to the squared distances, for ``"knn"``.
        reduction: side of the pooling windows.
        heads: groups of the conv's update layer.
        norm: norm of the conv, ``"batch"``, ``"layer"`` or ``None``.
        act: activation of the conv.
        bias: whether the conv has biases.
        fc: whether to put linear layers around the conv; without them it maps ``channels`` to ``channels``.
        expansion: output channels of the conv as a multiple of ``channels``, with ``fc``.
        position_kernel: kernel size of a preceding conditional position encoding (0: none), for nodes on a grid only.
        layer_scale: initial value of a learned per-channel scale of the branch; ``None`` for no scale.
        drop_path: probability of dropping the branch for a graph.
        edge_dim: number of edge features in the layouts, for convs that take them.
        conv_kwargs: further arguments of the conv's constructor.
        graph_kwargs: further arguments of the graph builder's constructor, such as ``{"step": 4}`` for ``"svga"``.

    Shapes:
        - **x**: ``(N, channels)``; **output**: the same

    Example:
        >>> import torch
        >>> from pyg_vig.nn import Grapher
        >>> Grapher(16, k=4)(torch.rand(10, 16)).shape
        torch.Size([10, 16])
    """

    def __init__(
        self,
        channels: int,
        *,
        conv: ConvSpec = "max_relative",
        graph: GraphSpec = "knn",
        k: int = 9,
        dilation: int = 1,
        cosine: bool = True,
        epsilon: float = 0.0,
        position: nn.Module | None = None,
        reduction: int = 1,
        heads: int = 4,
        norm: str | None = "batch",
        act: str | nn.Module | None = "gelu",
        bias: bool = True,
        fc: bool = True,
        expansion: int = 2,
        position_kernel: int = 0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        edge_dim: int | None = None,
        conv_kwargs: dict[str, Any] | None = None,
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        inner = expansion * channels if fc else channels
        self.encode_position = ConditionalPosition(channels, position_kernel) if position_kernel else None
        self.fc1: nn.Module = LinearNorm(channels, channels) if fc else nn.Identity()
        knn = {"k": k, "dilation": dilation, "cosine": cosine, "epsilon": epsilon, "position": position}
        self.graph = graph_resolver(graph, graph_kwargs=graph_kwargs, **knn)
        self.conv = conv_resolver(
            conv,
            channels,
            inner,
            bipartite=reduction > 1,
            heads=heads,
            norm=norm,
            act=act,
            bias=bias,
            edge_dim=edge_dim,
            conv_kwargs=conv_kwargs,
        )
        self.fc2: nn.Module = LinearNorm(inner, channels) if fc else nn.Identity()
        self.layer_scale: nn.Module = nn.Identity() if layer_scale is None else LayerScale(channels, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Apply the module; without a layout, all nodes form one graph."""
        layout = layout or Layout.from_equal(1, x.size(0))
        shortcut = x
        if self.encode_position is not None:
            x = self.encode_position(x, layout)
        x = self.fc1(x)
        nodes, layouts = self._pool_neighbors(x, layout)
        adjacency = self.graph(nodes, layouts)
        edge_kwargs = {} if layout.edge_attr is None else {"edge_attr": layout.edge_attr}
        x = self.conv(nodes, adjacency, **edge_kwargs)
        return self._add_branch(shortcut, x, layout)

    @property
    def _last_layer(self) -> nn.Module:
        return self.fc2

    def _pool_neighbors(self, x: Tensor, layout: Layout) -> tuple[Any, Any]:
        """Return the nodes, or if neighbours are pooled, the pair of pooled nodes and nodes, and the layouts alike."""
        if self.reduction == 1:
            return x, layout
        pooled_layout = layout.pooled(self.reduction)
        nodes = to_map(x, layout)
        pooled, _ = to_nodes(save_recipe(nodes, F.avg_pool2d(nodes, self.reduction, self.reduction), "self"))
        return (pooled, x), (pooled_layout, layout)


class ViGBlock(nn.Module):
    """A :class:`Grapher` followed by an :class:`~pyg_vig.nn.FFN`.

    Args:
        channels: number of channels per node.
        ffn: whether to append the FFN.
        act: activation of both modules.
        layer_scale: initial value of a learned per-channel scale of each branch; ``None`` for no scale.
        drop_path: probability of dropping each branch for a graph.
        **grapher: arguments of :class:`Grapher`.

    Shapes:
        - **x**: ``(N, channels)``; **output**: the same

    Example:
        >>> import torch
        >>> from pyg_vig.nn import ViGBlock
        >>> ViGBlock(16, conv="edge", k=4)(torch.rand(10, 16)).shape
        torch.Size([10, 16])
    """

    def __init__(
        self,
        channels: int,
        *,
        ffn: bool = True,
        act: str | nn.Module | None = "gelu",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        **grapher: Any,
    ) -> None:
        super().__init__()
        self.grapher = Grapher(channels, act=act, layer_scale=layer_scale, drop_path=drop_path, **grapher)
        self.ffn = FFN(channels, act=act, layer_scale=layer_scale, drop_path=drop_path) if ffn else None

    def forward(self, x: Tensor, layout: Layout | None = None) -> Tensor:
        """Apply the block; without a layout, all nodes form one graph."""
        layout = layout or Layout.from_equal(1, x.size(0))
        x = self.grapher(x, layout)
        return x if self.ffn is None else self.ffn(x, layout)
