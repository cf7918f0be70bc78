"""Building and caching of the compiled kernels, and the fallback when they are not available."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyg_vig.native import build

SEARCH = """if True:
    import warnings
    import torch, pyg_vig
    from pyg_vig.native import is_supported
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        supported = is_supported(torch.zeros(1))
        index = pyg_vig.graph.knn_graph(torch.arange(6.0).view(6, 1), 2, backend="dense")
    print(supported, index[0].tolist(), [str(entry.message) for entry in caught if "pyg_vig" in str(entry.message)])
"""

pytestmark = pytest.mark.skipif(build.find_compiler() is None, reason="needs a C compiler")


def search(tmp_path: Path, **environment: str) -> str:
    """Search neighbours in a new process with its own kernel cache; return what it prints."""
    settings = os.environ | {"XDG_CACHE_HOME": str(tmp_path)} | environment
    result = subprocess.run([sys.executable, "-c", SEARCH], capture_output=True, text=True, check=True, env=settings)
    return result.stdout.strip()


def test_built_once(tmp_path):
    printed = search(tmp_path)
    assert printed.startswith("True [0, 1, 1, ")
    (kernels,) = (tmp_path / "pyg_vig").iterdir()  # the only file left behind
    before = kernels.stat().st_mtime_ns
    assert search(tmp_path) == printed
    assert kernels.stat().st_mtime_ns == before


def test_a_compiler_that_fails_is_told_of_and_replaced_by_torch(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    broken.chmod(0o755)
    printed = search(tmp_path, CC=str(broken))
    assert printed.startswith("False [0, 1, 1, ")
    assert "could not be built" in printed and "no such option" in printed


def test_switched_off(tmp_path):
    assert search(tmp_path, PYG_VIG_NATIVE="0").startswith("False [0, 1, 1, ")
    assert not (tmp_path / "pyg_vig").exists()


def test_no_compiler(tmp_path):
    assert search(tmp_path, CC="", PATH=str(tmp_path)).startswith("False [0, 1, 1, ")


def test_no_place_to_keep_them(tmp_path):
    (tmp_path / "pyg_vig").write_text("a file where the folder should be")
    assert search(tmp_path).startswith("True [0, 1, 1, ")


def test_the_name_tells_compilers_and_sources_apart(tmp_path, monkeypatch):
    compiler = build.find_compiler()
    before = build._fingerprint(compiler)
    assert build._fingerprint(compiler) == before
    assert build._fingerprint(sys.executable) != before
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-g"))
    assert build._fingerprint(compiler) != before
