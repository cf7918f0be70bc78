from __future__ import annotations

import pytest
import torch

from pyg_vig.analysis import patch_labels


def test_the_most_frequent_label_counts() -> None:
    mask = torch.tensor([[0, 0, 9, 9], [0, 4, 9, 9], [4, 4, 0, 9], [4, 0, 0, 9]])
    assert patch_labels(mask, (2, 2)).tolist() == [[0, 9], [4, 0]]  # ties go to the smallest label


def test_pixels_without_label_do_not_count() -> None:
    mask = torch.tensor([[-1, -1, -1, -1], [-1, 6, -1, -1]])
    assert patch_labels(mask, (1, 2)).tolist() == [[6, -1]]
    assert patch_labels(mask.to(torch.int16) + 1, (1, 2), ignore=0).tolist() == [[7, -1]]


def test_sizes_that_do_not_divide() -> None:
    mask = torch.arange(5).repeat(3, 1)
    assert patch_labels(mask, (3, 5)).tolist() == mask.tolist()
    assert patch_labels(torch.ones(7, 5, dtype=torch.uint8), (3, 2)).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("mask", [torch.zeros(4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)])
def test_masks_hold_integers_of_two_axes(mask) -> None:
    with pytest.raises(ValueError, match=r"integers of shape \(H, W\), got torch"):
        patch_labels(mask, (2, 2))


def test_more_patches_than_pixels() -> None:
    with pytest.raises(ValueError, match="smaller than the grid"):
        patch_labels(torch.zeros(2, 2, dtype=torch.int64), (3, 2))
