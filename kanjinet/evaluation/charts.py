"""Small charts as SVG elements for a page: no outside resources, colors by the page's style sheet.

Every series has a color, a dash pattern and a mark of its own, so that none is told apart by color alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 460, 280  # of the view box
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 12, 44  # margins
MARK = 3.2  # half a mark's size
MAX_STEPS = 7  # between the ticks of an axis, of which it may have one or two more
SERIES = 6  # styles, s0 ... s5; more series begin again

STYLE = """
.chart { width: 100%; max-width: 32rem; height: auto; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--ink); }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .guide { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 4 4; }
.chart .line { fill: none; stroke-width: 2; }
.chart .whisker { stroke-width: 1.5; opacity: 0.55; }
.chart .bar { opacity: 0.35; stroke: none; }
.s0 { stroke: var(--s0); fill: var(--s0); }
.s1 { stroke: var(--s1); fill: var(--s1); }
.s2 { stroke: var(--s2); fill: var(--s2); }
.s3 { stroke: var(--s3); fill: var(--s3); }
.s4 { stroke: var(--s4); fill: var(--s4); }
.s5 { stroke: var(--s5); fill: var(--s5); }
.line.s1 { stroke-dasharray: 7 3; }
.line.s2 { stroke-dasharray: 2 3; }
.line.s3 { stroke-dasharray: 9 3 2 3; }
.line.s4 { stroke-dasharray: 12 4; }
.line.s5 { stroke-dasharray: 4 2; }
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A range of values, low < high, with ticks in it, its name, and how to show a value."""

    name: str
    low: float
    high: float
    ticks: Sequence[float]
    show: Callable[[float], str]


def make_axis(
    name: str, values: Sequence[float], show: Callable[[float], str], *, top: float | None = None, whole: bool = False
) -> Axis:
    """An axis with ticks at round values that spans the values, which may be none or all the same.

    Args:
        name: of what it shows.
        values: finite numbers.
        show: a value as text.
        top: where it ends in any case, such as 1 for shares.
        whole: whether only whole numbers have a tick, and the values stand off the ends by half of one.
    """
    low = min(values, default=0.0)
    high = max(values, default=1.0) if top is None else top
    if high <= low:
        low, high = (low - 0.5, low + 0.5) if top is None else (top - 0.5, top)
    step = 10.0 ** math.floor(math.log10((high - low) / MAX_STEPS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= MAX_STEPS)
    if whole:
        step = max(1.0, round(step))
        ticks = [tick * step for tick in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return Axis(name, low - 0.5, high + 0.5, ticks, show)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [tick * step for tick in range(first, last + 1)]
    return Axis(name, ticks[0], ticks[-1], ticks, show)


def show_fraction(value: float) -> str:
    """A share, 0-1, as a percentage with as many decimals as it needs, two at most."""
    return f"{value * 100:.2f}".rstrip("0").rstrip(".") + " %"


def show_count(value: float) -> str:
    """A number without needless decimals."""
    return f"{value:,.10g}"


@dataclass
class Chart:
    """A chart to which series are added one by one.

    Attributes:
        title: what it shows, in words, for those who do not see it.
        x: the axis to the right.
        y: the axis upwards.
    """

    title: str
    x: Axis
    y: Axis
    _parts: list[str] = field(default_factory=list)

    def add_line(self, points: Sequence[Point], series: int) -> None:
        """A line through points, with a mark on each."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self._place, points))
        self._parts.append(f'<polyline class="line s{series % SERIES}" points="{path}"/>')
        self.add_marks(points, series)

    def add_guide(self, start: Point, end: Point) -> None:
        """A thin dashed line for comparison."""
        (x1, y1), (x2, y2) = self._place(start), self._place(end)
        self._parts.append(f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def add_whiskers(self, spans: Sequence[tuple[float, float, float]], series: int) -> None:
        """Uncertainties (x, low, high), cut off at the chart's edges."""
        for x, low, high in spans:
            (left, bottom), (_, top) = self._place((x, max(low, self.y.low))), self._place((x, min(high, self.y.high)))
            self._parts.append(
                f'<line class="whisker s{series % SERIES}" x1="{left:.1f}" y1="{bottom:.1f}" '
                f'x2="{left:.1f}" y2="{top:.1f}"/>'
            )

    def add_bars(self, bars: Sequence[tuple[float, float, float]], series: int) -> None:
        """Bars (from, to, height) that stand on the lower axis."""
        for start, end, height in bars:
            (left, top), (right, bottom) = self._place((start, height)), self._place((end, self.y.low))
            self._parts.append(
                f'<rect class="bar s{series % SERIES}" x="{left + 0.5:.1f}" y="{top:.1f}" '
                f'width="{max(right - left - 1, 1):.1f}" height="{max(bottom - top, 0):.1f}"/>'
            )

    def add_marks(self, points: Sequence[Point], series: int) -> None:
        """A mark on each point: circles, squares, diamonds, by series."""
        self._parts += [_draw_mark(x, y, series) for x, y in map(self._place, points)]

    def to_svg(self) -> str:
        """The chart as an element."""
        (left, bottom), (right, top) = (
            self._place((self.x.low, self.y.low)),
            self._place((self.x.high, self.y.high)),
        )
        grid = []
        for tick in self.y.ticks:
            _, y = self._place((self.x.low, tick))
            grid.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            label = escape(self.y.show(tick))
            grid.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        for tick in self.x.ticks:
            x, _ = self._place((tick, self.y.low))
            grid.append(f'<line class="grid" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>')
            label = escape(self.x.show(tick))
            grid.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{label}</text>')
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        names = (
            f'<text x="{middle_x}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x.name)}</text>'
            f'<text transform="translate(12 {middle_y}) rotate(-90)" text-anchor="middle">{escape(self.y.name)}</text>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">'
            f"{''.join(grid)}{names}{''.join(self._parts)}</svg>"
        )

    def _place(self, point: Point) -> Point:
        across = (point[0] - self.x.low) / (self.x.high - self.x.low)
        up = (point[1] - self.y.low) / (self.y.high - self.y.low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def draw_key(series: int) -> str:
    """A series' mark alone, for a legend."""
    mark = _draw_mark(6, 6, series)
    return f'<svg width="12" height="12" aria-hidden="true">{mark}</svg>'


def _draw_mark(x: float, y: float, series: int) -> str:
    style = f'class="s{series % SERIES}"'
    if series % 3 == 0:
        return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="{MARK}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if series % 3 == 2 else ""
    side = 2 * MARK * 0.9
    return f'<rect {style} x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"{turn}/>'
