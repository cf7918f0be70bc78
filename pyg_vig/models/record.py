"""Record the graph and the conv arguments of every block without modifying the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout, as_edge_index
from pyg_vig.models.eval_mode import eval_mode
from pyg_vig.nn import ExternalConv, Grapher


class RecordedGraphs(list[Tensor]):
    """``edge_index`` of every block, in the order of the forward pass.

    Attributes:
        layouts: how the destination nodes of each graph are grouped into images, for instance as ``(B, H, W)`` grids.
        source_layouts: the same for the source nodes; coarser than ``layouts`` if neighbours are pooled.
        names: module name of the Grapher that each graph belongs to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layouts: list[Layout] = []
        self.source_layouts: list[Layout] = []
        self.names: list[str] = []

    def clear(self) -> None:
        """Remove all graphs before the next forward pass."""
        super().clear()
        for entries in (self.layouts, self.source_layouts, self.names):
            entries.clear()


@contextmanager
def record_graphs(model: nn.Module) -> Iterator[RecordedGraphs]:
    """Record the ``edge_index`` of every block in every forward pass inside the context.

    Compiled networks run eagerly inside the context.

    Args:
        model: any module that contains :class:`~pyg_vig.nn.Grapher` modules.

    Yields:
        A list to which every block appends its ``edge_index`` ``(2, E)``, sources in the first row. In k-NN graphs, the
        edges of a node start with its nearest neighbour.

    Raises:
        ValueError: if the model has no Grapher.

    Example:
        >>> import pyg_vig, torch
        >>> model = pyg_vig.create_model("vig_nano").eval()
        >>> with pyg_vig.record_graphs(model) as graphs:
        ...     _ = model(torch.rand(1, 3, 32, 32))
        >>> len(graphs), graphs[0].shape
        (6, torch.Size([2, 384]))
    """
    graphers = find_graphers(model)
    if not graphers:
        raise ValueError(f"{type(model).__name__} has no Grapher, so there is no graph to record")
    recorded = RecordedGraphs()
    active: list[str] = []

    def enter(name: str) -> Any:
        return lambda module, args: active.append(name)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        active.pop()

    def record(module: nn.Module, args: tuple[Any, Any], adjacency: Any) -> None:
        source, destination = args[1] if isinstance(args[1], tuple) else (args[1], args[1])
        recorded.append(as_edge_index(adjacency))
        recorded.layouts.append(destination)
        recorded.source_layouts.append(source)
        recorded.names.append(active[-1])

    builders = {id(module.graph): module.graph for module in graphers.values()}  # blocks may share a builder
    handles = [builder.register_forward_hook(record) for builder in builders.values()]
    for name, module in graphers.items():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled code ignores new hooks
            yield recorded
    finally:
        for handle in handles:
            handle.remove()


def find_graphers(model: nn.Module) -> dict[str, Grapher]:
    """Return the Grapher of every block, keyed by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Grapher)}


def find_convs(model: nn.Module) -> dict[str, nn.Module]:
    """Return the conv of every block, ours or PyG's unwrapped, keyed by the module name of its Grapher."""
    convs = {name: grapher.conv for name, grapher in find_graphers(model).items()}
    return {name: conv.conv if isinstance(conv, ExternalConv) else conv for name, conv in convs.items()}


class RecordedBlock(NamedTuple):
    """The graph of a block and the arguments of its conv.

    Attributes:
        name: module name of the Grapher.
        edge_index: ``(2, E)``, source row first, nearest neighbour first.
        layout: how the destination nodes are grouped into images.
        source_layout: the same for the source nodes; coarser if neighbours are pooled.
        conv: the conv, ours or PyG's.
        arguments: arguments of the conv: nodes, graph, and edge features if there are any.
    """

    name: str
    edge_index: Tensor
    layout: Layout
    source_layout: Layout
    conv: nn.Module
    arguments: tuple[Any, ...]


@contextmanager
def record_blocks(model: nn.Module, images: Tensor) -> Iterator[list[RecordedBlock]]:
    """Record all blocks of a forward pass, in order; the network is in evaluation mode inside the context.

    Args:
        model: any network that contains :class:`~pyg_vig.nn.Grapher` modules.
        images: input of the network.

    Raises:
        ValueError: if the model has no Grapher.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.models.record import record_blocks
        >>> with record_blocks(pyg_vig.create_model("vig_nano"), torch.rand(1, 3, 32, 32)) as blocks:
        ...     [type(block.conv).__name__ for block in blocks[:2]]
        ['MaxRelativeConv', 'MaxRelativeConv']
    """
    with eval_mode(model):
        with record_graphs(model) as graphs, _record_conv_calls(model) as calls:
            model(images)
        entries = zip(graphs.names, graphs, graphs.layouts, graphs.source_layouts, strict=True)
        yield [
            RecordedBlock(name, edge_index, layout, source_layout, *calls[name])
            for name, edge_index, layout, source_layout in entries
        ]


@contextmanager
def _record_conv_calls(model: nn.Module) -> Iterator[dict[str, tuple[nn.Module, tuple[Any, ...]]]]:
    """Record every conv and the arguments of its last call, keyed by the module name of its Grapher."""
    calls: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {}

    def record(name: str) -> Any:
        return lambda conv, arguments: calls.update({name: (conv, arguments)})

    handles = [conv.register_forward_pre_hook(record(name)) for name, conv in find_convs(model).items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
