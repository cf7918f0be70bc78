"""Does a small network learn from a larger one? Digits, few of them, with and without the teacher.

python -m benchmarks.distillation --output benchmarks/results/distillation.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from datetime import date
from pathlib import Path

from pyg_vig.train import Run, RunConfig

TEACHER = {"model": "vig_nano", "epochs": 12}
STUDENT = {  # every mixed image is a new question, to which the teacher knows the answer better than the mixed labels
    "model": "vig_nano",
    "options": {"depth": 2, "channels": 16, "distilled": True},
    "limit": 200,
    "mixup": 0.8,
    "cutmix": 1.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40, help="of the students")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as runs:
        results = measure(runs, arguments.seeds, arguments.epochs)
    arguments.output.write_text(json.dumps({"date": date.today().isoformat(), **results}, indent=2) + "\n")


def measure(runs: str, seeds: int, epochs: int) -> dict[str, object]:
    """Accuracy of teacher and students on the digits that none of them has seen."""
    teacher = Run.start(RunConfig(runs=runs, name="teacher", **TEACHER))
    best = teacher.fit()
    accuracy: dict[str, list[float]] = {"labels alone": [], "labels and teacher": []}
    for seed in range(seeds):
        for name, folder in (("labels alone", None), ("labels and teacher", str(teacher.folder))):
            run = Run.start(RunConfig(runs=runs, seed=seed, epochs=epochs, teacher=folder, **STUDENT))
            accuracy[name].append(run.fit().accuracy)
    return {
        "teacher": {**TEACHER, "accuracy": best.accuracy},
        "student": {**STUDENT, "epochs": epochs},
        "accuracy": {name: {"mean": statistics.mean(values), "runs": values} for name, values in accuracy.items()},
    }


if __name__ == "__main__":
    main()
