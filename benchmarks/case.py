"""What is measured: one network, one kind of input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A network under one load.

    Args:
        model: one of ``pyg_vig.list_models()``.
        conv: its graph convolution.
        batch: images at a time.
        size: side of the images in pixels.
        dtype: name of a torch dtype; training runs under autocast where it is not float32.
        device: ``"cpu"`` or ``"cuda"``.
        threads: CPU threads.
        reference: folder of the official code, if there is a checkout of it.
    """

    model: str
    conv: str = "max_relative"
    batch: int = 8
    size: int = 224
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 2
    reference: str | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def label(self) -> str:
        """The network with its conv, where that is not the published default."""
        return self.model if self.conv == "max_relative" else f"{self.model}, {self.conv}"

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
        """Random images of the input's device, in float32."""
        return torch.randn(batch or self.batch, 3, self.size, self.size, device=self.device)
