from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import pyg_vig
from pyg_vig.train import Classification, RunConfig


def test_the_loss_is_cross_entropy_over_all_heads() -> None:
    module = Classification(pyg_vig.create_model("vig_nano", depth=1, distilled=True), RunConfig())
    images, targets = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 9, 3])
    heads = module.train()(images)
    assert isinstance(heads, tuple)
    expected = sum(F.cross_entropy(scores, targets, label_smoothing=0.1) for scores in heads) / 2
    assert torch.allclose(module.loss(heads, targets, 0.1), expected)
    mixed = F.one_hot(targets, 10).float()
    assert torch.allclose(module.loss(heads[0], mixed), module.loss(heads[0], targets))


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", -1), ("lr", 0.0), ("label_smoothing", 1.0), ("limit", 1), ("name", "a/b")],
)
def test_options_that_make_no_sense(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .* got {value!r}"):
        RunConfig(**{field: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_told() -> None:
    with pytest.raises(ValueError, match="finds no GPU"):
        RunConfig(accelerator="gpu")


def test_options_survive_their_file(tmp_path) -> None:
    config = RunConfig(options={"conv": "edge", "k": [3, 4]}, lr=1e-4, name="a")
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config
    (tmp_path / "config.yaml").write_text("learning_rate: 1\n")
    with pytest.raises(ValueError, match="has no option 'learning_rate'"):
        RunConfig.load(tmp_path / "config.yaml")
