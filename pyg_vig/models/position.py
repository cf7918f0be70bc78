"""Position terms: a learned vector per patch, and a fixed value per pair of patches."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from weakref import WeakValueDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_vig.graph import Layout


class AbsolutePosition(nn.Module):
    """Learned position vectors, one per patch, added after the stem.

    For images of another size, the table is resized (bicubic); the published code accepts only the size it was built
    for.

    Args:
        channels: width of the nodes.
        height: height of the grid in patches.
        width: width of the grid in patches.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, height, width, channels))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Add the vectors to nodes on one grid or on several."""
        if layout.grid is not None:
            table = self._resized_to(layout.grid)
            return (x.view(layout.num_graphs, *table.shape[1:]) + table).view_as(x)
        if layout.grids is None:
            raise ValueError(
                "absolute positions need the grid of every graph: set 'grid' on each Data (as ImageToGraph does), or "
                "build the network with position=False"
            )
        return x + torch.cat([self._resized_to(grid)[0] for grid in layout.grids])

    def _resized_to(self, grid: tuple[int, int]) -> Tensor:
        table = resize_position_embedding(self.weight, grid)
        return table.reshape(1, -1, table.size(-1))


def resize_position_embedding(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize position vectors ``(1, H, W, C)`` to another grid by bicubic interpolation."""
    if tuple(table.shape[1:3]) == grid:
        return table
    resized = F.interpolate(table.permute(0, 3, 1, 2), grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


class RelativePosition(nn.Module):
    r"""Fixed term that Pyramid ViG adds to the distances between patches, from the similarity of their positions:

    .. math::
        B = - \frac{2}{C} \, P P^\top

    where :math:`P` is the 2-D sine-cosine position table. With pooled neighbours, the columns of :math:`B` are resized
    (bicubic) to the number of pooled patches. As in the published code, this interpolates along the *flattened* list of
    patches, which differs from pooling the grid.

    Args:
        channels: width :math:`C` of the position table; must be divisible by 4.
        size: side of the (square) grid in patches.
        reduction: side of the windows that pool the neighbours.

    Shapes:
        - **output**: ``(n_dst, n_src)``, to be added to the squared distances
    """

    table: Tensor

    def __init__(self, channels: int, size: int, reduction: int = 1) -> None:
        super().__init__()
        self.reduction = reduction
        self.register_buffer("table", _relative_table(channels, size, reduction).clone())
        self._resized: tuple[object, Tensor] | None = None

    def forward(self, layout: Layout) -> Tensor:
        """Return the term for nodes on the grid of ``layout``."""
        pooled = layout.pooled(self.reduction)
        shape = (layout.nodes_per_graph, pooled.nodes_per_graph)
        if tuple(self.table.shape) == shape:
            return self.table
        if torch.compiler.is_compiling() or self.table.is_inference():  # no _version to check
            return _resize(self.table, shape)
        key = (shape, self.table.dtype, self.table.device, self.table.data_ptr(), self.table._version)
        if self._resized is None or self._resized[0] != key:  # resize once per size, not per batch
            self._resized = (key, _resize_shared(self.table, shape))
        return self._resized[1]


@lru_cache(maxsize=8)  # shared by the blocks of a stage
def _relative_table(channels: int, size: int, reduction: int) -> Tensor:
    if channels % 4:
        raise ValueError(f"channels must be divisible by 4 for sine-cosine positions, got {channels}")
    encoding = _sine_cosine(channels, size)
    similarity = torch.from_numpy((2 * encoding @ encoding.T / channels).astype(np.float32))
    return -_resize(similarity, (size**2, size**2 // reduction**2))


# The blocks of a stage have equal tables. For large images, a resized copy for each would take gigabytes.
_resized_tables: WeakValueDictionary[object, Tensor] = WeakValueDictionary()


def _resize_shared(table: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize the table, or return the result of another block with an equal one."""
    if table.is_meta or torch._C._len_torch_dispatch_stack():  # no values to compare
        return _resize(table, shape)
    content = table.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    key = (shape, tuple(table.shape), table.dtype, table.device, hashlib.sha256(content).digest())
    resized = _resized_tables.get(key)
    if resized is None:
        resized = _resized_tables[key] = _resize(table, shape)
    return resized


def _sine_cosine(channels: int, size: int) -> np.ndarray:
    """Return a table ``(size * size, channels)``: sines and cosines of the column, then those of the row."""
    frequencies = 1 / 10000 ** (np.arange(channels // 4, dtype=np.float64) / (channels / 4))
    angles = np.arange(size, dtype=np.float64)[:, None] * frequencies
    encoding = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (size, channels / 2)
    rows, columns = np.divmod(np.arange(size**2), size)
    return np.concatenate([encoding[columns], encoding[rows]], axis=1)


def _resize(table: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(table.shape) == shape:
        return table
    return F.interpolate(table[None, None], shape, mode="bicubic", align_corners=False)[0, 0]
