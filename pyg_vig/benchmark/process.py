"""Every measurement in a process of its own, under a known memory allocator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# glibc gives every large temporary back to the kernel and pays for it again, page by page, in the next layer. Networks
# that make many large temporaries gain a lot when it does not, so each comparison is made both ways.
MALLOC: dict[str, dict[str, str]] = {
    "default": {},
    "tuned": {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)},
}


def in_fresh_process(function: Callable[P, R], malloc: str, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a module-level function in a new interpreter, whose allocator reads ``MALLOC[malloc]`` at its start.

    Args:
        function: what to call.
        malloc: ``"default"`` or ``"tuned"``.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Example:
        >>> import os
        >>> from pyg_vig.benchmark import in_fresh_process
        >>> in_fresh_process(os.getpid, "default") == os.getpid()
        False
    """
    with _malloc_environment(MALLOC[malloc]), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def _malloc_environment(variables: dict[str, str]) -> Iterator[None]:
    """Exactly these settings of glibc's malloc, none of the caller's."""
    before = {key: value for key, value in os.environ.items() if key.startswith("MALLOC_")}
    for key in before:
        del os.environ[key]
    os.environ.update(variables)
    try:
        yield
    finally:
        for key in variables:
            os.environ.pop(key, None)
        os.environ.update(before)
