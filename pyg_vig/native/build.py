"""Compile the kernels for this machine, once, and load them."""

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

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The kernels, compiled if need be; ``None`` (after a warning) where that is not possible."""
    compiler = find_compiler()
    if compiler is None:
        return None
    try:
        return ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        warnings.warn(
            f"pyg_vig's kernels for CPUs could not be built with {compiler}, so the slower paths in PyTorch serve "
            f"(PYG_VIG_NATIVE=0 says so from the start): {told.strip()[-500:]}",
            stacklevel=2,
        )
        return None


def find_compiler() -> str | None:
    """The C compiler of the machine, if it has one."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def cache_directory() -> Path:
    """Where the compiled kernels are kept: ``pyg_vig`` in ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyg_vig"


def _built(compiler: str) -> Path:
    name = f"kernels-{_fingerprint(compiler)}.so"
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        return _compile(compiler, directory / name)
    except (OSError, RuntimeError):  # no home, or none to write to
        return _compile(compiler, Path(tempfile.mkdtemp(prefix="pyg_vig_")) / name)


def _compile(compiler: str, target: Path) -> Path:
    """Whoever builds at the same time puts the same file in the same place, whole."""
    if not target.is_file():
        handle, scratch = tempfile.mkstemp(dir=target.parent, suffix=".so")
        os.close(handle)
        try:
            command = [compiler, *_FLAGS, str(_SOURCES / "kernels.c"), "-o", scratch, "-lm"]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            os.replace(scratch, target)
        finally:
            Path(scratch).unlink(missing_ok=True)
    return target


def _fingerprint(compiler: str) -> str:
    """Differs wherever the compiled kernels may: by their text, the compiler and the processor (homes are shared)."""
    program = Path(compiler).resolve()
    version = f"{program} {program.stat().st_size} {program.stat().st_mtime_ns}"
    parts = [version, *_FLAGS, platform.machine(), _processor()]
    parts += [source.read_text() for source in sorted(_SOURCES.glob("*.[ch]"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, as Linux lists it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
