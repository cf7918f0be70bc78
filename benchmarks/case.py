"""A benchmark case: one network, one kind of input and, optionally, the official code to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import pyg_vig.benchmark


@dataclass(frozen=True)
class Case(pyg_vig.benchmark.Case):
    """A network under one load; ``reference`` holds the folders of the official code, if there is a checkout."""

    reference: tuple[str, ...] = ()
