"""What an example leaves behind with --output FILE.json: its settings, its numbers, and where they come from."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any


def write(options: argparse.Namespace, **numbers: Any) -> None:
    """Write the file, if one is asked for; without the places of data and file on this machine."""
    if options.output is None:
        return
    settings = {name: value for name, value in vars(options).items() if name not in ("root", "output")}
    content = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torch_geometric")},
        "settings": settings,
        **numbers,
    }
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(content, indent=1))
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    Path(options.output).write_text(text + "\n")
