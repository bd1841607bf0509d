"""Charts of the report: matplotlib's SVG in the colors of the page, each series with a marker and a dash of its own."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kanjinet.evaluation.results import ModelMetrics
from kanjinet.training.accuracy import Accuracy
from kanjinet.training.curves import label_percent, plot_metric

SERIES = 6  # styles; more series begin again
# What matplotlib draws in one of these colors gets the page's own of that name, light or dark.
_COLORS = {name: f"#fe{index:02x}ef" for index, name in enumerate(("ink", "line", *(f"s{i}" for i in range(SERIES))))}
_MARKERS, MARKS = "osD^vP", "●■◆▲▼✚"  # of a series in charts, and in the text below them
_STYLE = {
    "svg.fonttype": "none",
    "savefig.transparent": True,
    "figure.figsize": (6.4, 3.9),  # inches of 72 units: the view box that the template names
    "font.size": 12,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _COLORS["ink"]),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), _COLORS["line"]),
}
# The page has fonts of its own, shows all of a chart, and knows no other element by an id than markers.
_NOT_IN_PAGE = re.compile(
    r' clip-path="[^"]*"| font-family: [^;"]*;|(?<=<g) id="[^"]*"|<defs>\s*<clipPath.*?</defs>', re.DOTALL
)


@dataclass(frozen=True)
class Chart:
    """Represents a chart: what it shows, for those who do not see it, and what its SVG element holds."""

    title: str
    content: str


def draw_history(history: Sequence[dict[str, Any]], metric: str, series: int) -> Chart:
    """Draws a metric of a training by epoch."""
    return _draw(f"{metric} by epoch", series, lambda axes: plot_metric(axes, history, metric))


def draw_reliability(metrics: ModelMetrics, series: int) -> Chart:
    """Draws a reliability diagram: accuracy by confidence."""

    def plot(axes: Any) -> None:
        bins = metrics.calibration
        axes.plot([0, 1], [0, 1], ":", color=_COLORS["ink"])
        heights = [each.accuracy.value for each in bins]
        widths = [each.high - each.low for each in bins]
        axes.bar([each.low for each in bins], heights, widths, align="edge", color=f"C{series % SERIES}", alpha=0.3)
        _plot_accuracies(axes, {each.confidence: each.accuracy for each in bins}, series)
        axes.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        axes.xaxis.set_major_formatter(label_percent)

    return _draw("reliability diagram: accuracy by confidence", series, plot)


def draw_groups(groups: Sequence[Mapping[int, Accuracy]], name: str) -> Chart:
    """Draws the accuracy of several models by group, such as the number of strokes."""

    def plot(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        lowest = min(accuracy.value for each in groups for accuracy in each.values())
        axes.set(xlabel=name, ylim=(max(0.0, lowest - 0.03), 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for series, each in enumerate(groups):
            shift = (series - (len(groups) - 1) / 2) * 0.15
            _plot_accuracies(axes, {value + shift: accuracy for value, accuracy in each.items()}, series)

    return _draw(f"accuracy by {name}", 0, plot)


def _plot_accuracies(axes: Any, accuracies: Mapping[float, Accuracy], series: int) -> None:
    """Plots a mark for each accuracy on a line for its interval, which is cut off at the axes' ends."""
    color, x = f"C{series % SERIES}", list(accuracies)
    ends = np.clip([each.interval for each in accuracies.values()], *axes.get_ylim())
    axes.vlines(x, ends[:, 0], ends[:, 1], color=color, alpha=0.55)
    values = [each.value for each in accuracies.values()]
    axes.plot(x, values, _MARKERS[series % SERIES], color=color, markersize=5, clip_on=False)
    axes.set_ylabel("accuracy")
    axes.grid(axis="y", alpha=0.6)
    axes.yaxis.set_major_formatter(label_percent)


def _draw(title: str, series: int, plot: Callable[[Any], None]) -> Chart:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    salt = f"{title} {series}"  # of the markers' ids, so that no two charts of a page share one
    cycle = cycler(color=[_COLORS[f"s{index}"] for index in range(SERIES)])
    style: Any = {**_STYLE, "axes.prop_cycle": cycle, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(layout="constrained")
        plot(figure.subplots())
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = content.getvalue().decode("utf-8").partition("</defs>")[2].rpartition("</svg>")[0]
    svg = _NOT_IN_PAGE.sub("", svg).replace("xlink:href", "href")
    for name, color in _COLORS.items():
        svg = svg.replace(color, f"var(--{name})")
    return Chart(title, svg)
