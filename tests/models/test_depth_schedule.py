from __future__ import annotations

import pytest

from pyg_vig.models.depth_schedule import dilations, linspace, neighbor_counts


def test_published_schedules():
    assert neighbor_counts(9, 16, growth=2) == [9, 9, 10, 10, 11, 12, 12, 13, 13, 14, 15, 15, 16, 16, 17, 18]
    assert dilations(neighbor_counts(9, 16, 2), 196, True) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert dilations([9] * 24, 49, True) == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 8
    assert dilations([9] * 6, 196, False) == [1] * 6
    assert linspace(0, 0.1, 3) == pytest.approx([0, 0.05, 0.1])


def test_given_counts():
    assert neighbor_counts((3, 4), 2, growth=2) == [3, 4]
    with pytest.raises(ValueError, match="at least 1 in every block"):
        neighbor_counts((3, 0), 2, growth=2)
