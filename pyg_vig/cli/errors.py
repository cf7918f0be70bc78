"""Mistakes of the user become one clear line; those of the program keep their traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Packages that extras bring.
_IMAGES = {"PIL", "skimage", "sklearn", "torchvision"}
_TRAIN = {"jsonargparse", "lightning", "safetensors", "torchmetrics", "tqdm", "yaml"}
_PLOT = {"matplotlib", "networkx"}
_TASKS = {"pycocotools", "segmentation_models_pytorch"}


@contextmanager
def user_errors(command: str) -> Iterator[None]:
    """Turn what is wrong with the arguments, files and installed packages into a message and exit status 2.

    Put only what checks and prepares inside, not the work itself.

    Args:
        command: name of the command, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _IMAGES | _TRAIN | _PLOT | _TASKS:
            raise
        extras = "tasks" if package in _TASKS else "train,images,plot"
        _exit(command, f"this needs {package}: pip install 'pyg-vig[{extras}]'")
    except (ValueError, OSError) as error:
        _exit(command, str(error))


def _exit(command: str, message: str) -> None:
    print(f"pyg-vig {command}: {message}", file=sys.stderr)
    raise SystemExit(2) from None
