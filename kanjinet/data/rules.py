"""Finds and removes printed lines on paper: rules, squares, frames. A character's strokes stay.

Printed lines are straight, level or upright, and long: they reach from edge to edge or cross and meet each other.
Where ink as strong as a stroke's makes a frame of few lines, they are strokes; between, it cannot be told.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

STRIPS = 32  # in which a line is taken as level, to find its slope
MAX_SLOPE = 32  # 256ths: lines are looked for up to 7 degrees from level and upright
SLOPES = sorted(range(-MAX_SLOPE, MAX_SLOPE + 1), key=abs)  # the flattest first, which wins among equals
RUN_FRACTION = 1 / 32  # of the longer side: a level run of ink that may be of a line
MIN_RUN = 16  # pixels: the same, at least
MAX_BEND = (0.6, 1 / 200)  # pixels, and of its length: a printed line's distance from a parabola (root mean square)
MAX_CURVE = 0.05  # of its length: how far such a parabola is from straight
JOINED_PIXELS, JOINED_SLOPE = 2.0, 1 / 80  # how far lines that go on may miss each other, and more on a pixel of gap
MAX_TRACKS = 2000  # level runs of ink: a page of any paper has fewer
MAX_FITTED = 200  # pixels of a line that tell how it goes on
MAX_WIDTH = 1 / 200  # of the longer side, and 6 pixels more
MIN_COVERED = 0.85  # of its length: where a line has ink
LONG = 0.5  # of the image's side: lines that may be printed without meeting others
MIN_FRAME = 0.3  # of the image's side: the smallest frame, and the shortest of the lines that need no others
MIN_MET = 0.05  # of the image's side: lines that are printed if they end at printed ones
EDGE = 0.03  # of the image's side: what ends this near to its edge reaches it
EXACT = 6  # pixels, and a line's width: what ends this near to another line meets it
ALIKE_LONG, ALIKE_SHORT = 2.5, 1.35  # times the ink of printed lines on their length: long and short lines beside them
MIN_PARALLEL = 3  # lines from edge to edge that are printed whatever their ink
MIN_LONG = 8  # long lines, the same
FAINT, ALIKE = 0.55, 0.8  # of a stroke's ink on its length: printed below the first, a stroke above the second
MIN_INK = 16  # of 255: less is paper where lines are looked for
UNSURE = "the lines around may be a printed frame or strokes"

Gray = npt.NDArray[np.uint8]
Track = npt.NDArray[np.float64]  # (n, 3): along, the middle across, the width; pixels


@dataclass(frozen=True)
class Line:
    """Represents a line near the horizontal; near the vertical where x and y are exchanged."""

    start: int  # pixels along it
    end: int  # one past the last
    curve: tuple[float, float, float]  # across = c0 + c1 along + c2 along^2
    width: float  # pixels, with one of blur on either side
    level: float  # its darkest ink, 0-255, in the middle of its columns
    mass: float  # the sum of its ink across, in the middle of its columns

    def at(self, along: float) -> float:
        """Returns where it lies across."""
        return self.curve[0] + along * (self.curve[1] + along * self.curve[2])


@dataclass(frozen=True)
class Ruling:
    """Represents the printed lines of a page."""

    across: list[Line]
    down: list[Line]  # with x and y exchanged
    unsure: str | None = None


def remove_ruling(ink: Gray) -> tuple[Gray, Ruling]:
    """Takes the printed lines off a page (height, width) of ink on paper of 0; returns it unchanged where none are."""
    threshold = max(MIN_INK, int(ink.max()) // 10)
    if not has_long_pieces(ink, threshold):
        return ink, Ruling([], [])
    sides = [np.ascontiguousarray(each) for each in (ink, ink.T)]
    found = [find_lines(each, threshold) for each in sides]
    if not any(found):
        return ink, Ruling([], [])
    strokes = erase(ink, found, int(ink.max()))
    stroke_mass = measure_strokes(strokes, int(ink.max()) // 4)
    ruling = choose_printed(found, ink.shape, stroke_mass)
    if not ruling.across and not ruling.down:
        return ink, ruling
    return erase(ink, [ruling.across, ruling.down], int(ink.max())), ruling


def has_long_pieces(ink: Gray, threshold: int) -> bool:
    """Tells whether some connected ink is long enough for a frame: in many drawings none is."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((ink >= threshold).astype(np.uint8), connectivity=8)
    width, height = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    return bool((width >= MIN_FRAME * ink.shape[1]).any() or (height >= MIN_FRAME * ink.shape[0]).any())


def find_slope(mask: Gray) -> int:
    """Finds the slope, in 256ths, in whose direction the mask's (0 or 1) lines have the sharpest profile."""
    height, width = mask.shape
    strip = max(1, width // STRIPS)
    count = width // strip
    sums = mask[:, : count * strip].reshape(height, count, strip).sum(axis=2, dtype=np.int32).T
    slopes = np.array(SLOPES)
    shifts = find_shift(slopes[:, None], np.arange(count) * strip + strip // 2, width)  # (slopes, strips)
    margin = int(np.abs(shifts).max()) + 1
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(sums, ((0, 0), (2 * margin, 2 * margin))), height + 2 * margin, 1
    )
    profiles = sum(windows[index, margin + shifts[:, index]] for index in range(count))  # (slopes, height + 2 margin)
    return int(slopes[(np.diff(profiles).astype(np.int64) ** 2).sum(axis=1).argmax()])


def find_shift(slope: int | npt.NDArray[np.int64], along: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """Returns by how many pixels a line of this slope through the middle lies lower at `along`."""
    return (slope * (2 * along - width) + 256) // 512


def find_lines(ink: Gray, threshold: int) -> list[Line]:
    """Finds straight, thin, nearly horizontal lines."""
    height, width = ink.shape
    run = max(MIN_RUN, int(max(ink.shape) * RUN_FRACTION)) | 1
    tall = (7 + int(MAX_WIDTH * max(ink.shape))) | 1  # pixels: more are no line
    if width <= run or height < 3:
        return []
    mask = (ink >= threshold).astype(np.uint8)
    shifts = find_shift(find_slope(mask), np.arange(width), width)
    margin = int(np.abs(shifts).max())
    thick = cv2.morphologyEx(np.pad(mask, ((tall, tall), (0, 0))), cv2.MORPH_OPEN, np.ones((tall, 1), np.uint8))[
        tall:-tall
    ]
    level = np.zeros((height + 2 * margin, width), np.uint8)
    level[np.arange(height)[:, None] + margin - shifts, np.arange(width)] = mask & ~np.asarray(thick, np.uint8)
    level = np.pad(cv2.dilate(level, np.ones((3, 1), np.uint8)), run)
    for step, length in ((cv2.MORPH_CLOSE, tall), (cv2.MORPH_OPEN, run)):
        level = np.asarray(cv2.morphologyEx(level, step, np.ones((1, length), np.uint8)), np.uint8)
    level = level[run:-run, run:-run]
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(level, connectivity=8)
    tracks = []
    for piece, (left, top, length, rows, _) in enumerate(stats.tolist()):
        if piece:
            band = pieces[top : top + rows, left : left + length] == piece
            tracks += follow_middles(band, left, top - margin + shifts[left : left + length], tall)
    if len(tracks) > MAX_TRACKS:
        return []
    lines = [fit_line(track, ink, threshold) for track in join_tracks(tracks, ink >= threshold)]
    return [line for line in lines if line and line.end - line.start >= MIN_MET * width and line.width <= tall]


def follow_middles(band: npt.NDArray[np.bool_], left: int, tops: npt.NDArray[np.int64], tall: int) -> list[Track]:
    """Follows a piece of line, rows x columns from `left` and `tops` on, where it is not thicker than it mostly is.

    A piece mostly thicker than `tall` is two lines with a stroke between: its upper and its lower run are followed.
    """
    rows = np.arange(len(band))[:, None]
    first = band.argmax(axis=0)
    last = len(band) - band[::-1].argmax(axis=0)
    runs = [(first, last)]
    if take_lower_middle(last - first) > tall:
        runs = [
            (first, np.where(~band & (rows > first), rows, last).min(axis=0)),
            (np.where(~band & (rows < last), rows + 1, first).max(axis=0), last),
        ]
    along = left + np.arange(len(tops))
    tracks = []
    for start, end in runs:
        is_thin = end - start <= take_lower_middle(end - start) + 2  # elsewhere a stroke lies along it
        tracks.append(np.stack([along, tops + (start + end - 1) / 2, end - start], axis=1)[is_thin])
    return tracks


def take_lower_middle(values: npt.NDArray[np.generic]) -> float:
    """Returns the middle value; of an even number the lower of the two in the middle."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def join_tracks(tracks: list[Track], mask: npt.NDArray[np.bool_]) -> list[Track]:
    """Joins pieces of which one goes on where the other ends, with ink between: a character may lie there."""
    joined: list[list[Track]] = []
    ends: list[tuple[float, float, float]] = []  # of each: along, across, slope
    for track in sorted(tracks, key=lambda each: float(each[0, 0])):
        start, (c0, c1, _) = float(track[0, 0]), fit(track[:MAX_FITTED], 1)
        last, (d0, d1, _) = float(track[-1, 0]), fit(track[-MAX_FITTED:], 1)
        tail = (last, d0 + d1 * last, d1)
        for index, (along, across, slope) in enumerate(ends):
            gap, miss = start - along, c0 + c1 * start - across
            near = JOINED_PIXELS + gap * JOINED_SLOPE
            if gap <= 0 or abs(miss - (c1 + slope) / 2 * gap) > near or abs(c1 - slope) > 2 * JOINED_SLOPE:
                continue
            between = np.arange(along + 1, start).astype(np.int64)
            rows = np.clip(across + (between - along) * miss / gap + 0.5, 0, len(mask) - 1).astype(np.int64)
            if not len(between) or mask[rows, between].mean() >= MIN_COVERED:
                joined[index].append(track)
                ends[index] = tail
                break
        else:
            joined.append([track])
            ends.append(tail)
    return [np.concatenate(each) for each in joined]


def fit(track: Track, degree: int) -> tuple[float, float, float]:
    """Fits a polynomial of degree 1 or 2 through the middles of a track; returns three coefficients, constant first."""
    first, length = track[0, 0], max(1.0, track[-1, 0] - track[0, 0])
    unit, middles = (track[:, 0] - first) / length, track[:, 1]
    if len(track) <= degree:
        return float(middles.mean()), 0.0, 0.0
    powers = np.stack([unit**power for power in range(degree + 1)])
    found = np.linalg.solve(powers @ powers.T, powers @ middles)
    slope, curve = found[1] / length, found[2] / length**2 if degree == 2 else 0.0
    return float(found[0] - slope * first + curve * first**2), float(slope - 2 * curve * first), float(curve)


def fit_line(track: Track, ink: Gray, threshold: int) -> Line | None:
    """Fits a parabola to a track; None where it is bent or has gaps."""
    start, end = int(track[0, 0]), int(track[-1, 0]) + 1
    if end - start < MIN_RUN:
        return None
    c0, c1, c2 = fit(track, 2)
    bend = float(np.sqrt(((c0 + track[:, 0] * (c1 + track[:, 0] * c2) - track[:, 1]) ** 2).mean()))
    if bend > MAX_BEND[0] + MAX_BEND[1] * (end - start) or abs(c2) * (end - start) > MAX_CURVE:
        return None
    width = take_lower_middle(track[:, 2])
    line = Line(start, end, (c0, c1, c2), width, 0, 0)
    columns = ink[list_rows(line, ink.shape)]
    if (columns.max(axis=0) >= threshold).mean() < MIN_COVERED:
        return None
    return replace(
        line,
        level=take_lower_middle(columns.max(axis=0)),
        mass=take_lower_middle(columns.sum(axis=0, dtype=np.int64)),
    )


def list_rows(line: Line, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lists the pixels of a line: rows (width, length) and columns (length,), those outside at the image's edge."""
    columns = np.arange(line.start, line.end)
    c0, c1, c2 = line.curve
    middles = np.floor(c0 + columns * (c1 + columns * c2) + 0.5).astype(np.int64)
    half = int(line.width) // 2
    rows = middles + np.arange(-half, half + 1)[:, None]
    return np.clip(rows, 0, shape[0] - 1), columns


def erase(ink: Gray, lines: list[list[Line]], peak: int) -> Gray:
    """Erases lines across and down; what strokes cross them with, or is much darker than they, stays."""
    result = ink.copy()
    levels = [np.zeros(ink.shape, np.float32) for _ in (0, 1)]  # of the lines across and down, where they are
    for axis, chosen in enumerate(lines):
        place = levels[1].T if axis else levels[0]
        for line in chosen:
            rows, columns = list_rows(line, place.shape)
            place[rows, columns] = np.maximum(place[rows, columns], line.level)
    for axis, chosen in enumerate(lines):
        other = levels[1 - axis]
        source, target = np.where(other > 0, 0, ink), result
        limit = 1.6 * (levels[0] + levels[1]) + 16
        if axis:
            source, target, limit = source.T, target.T, limit.T
        height, width = source.shape
        values = ink.T if axis else ink
        for line in chosen:
            rows, columns = list_rows(line, source.shape)
            near = []
            for row in (rows[0] - 1, rows[-1] + 1):  # above it and below
                beside = [
                    source[np.clip(row, 0, height - 1), np.clip(columns + step, 0, width - 1)] for step in range(-2, 3)
                ]
                near.append(np.max(beside, axis=0))
            is_stroke = (np.minimum(*near) * np.int64(4) >= peak) | (values[rows, columns] > limit[rows, columns])
            target[rows, columns] = np.where(is_stroke, target[rows, columns], 0)
    return result


def measure_strokes(ink: Gray, threshold: int) -> float:
    """Returns how much ink strokes have on a pixel of their length; 0 for hardly any."""
    is_ink = ink >= max(MIN_INK, threshold)
    squares = is_ink[1:, 1:] & is_ink[1:, :-1] & is_ink[:-1, 1:] & is_ink[:-1, :-1]  # of two pixels a side
    mask = cv2.dilate(np.pad(squares, ((0, 1), (0, 1))).astype(np.uint8), np.ones((2, 2), np.uint8), anchor=(1, 1))
    edges = int((mask[1:] != mask[:-1]).sum()) + int((mask[:, 1:] != mask[:, :-1]).sum())
    length = edges / 2.55  # two edges a stroke, crossed by rows and columns 4 / pi times a pixel of it
    if length < 0.08 * max(ink.shape):
        return 0.0
    return float(ink[mask > 0].sum()) / length


def choose_printed(found: list[list[Line]], shape: tuple[int, ...], stroke_mass: float) -> Ruling:
    """Chooses those lines (across, down) that are printed, from the ink that strokes have on a pixel of length."""
    if not stroke_mass:  # nothing else is there: the lines are the character
        return Ruling([], [])
    sides = (shape[1], shape[0])  # along the lines
    chosen: list[list[Line]] = [[], []]
    long = [
        [line for line in lines if line.end - line.start >= LONG * side]
        for lines, side in zip(found, sides, strict=True)
    ]
    for axis, side in enumerate(sides):
        through = [line for line in long[axis] if reaches(line, 0, side) and reaches(line, 1, side)]
        inner = [line for line in through if EDGE < line.at(side / 2) / sides[1 - axis] < 1 - EDGE]
        if len(inner) >= MIN_PARALLEL:
            chosen[axis] += through
    is_many = len(long[0]) + len(long[1]) >= MIN_LONG
    for axis in (0, 1):
        for line in long[axis]:
            is_through = all(leaves(line, end, sides[axis], sides[1 - axis]) for end in (0, 1))
            if line not in chosen[axis] and (is_many or (is_through and line.mass <= FAINT * stroke_mass)):
                chosen[axis].append(line)
    add_met(found, chosen, sides, FAINT * stroke_mass)
    faint = find_frame([[line for line in lines if line.mass <= FAINT * stroke_mass] for lines in found], sides)
    for axis in (0, 1):
        chosen[axis] += [line for line in faint[axis] if line not in chosen[axis]]
    if any(chosen):
        return Ruling(chosen[0], chosen[1])
    masses = [line.mass for lines in find_frame(found) for line in lines]
    return Ruling([], [], UNSURE if masses and np.mean(masses) < ALIKE * stroke_mass else None)


def reaches(line: Line, end: int, side: int) -> bool:
    """Tells whether a line reaches the image's edge at its start (0) or end (1)."""
    return bool(line.end >= (1 - EDGE) * side) if end else bool(line.start <= EDGE * side)


def leaves(line: Line, end: int, side: int, across: int) -> bool:
    """Tells whether a line leaves the image at its start (0) or end (1), whichever edge it is."""
    place = line.at(line.end if end else line.start) / across
    return reaches(line, end, side) or not EDGE < place < 1 - EDGE


def add_met(found: list[list[Line]], chosen: list[list[Line]], sides: tuple[int, int], faint: float) -> None:
    """Adds lines that end at chosen ones, or at the image's edge, at both ends, and have as much ink as they.

    Long ones with less than `faint` ink on their length are no strokes, and may end less exactly.
    """
    for axis in (0, 1, 0, 1):
        others = chosen[1 - axis]
        alike = others or chosen[axis]
        if not alike:
            continue
        usual = float(np.median([line.mass for line in alike]))
        for line in found[axis]:
            is_long = line.end - line.start >= LONG * sides[axis]
            spread = ALIKE_LONG if is_long else ALIKE_SHORT
            if line in chosen[axis] or not usual / spread <= line.mass <= usual * spread:
                continue
            slack = EDGE * max(sides) if is_long and line.mass <= faint else EXACT
            if all(
                meets(line, end, others, slack) or leaves(line, end, sides[axis], sides[1 - axis]) for end in (0, 1)
            ):
                chosen[axis].append(line)


def meets(line: Line, end: int, others: list[Line], slack: float) -> bool:
    """Tells whether one of the upright lines passes through the end of a level one, give or take `slack` pixels."""
    along = line.end - 1 if end else line.start
    across = line.at(along)
    tolerance = slack + line.width
    return any(
        abs(other.at(across) - along) <= tolerance and other.start - tolerance <= across <= other.end + tolerance
        for other in others
    )


def find_frame(found: list[list[Line]], sides: tuple[int, int] | None = None) -> list[list[Line]]:
    """Finds lines of which both ends meet others that do so too; nothing where they enclose nothing.

    With the image's sides, they may end at its edges instead.
    """
    framed = [list(lines) for lines in found]
    for _ in range(4):
        for axis in (0, 1):
            framed[axis] = [
                line
                for line in framed[axis]
                if all(
                    meets(line, end, framed[1 - axis], EXACT)
                    or (sides is not None and leaves(line, end, sides[axis], sides[1 - axis]))
                    for end in (0, 1)
                )
            ]
    return framed if min(map(len, framed)) >= (1 if sides else 2) else [[], []]
