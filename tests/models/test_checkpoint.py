from __future__ import annotations

import argparse
import json
import os

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATv2Conv

import pyg_vig
from pyg_vig.models.official import mmpretrain_to_official, to_official
from tests.golden import FIXTURES

HYBRID = {"channels": (16, 32), "depths": ((1, 0), (0, 1)), "steps": (2, 2)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return pyg_vig.create_model("vig_nano", depth=2)


def same_weights(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"model": state},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {k: v * 0 for k, v in state.items()}, "state_dict_ema": state},
    ],
)
def test_reads_official_files_however_they_are_wrapped(model, wrap, tmp_path):
    torch.save(wrap(to_official(model)), tmp_path / "file.pth")
    other = pyg_vig.create_model("vig_nano", depth=2)
    assert pyg_vig.load_checkpoint(other, tmp_path / "file.pth").layout == "official"
    assert same_weights(model, other)


@pytest.mark.parametrize("name", ["vig_ti", "pvig_ti"])
def test_reads_mmpretrain(name, tmp_path):
    names = json.loads((FIXTURES / "keymap_mmpretrain.json").read_text())[f"{name}_224_gelu"]
    model = pyg_vig.create_model(name)
    official = to_official(model)
    assert set(official) == set(names)
    theirs = {
        names[key]: value.flatten(1) if key.startswith("prediction") and value.dim() == 4 else value
        for key, value in official.items()
    }
    assert set(mmpretrain_to_official(theirs)) == set(official)
    torch.save({"state_dict": theirs}, tmp_path / "mm.pth")
    other = pyg_vig.create_model(name)
    assert pyg_vig.load_checkpoint(other, tmp_path / "mm.pth").layout == "mmpretrain"
    assert same_weights(model, other)


@pytest.mark.parametrize("conv", ["max_relative", "edge", "sage", "gin"])
@pytest.mark.parametrize("act", ["gelu", "prelu"])
@pytest.mark.parametrize("norm", ["batch", None])
def test_every_weight_has_an_official_name(conv, act, norm, tmp_path):
    options = {"depth": 2, "conv": conv, "act": act, "norm": norm}
    model, other = (pyg_vig.create_model("vig_nano", **options) for _ in range(2))
    state = to_official(model)
    assert all(key.split(".")[0] in ("stem", "backbone", "prediction", "pos_embed") for key in state)
    torch.save(state, tmp_path / "file.pth")
    pyg_vig.load_checkpoint(other, tmp_path / "file.pth")
    assert same_weights(model, other)


def test_relative_positions_may_be_left_out_but_are_taken_when_there(tmp_path):
    options = {"depths": (1, 1, 1, 1)}
    model = pyg_vig.create_model("pvig_ti", **options)
    tables = {key: value + 1 for key, value in to_official(model).items() if key.endswith("relative_pos")}
    rest = {key: value for key, value in to_official(model).items() if key not in tables}
    torch.save(rest, tmp_path / "without.pth")
    torch.save(rest | tables, tmp_path / "with.pth")
    assert len(tables) == 4
    other = pyg_vig.create_model("pvig_ti", **options)
    pyg_vig.load_checkpoint(other, tmp_path / "without.pth")
    assert same_weights(model, other)
    pyg_vig.load_checkpoint(other, tmp_path / "with.pth")
    for key, value in to_official(other).items():
        torch.testing.assert_close(value, (rest | tables)[key])


def test_round_trip_through_safetensors(tmp_path):
    model = pyg_vig.create_model("vig_nano", conv="edge", k=(3, 4, 4, 5, 5, 6), num_classes=7).eval()
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    restored = pyg_vig.load_model(tmp_path / "model.safetensors").eval()
    assert restored.config == model.config
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(restored(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda model: torch.compile(nn.DataParallel(model))])
def test_wrappers_are_left_out_of_files(wrap, model, tmp_path):
    pyg_vig.save_checkpoint(wrap(model), tmp_path / "model.safetensors")
    assert same_weights(model, pyg_vig.load_model(tmp_path / "model.safetensors"))
    other = pyg_vig.create_model("vig_nano", depth=2)
    pyg_vig.load_checkpoint(wrap(other), tmp_path / "model.safetensors")
    assert same_weights(model, other)


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "module._orig_mod.", "model.module.module."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_prefixes_of_wrappers_are_dropped_in_any_order(prefix, suffix, model, tmp_path):
    from safetensors.torch import save_file

    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    path = tmp_path / f"file{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    other = pyg_vig.create_model("vig_nano", depth=2)
    pyg_vig.load_checkpoint(other, path)
    assert same_weights(model, other)


def test_synchronised_batch_norms_are_saved_as_batch_norms(model, tmp_path):
    pyg_vig.save_checkpoint(nn.SyncBatchNorm.convert_sync_batchnorm(model), tmp_path / "model.safetensors")
    assert same_weights(model, pyg_vig.load_model(tmp_path / "model.safetensors"))


def test_loaded_networks_are_in_evaluation_mode(model, tmp_path):
    pyg_vig.save_checkpoint(model.train(), tmp_path / "model.safetensors")
    loaded = pyg_vig.load_model(tmp_path)  # the folder also works
    assert not any(module.training for module in loaded.modules())


def test_a_reset_classifier_is_saved_with_its_size(model, tmp_path):
    model.reset_classifier(3)
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    assert pyg_vig.load_model(tmp_path / "model.safetensors").num_classes == 3


def test_a_conv_of_ones_own_must_be_passed_again(tmp_path):
    model = pyg_vig.create_model("vig_nano", depth=2, conv=lambda i, o: GATv2Conv(i, o))
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="conv="):
        pyg_vig.load_model(tmp_path / "model.safetensors")
    assert same_weights(model, pyg_vig.load_model(tmp_path / "model.safetensors", conv="GATv2Conv"))


def test_options_that_no_network_has_are_told(model, tmp_path):
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="ViGConfig has no option 'foo': valid ones are num_classes"):
        pyg_vig.load_model(tmp_path / "model.safetensors", foo=1)


def test_options_that_a_file_cannot_hold_are_told(tmp_path):
    model = pyg_vig.create_model("vig_nano", depth=1, graph_kwargs={"cosine": torch.tensor(True)})
    with pytest.raises(ValueError, match="cannot be written to a file"):
        pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_names_configurations_only(model, tmp_path):
    from safetensors.torch import save_file

    for config, message in (
        ('{"class": "dataclass"}', "the file contains a dataclass"),
        ('{"depth": 1}', "contains no configuration"),
        ("[", r"is not a valid \.safetensors file"),
    ):
        save_file(model.state_dict(), tmp_path / "model.safetensors", {"config": config})
        with pytest.raises(ValueError, match=message):
            pyg_vig.load_model(tmp_path / "model.safetensors")


def test_another_classifier_is_reported_and_drawn_anew_only_when_asked(model, tmp_path):
    pyg_vig.save_checkpoint(model, tmp_path / "model.safetensors")
    other = pyg_vig.create_model("vig_nano", depth=2, num_classes=3)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"num_classes=10, or pass reset_head=True"):
        pyg_vig.load_checkpoint(other, tmp_path / "model.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    report = pyg_vig.load_checkpoint(other, tmp_path / "model.safetensors", reset_head=True)
    assert sorted(report.reset) == ["head.classifier.bias", "head.classifier.weight"]
    assert torch.equal(other.stem.convs[0].conv.weight, model.stem.convs[0].conv.weight)
    assert torch.equal(other.head.classifier.weight, before["head.classifier.weight"])


@pytest.mark.parametrize("layout", ["official", "pyg_vig"])
@pytest.mark.parametrize(("name", "options"), [("vig_nano", {"depth": 1}), ("mobilevig_ti", HYBRID)])
def test_networks_with_and_without_a_classifier_exchange_the_rest(layout, name, options, tmp_path):
    """Also in the official layout, whose classifier keys differ from the network's own."""
    full, bare = (pyg_vig.create_model(name, num_classes=classes, **options) for classes in (4, 0))
    for source, target, message in (
        (full, bare, r"classifier\.weight has 4 rows in the file and 0 here.* num_classes=4, or pass reset_head=True"),
        (bare, full, r"classifier\.weight has 0 rows in the file and 4 here.* num_classes=0, or pass reset_head=True"),
    ):
        torch.save(to_official(source) if layout == "official" else source.state_dict(), tmp_path / "file.pth")
        before = target.head.classifier.state_dict()
        with pytest.raises(ValueError, match=message):
            pyg_vig.load_checkpoint(target, tmp_path / "file.pth")
        report = pyg_vig.load_checkpoint(target, tmp_path / "file.pth", reset_head=True)
        assert set(report.reset) == {key for key in target.state_dict() if "classifier" in key}
        assert torch.equal(target.head.fc.linear.weight, source.head.fc.linear.weight)
        torch.testing.assert_close(target.head.classifier.state_dict(), before, rtol=0, atol=0)
        nn.init.normal_(full.head.fc.linear.weight)


def test_a_second_classifier_is_told(tmp_path):
    model = pyg_vig.create_model("vig_nano", depth=1)
    torch.save(model.state_dict(), tmp_path / "file.pth")
    with pytest.raises(ValueError, match="num_classes=10 and distilled=False, or pass"):
        pyg_vig.load_checkpoint(pyg_vig.create_model("vig_nano", depth=1, distilled=True), tmp_path / "file.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("stem.convs.1.conv.weight"), "1 missing: stem.convs.1.conv.weight"),
        (lambda state: state.update({"extra": torch.zeros(1)}), "1 unexpected: extra"),
        (lambda state: state.update({"head.fc.linear.bias": torch.zeros(3)}), r"fc.linear.bias with \(3,\) instead of"),
    ],
)
def test_a_wrong_file_is_named_key_by_key_and_changes_nothing(model, change, message, tmp_path):
    state = {key: value + 1 for key, value in model.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "file.pth")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        pyg_vig.load_checkpoint(model, tmp_path / "file.pth")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Exploit:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_files_are_read_without_running_code(model, tmp_path):
    torch.save({"state_dict": Exploit()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="weights_only"):
        pyg_vig.load_checkpoint(model, tmp_path / "evil.pth")


def test_missing_and_meaningless_files(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        pyg_vig.load_checkpoint(model, tmp_path / "nowhere.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no state_dict"):
        pyg_vig.load_checkpoint(model, tmp_path / "list.pth")
    for content in (b"", b"hello world", b"PK\x03\x04 cut off"):
        for name in ("file.pth", "file.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=rf"{name} .*\.safetensors"):
                pyg_vig.load_checkpoint(model, tmp_path / name)
            with pytest.raises(
                ValueError, match=r"not a valid .safetensors file.* then load_checkpoint\(model, path\)"
            ):
                pyg_vig.load_model(tmp_path / name)


def test_fused_networks_are_not_saved(model, tmp_path):
    with pytest.raises(ValueError, match="fused"):
        pyg_vig.save_checkpoint(model.fuse(), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "depth"), [("vig_nano", {"depth": 1}), ("pvig_ti", {"depths": (1, 1, 1, 1)})])
def test_weights_of_another_image_size(tmp_path, name, depth):
    small, large = (pyg_vig.create_model(name, image_size=size, num_classes=3, **depth).eval() for size in (64, 96))
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    pyg_vig.save_checkpoint(small, tmp_path / "model.safetensors")
    pyg_vig.load_checkpoint(large, tmp_path / "model.safetensors")
    loaded = large.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in small.state_dict().items() if "position" not in key)
    if name == "vig_nano":  # same output as the original network on larger images
        images = torch.rand(1, 3, 96, 96)
        torch.testing.assert_close(large(images), small(images))
