"""Plot results of `point_clouds.py --output`: `python examples/point_cloud_curves.py FILE.json ... -o curves.png`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt

from pyg_vig.plot import COLORS

NAMES = {"encoder": "GraphEncoder (pyg_vig)", "dgcnn": "DGCNN with PyG's EdgeConv"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default="curves.png")
    options = parser.parse_args(arguments)
    figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for file, color in zip(options.files, COLORS, strict=False):
        run = json.loads(file.read_text())
        minutes, accuracy = ([point[key] for point in run["curve"]] for key in ("minutes", "accuracy"))
        percent = [100 * value for value in accuracy]
        name = f"{NAMES[run['settings']['model']]}, {len(percent)} epochs: {percent[-1]:.1f} %"
        shapes = run["settings"].get("shapes", "ModelNet10")
        ax.plot(minutes, percent, marker="o", markersize=4, color=color, label=name)
    ax.set(xlabel="training time on one CPU core (minutes)", ylabel="test accuracy (%)", title=shapes)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    figure.savefig(options.output, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
