from __future__ import annotations

import pytest
import torch

from pyg_vig.triton_kernels import _is_working


def test_where_triton_does_not_work_it_is_said_once_and_pytorch_serves() -> None:
    pytest.importorskip("triton")
    _is_working.cache_clear()
    with pytest.warns(UserWarning, match="Triton does not work on cpu, so slower PyTorch code runs instead"):
        assert not _is_working(torch.device("cpu"))  # for which Triton builds no kernels
    assert not _is_working(torch.device("cpu"))
    _is_working.cache_clear()
