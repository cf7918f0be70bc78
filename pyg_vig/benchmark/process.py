"""Run measurements in fresh processes with known memory allocator settings."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# By default, glibc returns every large temporary buffer to the kernel, and the next layer pays for new pages. Networks
# with many large temporaries gain a lot from the tuned settings, so each comparison is made with both.
MALLOC: dict[str, dict[str, str]] = {
    "default": {},
    "tuned": {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)},
}


def in_fresh_process(function: Callable[P, R], malloc: str, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a module-level function in a new interpreter whose allocator uses the settings ``MALLOC[malloc]``.

    Args:
        function: function to call.
        malloc: ``"default"`` or ``"tuned"``.
        *args: positional arguments of the function.
        **kwargs: keyword arguments of the function.

    Example:
        >>> import os
        >>> from pyg_vig.benchmark import in_fresh_process
        >>> in_fresh_process(os.getpid, "default") == os.getpid()
        False
    """
    spawn = get_context("spawn")
    with _malloc_environment(MALLOC[malloc]), ProcessPoolExecutor(1, spawn, initializer=_end_with_parent) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies, lest it disturb the next measurement (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def _malloc_environment(variables: dict[str, str]) -> Iterator[None]:
    """Set exactly these malloc variables of glibc inside the context, without those of the caller."""
    previous = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")}
    for key in previous:
        del os.environ[key]
    os.environ.update(variables)
    try:
        yield
    finally:
        for key in variables:
            os.environ.pop(key, None)
        os.environ.update(previous)
