"""Compile the kernels once per machine, and load them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import torch  # noqa: F401 - loads the OpenMP library whose threads the kernels share

_SOURCE_DIR = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL | None:
    """Load the kernels, compiling them if necessary; ``None`` without a compiler, or, with a warning, on failure."""
    compiler = find_compiler()
    if compiler is None:
        return None
    try:
        return ctypes.CDLL(str(_build(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        details = getattr(error, "stderr", None) or str(error)
        warnings.warn(
            f"pyg_vig's kernels for CPUs could not be built with {compiler}, so slower PyTorch code runs instead (set "
            f"PYG_VIG_NATIVE=0 to disable the kernels without this warning): {details.strip()[-500:]}",
            stacklevel=2,
        )
        return None


def find_compiler() -> str | None:
    """Return the path of the machine's C compiler, if it has one."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def cache_directory() -> Path:
    """Return the cache of compiled kernels: ``pyg_vig`` in ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyg_vig"


def _build(compiler: str) -> Path:
    name = f"kernels-{_fingerprint(compiler)}.so"
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        return _compile(compiler, directory / name)
    except (OSError, RuntimeError):  # no home directory, or it is not writable
        return _compile(compiler, Path(tempfile.mkdtemp(prefix="pyg_vig_")) / name)


def _compile(compiler: str, target: Path) -> Path:
    """Compile to a temporary file and move it into place, so that concurrent builds do not interfere."""
    if not target.is_file():
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".so")
        os.close(descriptor)
        try:
            command = [compiler, *_FLAGS, str(_SOURCE_DIR / "kernels.c"), "-o", temporary, "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            os.chmod(temporary, 0o755)  # mkstemp lets only the owner read
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return target


def _fingerprint(compiler: str) -> str:
    """Hash of all that the binary depends on: sources, compiler, flags and processor (machines may share a home)."""
    path = Path(compiler).resolve()
    version = f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"
    parts = [version, *_FLAGS, platform.machine(), _cpu_flags()]
    parts += [source.read_text() for source in sorted(_SOURCE_DIR.glob("*.[ch]"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cpu_flags() -> str:
    """Feature flags of the processor, as Linux lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
