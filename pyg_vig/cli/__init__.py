"""Command-line interface, ``pyg-vig COMMAND``. Every command has its own module, which is imported on demand."""

from pyg_vig.cli.main import main

__all__ = ["main"]
