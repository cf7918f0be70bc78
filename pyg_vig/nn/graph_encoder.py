"""The blocks of the image networks applied to point clouds and generic graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import JumpingKnowledge, MessagePassing
from torch_geometric.utils import is_sparse

from pyg_vig.graph import GraphSpec, Layout, graph_resolver
from pyg_vig.graph.given import check_edge_attr, sorted_with_attr
from pyg_vig.nn.conv import ConvSpec
from pyg_vig.nn.grapher import ViGBlock
from pyg_vig.nn.hooks import needs_messages
from pyg_vig.nn.linear import LinearNorm

POOLS = ("mean", "max", "sum", None)


class GraphEncoder(nn.Module):
    r"""The blocks of vision GNNs on any graph: linear layer, :class:`~pyg_vig.nn.ViGBlock`\ s, pooling, linear layer.

    The graph is either given (``encoder(x, edge_index)``) or built in every block from its input features
    (``encoder(x, batch=batch)``), as in `"Dynamic Graph CNN" <https://arxiv.org/abs/1801.07829>`_. In evaluation mode,
    a batch of graphs gives the same outputs as its graphs one by one.

    Args:
        in_channels: number of input channels per node.
        hidden: number of channels per node in the blocks.
        out_channels: number of outputs per graph, or per node without ``pool``.
        depth: number of blocks.
        conv: see :func:`~pyg_vig.nn.conv_resolver`.
        graph: how to build the graph if no ``edge_index`` is given: ``"knn"``, a module
            ``(x, layout) -> adjacency`` or a factory for one; ``"given"`` to require an ``edge_index``.
        k: number of neighbours per node, including the node itself, for ``"knn"``.
        dilation: take every ``dilation``-th of the nearest neighbours, for ``"knn"`` (lowered in graphs that have too
            few nodes).
        dilated: increase the dilation by one every four blocks, as ViG does.
        cosine: use cosine similarity, as ViG does, instead of Euclidean distance, for ``"knn"``.
        epsilon: probability, in training, of choosing neighbours at random among the nearest, for ``"knn"``.
        graph_kwargs: further arguments of the graph builder's constructor, such as ``{"loop": False}``.
        rebuild_every: number of consecutive blocks that share a graph.
        heads: groups of the update layer, for this package's convs.
        pool: ``"mean"``, ``"max"`` or ``"sum"`` for one row per graph (a graph without nodes pools to zeros), ``None``
            for one row per node.
        jumping: ``None``, or how the outputs of all blocks are combined: ``"cat"``, ``"max"`` or ``"lstm"`` (see
            :class:`~torch_geometric.nn.models.JumpingKnowledge`).
        act: activation.
        norm: norm of the first layer and of the convs, ``"batch"``, ``"layer"`` or ``None``. (Inside the blocks, the
            linear layers of ``fc`` and ``ffn`` have batch norm in any case.)
        drop_rate: dropout before the last layer.
        drop_path_rate: probability of dropping a branch of the last block for a graph; rises linearly with depth.
        edge_dim: number of edge features, for convs that take them.
        conv_kwargs: further arguments of the conv's constructor.
        **block: further arguments of :class:`~pyg_vig.nn.ViGBlock`, such as ``ffn=False`` or ``fc=False``; not
            ``position`` and ``reduction``, which are for image patches only.

    Shapes:
        - **x**: node features ``(N, in_channels)``, one graph after the other
        - **edge_index**: ``(2, E)`` int64, or a sparse ``adj_t`` ``(N, N)`` with one row per destination
        - **edge_attr**: ``(E, edge_dim)``, or ``(E,)`` for a single feature
        - **batch**: graph index of every node ``(N,)``, sorted
        - **output**: ``(B, out_channels)`` with ``pool``, else ``(N, out_channels)``

    Raises:
        ValueError: for options or inputs that do not fit together, and if ``k`` exceeds the nodes of a graph.

    Example:
        >>> import torch
        >>> from pyg_vig.nn import GraphEncoder
        >>> encoder = GraphEncoder(3, 32, 10, k=8)
        >>> encoder(torch.rand(50, 3), batch=torch.tensor([0] * 20 + [1] * 30)).shape  # a batch of two point clouds
        torch.Size([2, 10])
        >>> encoder = GraphEncoder(3, 32, 10, pool=None)
        >>> encoder(torch.rand(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape  # a graph with given edges
        torch.Size([4, 10])
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 4,
        conv: ConvSpec = "max_relative",
        graph: GraphSpec = "knn",
        k: int = 9,
        dilation: int = 1,
        dilated: bool = False,
        cosine: bool = False,
        epsilon: float = 0.0,
        graph_kwargs: dict[str, Any] | None = None,
        rebuild_every: int = 1,
        heads: int = 1,
        pool: str | None = "mean",
        jumping: str | None = None,
        act: str | nn.Module | None = "gelu",
        norm: str | None = "batch",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        edge_dim: int | None = None,
        conv_kwargs: dict[str, Any] | None = None,
        **block: Any,
    ) -> None:
        super().__init__()
        if depth < 1 or rebuild_every < 1:
            raise ValueError(f"depth and rebuild_every must be at least 1, got {depth} and {rebuild_every}")
        if pool not in POOLS:
            raise ValueError(f"pool must be 'mean', 'max', 'sum' or None, got {pool!r}")
        if jumping not in (None, "cat", "max", "lstm"):
            raise ValueError(f"jumping must be 'cat', 'max', 'lstm' or None, got {jumping!r}")
        if unsupported := {"position", "reduction"} & block.keys():
            names = ", ".join(sorted(unsupported))
            raise ValueError(f"GraphEncoder takes no options for image patches, got {names}: remove them")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.rebuild_every = rebuild_every
        self.pool = pool
        self.edge_dim = edge_dim
        self.embed = LinearNorm(in_channels, hidden, norm=norm)
        knn = {"k": k, "cosine": cosine, "epsilon": epsilon}
        self.graphs = nn.ModuleList(
            graph_resolver(graph, graph_kwargs=graph_kwargs, dilation=dilation + (i // 4 if dilated else 0), **knn)
            for i in range(0, depth, rebuild_every)
        )
        options = {"heads": heads, "norm": norm, "edge_dim": edge_dim, "conv_kwargs": conv_kwargs} | block
        self.blocks = nn.ModuleList(
            ViGBlock(hidden, conv=conv, graph="given", act=act, drop_path=rate, **options)
            for rate in torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        )
        self.jump = None if jumping is None else JumpingKnowledge(jumping, hidden, depth)
        width = hidden * depth if jumping == "cat" else hidden
        self.head = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(width, out_channels))

    def reset_parameters(self) -> None:
        """Reset all learnable parameters."""
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if module is not self and callable(reset):
                reset()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Encode one graph, or a batch of graphs.

        Args:
            x: node features.
            edge_index: edges of all graphs; if given, no graph is built.
            edge_attr: features of the edges.
            batch: graph index of every node (PyG's batch vector).
            batch_size: number of graphs; required if the last graphs have no nodes. Without ``batch``, the nodes form
                this many graphs of equal size.
        """
        self._check_inputs(x, edge_index, edge_attr, batch)
        layout = _make_layout(x, batch, batch_size)
        if edge_index is not None:
            layout = self._add_edges(layout, edge_index, edge_attr)
        x = self._forward_blocks(self.embed(x), layout)
        return self.head(x if self.pool is None else layout.pool(x, self.pool))

    def _forward_blocks(self, x: Tensor, layout: Layout) -> Tensor:
        outputs, build_graphs = [], layout.edge_index is None
        for i, block in enumerate(self.blocks):
            if build_graphs and i % self.rebuild_every == 0:
                layout = layout.with_edges(self.graphs[i // self.rebuild_every](x, layout))
            x = block(x, layout)
            outputs.append(x)
        return x if self.jump is None else self.jump(outputs)

    def _add_edges(self, layout: Layout, edge_index: Tensor, edge_attr: Tensor | None) -> Layout:
        """Sort the edges once for all blocks, unless a compiled region (no ``EdgeIndex``) or an explainer (whose masks
        and hooks follow the given order) needs them as they are.
        """
        keep_order = any(needs_messages(module) for module in self.modules() if isinstance(module, MessagePassing))
        if torch.compiler.is_compiling() or keep_order:
            return layout.with_edges(edge_index, edge_attr)
        return layout.with_edges(*sorted_with_attr(edge_index, edge_attr, layout.num_nodes))

    def _check_inputs(
        self, x: Tensor, edge_index: Tensor | None, edge_attr: Tensor | None, batch: Tensor | None
    ) -> None:
        if not isinstance(x, Tensor):
            raise ValueError(f"x must be a tensor, got {type(x).__name__}: pass data.x, data.edge_index etc.")
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(f"x must have shape (N, {self.in_channels}), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}: use x.float()")
        for name, other in (("edge_index", edge_index), ("edge_attr", edge_attr), ("batch", batch)):
            if other is not None and other.device != x.device:
                raise ValueError(
                    f"x and {name} must be on the same device, got {x.device} and {other.device}: move one of them"
                )
        if edge_attr is not None and (edge_index is None or is_sparse(edge_index)):
            got = "none" if edge_index is None else "a sparse matrix"
            raise ValueError(f"edge_attr needs an edge_index of shape (2, E), got {got}: pass the edge_index as well")
        check_edge_attr(edge_attr, 0 if edge_index is None else edge_index.size(-1), self.edge_dim)


def _make_layout(x: Tensor, batch: Tensor | None, batch_size: int | None) -> Layout:
    if batch is None:
        num_graphs = 1 if batch_size is None else batch_size
        if num_graphs < 1 or x.size(0) % num_graphs:
            raise ValueError(
                f"{x.size(0)} nodes cannot be divided into {num_graphs} graphs of equal size: pass the batch vector"
            )
        return Layout.from_equal(num_graphs, x.size(0) // num_graphs)
    if batch.dim() == 1 and batch.size(0) != x.size(0):
        raise ValueError(f"batch must have an entry for each of the {x.size(0)} nodes, got {batch.size(0)} entries")
    return Layout.from_batch(batch, batch_size)
