"""Build a graph convolution from a name, a class or a factory, and check that it fits."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
import torch_geometric.nn.conv as pyg_convs
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing

from pyg_vig.graph import Adjacency, NeighborTable, as_edge_index
from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.conv.cross_attention_conv import CrossAttentionConv
from pyg_vig.nn.conv.edge_conv import EdgeConv
from pyg_vig.nn.conv.gin_conv import GINConv
from pyg_vig.nn.conv.max_relative_conv import MaxRelativeConv, ReverseMaxRelativeConv
from pyg_vig.nn.conv.neighbor_conv import NeighborConv, NodeFeatures
from pyg_vig.nn.conv.sage_conv import SAGEConv
from pyg_vig.nn.norm import norm_resolver

ConvSpec = str | type[nn.Module] | Callable[[int, int], nn.Module]

CONVS: dict[str, type[NeighborConv]] = {
    "max_relative": MaxRelativeConv,
    "reverse_max_relative": ReverseMaxRelativeConv,
    "edge": EdgeConv,
    "sage": SAGEConv,
    "gin": GINConv,
    "cross_attention": CrossAttentionConv,
}
_OWN_CONVS = tuple(CONVS.values())  # and their subclasses: they apply norm and activation themselves
_ALIASES = {"mr": "max_relative"}


class ExternalConv(nn.Module):
    """Wraps a PyG conv (or your own): passes it an ``edge_index``, then applies norm and activation.

    Args:
        conv: any module callable as ``conv(x, edge_index)``; a :class:`NeighborConv` also gets neighbour tables. Edge
            features are passed as its ``edge_attr`` or ``edge_weight``.
        channels: width of the conv's output.
        norm: norm after the conv, ``"batch"``, ``"layer"`` or ``None``.
        act: activation after the norm.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import GCNConv
        >>> from pyg_vig.graph import NeighborTable
        >>> from pyg_vig.nn import ExternalConv
        >>> conv = ExternalConv(GCNConv(4, 8), 8, norm="batch", act="gelu")
        >>> conv(torch.rand(3, 4), NeighborTable(torch.tensor([[1], [2], [0]]), num_src=3)).shape
        torch.Size([3, 8])
    """

    def __init__(self, conv: nn.Module, channels: int, norm: str | None = None, act: str | nn.Module | None = None):
        super().__init__()
        self.conv = conv
        self.norm = norm_resolver(norm, channels)
        self.act = activation_resolver(act)

    def forward(self, x: NodeFeatures, edge_index: Adjacency, edge_attr: Tensor | None = None) -> Tensor:
        """Apply the conv, the norm and the activation."""
        edge_kwargs = {} if edge_attr is None else _edge_kwargs(self.conv, edge_attr)
        return self.act(self.norm(self.conv(x, _adjacency_for(self.conv, edge_index), **edge_kwargs)))


def conv_resolver(
    query: ConvSpec,
    in_channels: int,
    out_channels: int,
    *,
    bipartite: bool = False,
    heads: int = 1,
    norm: str | None = None,
    act: str | nn.Module | None = "gelu",
    bias: bool = True,
    edge_dim: int | None = None,
    conv_kwargs: dict[str, Any] | None = None,
) -> nn.Module:
    """Build a graph convolution ``conv(x, edge_index)`` from a name, class or factory, and run it once as a check.

    Args:
        query: one of this package's convs by name (``"max_relative"`` or ``"mr"``, ``"reverse_max_relative"``,
            ``"edge"``, ``"sage"``, ``"gin"``, ``"cross_attention"``), a PyG conv by class name (``"GATv2Conv"``), a
            class, or a factory ``(in_channels, out_channels) -> module``.
        in_channels: width of the input nodes.
        out_channels: width of the output nodes.
        bipartite: whether the conv will be called with a pair ``(x_src, x_dst)`` (pooled neighbours).
        heads: groups of the update layer of this package's convs. Not passed to other convs: set their heads in a
            factory.
        norm: norm of this package's convs; appended to others. (If a factory returns one of this package's convs, that
            keeps its own.)
        act: activation, treated like the norm.
        bias: whether this package's convs have biases.
        edge_dim: width of the edge features that the conv will get; passed to constructors that take it.
        conv_kwargs: further arguments of the conv's constructor, under its own names (``{"heads": 2}`` gives
            ``"cross_attention"`` two attention heads).

    Raises:
        ValueError: for an unknown name, edge features with a conv that takes none, or a conv that does not map
            ``(N, in_channels)`` and an ``edge_index`` to ``(N, out_channels)``; the message says what happened instead.

    Example:
        >>> from pyg_vig.nn import conv_resolver
        >>> conv_resolver("GATv2Conv", 16, 32).conv
        GATv2Conv(16, 32, heads=1)
    """
    (name, build), conv_kwargs = _resolve(query), conv_kwargs or {}
    is_own = isinstance(build, type) and issubclass(build, _OWN_CONVS)
    if is_own:
        groups = "update_heads" if "update_heads" in _parameter_names(build) else "heads"
        conv_kwargs = {groups: heads, "norm": norm, "act": act, "bias": bias} | conv_kwargs
    if edge_dim is not None and "edge_dim" in _parameter_names(build):
        conv_kwargs = {"edge_dim": edge_dim} | conv_kwargs
    try:
        conv = build(in_channels, out_channels, **conv_kwargs)
    except Exception as error:
        reason = re.sub(r"^_\w+\.__init__\(\) ", "", _error_text(error))  # a private base class, unknown to users
        message = f"{name} cannot be built as conv({in_channels}, {out_channels}): {reason}"
        raise ValueError(message if is_own else f"{message}. {_FACTORY_HINT}") from error
    if not isinstance(conv, nn.Module):
        raise ValueError(f"{name} must return a torch.nn.Module, got {type(conv).__name__}")
    if bipartite:
        _disable_self_loops(conv)
    if edge_dim is not None and not _edge_feature_names(conv):
        raise ValueError(
            f"{name} takes no edge features (got edge_dim={edge_dim}): choose a conv that does, e.g. 'GATv2Conv'"
        )
    if build not in _OWN_CONVS:
        _dry_run(name, conv, in_channels, out_channels, bipartite, edge_dim)
    return conv if isinstance(conv, _OWN_CONVS) else ExternalConv(conv, out_channels, norm, act)


_FACTORY_HINT = "Give a factory instead, e.g. conv=lambda i, o: GATConv(i, o, heads=4, concat=False)."


def _resolve(query: ConvSpec) -> tuple[str, Callable[..., nn.Module]]:
    if not isinstance(query, str):
        if not callable(query) or isinstance(query, nn.Module):
            raise ValueError(f"conv must be a name, class or factory (each block builds its own conv), got {query!r}")
        return getattr(query, "__name__", repr(query)), query
    name = _ALIASES.get(query, query)
    if name in CONVS:
        return name, CONVS[name]
    cls = getattr(pyg_convs, name, None)
    if isinstance(cls, type) and issubclass(cls, MessagePassing):
        return f"PyG's {name}", cls
    raise ValueError(
        f"unknown conv {query!r}: choose one of {', '.join(CONVS)}, or a PyG class name such as 'GATv2Conv'"
    )


def _adjacency_for(conv: nn.Module, adjacency: Adjacency) -> Adjacency:
    """Return a plain tensor for PyG's convs: they gain nothing from an ``EdgeIndex``, and some fail on it in training
    (SuperGATConv, for one).
    """
    if isinstance(conv, NeighborConv):
        return adjacency
    edge_index = as_edge_index(adjacency)
    return edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index


def _disable_self_loops(conv: nn.Module) -> None:
    """Disable self-loops: PyG's attention convs link node i to source i, which is another node among pooled sources."""
    for module in conv.modules():
        if getattr(module, "add_self_loops", False):
            setattr(module, "add_self_loops", False)  # noqa: B010 (type checkers do not know the attribute)


def _error_text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parameter_names(build: Callable[..., object]) -> set[str]:
    try:
        return set(inspect.signature(build).parameters) if isinstance(build, type) else set()
    except ValueError:
        return set()


def _edge_feature_names(conv: nn.Module) -> list[str]:
    """Arguments of the conv's ``forward`` that take edge features."""
    return [name for name in ("edge_attr", "edge_weight") if name in inspect.signature(conv.forward).parameters]


def _edge_kwargs(conv: nn.Module, edge_attr: Tensor) -> dict[str, Tensor]:
    name = _edge_feature_names(conv)[0]
    if name == "edge_attr":
        return {name: edge_attr}
    if edge_attr.numel() != edge_attr.size(0):
        raise ValueError(f"{conv} takes edge weights of shape (E,) or (E, 1), got shape {tuple(edge_attr.shape)}")
    return {name: edge_attr.flatten()}


@torch.no_grad()
def _dry_run(
    name: str, conv: nn.Module, in_channels: int, out_channels: int, bipartite: bool, edge_dim: int | None
) -> None:
    """Run a copy of the conv once on a tiny graph, so that the conv, its caches and counters, and the random state stay
    unchanged. (A lazy conv, whose widths are set by its first call, gets the initialised parameters of the copy.)
    """
    table = NeighborTable(torch.tensor([[0, 1], [1, 2], [2, 0], [0, 2]]), num_src=3 if bipartite else 4)
    x = torch.linspace(-1, 1, 4 * in_channels).view(4, in_channels)
    if any(value.is_meta for value in (*conv.parameters(), *conv.buffers())):
        return
    lazy = any(is_lazy(value) for value in (*conv.parameters(), *conv.buffers()))
    try:
        trial = copy.deepcopy(conv).eval()
        with torch.random.fork_rng(devices=[], enabled=not lazy):
            edge_kwargs = {} if edge_dim is None else _edge_kwargs(conv, torch.ones(8, edge_dim))
            out = trial((x[:3], x) if bipartite else x, _adjacency_for(conv, table), **edge_kwargs)
    except Exception as error:
        call = "a pair (x_src, x_dst), as pooled neighbours need," if bipartite else "x"
        reason = _error_text(error)
        raise ValueError(f"{name} cannot be called with {call} and edge_index: {reason}. {_FACTORY_HINT}") from error
    if not isinstance(out, Tensor) or out.shape != (4, out_channels):
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"{name} must map (4, {in_channels}) to (4, {out_channels}), but returned {got}. {_FACTORY_HINT}"
        )
    if lazy:
        conv.load_state_dict(trial.state_dict())
