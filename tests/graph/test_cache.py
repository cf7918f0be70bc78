from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pyg_vig.graph import CrissCross, svga_graph


def test_fake_tensors_and_other_default_devices_leave_nothing_behind():
    with FakeTensorMode():
        assert CrissCross(1, 6, 10, 2).index.shape == (60, 6)
        svga_graph(6, 10)
    with torch.device("meta"):
        assert CrissCross(1, 6, 10, 2).index.device.type == "meta"
    assert type(CrissCross(1, 6, 10, 2).index) is torch.Tensor
    assert CrissCross(1, 6, 10, 2).index.device.type == svga_graph(6, 10).device.type == "cpu"


def test_made_once_and_of_use_to_training():
    with torch.inference_mode():
        made = CrissCross(1, 4, 10, 2).index
    assert CrissCross(1, 4, 10, 2, device="cpu").index is made
    assert not made.is_inference()
