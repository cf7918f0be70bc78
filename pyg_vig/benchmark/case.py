"""What is measured: one network, one kind of input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyg_vig.models import get_config


@dataclass(frozen=True)
class Case:
    """A network under one load.

    Args:
        model: one of ``pyg_vig.list_models()``.
        conv: its graph convolution; by default the published one.
        batch: images at a time.
        size: side of the images in pixels.
        dtype: name of a torch dtype; training runs under autocast where it is not float32.
        device: ``"cpu"`` or ``"cuda"``.
        threads: CPU threads.

    Example:
        >>> from pyg_vig.benchmark import Case
        >>> Case("vig_nano", batch=2, size=32).images().shape
        torch.Size([2, 3, 32, 32])
    """

    model: str
    conv: str | None = None
    batch: int = 8
    size: int = 224
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 2

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of that name."""
        return getattr(torch, self.dtype)

    @property
    def label(self) -> str:
        """The network with its conv, where that is not the published one."""
        return self.model if self.conv in (None, get_config(self.model).conv) else f"{self.model}, {self.conv}"

    def describe(self) -> dict[str, str | int]:
        """What a row of results says of its case."""
        return {
            "model": self.label,
            "batch": self.batch,
            "size": self.size,
            "dtype": self.dtype,
            "device": self.device,
            "threads": self.threads,
        }

    def start(self) -> None:
        """Prepare this process: threads and random numbers."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)

    def images(self, batch: int | None = None) -> Tensor:
        """Random images on the device, in float32."""
        return torch.randn(batch or self.batch, 3, self.size, self.size, device=self.device)
