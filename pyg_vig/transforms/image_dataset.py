"""Convert image datasets to PyG datasets, cached on disk, and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.transforms import BaseTransform, Compose

from pyg_vig.atomic import atomic_replace
from pyg_vig.transforms.images import read_image, read_label, to_image

_MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class ImageGraphDataset(InMemoryDataset):
    """Any image dataset as a PyG dataset: images are converted to graphs once, and the graphs are cached in a file.

    The file name contains a digest of the transform (its ``repr``), all images and their labels, so any change leads to
    a new file. Computing the digest reads all images once. The file is written under a temporary name first, so an
    interrupted run leaves no incomplete file. For images that change on every access (augmentation), or graphs that do
    not fit into memory, let the image dataset create the graphs itself: ``CIFAR10(root, transform=ImageToGraph(4))``
    yields pairs ``(Data, label)``.

    Args:
        root: folder of the cache file.
        images: anything with ``len`` whose items are pairs ``(image, label)``, such as torchvision's datasets.
        to_graph: converts ``Data(image=..., y=...)`` to a graph, for instance :class:`ImageToGraph`,
            :class:`ToSuperpixels`, or a :class:`~torch_geometric.transforms.Compose` that starts with one of them.
        transform: applied to a graph on every access.
        num_workers: number of processes that create the graphs; 0 for the current process only.
        log: whether to show a progress bar.

    Raises:
        ValueError: if there are no images, or the ``repr`` of ``to_graph`` is a mere address (as of functions).

    Example:
        >>> import tempfile, torch
        >>> from pyg_vig.transforms import ImageGraphDataset, ImageToGraph
        >>> images = [(torch.rand(1, 8, 8), i % 2) for i in range(6)]
        >>> dataset = ImageGraphDataset(tempfile.mkdtemp(), images, ImageToGraph(2, k=4), log=False)
        >>> len(dataset), dataset.num_classes, dataset[0]
        (6, 2, Data(y=[1], x=[16, 4], pos=[16, 2], grid=[1, 2], edge_index=[2, 64]))
    """

    def __init__(
        self,
        root: str | Path,
        images: Any,
        to_graph: Callable[[Any], Data],
        transform: Callable[[Data], Data] | None = None,
        *,
        num_workers: int = 0,
        log: bool = True,
    ) -> None:
        super().__init__(transform=transform, log=log)
        if len(images) == 0:
            raise ValueError("images must contain at least one image, got none")
        self.path = Path(root) / f"graphs-{_digest(images, to_graph)}.pt"
        if not self.path.exists():
            _save(self.path, *self.collate(self._convert_images(images, to_graph, num_workers)))
        content, self.slices = torch.load(self.path, weights_only=True)
        self.data = Data.from_dict(content)

    def _convert_images(self, images: Any, to_graph: Callable[[Any], Data], num_workers: int) -> list[Data]:
        graphs = DataLoader(
            _GraphsOfImages(images, to_graph), batch_size=None, collate_fn=_identity, num_workers=num_workers
        )
        from tqdm import tqdm

        return list(tqdm(graphs, desc="converting images to graphs", disable=not self.log))


class ImageDataset(Dataset[tuple[Tensor, Any]]):
    """Graphs of images as pairs ``(image, label)``; see :func:`to_image_dataset`."""

    def __init__(self, graphs: Sequence[Data]) -> None:
        self.graphs = graphs

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        data = self.graphs[index]
        if data.y is None:
            raise ValueError(f"graph {index} has no label: set its y")
        return to_image(data), data.y.item() if data.y.numel() == 1 else data.y[0]


def to_image_dataset(graphs: Sequence[Data]) -> ImageDataset:
    """Convert a dataset of graphs back to images: pairs ``(image, label)``, as in torchvision's datasets.

    Args:
        graphs: dataset or list of graphs made by :class:`ImageToGraph` or :class:`ToSuperpixels` (with
            ``keep_segmentation=True``); see :func:`to_image`.

    Example:
        >>> import torch
        >>> from pyg_vig.transforms import ImageToGraph, to_image_dataset
        >>> images = to_image_dataset([ImageToGraph(4, k=2)((torch.rand(3, 8, 8), 5))])
        >>> images[0][0].shape, images[0][1]
        (torch.Size([3, 8, 8]), 5)
    """
    return ImageDataset(graphs)


class _GraphsOfImages(Dataset[Data]):
    def __init__(self, images: Any, to_graph: Callable[[Any], Data]) -> None:
        self.images = images
        self.to_graph = to_graph

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Data:
        image, label = self.images[index]
        return self.to_graph(Data(image=image, y=read_label(label)))


def _identity(graph: Data) -> Data:
    return graph


def _digest(images: Any, to_graph: Callable[[Any], Data]) -> str:
    transform = _describe_transform(to_graph)
    if _MEMORY_ADDRESS.search(transform):
        raise ValueError(
            f"the repr of to_graph must show its settings, since these identify the cache file, got {transform}: give "
            "its class a __repr__ like those of pyg_vig's transforms"
        )
    digest = hashlib.sha256(f"{transform} {len(images)}".encode())
    for index in range(len(images)):
        image, label = images[index]
        for part in (read_image(image), read_label(label)):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode() + _tensor_bytes(part))
    return digest.hexdigest()[:16]


def _tensor_bytes(part: Tensor) -> bytes:
    """Bytes of a tensor. It is viewed as bytes first, since numpy has no bfloat16."""
    return part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _describe_transform(transform: Any) -> str:
    """The ``repr`` of a transform; for PyG transforms whose ``repr`` shows only the class, class and attributes."""
    if isinstance(transform, Compose):
        return f"Compose({', '.join(map(_describe_transform, transform.transforms))})"
    if isinstance(transform, BaseTransform) and type(transform).__repr__ is BaseTransform.__repr__:
        attributes = {name: _describe_value(value) for name, value in vars(transform).items()}
        return f"{type(transform).__module__}.{type(transform).__name__}({attributes})"
    return repr(transform)


def _describe_value(value: Any) -> str:
    """The ``repr`` of a value; a digest for tensors, since their ``repr`` leaves out entries."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(_tensor_bytes(value)).hexdigest()}"
    return repr(value)


def _save(path: Path, data: Data, slices: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_replace(path) as temporary:
        torch.save((data.to_dict(), slices), temporary)
