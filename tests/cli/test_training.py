from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyg_vig.cli.training import resume_hint, start_run
from pyg_vig.train import RunConfig
from pyg_vig.train.config import GROUPS


class Recorder:
    """Stand-in for a run that returns its arguments."""

    options = RunConfig

    @classmethod
    def start(cls, config: Any) -> Any:
        return config

    @classmethod
    def resume(cls, folder: str) -> Any:
        return f"resumed {folder}"


def begin_with(words: str) -> Any:
    return start_run("train", "Train.", words.split(), Recorder, GROUPS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--batch-size 8 --sync-norms=false", {"batch_size": 8, "sync_norms": False}),
        ("--options.drop-path-rate=0.1 --options.k 4", {"options": {"drop_path_rate": 0.1, "k": 4}}),
        ("--download --name a-b-c", {"download": True, "name": "a-b-c"}),
        ("--name=x=y-z --compile", {"compile": True, "name": "x=y-z"}),
    ],
)
def test_words_become_options(words: str, expected: dict[str, Any]) -> None:
    assert begin_with(words) == RunConfig(**expected)


@pytest.mark.parametrize("words", ["--recipe vig_b --epochs 5", "--epochs 5 --recipe=vig_b"])
def test_options_take_precedence_over_the_recipe_wherever_it_stands(words: str) -> None:
    config = begin_with(words)
    assert (config.model, config.epochs, config.batch_size) == ("vig_b", 5, 1024)


@pytest.mark.parametrize("words", ["--resume runs/a-b", "--resume=runs/a-b"])
def test_resuming_takes_the_folder_alone(words: str) -> None:
    assert begin_with(words) == "resumed runs/a-b"
    for more in ("--lr 1", "--recipe vig_b"):
        with pytest.raises(ValueError, match=f"uses the options stored in runs/a-b: drop {more}"):
            begin_with(f"{words} {more}")


def test_an_interruption_tells_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), resume_hint("train-detector", Path("runs/mine")):
        raise KeyboardInterrupt
    assert "resume it with: pyg-vig train-detector --resume runs/mine" in capsys.readouterr().err
