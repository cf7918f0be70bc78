"""What is measured: one network, one kind of input, and perhaps the official code beside it."""

from __future__ import annotations

from dataclasses import dataclass

import pyg_vig.benchmark


@dataclass(frozen=True)
class Case(pyg_vig.benchmark.Case):
    """A network under one load; ``reference`` names the folders of the official code, if there is a checkout of it."""

    reference: tuple[str, ...] = ()
