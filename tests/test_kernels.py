from __future__ import annotations

import pytest

from pyg_vig.kernels import Switch


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
