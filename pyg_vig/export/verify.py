"""Check that an exported file computes the same scores as the network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pyg_vig.export.formats import Size, example_images, require_packages, resolve_format
from pyg_vig.models import VisionGNN

TOLERANCE = 1e-4  # relative to the largest score


@dataclass(frozen=True)
class Comparison:
    """Differences between a file's scores and the network's, relative to the network's largest score.

    The choice of neighbours is not continuous: if two are almost equally far, float32 may round either way, and one
    swapped neighbour changes all later graphs of that image. Images are therefore compared one by one: an error in the
    file shows in every image, a near-tie only in the image that has it. :attr:`rounding`, the network's own difference
    between float32 and float64, shows how large the effect of near-ties is.

    Args:
        by_image: largest difference for every image of one batch.
        rounding: the same between the network and its copy in float64.

    Example:
        >>> from pyg_vig.export import Comparison
        >>> Comparison(by_image=(3e-2, 2e-7), rounding=(5e-2, 1e-7)).agrees  # the first image has a near-tie
        True
    """

    by_image: tuple[float, ...]
    rounding: tuple[float, ...]

    @property
    def alike(self) -> int:
        """Number of images whose scores agree to 1e-4."""
        return sum(difference <= TOLERANCE for difference in self.by_image)

    @property
    def agrees(self) -> bool:
        """Whether any image but the first has the same scores (the first is right even with a fixed batch size)."""
        return min(self.by_image[1:]) <= TOLERANCE

    @property
    def undecided(self) -> bool:
        """Whether no image is conclusive: near-ties alone change all of their scores about as much as the file does."""
        return not self.agrees and min(self.rounding) > TOLERANCE and max(self.by_image) <= 2 * max(self.rounding)


@torch.no_grad()
def verify_export(
    model: VisionGNN, path: str | Path, *, format: str | None = None, image_size: Size | None = None, images: int = 8
) -> Comparison:
    """Run an exported file on random images and compare its scores with those of the network.

    Args:
        model: the network that was exported.
        path: the file.
        format: ``"onnx"``, ``"pt2"`` or ``"aoti"``; by default inferred from the suffix (``.pt2``: ``"pt2"``).
        image_size: side of the images in pixels, or height and width, as exported.
        images: number of images, at least 2.

    Raises:
        ValueError: for an unknown format or suffix, too few images, or a missing package.

    Example:
        >>> import pyg_vig
        >>> from pyg_vig.export import export_pt2, verify_export
        >>> model = pyg_vig.create_model("vig_nano", depth=1)
        >>> verify_export(model, export_pt2(model, "vig_nano.pt2")).agrees
        True
    """
    format = resolve_format(path, format)
    if images < 2:
        raise ValueError(f"the comparison needs at least 2 images, got {images}")
    exported, batch = _LOADERS[format](str(path)), example_images(model, images, image_size)
    network = copy.deepcopy(model).eval()
    expected, float64 = network(batch), network.double()(batch.double())
    return Comparison(_differences(exported(batch), expected), _differences(expected, float64))


def _differences(actual: Tensor, expected: Tensor) -> tuple[float, ...]:
    difference = (actual.double() - expected.double()).flatten(1).abs().amax(1) / expected.double().abs().max()
    return tuple(difference.tolist())


def _load_onnx(path: str) -> Callable[[Tensor], Tensor]:
    require_packages("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["scores"], {"images": images.cpu().numpy()})[0]).to(images)


def _load_pt2(path: str) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def _load_aoti(path: str) -> Callable[[Tensor], Tensor]:
    return torch._inductor.aoti_load_package(path)


_LOADERS: dict[str, Callable[[str], Callable[[Tensor], Tensor]]] = {
    "onnx": _load_onnx,
    "pt2": _load_pt2,
    "aoti": _load_aoti,
}
