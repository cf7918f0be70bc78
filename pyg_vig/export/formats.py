"""Export a network to a file, through :func:`torch.export.export`.

Every format contains the fused network in evaluation mode, for images of one size in batches of any size. During
tracing, the library's own operators (selection of neighbours, sparse reductions, products) are replaced by plain ones,
see :func:`pyg_vig.graph.knn.nearest.nearest` and :func:`pyg_vig.graph.reduce.needs_fallback`, so the file runs
without pyg_vig.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch.export import Dim, ExportedProgram

from pyg_vig.atomic import atomic_replace
from pyg_vig.models import VisionGNN

Size = int | tuple[int, int]


def export_model(
    model: VisionGNN, path: str | Path, *, format: str | None = None, image_size: Size | None = None
) -> Path:
    """Export a network in any of the formats.

    Args:
        model: the network; it is not changed.
        path: file to write, with the suffix of the format.
        format: ``"onnx"``, ``"pt2"`` or ``"aoti"``; by default inferred from the suffix (``.pt2``: ``"pt2"``).
        image_size: side of the images in pixels, or height and width; by default that of the network.

    Returns:
        Path of the file.

    Raises:
        ValueError: for an unknown format, a wrong suffix, a network that takes PyG graphs, or a missing package.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.export import export_model
        >>> model = pyg_vig.create_model("vig_nano", depth=1)
        >>> path = export_model(model, "vig_nano.pt2")
        >>> network = torch.export.load(path).module()  # needs torch, not pyg_vig
        >>> network(torch.rand(5, 3, 32, 32)).shape
        torch.Size([5, 10])
    """
    _, write = FORMATS[resolve_format(path, format)]
    return write(model, path, image_size=image_size)


def export_onnx(model: VisionGNN, path: str | Path, *, image_size: Size | None = None) -> Path:
    """Export to an ONNX file with input ``images`` and output ``scores``; arguments as for :func:`export_model`.

    Example:
        >>> import numpy, onnxruntime, pyg_vig
        >>> from pyg_vig.export import export_onnx
        >>> path = export_onnx(pyg_vig.create_model("vig_nano", depth=1), "vig_nano.onnx")
        >>> session = onnxruntime.InferenceSession(path)
        >>> images = numpy.random.rand(5, 3, 32, 32).astype(numpy.float32)
        >>> session.run(["scores"], {"images": images})[0].shape
        (5, 10)
    """
    require_packages("onnx", "onnxscript")
    with _atomic_file(path, "onnx") as temporary:
        program = torch.onnx.export(
            trace(model, image_size), input_names=["images"], output_names=["scores"], dynamo=True, verbose=False
        )
        cast("torch.onnx.ONNXProgram", program).save(str(temporary))
    return Path(path)


def export_pt2(model: VisionGNN, path: str | Path, *, image_size: Size | None = None) -> Path:
    """Export to a program file for :func:`torch.export.load`; arguments as for :func:`export_model`.

    Example:
        >>> import pyg_vig, torch
        >>> from pyg_vig.export import export_pt2
        >>> path = export_pt2(pyg_vig.create_model("vig_nano", depth=1), "vig_nano.pt2", image_size=(32, 64))
        >>> torch.export.load(path).module()(torch.rand(1, 3, 32, 64)).shape
        torch.Size([1, 10])
    """
    with _atomic_file(path, "pt2") as temporary:
        torch.export.save(trace(model, image_size), temporary)
    return Path(path)


def export_aoti(model: VisionGNN, path: str | Path, *, image_size: Size | None = None) -> Path:
    """Compile ahead of time, for this type of machine, into a package for :func:`torch._inductor.aoti_load_package` in
    Python or C++; arguments as for :func:`export_model`. This requires a C++ compiler and takes minutes.

    Example:
        >>> import pyg_vig
        >>> from pyg_vig.export import export_aoti
        >>> try:
        ...     export_aoti(pyg_vig.create_model("vig_nano", depth=1), "vig_nano.onnx")
        ... except ValueError as error:
        ...     print(error)
        a file in format aoti must end in .pt2, got vig_nano.onnx
    """
    with _atomic_file(path, "aoti") as temporary, torch.no_grad():
        torch._inductor.aoti_compile_and_package(trace(model, image_size), package_path=str(temporary))
    return Path(path)


FORMATS: dict[str, tuple[str, Callable[..., Path]]] = {
    "onnx": (".onnx", export_onnx),
    "pt2": (".pt2", export_pt2),
    "aoti": (".pt2", export_aoti),
}


def resolve_format(path: str | Path, format: str | None) -> str:
    """Return the format of a file: the given one, or the one inferred from the suffix.

    Raises:
        ValueError: for an unknown format or suffix.
    """
    if format is None:
        format = next((name for name, (suffix, _) in FORMATS.items() if suffix == Path(path).suffix), None)
        if format is None:
            suffixes = " or ".join(dict.fromkeys(suffix for suffix, _ in FORMATS.values()))
            raise ValueError(f"no format has the suffix of {path}: use {suffixes}, or specify the format")
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    return format


def trace(model: VisionGNN, image_size: Size | None = None) -> ExportedProgram:
    """Trace the fused network to a graph of plain operators, for any number of images.

    Raises:
        ValueError: for a network that takes PyG graphs.
    """
    if model.config.graph == "given":
        raise ValueError("a network with graph='given' takes PyG graphs, not images: it cannot be exported")
    images = example_images(model, 2, image_size)
    with torch.no_grad():
        fused = model.fuse().to(memory_format=torch.contiguous_format)  # torch warns about weights in other layouts
        return torch.export.export(fused, (images,), dynamic_shapes={"images": {0: Dim("batch")}})


def example_images(model: VisionGNN, batch: int, image_size: Size | None = None) -> torch.Tensor:
    """Return random images of the shape, dtype and device that the network takes."""
    size = image_size or model.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    parameter = next(model.parameters())
    shape = batch, model.config.in_channels, height, width
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(parameter.device, parameter.dtype)


def require_packages(*packages: str) -> None:
    """Check that optional packages are installed.

    Raises:
        ValueError: if one is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX files need {', '.join(missing)}: pip install 'pyg-vig[export]'")


@contextmanager
def _atomic_file(path: str | Path, format: str) -> Iterator[Path]:
    """Yield a temporary path to write to; the file gets its final name when it is complete."""
    suffix, _ = FORMATS[format]
    if Path(path).suffix != suffix:
        raise ValueError(f"a file in format {format} must end in {suffix}, got {path}")
    with atomic_replace(path) as temporary:
        yield temporary
