"""Teacher networks for distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyg_vig.models import ModelConfig, load_model
from pyg_vig.models.file_format import weights_file


class Teacher:
    """Labels images with the classes that a trained network predicts (hard distillation).

    Deliberately not a module, so that its weights stay out of the student's checkpoints, optimizer and averages.

    Args:
        model: the trained network, from images to scores ``(B, num_classes)``.
        scale: per-channel factor that converts the student's normalised pixels to the teacher's.
        shift: per-channel offset added after scaling.

    Example:
        >>> import torch
        >>> from pyg_vig.train.teacher import Teacher
        >>> Teacher(torch.nn.Flatten())(torch.eye(3).view(3, 1, 1, 3))
        tensor([0, 1, 2])
    """

    def __init__(self, model: nn.Module, scale: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,)) -> None:
        self.model = model.eval().requires_grad_(False)
        self.scale = torch.tensor(scale)[:, None, None]
        self.shift = torch.tensor(shift)[:, None, None]

    @classmethod
    def open(cls, name: str, student: ModelConfig, num_classes: int) -> Teacher:
        """Load one of our networks from a file or the folder of a run, or a pretrained timm network by name.

        Args:
            name: folder, file or name.
            student: configuration of the student, which says how its images are normalised.
            num_classes: number of classes of the student.

        Raises:
            ValueError: if the number of classes or channels differs from the student's, or the name is unknown.
        """
        model, mean, std, channels, classes = _load_run(name) if Path(name).exists() else _load_timm(name)
        if (classes, channels) != (num_classes, student.in_channels):
            raise ValueError(
                f"the teacher {name} has {channels} input channels and {classes} classes, but the network has "
                f"{student.in_channels} and {num_classes}"
            )
        if channels != 3:  # all networks normalise greyscale images alike
            return cls(model)
        scale = [student_std / teacher_std for student_std, teacher_std in zip(student.std, std, strict=True)]
        shift = [
            (student_mean - teacher_mean) / teacher_std
            for student_mean, teacher_mean, teacher_std in zip(student.mean, mean, std, strict=True)
        ]
        return cls(model, scale, shift)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Predict the classes ``(B,)`` of images ``(B, C, H, W)``."""
        self.model.to(images)
        scores = self.model(images * self.scale.to(images) + self.shift.to(images))
        return scores.argmax(1)

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        """Return the same object: copies of the student, made for weight averaging, need no copy of the teacher."""
        return self


_TeacherAndStatistics = tuple[nn.Module, Sequence[float], Sequence[float], int, int]


def _load_run(path: str) -> _TeacherAndStatistics:
    model = load_model(weights_file(path))
    return model, model.config.mean, model.config.std, model.config.in_channels, model.num_classes


def _load_timm(name: str) -> _TeacherAndStatistics:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"unknown teacher {name!r}: it is neither a folder or file nor the name of a timm network")
    model: Any = timm.create_model(name, pretrained=True)
    cfg = model.pretrained_cfg
    return model, cfg["mean"], cfg["std"], cfg["input_size"][0], model.num_classes
