from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pyg_vig
from pyg_vig.cli.network import describe_network, open_network
from pyg_vig.models import get_config


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_beside_an_empty_folder_of_that_name() -> None:
    Path("vig_nano").mkdir()
    assert open_network("vig_nano").config == get_config("vig_nano")
    assert describe_network("vig_nano") == "vig_nano with random weights, not trained"


def test_weights_of_a_run_and_of_a_file() -> None:
    Path("runs/best").mkdir(parents=True)
    model, file = pyg_vig.create_model("vig_nano"), "runs/best/model.safetensors"
    pyg_vig.save_checkpoint(model, file)
    for arguments, text in (
        (("runs/best",), "best"),
        ((file,), "best/model.safetensors"),
        (("vig_nano", file), "vig_nano with the weights of best/model.safetensors"),
    ):
        torch.testing.assert_close(open_network(*arguments).state_dict(), model.state_dict())
        assert describe_network(*arguments) == text
