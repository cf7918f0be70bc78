"""Stems, which turn images into nodes: convolutional stem and patch embedding."""

from __future__ import annotations

from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_vig.graph import Layout, to_nodes
from pyg_vig.graph.given import check_edge_attr, sorted_with_attr
from pyg_vig.graph.layout import channels_last
from pyg_vig.nn.activation import activation_resolver
from pyg_vig.nn.grid import ConvNorm


class ConvStem(nn.Module):
    """Overlapping stride-2 convolutions, up to a total stride of ``stride``, then (with ``refine``) one of stride 1.

    Args:
        in_channels: channels of the image.
        channels: width of the nodes.
        stride: side of a node in pixels, a power of two; the layer widths double up to ``channels``.
        act: activation after every stride-2 convolution.
        refine: whether to append a convolution of stride 1 without activation.

    Raises:
        ValueError: if the stride is not a power of two, or ``channels`` is not divisible by half of it.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, act: str, *, refine: bool = True) -> None:
        super().__init__()
        halvings = stride.bit_length() - 1
        if stride < 2 or stride != 1 << halvings:
            raise ValueError(f"the stride of a convolutional stem (patch_size) must be a power of two, got {stride}")
        widths = [channels >> (halvings - 1 - i) for i in range(halvings)]
        if widths[0] << (halvings - 1) != channels:
            raise ValueError(f"channels must be divisible by {stride // 2} for stride {stride}, got {channels}")
        sizes = [in_channels, *widths]
        self.convs = nn.ModuleList(ConvNorm(a, b, stride=2) for a, b in zip(sizes, widths, strict=False))
        if refine:
            self.convs.append(ConvNorm(channels, channels))
        self.acts = nn.ModuleList(activation_resolver(act) for _ in range(halvings))
        self.in_channels = in_channels

    def forward(self, images: Tensor) -> tuple[Tensor, Layout]:
        """Turn images ``(B, C, H, W)`` into nodes on a grid."""
        _check_images(images, self.in_channels, "convolutional")
        x = channels_last(images)
        for conv, act in zip_longest(self.convs, self.acts):
            x = conv(x, act)
        return to_nodes(x)


class PatchStem(nn.Module):
    """A linear layer applied to every patch of images, or of PyG batches whose nodes are patches.

    Args:
        in_channels: channels of the image.
        channels: width of the nodes.
        patch_size: side of a patch in pixels.
        edge_dim: width of the ``edge_attr`` of the PyG graphs; ``None`` ignores ``edge_attr``.

    Shapes:
        - **input**: images ``(B, in_channels, H, W)`` with H and W multiples of ``patch_size``, or a PyG
          ``Data`` / ``Batch`` with ``x`` of shape ``(N, in_channels * patch_size ** 2)`` (see
          :class:`~pyg_vig.transforms.ImageToGraph`)
        - **output**: node matrix ``(N, channels)`` and layout
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, edge_dim: int | None = None) -> None:
        super().__init__()
        self.edge_dim = edge_dim
        self.in_channels = in_channels
        self.patch_size = patch_size
        self.linear = nn.Linear(in_channels * patch_size**2, channels)

    def forward(self, images: Tensor | Data) -> tuple[Tensor, Layout]:
        """Embed every patch."""
        x, layout = self._from_graph(images) if isinstance(images, Data) else self._from_images(images)
        return self.linear(x), layout

    def _from_images(self, images: Tensor) -> tuple[Tensor, Layout]:
        _check_images(images, self.in_channels, "patch")
        if images.size(2) % self.patch_size or images.size(3) % self.patch_size:
            raise ValueError(
                f"image sizes must be multiples of patch_size={self.patch_size}, got {images.size(2)} x "
                f"{images.size(3)}: resize or pad the images"
            )
        return to_nodes(F.pixel_unshuffle(images, self.patch_size))  # channels in the order (C, row, column)

    def _from_graph(self, data: Data) -> tuple[Tensor, Layout]:
        if data.x is None or data.x.dim() != 2 or data.x.size(1) != self.linear.in_features:
            shape = None if data.x is None else tuple(data.x.shape)
            raise ValueError(
                f"the patch stem needs x of shape (N, {self.in_channels} * {self.patch_size}^2 = "
                f"{self.linear.in_features}), got {shape}: use ImageToGraph(patch_size={self.patch_size})"
            )
        for name in ("edge_index", "batch"):
            if data.get(name) is not None and data[name].device != data.x.device:
                raise ValueError(f"x is on {data.x.device} but {name} on {data[name].device}: use data.to(device)")
        batch = data.batch if data.batch is not None else data.x.new_zeros(data.x.size(0), dtype=torch.int64)
        layout = Layout.from_batch(batch, getattr(data, "num_graphs", None) if data.batch is not None else 1)
        grids = data.get("grid")
        if grids is not None:
            layout = layout.with_grids([(int(h), int(w)) for h, w in grids.view(-1, 2).tolist()])
        if data.edge_index is not None:
            edge_attr = data.edge_attr if self.edge_dim is not None else None
            check_edge_attr(edge_attr, data.edge_index.size(1), self.edge_dim)
            layout = layout.with_edges(*sorted_with_attr(data.edge_index, edge_attr, data.x.size(0)))
        return data.x, layout


def _check_images(images: Tensor, channels: int, stem: str) -> None:
    if isinstance(images, Data):
        raise ValueError(
            f"a {stem} stem takes images (B, C, H, W), not PyG graphs: build the network with stem='patch'"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point and normalised, got {images.dtype}: see preprocessing.transform_for"
        )
    if images.dim() != 4 or images.size(1) != channels:
        raise ValueError(
            f"expected images of shape (B, {channels}, H, W), got {tuple(images.shape)}: add the batch dimension, or "
            f"build the network with in_channels={images.size(-3) if images.dim() > 2 else '...'}"
        )
