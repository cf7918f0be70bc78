"""Which launches ask Triton for a kernel, and which reuse one, with a stand-in for Triton's kernels."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from pyg_vig.triton_kernels import launch as module
from pyg_vig.triton_kernels.launch import launch

X = torch.zeros(9)
TRITON, REUSED = "Triton", "reused"


class Kernel:
    """Records its launches."""

    def __init__(self) -> None:
        self.launches: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]:
        def run(*args: object, num_warps: int) -> object:
            self.launches.append((TRITON, grid, args, num_warps))
            return compiled

        class Compiled:
            def __getitem__(_, grid: tuple[int, ...]) -> Callable[..., None]:
                return lambda *args: self.launches.append((REUSED, grid, args))

        compiled = Compiled()
        return run


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(module, "triton", SimpleNamespace(JITFunction=Kernel))
    monkeypatch.setattr(module, "_COMPILED", {})
    return Kernel()


def test_the_second_launch_reuses_the_kernel_with_the_addresses_of_its_own_tensors(kernel: Kernel) -> None:
    other = torch.zeros(9)
    for x in (X, other):
        launch(kernel, (2, 3), [x], [9, 0.5], [True], num_warps=8)
    assert kernel.launches == [
        (TRITON, (2, 3), (X, 9, 0.5, True), 8),
        (REUSED, (2, 3, 1), (other.data_ptr(), 9, 0.5, True)),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"tensors": [X.double()]},
        {"tensors": [X[1:]]},  # Triton reads 16 bytes at a time only from addresses that are multiples of 16
        {"numbers": [1]},
        {"constants": [False]},
        {"num_warps": 8},
    ],
)
def test_other_code_is_left_to_triton(kernel: Kernel, changed: dict[str, Any]) -> None:
    arguments = {"tensors": [X], "numbers": [9], "constants": [True]}
    launch(kernel, (1,), **arguments)
    launch(kernel, (1,), **{**arguments, **changed})
    assert [kind for kind, *_ in kernel.launches] == [TRITON, TRITON]


def test_another_kernel_with_the_same_arguments_is_another_kernel(kernel: Kernel) -> None:
    launch(kernel, (1,), [X], [9])
    launch(other := Kernel(), (1,), [X], [9])
    assert [kind for kind, *_ in other.launches] == [TRITON]


def test_it_forgets_before_it_remembers_too_much(kernel: Kernel) -> None:
    for size in range(module._MAX_REMEMBERED + 10):
        launch(kernel, (1,), [X], [size])
    assert len(module._COMPILED) == 10
