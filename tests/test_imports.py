"""Imports respect the layers of the package, and the core needs only torch, torch_geometric and numpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyg_vig

ROOT = Path(pyg_vig.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

CORE = {"atomic", "kernels", "native", "triton_kernels", "graph", "nn", "models", "transforms", "analysis"}
TOOLS = {"benchmark", "export"}  # depend on networks, not on each other
EDGE = {  # entry points for users, which the core never imports
    "preprocessing",
    "train",
    "configs",
    "tasks",
    "plot",
    "explore",
    "integrations",
    "cli",
}
ALLOWED = {
    "atomic": set(),
    "kernels": set(),
    "native": {"kernels"},
    "triton_kernels": {"kernels", "native"},
    "graph": {"kernels", "native", "triton_kernels"},
    "transforms": {"atomic", "graph"},
    "nn": {"kernels", "native", "triton_kernels", "graph"},
    "models": {"atomic", "graph", "nn"},
    "analysis": {"graph", "nn", "models"},
    "": {"models"},  # pyg_vig/__init__.py
    **{part: {"atomic", "nn", "models", ""} for part in TOOLS},
    **{part: CORE | TOOLS | EDGE | {""} for part in EDGE},
}

CORE_DEPENDENCIES = {"torch", "torch_geometric", "numpy", "pyg_vig"}
EXTENSIONS = {"torch_cluster", "torch_scatter", "pyg_lib", "triton"}
# imported lazily
KERNELS = {ROOT / f"triton_kernels/{name}.py" for name in ("batch_norm", "knn", "launch", "reduce", "trial")}
EXTRAS = ["lightning", "torchvision", "matplotlib", "networkx", "skimage", "sklearn", "timm", "PIL", "pandas"]


def subpackage_of(module: Path) -> str:
    """Return the subpackage (or top-level module) of ``pyg_vig`` that the file belongs to."""
    inside = module.relative_to(ROOT).with_suffix("")
    return "" if inside.parts == ("__init__",) else inside.parts[0]


def imported_modules(module: Path, *, anywhere: bool) -> set[str]:
    """Return the full names of imported modules: at import time, or anywhere in the file."""
    tree = ast.parse(module.read_text())
    names = set()
    for node in ast.walk(tree) if anywhere else _run_at_import(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _run_at_import(node: ast.AST) -> list[ast.AST]:
    """Return all nodes outside of functions and ``TYPE_CHECKING`` blocks."""
    found = []
    for child in ast.iter_child_nodes(node):
        checked_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not checked_only:
            found += [child, *_run_at_import(child)]
    return found


def test_every_part_is_known():
    assert {subpackage_of(module) for module in MODULES} <= set(ALLOWED) | {"__main__"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(module):
    part = subpackage_of(module)
    if part == "__main__":
        part = "cli"
    parts = {name.split(".")[1] for name in imported_modules(module, anywhere=True) if name.startswith("pyg_vig.")}
    parts = {name if (ROOT / name).exists() or (ROOT / f"{name}.py").exists() else "" for name in parts}
    assert parts <= ALLOWED[part] | {part}


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if subpackage_of(module) in {*CORE, ""} and module not in KERNELS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_core_imports_core_dependencies_only(module):
    at_import = {name.split(".")[0] for name in imported_modules(module, anywhere=False)}
    assert at_import - set(sys.stdlib_module_names) <= CORE_DEPENDENCIES


def test_extensions_are_imported_where_they_are_used():
    for module in set(MODULES) - KERNELS:
        names = imported_modules(module, anywhere=False)
        assert not {name.split(".")[0] for name in names} & EXTENSIONS, module
        assert not {f"pyg_vig.triton_kernels.{kernel.stem}" for kernel in KERNELS} & names, module


def test_importing_the_core_loads_no_extra():
    """No extra is loaded beyond those that torch and torch_geometric load by themselves."""
    code = """if True:
        import sys, warnings
        warnings.simplefilter("ignore")
        import torch, torch_geometric.nn, torch_geometric.transforms, torch.distributed, torch.utils.checkpoint
        before = set(sys.modules)
        import pyg_vig, pyg_vig.graph, pyg_vig.nn, pyg_vig.models, pyg_vig.transforms, pyg_vig.analysis
        print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "pyg_vig" in loaded
    assert not loaded & {*EXTRAS, *EXTENSIONS}
