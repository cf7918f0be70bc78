from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from torch import nn

import pyg_vig
from pyg_vig.integrations.hub import from_pretrained, model_card, push_to_hub, save_pretrained
from pyg_vig.nn import MaxRelativeConv
from pyg_vig.tasks.detection import build_detector
from pyg_vig.tasks.segmentation import build_segmenter

TINY: dict[str, Any] = {"backbone": "pvig_ti", "num_classes": 2}
TINY["backbone_options"] = {"channels": (16, 32, 48, 64), "depths": (1, 1, 1, 1), "k": 2}
NETWORKS = {
    "image-classification": lambda: pyg_vig.create_model("vig_nano", conv="edge", depth=1),
    "object-detection": lambda: build_detector("retinanet", channels=16, **TINY),
    "image-segmentation": lambda: build_segmenter("fpn", **TINY),
}


@pytest.mark.parametrize("task", NETWORKS)
def test_what_is_saved_is_loaded(task: str, tmp_path: Path) -> None:
    model: nn.Module = NETWORKS[task]().eval()
    folder = save_pretrained(model, tmp_path / "network", card="Trained on nothing.")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "model.safetensors"]
    loaded = from_pretrained(folder)
    assert not loaded.training
    assert type(loaded) is type(model)
    assert type(from_pretrained(folder / "model.safetensors")) is type(model)
    with pytest.raises(ValueError, match="is a local path, but revision applies only to a download"):
        from_pretrained(folder, revision="v1")
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("pyg_vig", task)
    assert "Trained on nothing." in card.text
    assert card.data.license is None
    again = save_pretrained(model, tmp_path / "licensed", license="cc-by-4.0", repo_id="someone/vig")
    card = huggingface_hub.ModelCard.load(again / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert 'from_pretrained("someone/vig")' in card.text


def test_a_card_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Mine.")
    save_pretrained(pyg_vig.create_model("vig_nano", depth=1), tmp_path, card="Trained on nothing.")
    assert (tmp_path / "README.md").read_text() == "Mine."


def test_the_card_tells_the_network_as_it_is() -> None:
    model = pyg_vig.create_model("vig_nano", depth=1)
    model.reset_classifier(3)
    for network in (model, torch.compile(model)):
        card = model_card(network)
        assert "num_classes=3" in card and "# VisionGNN of" in card


def test_upload_and_download_go_through_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the Hub's client by a local folder, as tests have no network access."""
    hub = tmp_path / "hub"
    calls: list[Any] = []

    def create_repo(self: Any, name: str, **options: Any) -> None:
        calls.append((name, options))

    def file_exists(self: Any, name: str, file: str, revision: str | None) -> bool:
        return (hub / name / file).exists()

    def upload_folder(self: Any, *, repo_id: str, folder_path: str, **options: Any) -> str:
        shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)
        return f"commit of {repo_id}: {options['commit_message']}"

    def download(name: str, file: str, **options: Any) -> str:
        calls.append((name, options["revision"]))
        return str(hub / name / file)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "file_exists", file_exists)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = pyg_vig.create_model("vig_nano", depth=1)
    assert push_to_hub(model, "someone/vig", private=True, commit_message="First") == "commit of someone/vig: First"
    loaded = from_pretrained("someone/vig", revision="v1")
    assert calls == [("someone/vig", {"private": True, "exist_ok": True}), ("someone/vig", "v1")]
    assert torch.equal(loaded.head.classifier.weight, model.head.classifier.weight)
    card = hub / "someone" / "vig" / "README.md"
    assert 'from_pretrained("someone/vig")' in card.read_text()
    card.write_text("Mine.")
    push_to_hub(model, "someone/vig", commit_message="Second")
    assert card.read_text() == "Mine."


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="built by create_model, build_detector or build_segmenter, got"):
        save_pretrained(nn.Linear(2, 2), tmp_path)


def test_names_that_no_repository_has(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is neither an existing file or folder nor a valid repository name"):
        from_pretrained(tmp_path / "missing")


def test_a_conv_of_one_s_own_is_passed_again(tmp_path: Path) -> None:
    class OwnConv(MaxRelativeConv):
        pass

    model = pyg_vig.create_model("vig_nano", depth=1, conv=OwnConv)
    save_pretrained(model, tmp_path)
    with pytest.raises(ValueError, match="custom conv, OwnConv, which the file cannot contain: pass it"):
        from_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path, overrides={"conv": OwnConv})
    assert any(isinstance(module, OwnConv) for module in loaded.modules())
