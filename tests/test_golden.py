"""The rule reproduces the exact bytes that the fixtures were created with."""

from __future__ import annotations

import pytest
import torch

from tests.golden import FIXTURES, checksum, fill, golden_input, golden_weights, load_case, uniform

CASES = sorted(path.stem for path in FIXTURES.glob("*.npz"))
WITH_WEIGHTS = [name for name in CASES if "state_dict" in load_case(name)[0]]


def test_uniform_is_torch_rand():
    generator = torch.Generator().manual_seed(0x3610A686)  # crc32 of "hello"
    assert uniform("hello", 1000).tolist() == torch.rand(1000, generator=generator).tolist()


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_have_the_listed_checksums(name):
    description, _ = load_case(name)
    listed = {key: crc for key, _, _, _, crc in description["state_dict"] if not key.endswith("relative_pos")}
    assert {key: checksum(value) for key, value in golden_weights(description).items()} == listed


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_input_has_the_listed_checksum(name):
    rule = load_case(name)[0]["input"]
    assert checksum(golden_input(rule["key"], tuple(rule["shape"]))) == rule["crc32"]


@pytest.mark.parametrize("key", ["backbone.0.relative_pos", "nothing"])
def test_keys_outside_the_rule_are_refused(key):
    with pytest.raises(ValueError, match=key):
        fill(key, (2, 2))
