"""The training recipes included in the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyg_vig import configs
from pyg_vig.cli import main
from pyg_vig.cli.training import start_run
from pyg_vig.configs import COMMANDS, list_recipes, recipe
from pyg_vig.models import HybridConfig, get_config, list_models
from pyg_vig.train import Run, RunConfig


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_a_run(name: str) -> None:
    config = RunConfig(**recipe(name))
    network = get_config(config.model, **config.options)
    assert (config.teacher is not None) <= network.distilled


def test_every_command_has_a_folder_of_recipes_and_every_recipe_one_command() -> None:
    root = Path(configs.__file__).parent
    assert {folder.name for folder in root.iterdir() if list(folder.glob("*.yaml"))} == set(COMMANDS)
    names = [name for command in COMMANDS for name in list_recipes(command)]
    assert len(names) == len(set(names))


def test_a_recipe_may_be_changed() -> None:
    recipe("vig_b")["options"]["k"] = 4
    assert "k" not in recipe("vig_b")["options"]


@pytest.mark.parametrize("name", [name for name in list_models() if name != "vig_nano"])
def test_every_published_network_has_the_recipe_of_its_paper(name: str) -> None:
    config = RunConfig(**recipe(name))
    assert config.model == name
    assert (config.epochs - config.cooldown_epochs, config.batch_size, config.peak_lr) == (300, 1024, 2e-3)
    assert (config.warmup_epochs, config.weight_decay, config.label_smoothing) == (20, 0.05, 0.1)
    assert (config.mixup, config.cutmix, config.erase, config.repeats, config.ema) == (0.8, 1.0, 0.25, 3, 0.99996)
    assert config.options["drop_path_rate"] == (0.3 if name in ("vig_b", "pvig_b") else 0.1)
    assert (config.teacher is not None) == isinstance(get_config(name), HybridConfig)


def test_unknown_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="unknown recipe 'vig_xl': choose among fashion_mnist, "):
        recipe("vig_xl")
    with pytest.raises(ValueError, match="has no recipes: choose among train, train-detector, train-segmenter"):
        list_recipes("predict")
    for words in (["--recipe", "vig_xl"], ["--recipe=vig_xl"]):
        with pytest.raises(SystemExit):
            main(["train", *words])
        assert "pyg-vig train: unknown recipe 'vig_xl'" in capsys.readouterr().err


def test_options_go_over_those_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--recipe", "pvig_b", "--epochs", "5", "--options.k", "4", "--print_config"])
    printed = capsys.readouterr().out
    assert "epochs: 5" in printed
    assert "batch_size: 1024" in printed
    assert "  drop_path_rate: 0.3\n  k: 4" in printed


def test_no_options_at_all_are_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert start_run("train", "Train.", [], Run).config == RunConfig(name="digits-vig_nano")


def test_switches_need_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--fast-dev-run", "--compile", "--sync-norms", "false", "--print_config"])
    printed = capsys.readouterr().out
    assert "fast_dev_run: true" in printed
    assert "compile: true" in printed
    assert "sync_norms: false" in printed
