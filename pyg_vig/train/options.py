"""What the options of all kinds of training have in common."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml

from pyg_vig.files import write_atomically

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
Options = TypeVar("Options", bound="RunOptions")


class RunOptions:
    """Base of dataclasses with the options of a run: their checks, their file, and the names that others rely on.

    Raises:
        ValueError: for a value that makes no sense.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    seed: int
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int | Literal["auto"]
    precision: str
    workers: int
    name: str | None
    runs: str

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("weight_decay", "workers"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.lr > 0, "lr", self.lr, "positive")
        require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        require(self.name is None or Path(self.name).name == self.name, "name", self.name, "a plain folder name")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("accelerator is 'gpu', but PyTorch finds no GPU here: choose 'cpu' or 'auto'")

    @property
    def peak_lr(self) -> float:
        """The largest learning rate, for this batch size."""
        return self.lr

    @property
    def stem(self) -> str:
        """Name of the run where none is given."""
        raise NotImplementedError

    @classmethod
    def load(cls: type[Options], path: str | Path, **changes: Any) -> Options:
        """Read a file of :meth:`save`.

        Args:
            path: the file.
            **changes: fields to replace.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for a field that does not exist.
        """
        values = yaml.safe_load(Path(path).read_text()) | changes
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))  # type: ignore[attr-defined]
        if unknown:
            raise ValueError(f"{path}: unknown field {', '.join(unknown)}")
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write all fields as YAML, which ``--config`` of the command takes."""
        write_atomically(path, yaml.safe_dump(asdict(self), sort_keys=False).encode())  # type: ignore[call-overload]


def require(condition: bool, name: str, value: Any, rule: str) -> None:
    """Refuse the value of an option that breaks a rule.

    Raises:
        ValueError: if the condition does not hold.
    """
    if not condition:
        raise ValueError(f"{name} must be {rule}, got {value!r}")
