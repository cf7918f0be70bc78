"""Does a small network learn from a larger one? Train on a few digits, with and without the teacher.

``python -m benchmarks.distillation --output benchmarks/results/distillation.json``
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from pyg_vig.benchmark import provenance, write
from pyg_vig.train import Run, RunConfig

TEACHER = {"model": "vig_nano", "epochs": 12}
STUDENT = {  # for the new images that mixing creates, the teacher's predictions are better targets than mixed labels
    "model": "vig_nano",
    "options": {"depth": 2, "channels": 16, "distilled": True},
    "limit": 200,
    "mixup": 0.8,
    "cutmix": 1.0,
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train the teacher and all students, and write their accuracies."""
    options = parse(arguments)
    results = provenance(vars(options))
    with tempfile.TemporaryDirectory() as runs:
        results |= measure(runs, options.seeds, options.epochs)
    write(options.output, results)
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distillation", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, default=2, help="number of students of each kind")
    add("--epochs", type=int, default=40, help="epochs of the students")
    add("--output", type=Path, required=True, metavar="FILE.json", help="write the results here")
    return parser.parse_args(arguments)


def measure(runs: str, seeds: int, epochs: int) -> dict[str, Any]:
    """Return the accuracies of teacher and students on held-out digits."""
    teacher = Run.start(RunConfig(runs=runs, name="teacher", **TEACHER))
    teacher_result = teacher.fit()
    accuracy: dict[str, list[float]] = {"labels alone": [], "labels and teacher": []}
    for seed in range(seeds):
        for name, teacher_folder in (("labels alone", None), ("labels and teacher", str(teacher.folder))):
            run = Run.start(RunConfig(runs=runs, seed=seed, epochs=epochs, teacher=teacher_folder, **STUDENT))
            accuracy[name].append(run.fit().accuracy)
    return {
        "teacher": {**TEACHER, "accuracy": teacher_result.accuracy},
        "student": {**STUDENT, "epochs": epochs},
        "accuracy": {name: {"mean": mean(values), "runs": values} for name, values in accuracy.items()},
    }


if __name__ == "__main__":
    main()
