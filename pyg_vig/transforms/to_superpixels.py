"""Convert an image to a graph of its superpixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import scatter

from pyg_vig.transforms.images import read_sample


class ToSuperpixels(BaseTransform):
    r"""Groups the pixels by SLIC (`"SLIC Superpixels" <https://doi.org/10.1109/TPAMI.2012.120>`_) and links adjacent
    superpixels: an image, or a pair ``(image, label)``, becomes a :class:`~torch_geometric.data.Data` with

    - **x**: mean colour (C columns), centroid relative to width and height (2), and area relative to the image (1) of
      every superpixel, ``(N, C + 3)``
    - **pos**: centroids in pixels, ``(x, y)`` with x to the right and y downwards; the centre of the first pixel is
      ``(0.5, 0.5)``
    - **edge_index**: both directions between superpixels with horizontally or vertically adjacent pixels, ``(2, E)``,
      sorted by destination
    - **y**: the label, with a leading dimension of 1
    - **segmentation**: index of the superpixel of every pixel, ``(1, H, W)``, if requested

    A ``Data`` is accepted too: its ``image``, or else its ``x`` of shape ``(C, H, W)``, is replaced by the above; other
    attributes are kept. (PyG's ``Compose`` applies a transform to each element of a pair, so give it
    ``Data(image=..., y=...)``.)

    Requires scikit-image (``pip install 'pyg-vig[images]'``).

    Args:
        n_segments: target number of superpixels; SLIC may find fewer or more.
        compactness: weight of spatial distance against colour distance. The same value suits RGB (compared in Lab
            space, 0 to 100) and images with other channels (compared from 0 to 1, with a hundredth of the value).
        keep_segmentation: whether to store the segmentation.
        **slic_kwargs: further arguments of :func:`skimage.segmentation.slic`.

    Raises:
        ValueError: if the input is not an image, or scikit-image is missing.

    Example:
        >>> import torch
        >>> from pyg_vig.transforms import ToSuperpixels
        >>> image = torch.zeros(3, 32, 32)
        >>> image[0, :, 16:] = 1
        >>> ToSuperpixels(n_segments=4)((image, 3))
        Data(y=[1], pos=[4, 2], x=[4, 6], edge_index=[2, 8])
    """

    def __init__(
        self,
        n_segments: int = 75,
        compactness: float = 10.0,
        *,
        keep_segmentation: bool = False,
        **slic_kwargs: Any,
    ) -> None:
        if n_segments < 1:
            raise ValueError(f"n_segments must be at least 1, got {n_segments}")
        self.n_segments = n_segments
        self.compactness = compactness
        self.keep_segmentation = keep_segmentation
        self.slic_kwargs = slic_kwargs

    def __repr__(self) -> str:
        options = {"keep_segmentation": self.keep_segmentation} | self.slic_kwargs
        others = "".join(f", {name}={value!r}" for name, value in options.items())
        return f"{type(self).__name__}(n_segments={self.n_segments}, compactness={self.compactness}{others})"

    def forward(self, data: Any) -> Data:
        """Convert an image, or a sample that contains one, to a graph."""
        image, graph = read_sample(data)
        dtype = image.dtype
        image = image.to(torch.promote_types(dtype, torch.float32))  # sums over pixels overflow float16
        height, width = image.shape[1:]
        segmentation = self._segment(image)
        label = segmentation.flatten()
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        pixel_pos = torch.stack([x, y], dim=-1).view(-1, 2).to(image)
        graph.pos = scatter(pixel_pos, label, reduce="mean")
        color = scatter(image.flatten(1).T, label, reduce="mean")
        area = label.bincount().to(image).unsqueeze(1) / label.numel()
        graph.x = torch.cat([color, graph.pos / graph.pos.new_tensor([width, height]), area], dim=1)
        graph.x, graph.pos = graph.x.to(dtype), graph.pos.to(dtype)
        graph.edge_index = _adjacent_pairs(segmentation)
        if self.keep_segmentation:
            graph.segmentation = segmentation.unsqueeze(0)
        return graph

    def _segment(self, image: Tensor) -> Tensor:
        """Index of the superpixel of every pixel, ``(H, W)``, numbered without gaps."""
        try:
            from skimage.segmentation import slic
        except ImportError as error:
            raise ValueError("ToSuperpixels needs scikit-image: pip install 'pyg-vig[images]'") from error
        compactness = self.compactness if len(image) == 3 else self.compactness / 100  # Lab values go up to 100
        options = {"n_segments": self.n_segments, "compactness": compactness, "start_label": 0} | self.slic_kwargs
        labels = slic(image.detach().cpu().permute(1, 2, 0).double().numpy(), channel_axis=-1, **options)
        return torch.from_numpy(labels).unique(return_inverse=True)[1].to(image.device)


def _adjacent_pairs(segmentation: Tensor) -> Tensor:
    """Pairs of adjacent superpixels in both directions, sorted by destination."""
    horizontal = torch.stack([segmentation[:, :-1].flatten(), segmentation[:, 1:].flatten()])
    vertical = torch.stack([segmentation[:-1].flatten(), segmentation[1:].flatten()])
    pairs = torch.cat([horizontal, vertical], dim=1)
    pairs = pairs[:, pairs[0] != pairs[1]]
    return torch.cat([pairs, pairs.flip(0)], dim=1).flip(0).unique(dim=1).flip(0)
