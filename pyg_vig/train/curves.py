"""Plot the curves of a training run."""

from __future__ import annotations

from pathlib import Path

from pyg_vig.train.callbacks import read_metrics


def plot_curves(metrics: str | Path, output: str | Path, title: str) -> None:
    """Plot the training loss (left) and the validation metrics (right).

    Args:
        metrics: a file written by :class:`~pyg_vig.train.callbacks.MetricsFile`.
        output: image file to write.
        title: title of the figure.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, score = figure.subplots(1, 2)
    loss.plot([row["epoch"] + 1 for row in rows], [row["train_loss"] for row in rows])
    loss.set(ylabel="training loss", yscale="log")
    for name, label in _CURVES.items():
        points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]  # some epochs have no validation
        if points:
            score.plot(*zip(*points, strict=True), marker=".", label=label)
    score.set(ylim=(0, 1.02))
    for axes in (loss, score):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    score.grid(alpha=0.3)
    if score.lines:
        score.legend()
    figure.suptitle(title)
    figure.savefig(output, dpi=150)


_CURVES = {
    "val_accuracy": "accuracy",
    "val_box_map": "box mAP",
    "val_box_map50": "box AP50",
    "val_mask_map": "mask mAP",
    "val_mask_map50": "mask AP50",
    "val_miou": "mIoU",
    "val_pixel_accuracy": "pixel accuracy",
}
