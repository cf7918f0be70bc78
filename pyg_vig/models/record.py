"""The graph of every block, and what its conv was called on, without a change to the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyg_vig.graph import Layout, as_edge_index
from pyg_vig.models.evaluating import evaluating
from pyg_vig.nn import ExternalConv, Grapher


class RecordedGraphs(list[Tensor]):
    """``edge_index`` of every block, in the order of the forward pass.

    Attributes:
        layouts: how the destination nodes of each graph group into images, ``(B, H, W)`` grids for instance.
        source_layouts: the same for the source nodes; coarser than ``layouts`` where neighbours are pooled.
        names: the module name of the Grapher behind each graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layouts: list[Layout] = []
        self.source_layouts: list[Layout] = []
        self.names: list[str] = []

    def clear(self) -> None:
        """Forget all graphs, for the next forward pass."""
        super().clear()
        for entries in (self.layouts, self.source_layouts, self.names):
            entries.clear()


@contextmanager
def record_graphs(model: nn.Module) -> Iterator[RecordedGraphs]:
    """Record the ``edge_index`` of every block of every forward pass inside the context.

    A compiled network runs uncompiled there.

    Args:
        model: any module with :class:`~pyg_vig.nn.Grapher` modules inside.

    Yields:
        A list that grows by one ``edge_index`` ``(2, E)`` a block: source row first, nearest neighbour first.

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
    graphers = graphers_of(model)
    if not graphers:
        raise ValueError(f"{type(model).__name__} has no Grapher, so there is no graph to record")
    recorded = RecordedGraphs()
    current: list[str] = []

    def enter(name: str) -> Any:
        return lambda module, args: current.append(name)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        current.pop()

    def keep(module: nn.Module, args: tuple[Any, Any], adjacency: Any) -> None:
        source, destination = args[1] if isinstance(args[1], tuple) else (args[1], args[1])
        recorded.append(as_edge_index(adjacency))
        recorded.layouts.append(destination)
        recorded.source_layouts.append(source)
        recorded.names.append(current[-1])

    builders = {id(module.graph): module.graph for module in graphers.values()}  # several blocks may share one
    handles = [builder.register_forward_hook(keep) for builder in builders.values()]
    for name, module in graphers.items():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        with torch.compiler.set_stance("force_eager"):  # code compiled before calls no hook
            yield recorded
    finally:
        for handle in handles:
            handle.remove()


def graphers_of(model: nn.Module) -> dict[str, Grapher]:
    """The Grapher of every block, by its module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Grapher)}


def convs_of(model: nn.Module) -> dict[str, nn.Module]:
    """The conv of every block, ours or PyG's own, by the name of its Grapher."""
    convs = {name: grapher.conv for name, grapher in graphers_of(model).items()}
    return {name: conv.conv if isinstance(conv, ExternalConv) else conv for name, conv in convs.items()}


class RecordedBlock(NamedTuple):
    """The graph of a block, and what its conv was called on.

    Attributes:
        name: module name of the Grapher.
        edge_index: ``(2, E)``, source row first, nearest neighbour first.
        layout: how the destination nodes group into images.
        source_layout: the same for the source nodes; coarser where neighbours are pooled.
        conv: ours, or PyG's own.
        arguments: what the conv was called on: nodes, graph, and features of the edges if there are any.
    """

    name: str
    edge_index: Tensor
    layout: Layout
    source_layout: Layout
    conv: nn.Module
    arguments: tuple[Any, ...]


@contextmanager
def recorded_blocks(model: nn.Module, images: Tensor) -> Iterator[list[RecordedBlock]]:
    """Every block of a forward pass, in order; inside the context the network stays in evaluation mode.

    Args:
        model: any network with :class:`~pyg_vig.nn.Grapher` modules inside.
        images: as the network takes them.

    Raises:
        ValueError: if the model has no Grapher.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.models.record import recorded_blocks
        >>> with recorded_blocks(pyg_vig.create_model("vig_nano"), torch.rand(1, 3, 32, 32)) as blocks:
        ...     [type(block.conv).__name__ for block in blocks[:2]]
        ['MaxRelativeConv', 'MaxRelativeConv']
    """
    with evaluating(model):
        with record_graphs(model) as graphs, _recorded_calls(model) as calls:
            model(images)
        entries = zip(graphs.names, graphs, graphs.layouts, graphs.source_layouts, strict=True)
        yield [
            RecordedBlock(name, edge_index, layout, source_layout, *calls[name])
            for name, edge_index, layout, source_layout in entries
        ]


@contextmanager
def _recorded_calls(model: nn.Module) -> Iterator[dict[str, tuple[nn.Module, tuple[Any, ...]]]]:
    """Every conv and the arguments of its last call, by the name of its Grapher."""
    calls: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {}

    def keep(name: str) -> Any:
        return lambda conv, arguments: calls.update({name: (conv, arguments)})

    handles = [conv.register_forward_pre_hook(keep(name)) for name, conv in convs_of(model).items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
