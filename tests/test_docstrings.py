"""Every docstring example runs, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import types
from pathlib import Path

import pytest
import torch

import pyg_vig

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pyg_vig.__path__, "pyg_vig.", onerror=lambda name: None)
    if not module.name.endswith("__main__")
)
PACKAGES = ["pyg_vig", *(name for name in MODULES if name.count(".") == 1)]
EXTRAS = {
    *[
        "lightning",
        "torchmetrics",
        "jsonargparse",
        "torchvision",
        "PIL",
        "skimage",
        "sklearn",
        "matplotlib",
        "networkx",
    ],
    *["timm", "huggingface_hub", "safetensors", "onnx", "onnxruntime", "onnxscript", "pycocotools", "triton", "yaml"],
    "segmentation_models_pytorch",
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def load(name: str) -> types.ModuleType:
    """Import the module, or skip the test if it needs an extra that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{name} needs {error.name}, which is not installed")


def public_names(package: str) -> list[tuple[str, object]]:
    module = load(package)
    return [(name, getattr(module, name)) for name in getattr(module, "__all__", [])]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = load(name)
    monkeypatch.chdir(tmp_path)  # examples write their files here
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        torch.manual_seed(0)
        messages: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=messages.append)
        assert not messages, "".join(messages)


@pytest.mark.parametrize("name", MODULES)
def test_no_example_is_skipped(name):
    examples = [line for line in (inspect.getsource(load(name))).splitlines() if ">>>" in line]
    assert not [line for line in examples if "+SKIP" in line]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_in_order(package):
    names = [name for name, _ in public_names(package)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("package", PACKAGES)
def test_what_users_call_has_an_example(package):
    missing = []
    for name, value in public_names(package):
        if inspect.isclass(value) or inspect.isroutine(value):
            documentation = inspect.getdoc(value) or ""
            if value.__doc__ is None or ">>>" not in documentation:
                missing.append(name)
    assert not missing, ", ".join(missing)
