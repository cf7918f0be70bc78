"""An image as a graph of its superpixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import scatter

from pyg_vig.transforms.images import read_sample


class ToSuperpixels(BaseTransform):
    r"""Groups the pixels by SLIC (`"SLIC Superpixels" <https://doi.org/10.1109/TPAMI.2012.120>`_) and links what
    touches: an image, or a pair ``(image, label)``, becomes a :class:`~torch_geometric.data.Data` with

    - **x**: mean colour (C columns), centroid as share of the width and of the height (2), and size as share of the
      image (1), of every superpixel, ``(N, C + 3)``
    - **pos**: centroids in pixels, ``(x, y)`` with x to the right and y downwards; the centre of the first pixel is
      ``(0.5, 0.5)``
    - **edge_index**: both directions between superpixels that share a side of a pixel, ``(2, E)``, sorted by
      destination
    - **y**: the label, with a leading axis of one
    - **segmentation**: the superpixel of every pixel, ``(1, H, W)``, if asked for

    A ``Data`` is taken too: its ``image``, or else its ``x`` of shape ``(C, H, W)``, is replaced by the above, all else
    stays. (PyG's ``Compose`` takes pairs apart, so give it ``Data(image=..., y=...)``.)

    Needs scikit-image (``pip install 'pyg-vig[images]'``).

    Args:
        n_segments: number of superpixels to aim at; SLIC may find fewer or more.
        compactness: weight of nearness in the image against nearness in colour. The same value suits RGB (compared
            in Lab space, 0 to 100) and images of other channels (compared from 0 to 1, with a hundredth of it).
        keep_segmentation: keep the superpixel of every pixel.
        **slic_kwargs: further arguments of :func:`skimage.segmentation.slic`.

    Raises:
        ValueError: if the input is no image, or scikit-image is missing.

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
        rest = "".join(f", {name}={value!r}" for name, value in options.items())
        return f"{type(self).__name__}(n_segments={self.n_segments}, compactness={self.compactness}{rest})"

    def forward(self, data: Any) -> Data:
        """Make the graph."""
        image, graph = read_sample(data)
        dtype = image.dtype
        image = image.to(torch.promote_types(dtype, torch.float32))  # sums over pixels overflow float16
        height, width = image.shape[1:]
        segmentation = self._segment(image)
        label = segmentation.flatten()
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        place = torch.stack([x, y], dim=-1).view(-1, 2).to(image)
        graph.pos = scatter(place, label, reduce="mean")
        colour = scatter(image.flatten(1).T, label, reduce="mean")
        size = label.bincount().to(image).unsqueeze(1) / label.numel()
        graph.x = torch.cat([colour, graph.pos / graph.pos.new_tensor([width, height]), size], dim=1)
        graph.x, graph.pos = graph.x.to(dtype), graph.pos.to(dtype)
        graph.edge_index = _touching(segmentation)
        if self.keep_segmentation:
            graph.segmentation = segmentation.unsqueeze(0)
        return graph

    def _segment(self, image: Tensor) -> Tensor:
        """The superpixel of every pixel, ``(H, W)``, numbered without gaps."""
        try:
            from skimage.segmentation import slic
        except ImportError as error:
            raise ValueError("ToSuperpixels needs scikit-image: pip install 'pyg-vig[images]'") from error
        compactness = self.compactness if len(image) == 3 else self.compactness / 100  # Lab reaches to 100
        options = {"n_segments": self.n_segments, "compactness": compactness, "start_label": 0} | self.slic_kwargs
        labels = slic(image.detach().cpu().permute(1, 2, 0).double().numpy(), channel_axis=-1, **options)
        return torch.from_numpy(labels).unique(return_inverse=True)[1].to(image.device)


def _touching(segmentation: Tensor) -> Tensor:
    """Pairs of superpixels that share a side of a pixel, in both directions, sorted by destination."""
    beside = torch.stack([segmentation[:, :-1].flatten(), segmentation[:, 1:].flatten()])
    below = torch.stack([segmentation[:-1].flatten(), segmentation[1:].flatten()])
    pairs = torch.cat([beside, below], dim=1)
    pairs = pairs[:, pairs[0] != pairs[1]]
    return torch.cat([pairs, pairs.flip(0)], dim=1).flip(0).unique(dim=1).flip(0)
