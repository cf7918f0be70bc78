"""Report user errors as one clear line; programming errors keep their traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Packages installed by the extras.
_IMAGE_PACKAGES = {"PIL", "skimage", "sklearn", "torchvision"}
_TRAINING_PACKAGES = {"jsonargparse", "lightning", "safetensors", "torchmetrics", "tqdm", "yaml"}
_PLOT_PACKAGES = {"matplotlib", "networkx"}
_TASK_PACKAGES = {"pycocotools", "segmentation_models_pytorch"}


@contextmanager
def user_errors(command: str) -> Iterator[None]:
    """Turn errors in the arguments, files and installed packages into a message and exit status 2.

    Wrap only checks and preparation, not the work itself.

    Args:
        command: name of the command, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _IMAGE_PACKAGES | _TRAINING_PACKAGES | _PLOT_PACKAGES | _TASK_PACKAGES:
            raise
        extras = "tasks" if package in _TASK_PACKAGES else "train,images,plot"
        _exit(command, f"{package} is not installed: pip install 'pyg-vig[{extras}]'")
    except (ValueError, OSError) as error:
        _exit(command, str(error))


def _exit(command: str, message: str) -> None:
    print(f"pyg-vig {command}: {message}", file=sys.stderr)
    raise SystemExit(2) from None
