"""Base of the options of all training runs."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
import yaml

from pyg_vig.atomic import write_atomically
from pyg_vig.models.config import check_option_names, require

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]  # Lightning's names
Options = TypeVar("Options", bound="RunOptions")


class RunOptions:
    """Base class of the dataclasses with the options of a run: common fields, checks, and the YAML file.

    Raises:
        ValueError: if a value has the wrong type or is invalid.
    """

    epochs: int
    batch_size: int
    lr: float
    lr_batch_size: int | None
    weight_decay: float
    seed: int
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int | Literal["auto"]
    precision: Precision
    workers: int
    weights: str | None
    name: str | None
    runs: str

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if isinstance(getattr(self, name), os.PathLike):  # YAML cannot represent paths
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
            require(_matches_hint(getattr(self, name), hint), name, getattr(self, name), _describe_hint(hint))
        for name in ("epochs", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("weight_decay", "workers"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.lr > 0, "lr", self.lr, "positive")
        valid = self.lr_batch_size is None or self.lr_batch_size >= 1
        require(valid, "lr_batch_size", self.lr_batch_size, "at least 1")
        require(self.name is None or Path(self.name).name == self.name, "name", self.name, "a folder name, not a path")
        if isinstance(self.devices, int):
            require(self.devices >= 1, "devices", self.devices, "at least 1")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("accelerator is 'gpu', but PyTorch finds no GPU: choose 'cpu' or 'auto'")

    @property
    def peak_lr(self) -> float:
        """Peak learning rate, scaled to ``batch_size``.

        Example:
            >>> from pyg_vig.train import RunConfig
            >>> RunConfig(lr=2e-3, lr_batch_size=1024, batch_size=256).peak_lr
            0.0005
        """
        return self.lr * self.batch_size / (self.lr_batch_size or self.batch_size)

    @property
    def default_name(self) -> str:
        """Default name of the run."""
        raise NotImplementedError

    def replace(self: Options, **changes: Any) -> Options:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[type-var]

    def resolve_defaults(self: Options) -> Options:
        """Return a copy with defaults derived from other options made explicit, as resuming may drop those options."""
        return self

    @classmethod
    def load(cls: type[Options], path: str | Path, **changes: Any) -> Options:
        """Read a file written by :meth:`save`.

        Args:
            path: the file.
            **changes: fields to replace.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if the file contains no options, a field is unknown, or a value is invalid.
        """
        values = yaml.safe_load(Path(path).read_text())
        if not isinstance(values, dict):
            raise ValueError(f"{path} must contain options, one 'name: value' per line, got {values!r}")
        values |= changes
        check_option_names(str(path), cls, values)
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write all fields to a YAML file, which the command accepts as ``--config``."""
        write_atomically(path, yaml.safe_dump(asdict(self), sort_keys=False).encode())  # type: ignore[call-overload]


def _matches_hint(value: Any, hint: Any) -> bool:
    """Whether a value matches a type hint: plain types, literals, unions, lists of these, and dictionaries."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_matches_hint(value, argument) for argument in arguments)
    if origin is list:
        return isinstance(value, list | tuple) and all(_matches_hint(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else origin or hint)


def _describe_hint(hint: Any) -> str:
    """Describe a type hint in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        return " or ".join(map(_describe_hint, arguments))
    if origin is list:
        return f"a list, each item {_describe_hint(arguments[0])}"
    if hint is NoneType:
        return "null"
    return _TYPE_NAMES[origin or hint]


_TYPE_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string", dict: "a mapping"}
