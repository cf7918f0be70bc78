from __future__ import annotations

from pathlib import Path

import pytest

from pyg_vig.cli import main
from pyg_vig.tasks import read_config
from tests.tasks.conftest import ade20k_folder, coco_folder  # noqa: F401  fixtures

SHARED = (
    "--train-split part --val-split part --backbone pvig_ti --backbone-options.channels [16,32,48,64] "
    "--accelerator cpu --backbone-options.depths [1,1,1,1] --backbone-options.k 2 --epochs 1 --batch-size=2 --runs runs"
)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_detector_then_predict(coco_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    options = "--detector retinanet --channels 16 --anchor-size 8 --options.min_size 64 --options.max_size 96"
    main(["train-detector", "--data", str(coco_folder), *SHARED.split(), *options.split()])
    printed = capsys.readouterr().out
    assert "writing to runs/retinanet-pvig_ti" in printed
    assert "box_map50" in printed
    assert read_config("runs/retinanet-pvig_ti/model.safetensors")["options"] == {"min_size": 64, "max_size": 96}
    main(["predict", "runs/retinanet-pvig_ti", str(coco_folder / "part" / "0.png")])
    assert Path("0_predicted.png").exists()
    main(["train-detector", "--resume", "runs/retinanet-pvig_ti"])  # nothing is left to train
    assert "box_map50" in capsys.readouterr().out


def test_train_segmenter_from_a_recipe(ade20k_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    options = "--devices 1 --precision 32-true --workers 0 --num-classes 3 --size 64"
    recipe = ["--recipe", "semantic_fpn_ade20k", "--data", str(ade20k_folder)]
    main(["train-segmenter", *recipe, *SHARED.split(), *options.split()])
    assert "miou" in capsys.readouterr().out
    config = read_config("runs/fpn-pvig_ti/model.safetensors")
    assert config["options"] == {"decoder_segmentation_channels": 128, "decoder_dropout": 0.1}
    assert config["num_classes"] == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train-detector --data nowhere", "COCO's layout is DATA/SPLIT/*.jpg"),
        ("train-segmenter --data nowhere", "ADE20K's layout is images/SPLIT/*.jpg"),
        ("train-detector --recipe mask_rcnn_9x", "unknown recipe 'mask_rcnn_9x': choose among mask_rcnn_1x"),
        (
            "train-detector --recipe upernet_ade20k",
            "upernet_ade20k is a recipe of train-segmenter, not of train-detector: choose among mask_rcnn_1x",
        ),
        ("train-segmenter --resume nowhere", "nowhere is not the folder of a run"),
        ("train-segmenter --resume nowhere --lr 1", "the options stored in nowhere: drop --lr 1"),
    ],
)
def test_mistakes_become_one_clear_line(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
