"""A training's history as charts: loss, accuracy and learning rate by epoch."""

import io
from collections.abc import Sequence
from typing import Any

from kanjinet.data.etl_records import SAMPLE_NOTE

CURVES_NAME = "training_curves.png"
METRICS = {  # metric -> key in the history -> label
    "loss": {"validation_loss": "validation", "train_loss": "training, with augmentation"},
    "accuracy": {"validation_accuracy": "validation", "train_accuracy": "training, with augmentation"},
    "learning rate": {"learning_rate": "at the end of the epoch"},
}


def plot_metric(axes: Any, history: Sequence[dict[str, Any]], metric: str) -> None:
    """Plots one of METRICS by epoch on matplotlib's axes; `history` holds the epochs of training_progress.json."""
    from matplotlib.ticker import MaxNLocator  # a second to import

    epochs = [entry["epoch"] for entry in history]
    for (key, label), line in zip(METRICS[metric].items(), ("o-", "s--"), strict=False):
        axes.plot(epochs, [entry[key] for entry in history], line, markersize=3, label=label)
    axes.set(xlabel="epoch", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    if metric == "accuracy":
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(label_percent)
    elif metric == "loss":
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")


def label_percent(fraction: float, _position: int) -> str:
    """Returns the label of an axis for a fraction, 0-1, with as many decimals as it needs."""
    return f"{fraction * 100:g} %"


def draw_curves(history: Sequence[dict[str, Any]], *, synthetic: bool) -> bytes:
    """Draws all metrics side by side, with a note where the images are `synthetic`; returns a PNG file's bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        plot_metric(axes, history, metric)
    if synthetic:
        figure.suptitle(SAMPLE_NOTE, fontsize=9, color="gray")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
