from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyg_vig.train.sampling import EpochSampler, SeededDataset, seeded_rng


def add_noise(image: torch.Tensor) -> torch.Tensor:
    return image + torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002


def dataset(seed: int = 0) -> SeededDataset:
    return SeededDataset(TensorDataset(torch.zeros(6), torch.arange(6)), add_noise, seed)


def test_every_epoch_has_its_own_order_of_all_images() -> None:
    sampler = EpochSampler(20, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
        assert list(sampler) == [(epoch, index) for index in orders[-1]]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert [index for _, index in EpochSampler(20, seed=3, epoch=2)] == orders[2]
    assert [index for _, index in EpochSampler(20, seed=4)] != orders[0]


@pytest.mark.parametrize("repeats", [1, 3])
def test_processes_share_the_images_of_every_step(repeats: int) -> None:
    whole = list(EpochSampler(50, seed=1, epoch=2, batch_size=8, repeats=repeats))
    parts = [
        list(EpochSampler(50, seed=1, epoch=2, batch_size=8, repeats=repeats, rank=rank, world_size=4))
        for rank in range(4)
    ]
    assert len(whole) == 48  # without the incomplete last step
    assert [len(part) for part in parts] == [12] * 4
    for step in range(6):
        together = [key for part in parts for key in part[2 * step : 2 * step + 2]]
        assert sorted(together) == sorted(whole[8 * step : 8 * step + 8])


def test_repeated_images_are_changed_anew_each_time() -> None:
    sampler = EpochSampler(9, seed=0, repeats=3)
    drawn = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        drawn += list(sampler)
        assert [index for _, index in list(sampler)[::3]] == [index for _, index in list(sampler)[1::3]]
    assert len(set(drawn)) == 18  # (draw, image) pairs, and so random numbers, never repeat
    images = [dataset()[key][0].item() for key in drawn[:3]]
    assert len(set(images)) == 3


def test_random_changes_depend_on_seed_epoch_and_image_only() -> None:
    first = {key: dataset()[key][0].item() for key in [(0, 1), (0, 2), (1, 1)]}
    assert len(set(first.values())) == 3
    torch.rand(7)
    assert {key: dataset()[key][0].item() for key in reversed(first)} == first
    assert dataset(seed=1)[0, 1][0].item() != first[0, 1]


def test_random_changes_are_the_same_in_worker_processes() -> None:
    sampler = EpochSampler(6, seed=0)
    here, there = (next(iter(DataLoader(dataset(), 6, sampler=sampler, num_workers=workers))) for workers in (0, 1))
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])


def test_the_global_random_numbers_go_on_undisturbed() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), np.random.rand(), random.random()]  # noqa: NPY002

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    expected = draw()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
    with seeded_rng(5):
        inside = draw()
    assert draw() == expected
    with seeded_rng(5):
        assert draw() == inside
