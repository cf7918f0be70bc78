from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.readme import GPU, SPEED, gpu_section, merge_results, replace_section, speed_section
from pyg_vig.benchmark import table


def test_table_is_aligned_markdown() -> None:
    assert table(["a", "bc"], [["x", 1.23456], [None, 7]]).splitlines() == [
        "| a | bc    |",
        "| - | ----- |",
        "| x | 1.235 |",
        "|   | 7     |",
    ]


def test_section_is_replaced_between_the_markers() -> None:
    text = "before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n"
    assert replace_section(text, SPEED, "new") == "before\n<!-- speed -->\nnew\n<!-- /speed -->\nafter\n"
    assert replace_section(replace_section(text, SPEED, "new"), SPEED, "new") == replace_section(text, SPEED, "new")
    for wrong in (text.replace("speed", GPU), "<!-- /speed -->\n<!-- speed -->\n"):
        with pytest.raises(ValueError, match="expected one line <!-- speed -->"):
            replace_section(wrong, SPEED, "new")


def test_results_of_one_machine_are_joined() -> None:
    first = {
        "date": "2026-01-02T03:04:05",
        "machine": {"cpu": "A CPU", "cores": 2, "gpu": None},
        "versions": {"torch": "2.15.0"},
        "speed": [{"model": "a"}],
        "memory": [{"model": "a"}],
    }
    second = {**first, "date": "2026-01-01T09:00:00", "speed": [{"model": "b"}], "memory": []}
    merged = merge_results([first, second])
    assert [row["model"] for row in merged["speed"]] == ["a", "b"]
    assert merged["date"] == "2026-01-01 and 2026-01-02"
    assert merge_results([first, first])["date"] == "2026-01-02"
    another = {**first, "machine": {**first["machine"], "cpu": "Another"}}
    with pytest.raises(ValueError, match="results of one machine, got different cpu"):
        merge_results([first, another])
    with pytest.raises(ValueError, match="results of the same versions"):
        merge_results([first, {**first, "versions": {"torch": "2.8.0"}}])


def test_results_of_one_gpu_may_come_from_several_machines() -> None:
    results = [
        {
            "date": "2026-01-02",
            "machine": {"cpu": "A CPU", "cores": cores, "gpu": gpu},
            "versions": {},
            "gpu": [{"model": "a"}],
        }
        for cores, gpu in ((7, "A GPU"), (16, "A GPU"), (16, "Another"))
    ]
    assert len(merge_results(results[:2])["gpu"]) == 2
    with pytest.raises(ValueError, match="got different gpu: A GPU and Another"):
        merge_results(results)


def test_speed_section_compares_with_the_official_code() -> None:
    load = {
        "model": "vig_ti",
        "mode": "inference",
        "batch": 8,
        "size": 224,
        "dtype": "float32",
        "threads": 2,
        "device": "cpu",
    }
    speed = [
        {
            **load,
            "malloc": malloc,
            "subject": subject,
            "median": ms / 1e3,
            "speedup": 400 / ms,
            "share_of_products": 80 / ms,
        }
        for malloc in ("default", "tuned")
        for subject, ms in (("official", 400), ("eager", 125), ("fused", 100), ("products", 80))
    ]
    memory = [{**load, "subject": subject, "peak_mib": peak} for subject, peak in (("official", 100), ("fused", 30))]
    machine, versions = {"cpu": "A CPU", "cores": 2}, {"torch": "2.15.0"}
    results = {"speed": speed, "memory": memory, "machine": machine, "versions": versions, "date": "2026-01-02T03"}
    line, caption = [text for text in speed_section(results).splitlines()[2:] if text]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["vig_ti", "inference", "400", "3.2 x", "4.0 x", "", "400", "4.0 x", "80%", "30%"]
    assert "A CPU with 2 cores" in caption


def test_gpu_section_compares_with_the_official_code() -> None:
    case = {"model": "vig_ti", "mode": "inference", "batch": 128, "size": 224, "dtype": "bfloat16"}
    rows = [
        {**case, "subject": name, "median": ms / 1e3, "speedup": 40 / ms, "share_of_products": 4 / ms, "peak_mib": peak}
        for name, ms, peak in (
            ("official", 40, 600),
            ("eager", 20, 200),
            ("fused", 10, 150),
            ("captured", 5, None),
            ("compiled, CUDA graphs", 8, None),
            ("resnet18, captured", 4, None),
            ("deit_tiny_patch16_224, captured", 6, None),
        )
    ]
    rows.append({**case, "mode": "training", "subject": "all", "error": "OutOfMemoryError: so it is"})
    results = {"gpu": rows, "machine": {"gpu": "A GPU"}, "versions": {"torch": "2.15.0"}, "date": "2026-01-02T03"}
    line, caption = [text for text in gpu_section(results).splitlines()[2:] if text]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:] == ["40", "2.0 x", "4.0 x", "8.0 x", "5.0 x", "80%", "25%", "1.2 x"]
    assert cells[:4] == ["vig_ti", "inference", "128", "bfloat16"] and "A GPU" in caption


def test_gpu_section_is_ordered_and_takes_any_network() -> None:
    rows = [
        {"model": model, "mode": "inference", "batch": 8, "dtype": "float32", "subject": "official", "median": 0.01}
        for model in ("greedyvig_s", "mobilevig_ti", "vig_nano")  # timm has no network like the last two
    ]
    results = {"gpu": rows, "machine": {"gpu": "A GPU"}, "versions": {"torch": "2.15.0"}, "date": "2026-01-02"}
    lines = gpu_section(results).splitlines()[2:5]
    assert [line.split("|")[1].strip() for line in lines] == ["vig_nano", "mobilevig_ti", "greedyvig_s"]


def test_command_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results" / "nano.json"
    options = "--models vig_nano --size 32 --batch 1 --rounds 1 --threads 1 --malloc default --no-train --no-memory"
    main([*options.split(), "--output", str(output)])
    results = json.loads(output.read_text())
    assert [row["subject"] for row in results["speed"]] == ["eager", "fused", "products"]
    assert results["settings"]["reference"] is False
    assert str(tmp_path) not in output.read_text()
    assert "| vig_nano" in capsys.readouterr().out
    assert output.with_name("nano_speed.png").stat().st_size > 10_000
