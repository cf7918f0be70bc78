"""From what a network takes back to what it shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_vig.models.vision_gnn import VisionGNN


def pixels_of(image: Tensor, model: nn.Module) -> Tensor:
    """The pixels in [0, 1] of a normalised image; mean and deviation are 0.5 where nothing else is known."""
    config = model.config if isinstance(model, VisionGNN) and image.size(0) == 3 else None
    mean, std = ((0.5,), (0.5,)) if config is None else (config.mean, config.std)
    return image.detach().float().cpu() * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
