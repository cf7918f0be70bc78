"""Convert images in all common formats to one tensor format, and graphs back to images."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_vig.transforms.photo import uint16_pixels


def read_sample(source: Any) -> tuple[Tensor, Data]:
    """Return the pixels of a sample, ``(C, H, W)`` in floating point, and a ``Data`` with its other attributes.

    Args:
        source: an image (see :func:`read_image`), a pair ``(image, label)``, or a PyG ``Data`` whose ``image``, or else
            ``x``, is an image.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(source, Data):
        key = "image" if "image" in source else "x"
        if source.get(key) is None:
            raise ValueError(f"expected a Data with an 'image' or an 'x', got {source}")
        data = copy.copy(source)
        del data[key]
        return read_image(source[key]), data
    if isinstance(source, tuple | list):
        if len(source) != 2:
            raise ValueError(f"expected an image or a pair (image, label), got {len(source)} values")
        return read_image(source[0]), Data(y=read_label(source[1]))
    return read_image(source), Data()


def read_label(label: Any) -> Tensor:
    """Return a label with a leading dimension of 1 to batch along: ``(1,)`` for a number, ``(1, K)`` for a vector.

    Raises:
        ValueError: for a label that is not a number or an array of numbers.
    """
    try:
        return torch.as_tensor(label).unsqueeze(0)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"a label must be a number or an array of numbers, got {label!r}") from error


def read_image(image: Any) -> Tensor:
    """Return an image as a tensor ``(C, H, W)``; integers are scaled to ``[0, 1]`` by the range of their dtype.

    Args:
        image: tensor ``(C, H, W)``, ``(1, C, H, W)`` or ``(H, W)``, numpy array ``(H, W, C)`` or ``(H, W)``, or PIL
            image (palette images are converted to RGB; those of mode ``I`` have 16 bits).

    Raises:
        ValueError: for any other shape, or an image without pixels.
    """
    if isinstance(image, Tensor):
        pixels = image.squeeze(0) if image.dim() == 4 and image.size(0) == 1 else image
    else:
        if getattr(image, "mode", None) in ("P", "PA"):  # a PIL image whose pixels are palette indices
            image = image.convert("RGB")
        uint16 = uint16_pixels(image)
        array = np.asarray(image) if uint16 is None else uint16
        pixels = torch.from_numpy(np.array(array.transpose(2, 0, 1) if array.ndim == 3 else array, order="C"))
    pixels = pixels.unsqueeze(0) if pixels.dim() == 2 else pixels
    if pixels.dim() != 3 or pixels.numel() == 0:
        raise ValueError(
            f"expected an image, a tensor (C, H, W) or an array (H, W, C), got shape {tuple(pixels.shape)} "
            f"of {type(image).__name__}"
        )
    if pixels.is_floating_point():
        return pixels
    max_value = 1 if pixels.dtype == torch.bool else torch.iinfo(pixels.dtype).max
    return pixels.float() / max_value


def to_image(data: Data) -> Tensor:
    """Return the image of a graph: patches of :class:`ImageToGraph` reassembled, or superpixels in their mean colours.

    Args:
        data: graph made by :class:`ImageToGraph` (without padding, the image is restored exactly), or by
            :class:`ToSuperpixels` with ``keep_segmentation=True``.

    Returns:
        Pixels ``(C, H, W)``.

    Raises:
        ValueError: for any other graph, or a batch of several.

    Example:
        >>> import torch
        >>> from pyg_vig.transforms import ImageToGraph, to_image
        >>> image = torch.rand(3, 32, 48)
        >>> torch.equal(to_image(ImageToGraph(16, graph="grid")(image)), image)
        True
    """
    check_single_graph(data)
    if data.get("segmentation") is not None:
        return mean_colors(data)[data.segmentation[0]].permute(2, 0, 1)
    if data.get("grid") is None or data.get("pos") is None:
        raise ValueError(f"expected a graph made by ImageToGraph, or ToSuperpixels(keep_segmentation=True), got {data}")
    (rows, columns), (width, height) = data.grid[0].tolist(), (2 * data.pos[0]).int().tolist()
    patches = data.x.view(rows, columns, -1, height, width)
    return patches.permute(2, 0, 3, 1, 4).reshape(-1, rows * height, columns * width)


def mean_colors(data: Data) -> Tensor:
    """Return the mean colours of superpixels, ``(N, C)``: the columns of ``x`` before centroid and size."""
    return data.x[:, : data.x.size(1) - 3]


def check_single_graph(data: Data) -> None:
    """Raise a ValueError for a batch of several graphs."""
    if isinstance(data, Batch) and data.num_graphs > 1:
        raise ValueError(f"expected one graph, got a batch of {data.num_graphs}: use the items of its to_data_list()")
