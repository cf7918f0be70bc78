from __future__ import annotations

import pytest
import torch

from pyg_vig.triton_kernels import _works


def test_where_triton_does_not_work_it_is_said_once_and_pytorch_serves() -> None:
    pytest.importorskip("triton")
    _works.cache_clear()
    with pytest.warns(UserWarning, match="Triton does not work on cpu, so slower paths in PyTorch serve"):
        assert not _works(torch.device("cpu"))  # for which Triton builds no kernels
    assert not _works(torch.device("cpu"))
    _works.cache_clear()
