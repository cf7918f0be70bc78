"""Convert an image to a graph of its patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from pyg_vig.graph import GraphSpec, Layout, graph_resolver
from pyg_vig.graph.adjacency import plain_edge_index
from pyg_vig.transforms.images import read_sample

_COMPARE_ATTRIBUTES = {"pixels": "x", "pos": "pos"}


class ImageToGraph(BaseTransform):
    r"""Converts an image to a graph of its patches.

    An image, or a pair ``(image, label)``, becomes a :class:`~torch_geometric.data.Data` with

    - **x**: the pixels of every patch, ``(H_p W_p, C p_h p_w)``, channel by channel and row by row, like a flattened
      convolution weight: a convolution whose kernel and stride are the patch size equals a linear layer on ``x``
    - **pos**: centres of the patches in pixels, ``(x, y)`` with x to the right and y downwards; the centre of the first
      pixel is ``(0.5, 0.5)``
    - **grid**: ``[[H_p, W_p]]``, which PyG batches to ``(B, 2)``
    - **edge_index**: ``(2, E)``, sorted by destination
    - **y**: the label, with a leading dimension of 1

    Patches are in row-major order. A ``Data`` is accepted too: its ``image``, or else its ``x`` of shape ``(C, H, W)``,
    is replaced by the above; other attributes are kept. (PyG's ``Compose`` applies a transform to each element of a
    pair, so give it ``Data(image=..., y=...)``.)

    Args:
        patch_size: side of the square patches in pixels, or ``(height, width)``.
        graph: ``"knn"``, ``"grid"`` (8 neighbours), any other name or builder that
            :func:`~pyg_vig.graph.graph_resolver` accepts, or ``None`` for no edges.
        k: number of neighbours per patch, including the patch itself, for ``"knn"``.
        compare: what nearest neighbours are searched by, for ``"knn"``: ``"pixels"`` (``x``) or ``"pos"``.
        cosine: use cosine similarity instead of Euclidean distance, for ``"knn"``.
        pad: repeat the last pixels to the right and below, up to whole patches, instead of raising an error.

    Raises:
        ValueError: if the image does not divide into patches, has fewer than ``k`` patches, or is not an image.

    Example:
        >>> import torch
        >>> from pyg_vig.transforms import ImageToGraph
        >>> ImageToGraph(patch_size=16, k=9)((torch.rand(3, 64, 96), 7))
        Data(y=[1], x=[24, 768], pos=[24, 2], grid=[1, 2], edge_index=[2, 216])
    """

    def __init__(
        self,
        patch_size: int | tuple[int, int] = 16,
        graph: GraphSpec | None = "knn",
        k: int = 9,
        *,
        compare: str = "pixels",
        cosine: bool = False,
        pad: bool = False,
    ) -> None:
        self.patch_size = (patch_size, patch_size) if isinstance(patch_size, int | np.integer) else tuple(patch_size)
        if len(self.patch_size) != 2 or min(self.patch_size) < 1:
            raise ValueError(f"patch_size must be a positive integer or a pair of them, got {patch_size!r}")
        if compare not in _COMPARE_ATTRIBUTES:
            raise ValueError(f"compare must be 'pixels' or 'pos', got {compare!r}")
        self.graph = graph
        self.k = k
        self.compare = compare
        self.cosine = cosine
        self.pad = pad
        self.builder = None if graph is None else graph_resolver(graph, k=k, cosine=cosine)

    def __repr__(self) -> str:
        options = f"patch_size={self.patch_size}, graph={self.graph!r}, k={self.k}, compare={self.compare!r}"
        return f"{type(self).__name__}({options}, cosine={self.cosine}, pad={self.pad})"

    def forward(self, data: Any) -> Data:
        """Convert an image, or a sample that contains one, to a graph."""
        image, graph = read_sample(data)
        image = self._pad_to_patches(image)
        (height, width), channels = self.patch_size, image.size(0)
        patches = image.unfold(1, height, height).unfold(2, width, width)  # (C, H_p, W_p, p_h, p_w)
        rows, columns = patches.shape[1:3]
        graph.x = patches.permute(1, 2, 0, 3, 4).reshape(rows * columns, channels * height * width)
        graph.pos = _patch_centers(rows, columns, height, width).to(graph.x)
        graph.grid = torch.tensor([[rows, columns]])
        if self.builder is not None:
            adjacency = self.builder(graph[_COMPARE_ATTRIBUTES[self.compare]], Layout.from_grid(1, rows, columns))
            # A plain tensor, because every PyG transform takes it and torch.load(weights_only=True) reads it.
            graph.edge_index = plain_edge_index(adjacency)
        return graph

    def _pad_to_patches(self, image: Tensor) -> Tensor:
        size, patch = image.shape[1:], self.patch_size
        padding = [-pixels % side for pixels, side in zip(size, patch, strict=True)]
        if not any(padding):
            return image
        if not self.pad:
            raise ValueError(
                f"an image of {size[0]} x {size[1]} pixels does not divide into patches of {patch[0]} x {patch[1]}: "
                f"resize or pad it to {size[0] + padding[0]} x {size[1] + padding[1]}, or use pad=True"
            )
        return F.pad(image.unsqueeze(0), (0, padding[1], 0, padding[0]), mode="replicate")[0]


def _patch_centers(rows: int, columns: int, height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack([x * width, y * height], dim=-1).view(-1, 2)
