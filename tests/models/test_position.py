from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyg_vig.graph import Layout
from pyg_vig.models.position import AbsolutePosition, RelativePosition
from tests.golden import load_case


@pytest.mark.parametrize(
    ("key", "channels", "size", "reduction"),
    [
        ("pvig_ti_c48_n3136_r4", 48, 56, 4),
        ("pvig_ti_c96_n784_r2", 96, 28, 2),
        ("pvig_ti_c240_n196_r1", 240, 14, 1),
        ("pvig_b_c1024_n49_r1", 1024, 7, 1),
    ],
)
def test_relative_tables_are_the_official_ones(key, channels, size, reduction):
    description, arrays = load_case("relative_pos")
    table = RelativePosition(channels, size, reduction).table
    expected = torch.from_numpy(arrays[key]).reshape(-1, table.size(1))
    assert torch.equal(table[:: description["row_stride"][key]], expected)


def test_relative_tables_are_resized_once_a_size():
    module = RelativePosition(16, 8, 2)
    assert module(Layout.from_grid(3, 8, 8)) is module.table
    layout = Layout.from_grid(1, 12, 10)
    expected = F.interpolate(module.table[None, None], (120, 30), mode="bicubic", align_corners=False)[0, 0]
    torch.testing.assert_close(module(layout), expected)
    assert module(layout) is module(layout)
    module.table.mul_(2)  # in place, as when loading a checkpoint
    torch.testing.assert_close(module(layout), 2 * expected)


def test_tables_made_in_inference_mode_are_resized_too():
    with torch.inference_mode():
        module = RelativePosition(8, 4)
    with torch.no_grad():
        torch.testing.assert_close(module(Layout.from_grid(1, 6, 6)), RelativePosition(8, 4)(Layout.from_grid(1, 6, 6)))


def test_relative_tables_need_channels_of_four():
    with pytest.raises(ValueError, match=r"divisible by 4 .*, got 18"):
        RelativePosition(18, 8)


def test_absolute_positions_are_added_and_resized():
    module = AbsolutePosition(4, 3, 5)
    torch.nn.init.normal_(module.weight)
    x = torch.zeros(2 * 15, 4)
    torch.testing.assert_close(module(x, Layout.from_grid(2, 3, 5)), module.weight.reshape(15, 4).repeat(2, 1))
    resized = F.interpolate(module.weight.permute(0, 3, 1, 2), (6, 10), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(module(torch.zeros(60, 4), Layout.from_grid(1, 6, 10)), resized.reshape(60, 4))


def test_absolute_positions_of_graphs_of_different_size():
    module = AbsolutePosition(4, 3, 5)
    torch.nn.init.normal_(module.weight)
    batch = torch.tensor([0] * 15 + [1] * 8)
    layout = Layout.from_batch(batch).with_grids([(3, 5), (4, 2)])
    out = module(torch.zeros(23, 4), layout)
    torch.testing.assert_close(out[:15], module.weight.reshape(15, 4))
    torch.testing.assert_close(out[15:], module(torch.zeros(8, 4), Layout.from_grid(1, 4, 2)))
    with pytest.raises(ValueError, match="do not match"):
        Layout.from_batch(batch).with_grids([(3, 5), (3, 2)])


def test_blocks_with_equal_tables_share_resized_ones():
    layout = Layout.from_grid(1, 12, 16)
    first, second, other = RelativePosition(8, 8, 2), RelativePosition(8, 8, 2), RelativePosition(8, 8, 2)
    other.table.mul_(2)
    assert first(layout) is second(layout)
    torch.testing.assert_close(other(layout), 2 * first(layout))
    with torch.device("meta"):
        assert RelativePosition(8, 8, 2).to("meta")(layout).shape == (192, 48)
