"""A benchmark case: a network and its input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyg_vig.models import get_config


@dataclass(frozen=True)
class Case:
    """A network together with its input and its execution settings.

    Args:
        model: one of ``pyg_vig.list_models()``.
        conv: graph convolution; by default the published one.
        batch: batch size.
        size: side of the images in pixels.
        dtype: name of a torch dtype; training uses autocast if it is not float32.
        device: ``"cpu"`` or ``"cuda"``.
        threads: number of CPU threads.

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
        """The torch dtype named by ``dtype``."""
        return getattr(torch, self.dtype)

    @property
    def label(self) -> str:
        """The name of the network, followed by its conv if that is not the published one."""
        return self.model if self.conv in (None, get_config(self.model).conv) else f"{self.model}, {self.conv}"

    def describe(self) -> dict[str, str | int]:
        """Return the fields that describe the case in a row of results."""
        return {
            "model": self.label,
            "batch": self.batch,
            "size": self.size,
            "dtype": self.dtype,
            "device": self.device,
            "threads": self.threads,
        }

    def start(self) -> None:
        """Set the number of threads and the random seed of this process."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)

    def images(self, batch: int | None = None) -> Tensor:
        """Create random float32 images on the device."""
        return torch.randn(batch or self.batch, 3, self.size, self.size, device=self.device)
