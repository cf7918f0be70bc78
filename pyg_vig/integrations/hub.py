"""Networks on the Hugging Face Hub, stored in the package's file format with a model card."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

import pyg_vig
from pyg_vig.atomic import write_atomically
from pyg_vig.models import count_parameters
from pyg_vig.models.file_format import WEIGHTS, unwrap_model
from pyg_vig.tasks import load_model, save_model

_CARD = "README.md"
_LIBRARY = "pyg_vig"
_TASKS = {
    "VisionGNN": "image-classification",
    "RetinaNet": "object-detection",
    "MaskRCNN": "image-segmentation",
    "Segmenter": "image-segmentation",
}


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    card: str = "",
    license: str | None = None,
    repo_id: str | None = None,
) -> Path:
    """Save a network and its model card to a folder with the Hub's layout; an existing ``README.md`` is kept.

    The network is saved to ``model.safetensors``, which includes its configuration, in the format of
    :func:`pyg_vig.save_checkpoint`; the folder can be read by :func:`from_pretrained`.

    Args:
        model: a network, detector or segmenter of this package.
        folder: target folder; created if needed.
        card: text about data, training and results for the card.
        license: license of the weights, by the Hub's short name such as ``"apache-2.0"``; by default the card names
            none.
        repo_id: future ``"user/repository"`` of the network, for the card's example.

    Raises:
        ValueError: for a network that cannot be saved (a fused one, for instance).

    Example:
        >>> import pyg_vig, tempfile
        >>> from pyg_vig.integrations.hub import from_pretrained, save_pretrained
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_pretrained(pyg_vig.create_model("vig_nano", num_classes=3), folder)
        ...     from_pretrained(folder).num_classes
        3
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    save_model(model, target / WEIGHTS)
    if not (target / _CARD).exists():
        text = model_card(model, card, license=license, repo_id=repo_id)
        write_atomically(target / _CARD, text.encode())
    return target


def from_pretrained(
    name: str | os.PathLike[str], *, overrides: dict[str, Any] | None = None, **options: Any
) -> nn.Module:
    """Load a network from a folder, or from a repository on the Hub; no code from there is executed.

    Args:
        name: a folder written by :func:`save_pretrained`, the file in it, or ``"user/repository"``.
        overrides: fields of the network's configuration to replace, such as a ``conv`` of your own, see
            :func:`pyg_vig.load_model`.
        **options: passed to ``huggingface_hub.hf_hub_download``, such as ``revision``, ``cache_dir`` and ``token``.

    Returns:
        The network, in evaluation mode.

    Raises:
        ValueError: if the file does not contain a network of this package, or if options are given with a local path.
        FileNotFoundError: if there is no such file or folder, and the name is not valid for a repository.
    """
    overrides = overrides or {}
    if Path(name).exists():
        if options:
            raise ValueError(f"{name} is a local path, but {', '.join(options)} applies only to a download: remove it")
        return load_model(name, **overrides)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    version = {"library_name": _LIBRARY, "library_version": pyg_vig.__version__}
    try:
        file = hf_hub_download(str(name), WEIGHTS, **version | options)
    except HFValidationError as error:
        raise FileNotFoundError(
            f"{name} is neither an existing file or folder nor a valid repository name ('user/repository')"
        ) from error
    return load_model(file, **overrides)


def push_to_hub(
    model: nn.Module,
    name: str,
    *,
    card: str = "",
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
    **options: Any,
) -> str:
    """Upload a network and its model card to a Hub repository, created if needed; an existing card there is kept.

    Args:
        model: a network, detector or segmenter of this package.
        name: ``"user/repository"``.
        card: text about data, training and results for the card.
        license: license of the weights, by the Hub's short name; by default the card names none.
        private: whether a new repository is private.
        token: token of the account; by default the one that is logged in.
        **options: passed to ``huggingface_hub.HfApi.upload_folder``, such as ``commit_message`` and ``revision``.

    Returns:
        URL of the commit.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name=_LIBRARY, library_version=pyg_vig.__version__)
    api.create_repo(name, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, card=card, license=license, repo_id=name)
        if api.file_exists(name, _CARD, revision=options.get("revision")):
            Path(folder, _CARD).unlink()
        options = {"commit_message": "Upload a network of pyg_vig"} | options
        return str(api.upload_folder(repo_id=name, folder_path=folder, **options))


def model_card(model: nn.Module, text: str = "", *, license: str | None = None, repo_id: str | None = None) -> str:
    """Return the model card of a network: what it is, how to load it, and the given text.

    Args:
        model: a network, detector or segmenter of this package.
        text: text about data, training and results.
        license: license of the weights, by the Hub's short name; by default the card names none.
        repo_id: ``"user/repository"``, for the example.

    Example:
        >>> import pyg_vig
        >>> from pyg_vig.integrations.hub import model_card
        >>> "0.1 M parameters" in model_card(pyg_vig.create_model("vig_nano"))
        True
    """
    from huggingface_hub import ModelCardData

    model = unwrap_model(model)
    class_name = next((base.__name__ for base in type(model).__mro__ if base.__name__ in _TASKS), type(model).__name__)
    data = ModelCardData(
        license=license,
        library_name=_LIBRARY,
        pipeline_tag=_TASKS.get(class_name),
        tags=["vision-gnn", "graph-neural-network", "pytorch-geometric"],
    )
    size = f"{count_parameters(model, trainable_only=False) / 1e6:.1f} M parameters"
    return _TEMPLATE.format(
        data=data.to_yaml(),
        class_name=class_name,
        size=size,
        repo_id=repo_id or "user/repository",
        config=model.config,
        text=text or "No details were given.",
    )


_TEMPLATE = """---
{data}
---

# {class_name} of pyg_vig

A vision graph neural network with {size}, from [pyg_vig](https://pypi.org/project/pyg-vig).

```python
from pyg_vig.integrations.hub import from_pretrained

model = from_pretrained("{repo_id}")  # or the folder with this file
```

## Training and results

{text}

## Configuration

```
{config}
```
"""
