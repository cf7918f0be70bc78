from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pyg_vig.kernels import Switch, is_exporting


def test_nested_blocks_restore_each_other() -> None:
    switch = Switch("UNSET_KERNELS")
    with switch(False):
        with switch(True):
            assert switch.on
        assert not switch.on
    assert switch.on


def test_overlapping_blocks_of_threads_leave_nothing_behind() -> None:
    switch = Switch("UNSET_KERNELS")
    first, second = switch(False), switch(False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not switch.on
    second.__exit__(None, None, None)
    assert switch.on


def test_a_block_ends_with_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_KERNELS", "0")
    switch = Switch("SET_KERNELS")
    with pytest.raises(KeyError), switch(True):
        raise KeyError
    assert not switch.on


class TwiceInExports(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if is_exporting() else x + 0


@pytest.mark.parametrize("strict", [False, True])
def test_exports_are_recognised(strict: bool) -> None:
    exported = torch.export.export(TwiceInExports(), (torch.ones(2),), strict=strict)
    assert exported.module()(torch.ones(2)).tolist() == [2, 2]


def test_compiling_is_no_export() -> None:
    compiled = torch.compile(TwiceInExports(), fullgraph=True, backend="eager")
    assert compiled(torch.ones(2)).tolist() == [1, 1]
