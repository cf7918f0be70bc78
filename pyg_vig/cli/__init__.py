"""The command line, ``pyg-vig COMMAND``. Every command is a module of its own, imported when it is asked for."""

from pyg_vig.cli.main import main

__all__ = ["main"]
