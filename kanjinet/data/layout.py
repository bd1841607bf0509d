"""The characters of a page, in reading order: pieces of ink, put together by squares, lines and their sizes.

Squares tell which pieces belong together. Elsewhere `find_text_lines` leaves to a network which neighbors in a line do:
a character's parts may lie as far apart as two characters.
"""

import itertools
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.data.preprocessing import BOX_DIVISOR
from kanjinet.data.rules import SLOPES, Line, Ruling, fit

MIN_INK = 16  # of 255: what stands out from the paper by less is no ink
MIN_PIECE = 1 / 16  # of the size of characters: smaller pieces of ink are specks
LIKE_LINES = 1.15  # times the ink of printed lines: thin, straight pieces no darker are rests of them, or dashes,
MAX_FAINT = 0.5  # if that is no more than this of the darkest ink
MIN_STRAIGHT = 3  # times as long as wide: such pieces
SIZE_QUANTILE = 0.85  # of the sizes of pieces: about that of characters
MIN_SIZES = 0.35  # of the largest: pieces that tell the size
BAND_SIZES = 1.3  # of the size: strips of ink together not higher than that are one line
PART_OVERLAP = 0.3  # of the narrower: pieces that lie so much above each other are one character's
MAX_ALONG = 1.7  # of the size: a character is not longer
MAX_CROSSING = 0.25  # of the ink: more in pieces across the squares' lines, and characters are larger than squares
MAX_LINE = 2.2  # of the size: a line of text, not quite level, is no wider
ALIKE_PITCH = 1.05  # between columns over that between rows: more, and text runs down
FEW = 3  # pieces, which tell no slope
SAME_SLOPE = 1 / 40  # across, on a pixel of gap: lines that miss each other by less are the same

Gray = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.int64]  # (n, 4): left, top, right, bottom


@dataclass(frozen=True)
class Pieces:
    """Represents the connected pieces of ink in an image."""

    ink: Gray  # (height, width)
    labels: npt.NDArray[np.int32]  # (height, width): 1 + the index of each pixel's piece, 0 for none
    boxes: Boxes
    areas: npt.NDArray[np.int64]  # pixels

    def unite(self, chosen: list[int]) -> tuple[int, int, int, int]:
        """Returns the box around pieces."""
        low, high = self.boxes[chosen].min(axis=0), self.boxes[chosen].max(axis=0)
        return int(low[0]), int(low[1]), int(high[2]), int(high[3])

    def cut_out(self, chosen: list[int]) -> Gray:
        """Returns the ink of pieces alone, on paper as wide around it as half of its longer side."""
        left, top, right, bottom = self.unite(chosen)
        left, top, right, bottom = max(0, left - 2), max(0, top - 2), right + 2, bottom + 2
        labels = self.labels[top:bottom, left:right]
        others = (labels > 0) & ~np.isin(labels, np.array(chosen) + 1)
        others = cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        ink = np.where(others & ~np.isin(labels, np.array(chosen) + 1), 0, self.ink[top:bottom, left:right])
        return np.pad(ink, max(ink.shape) // 2).astype(np.uint8)


def find_pieces(ink: Gray, ruling: Ruling) -> Pieces:
    """Finds the pieces of ink (height, width) on paper of 0, without specks and what is left of printed lines."""
    peak = int(ink.max())
    mask = (ink >= max(MIN_INK, -(-peak // BOX_DIVISOR))).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = stats[1:, :4].astype(np.int64)
    boxes[:, 2:] += boxes[:, :2]
    areas = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
    sides = boxes[:, 2:] - boxes[:, :2]
    is_kept = sides.max(axis=1, initial=0) >= MIN_PIECE * estimate_size(boxes)
    lines = [*ruling.across, *ruling.down]
    if lines and len(boxes):
        shorter = sides.min(axis=1)
        at_edge = (boxes[:, :2] <= 2).any(axis=1) | (boxes[:, 2:] >= np.array(ink.shape[::-1]) - 2).any(axis=1)
        is_kept &= ~(at_edge & (shorter <= 2 + max(line.width for line in lines)))
        width = float(np.median([line.width for line in lines]))
        is_kept &= areas >= (width - 2) ** 2
        faint = LIKE_LINES * float(np.median([line.level for line in lines]))
        if faint <= peak * MAX_FAINT:
            peaks = np.zeros(len(stats), np.uint8)
            np.maximum.at(peaks, np.asarray(labels, np.int32), ink)
            is_kept &= (peaks[1:] > faint) | (shorter > width + 2) | (sides.max(axis=1) < MIN_STRAIGHT * shorter)
    numbers = np.zeros(len(stats), np.int32)
    numbers[1:][is_kept] = np.arange(1, int(is_kept.sum()) + 1)
    return Pieces(ink, numbers[labels], boxes[is_kept], areas[is_kept])


def estimate_size(boxes: Boxes) -> float:
    """Estimates the side of characters, pixels, from the boxes of their pieces."""
    sides = np.sort((boxes[:, 2:] - boxes[:, :2]).max(axis=1)) if len(boxes) else np.zeros(1)
    large = sides[sides >= MIN_SIZES * sides[-1]]
    return float(large[int(SIZE_QUANTILE * (len(large) - 1) + 0.5)])


def group_by_squares(pieces: Pieces, ruling: Ruling) -> list[list[int]] | None:
    """Puts together what lies in the same square, in reading order; None where no squares are or they are too small."""
    if min(len(ruling.across), len(ruling.down)) < 2 or not len(pieces.boxes):
        return None
    across, down = join_lines(ruling.across), join_lines(ruling.down)

    def place(x: float, y: float) -> tuple[int, int]:
        return sum(line.at(y) < x for line in down), sum(line.at(x) < y for line in across)

    squares: dict[tuple[int, int], list[int]] = {}
    crossing = 0
    for index, (left, top, right, bottom) in enumerate(pieces.boxes.tolist()):
        x, y, inner_x, inner_y = (left + right) / 2, (top + bottom) / 2, (right - left) / 4, (bottom - top) / 4
        ends = [(left + inner_x, y), (right - inner_x, y), (x, top + inner_y), (x, bottom - inner_y)]
        crossing += int(pieces.areas[index]) * (len({place(*end) for end in ends}) > 1)
        squares.setdefault(place(x, y), []).append(index)
    if crossing > MAX_CROSSING * pieces.areas.sum():
        return None
    is_down = has_strips(down)
    order = sorted(squares, key=lambda place: (-place[0], place[1]) if is_down else (place[1], place[0]))
    return [squares[place] for place in order]


def join_lines(lines: list[Line]) -> list[Line]:
    """Joins lines that are parts of the same; of the joined, leaves those at least half as long as the longest."""
    slope = float(np.median([slope_at_middle(line) for line in lines]))
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: each.start):
        best = min(rows, key=lambda row: measure_miss(row[-1], line, slope), default=[])
        gap = max(0, line.start - best[-1].end) if best else 0
        if best and measure_miss(best[-1], line, slope) <= line.width + gap * SAME_SLOPE:
            best.append(line)
        else:
            rows.append([line])
    joined = [fit_row(row) for row in rows]
    longest = max(line.end - line.start for line in joined)
    return [line for line in joined if line.end - line.start >= longest / 2]


def slope_at_middle(line: Line) -> float:
    """Returns the slope of a line in its middle."""
    return line.curve[1] + line.curve[2] * (line.start + line.end)


def measure_miss(line: Line, other: Line, slope: float) -> float:
    """Measures how far the other line lies from where a line of this slope would go on, pixels across."""
    middle, other_middle = (line.start + line.end) / 2, (other.start + other.end) / 2
    return abs(other.at(other_middle) - line.at(middle) - slope * (other_middle - middle))


def fit_row(row: list[Line]) -> Line:
    """Returns one line through several that are parts of it."""
    if len(row) == 1:
        return row[0]
    places = [place for line in row for place in (line.start, (line.start + line.end) / 2, line.end)]
    track = np.array([(at, row[index // 3].at(at), 0) for index, at in enumerate(places)])
    end = max(line.end for line in row)
    return replace(row[0], end=end, curve=fit(track, 2 if len(row) > 2 else 1))


def has_strips(down: list[Line]) -> bool:
    """Tells whether the squares stand in columns with strips between them, as on paper for lines from top to bottom."""
    middle = float(np.median([(line.start + line.end) / 2 for line in down]))
    gaps = np.diff(np.sort([line.at(middle) for line in down]))
    if len(gaps) < 2:
        return False
    wide = float(gaps.max())
    return bool(0.25 <= (gaps < 0.6 * wide).mean() <= 0.75)


@dataclass(frozen=True)
class TextLine:
    """Represents a line of text: groups of pieces, in order, that surely belong together, and their places."""

    groups: list[list[int]]
    starts: list[float]  # along the line, pixels
    ends: list[float]
    size: float  # of its characters


def find_text_lines(pieces: Pieces, ruling: Ruling) -> list[TextLine]:
    """Finds the lines of text on plain or ruled paper, in reading order."""
    size = estimate_size(pieces.boxes)
    across, down = (level_boxes(pieces, axis, ruling) for axis in (0, 1))
    bands_across, bands_down = split_bands(across[:, [1, 3]], size), split_bands(down[:, [0, 2]], size)
    if ruling.across or ruling.down:
        is_down = not ruling.across
    else:
        is_down = runs_down((across[:, [1, 3]], bands_across), (down[:, [0, 2]], bands_down), size)
    boxes, bands = (down, bands_down[::-1]) if is_down else (across, bands_across)
    along = [1, 3] if is_down else [0, 2]
    sides = boxes[:, 2:] - boxes[:, :2]
    lines, heights = [], []
    for band in bands:
        spans = boxes[band][:, [0, 2] if is_down else [1, 3]]
        heights.append(float(spans[:, 1].max() - spans[:, 0].min()))
    line_size = max(float(np.median(heights)), min(size, float(sides.max())))
    for band, height in zip(bands, heights, strict=True):
        groups = join_overlapping(boxes[:, along], band)
        starts = [float(boxes[group, along[0]].min()) for group in groups]
        ends = [float(boxes[group, along[1]].max()) for group in groups]
        lines.append(TextLine(groups, starts, ends, max(line_size, 0.8 * height) if len(bands) < FEW else line_size))
    return lines


def level_boxes(pieces: Pieces, axis: int, ruling: Ruling) -> Boxes:
    """Shifts the pieces' boxes so that lines of text (axis 0) or columns (axis 1) lie level or upright."""
    boxes = pieces.boxes.copy()
    lines = (ruling.across, ruling.down)[axis]
    height, width = pieces.labels.shape
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    along, length = middles[:, axis], (width, height)[axis]
    if lines:
        steepest = float(np.median([line.curve[1] + 2 * line.curve[2] * length / 2 for line in lines]))
    elif len(boxes) <= FEW:
        steepest = 0.0
    else:
        steepest = find_text_slope(boxes[:, [axis, 1 - axis, axis + 2, 3 - axis]], length)
    shift = np.rint(steepest * (along - length / 2)).astype(np.int64)
    boxes[:, [1 - axis, 3 - axis]] -= shift[:, None]
    return boxes


def find_text_slope(boxes: Boxes, length: int) -> float:
    """Finds the slope at which the boxes, (n, 4) with x along the lines of text, lie most above each other."""
    middles = (boxes[:, 0] + boxes[:, 2]) / 2 - length / 2
    widths = boxes[:, 2] - boxes[:, 0]
    best, best_energy = 0.0, -1
    for step in SLOPES:
        shift = np.rint(step / 256 * middles).astype(np.int64)
        starts, ends = boxes[:, 1] - shift, boxes[:, 3] - shift
        changes = np.zeros(int(ends.max()) - int(starts.min()) + 1, np.int64)
        np.add.at(changes, starts - starts.min(), widths)
        np.add.at(changes, ends - starts.min(), -widths)
        energy = int((np.cumsum(changes) ** 2).sum())
        if energy > best_energy:
            best, best_energy = step / 256, energy
    return best


def split_bands(spans: Boxes, size: float) -> list[list[int]]:
    """Splits pieces, by their spans (n, 2) across, where blank strips lie; strips that are one line's go together."""
    bands: list[list[int]] = []
    end = -1
    for index in np.argsort(spans[:, 0], kind="stable").tolist():
        if not bands or spans[index, 0] > end:
            bands.append([])
        bands[-1].append(index)
        end = max(end, int(spans[index, 1]))
    while len(bands) > 1:
        heights = [
            spans[[*one, *two], 1].max() - spans[[*one, *two], 0].min() for one, two in itertools.pairwise(bands)
        ]
        best = int(np.argmin(heights))
        if heights[best] > BAND_SIZES * size:
            break
        bands[best : best + 2] = [bands[best] + bands[best + 1]]
    return bands


def runs_down(across: tuple[Boxes, list[list[int]]], down: tuple[Boxes, list[list[int]]], size: float) -> bool:
    """Tells whether text runs from top to bottom, from the spans and the bands that either way of lines would have.

    Lines are no wider than characters. Where both ways give such lines, there is one of them, or more space between.
    """
    widths, pitches = [], []
    for spans, bands in (across, down):
        ends = np.array([(spans[band, 0].min(), spans[band, 1].max()) for band in bands])
        widths.append(float(np.median(ends[:, 1] - ends[:, 0])))
        pitches.append(float(np.median(np.diff(ends.mean(axis=1)))) if len(ends) > 1 else np.inf)
    are_lines = [width <= MAX_LINE * size for width in widths]
    return are_lines[1] and pitches[1] > pitches[0] * ALIKE_PITCH if all(are_lines) else are_lines[1]


def join_overlapping(spans: Boxes, band: list[int]) -> list[list[int]]:
    """Puts together the pieces of a line that overlap along it, in order."""
    groups: list[list[int]] = []
    for index in sorted(band, key=lambda each: int(spans[each, 0])):
        start, end = spans[index].tolist()
        if groups:
            before = int(spans[groups[-1], 1].max())
            narrower = max(1, min(end - start, before - int(spans[groups[-1], 0].min())))
            if before - start >= PART_OVERLAP * narrower:
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups
