"""The structure shared by all networks: stem, stages of blocks and head, with timm's methods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_vig.graph import Layout, to_map, to_nodes
from pyg_vig.models.config import ModelConfig
from pyg_vig.models.grad_checkpointing import checkpoint_module
from pyg_vig.models.head import Head
from pyg_vig.models.initialize import initialize


class Stage(nn.Module):
    """Blocks of the same width and resolution, preceded by an optional downsampling.

    Args:
        blocks: modules ``(x, layout) -> x``.
        channels: width of the nodes.
        stride: side of a node in pixels.
        downsample: module ``(x, layout) -> (x, layout)`` applied before the blocks.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], channels: int, stride: int, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.channels = channels
        self.stride = stride
        self.grad_checkpointing: bool = False

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Apply the downsampling, if any, and the blocks."""
        if self.downsample is not None:
            x, layout = self.downsample(x, layout)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint_module(block, x, layout)
            else:
                x = block(x, layout)
        return x, layout


class VisionGNN(nn.Module):
    """A vision GNN assembled from its parts. Build one with :func:`pyg_vig.create_model`.

    Args:
        config: configuration of the network.
        stem: module ``images -> (x, layout)``.
        stages: the stages, in order.
        position: module ``(x, layout) -> x`` applied after the stem.

    Shapes:
        - **images**: ``(B, in_channels, H, W)``, or a PyG ``Data`` / ``Batch`` of patches if the stem accepts one
        - **output**: scores ``(B, num_classes)``

    Example:
        >>> import pyg_vig, torch
        >>> model = pyg_vig.create_model("vig_nano", channels=32).eval()
        >>> model.forward_features(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 32, 8, 8])
    """

    def __init__(
        self, config: ModelConfig, stem: nn.Module, stages: Sequence[Stage], position: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.stem = stem
        self.position = position
        self.stages = cast("Sequence[Stage]", nn.ModuleList(stages))
        self.num_features = stages[-1].channels
        self.num_classes = config.num_classes
        self.head = Head(
            self.num_features,
            config.head_channels,
            config.num_classes,
            config.act,
            config.drop_rate,
            config.distilled,
        )
        self.head_hidden_size = config.head_channels
        initialize(self)

    @property
    def blocks(self) -> Iterator[nn.Module]:
        """All blocks of all stages, in order."""
        return (block for stage in self.stages for block in stage.blocks)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels, stride and module name of each stage's output (timm's format)."""
        return [
            {"num_chs": stage.channels, "reduction": stage.stride, "module": f"stages.{i}"}
            for i, stage in enumerate(self.stages)
        ]

    def forward(self, images: Tensor | Data) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the class scores of every image."""
        x, layout = self.encode(images)
        return self.head(layout.pool(x))

    def encode(self, images: Tensor | Data) -> tuple[Tensor, Layout]:
        """Return the nodes after the last stage and their layout."""
        x, layout = self._embed(images)
        for stage in self.stages:
            x, layout = stage(x, layout)
        return x, layout

    def forward_features(self, images: Tensor | Data) -> Tensor:
        """Return the last feature map ``(B, C, H, W)``, or for a PyG batch the node matrix ``(N, C)``."""
        x, layout = self.encode(images)
        return to_map(x, layout) if layout.grid is not None else x

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Compute scores, or with ``pre_logits`` the head's hidden features, from a feature map ``(B, C, H, W)``."""
        x, layout = to_nodes(features)
        return self.head(layout.pool(x), pre_logits)

    def forward_intermediates(
        self,
        images: Tensor | Data,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the feature map after the last stage and those after selected stages (timm's method).

        Args:
            images: input as for :meth:`forward`.
            indices: stages whose maps to return; negative indices count from the end, an integer n means the last n
                stages. All by default.
            norm: has no effect, as no norm follows the stages.
            stop_early: skip the stages after the last selected one.
            output_fmt: ``"NCHW"``.
            intermediates_only: return only the list.

        Returns:
            The last map ``(B, C, H, W)`` and the list of selected maps ``(B, C_i, H_i, W_i)``.

        Raises:
            ValueError: if a stage does not exist, or for another format.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        selected = stage_indices("indices", indices, len(self.stages))
        x, layout = self._embed(images)
        maps = []
        for i, stage in enumerate(self.stages[: selected[-1] + 1] if stop_early else self.stages):
            x, layout = stage(x, layout)
            if i in selected:
                maps.append(to_map(x, layout))
        return maps if intermediates_only else (to_map(x, layout), maps)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the modules that :meth:`forward_intermediates` does not need for these stages (timm's method).

        Args:
            indices: stages whose maps are needed, in the same format.
            prune_norm: has no effect, as no norm follows the stages.
            prune_head: remove the head as well; :meth:`forward` then returns the mean over the nodes.

        Returns:
            The indices of the selected stages, in ascending order.

        Raises:
            ValueError: if a stage does not exist.
        """
        selected = stage_indices("indices", indices, len(self.stages))
        self.stages = self.stages[: selected[-1] + 1]
        if prune_head:
            self.head = cast("Head", nn.Identity())
        return selected

    def get_classifier(self) -> nn.Module:
        """Return the classifier of the head."""
        return self.head.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one for ``num_classes`` classes (0: none), with its device and dtype.

        Args:
            num_classes: width of the output.
            global_pool: ``"avg"`` or ``None``, which mean the same; part of timm's interface.

        Raises:
            ValueError: if ``num_classes`` is negative, or for another pooling.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(f"global_pool must be 'avg' or None (the mean over the nodes), got {global_pool!r}")
        self.config = replace(self.config, num_classes=num_classes, classes=None)
        self.num_classes = num_classes
        self.head.reset(num_classes)
        for classifier in (self.head.classifier, self.head.distillation_classifier):
            if classifier is not None:
                initialize(classifier)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return parameter groups for layer-wise learning rates (timm's format)."""
        per_block = [(r"^stages\.(\d+)\.blocks\.(\d+)", None), (r"^stages\.(\d+)\.downsample", (-1,))]
        return {"stem": r"^(?:stem|position)", "blocks": r"^stages\.(\d+)" if coarse else per_block}

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay: none, as the published recipe decays positions too."""
        return set()

    def fuse(self) -> VisionGNN:
        """Return an equivalent inference copy without gradients, with norms and scales folded into preceding layers."""
        fused = copy.deepcopy(self).eval()
        for module in list(fused.modules()):  # a list, as folding replaces norms
            for name in ("fold_norm", "fold_layer_scale"):
                fold: Callable[[], None] | None = getattr(module, name, None)
                if fold is not None:
                    fold()
        return fused.requires_grad_(False)

    def _embed(self, images: Tensor | Data) -> tuple[Tensor, Layout]:
        x, layout = self.stem(images)
        return (x if self.position is None else self.position(x, layout)), layout


class FeatureExtractor(nn.Module):
    """Wrapper that returns the feature maps of selected stages (timm's ``features_only``).

    Args:
        model: the network, which is left unchanged; its stages up to the last selected one are shared with the wrapper.
        out_indices: stages to return; negative indices count from the end, an integer n means the last n stages. All
            by default.

    Raises:
        ValueError: if a stage does not exist.

    Example:
        >>> import pyg_vig, torch
        >>> model = pyg_vig.create_model("vig_nano", channels=32, features_only=True, out_indices=(0, -1)).eval()
        >>> [tuple(m.shape) for m in model(torch.rand(1, 3, 32, 32))]
        [(1, 32, 8, 8), (1, 32, 8, 8)]
    """

    def __init__(self, model: VisionGNN, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        selected = stage_indices("out_indices", out_indices, len(model.stages))
        self.model = copy.copy(model)
        self.model._modules = model._modules.copy()  # otherwise pruning would change the original, too
        self.out_indices = self.model.prune_intermediate_layers(selected)
        self.feature_info = [model.feature_info[i] for i in self.out_indices]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the feature maps ``(B, C_i, H_i, W_i)`` of the selected stages."""
        maps = self.model.forward_intermediates(images, self.out_indices, intermediates_only=True)
        return cast("list[Tensor]", maps)


def stage_indices(name: str, indices: int | Sequence[int] | None, count: int) -> list[int]:
    """Return the selected indices below ``count``, ascending; an integer n selects the last n stages, ``None`` all.

    Raises:
        ValueError: if a stage does not exist or none is selected; the message calls the argument ``name``.
    """
    if indices is None:
        return list(range(count))
    selected = list(range(-indices, 0) if isinstance(indices, int) else indices)
    if not selected or any(not -count <= i < count for i in selected):
        raise ValueError(f"{name} must contain at least one stage, each in [-{count}, {count - 1}], got {indices!r}")
    return sorted({i % count for i in selected})
