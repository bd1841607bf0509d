"""A training's history as an image: loss, accuracy and learning rate, epoch by epoch."""

import io
from typing import Any

from kanjinet.data.etl9g import SAMPLE_NOTE

CURVES_NAME = "training_curves.png"
_PANELS = (  # title, scale, (key in the history, label)
    ("loss", "linear", (("train_loss", "training, as varied"), ("validation_loss", "validation"))),
    ("accuracy", "linear", (("train_accuracy", "training, as varied"), ("validation_accuracy", "validation"))),
    ("learning rate at the end of the epoch", "log", (("learning_rate", "learning rate"),)),
)


def draw_curves(history: list[dict[str, Any]], *, synthetic: bool) -> bytes:
    """A PNG file's bytes.

    Args:
        history: the epochs of training_progress.json.
        synthetic: whether the images are of a sample, which is then said.
    """
    from matplotlib.figure import Figure  # a second to import
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    epochs = [entry["epoch"] for entry in history]
    for axes, (title, scale, curves) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for key, label in curves:
            axes.plot(epochs, [entry[key] for entry in history], marker=".", label=label)
        axes.set(title=title, xlabel="epoch", yscale=scale)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if title == "accuracy":
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if len(curves) > 1:
            axes.legend()
    if synthetic:
        figure.suptitle(SAMPLE_NOTE, fontsize=9, color="gray")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
