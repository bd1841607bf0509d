"""All forms of the 3,036 characters as arrays of evenly spaced points, ready to be written by simulated writers."""

import functools
import unicodedata
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS, NUM_CLASSES
from kanjinet.storage.files import replace_on_success
from kanjinet.synth.kanjivg import VIEW_BOX, Glyph, file_name, find_kanjivg_folder, list_forms, read_svg

POINTS_PER_STROKE = 32
FORMS = (
    *("", "Kaisho", "Hyougai", "HyougaiKaisho", "Jinmei", "JinmeiKaisho", "Insatsu", "InsatsuKaisho"),  # KanjiVG's
    *("JIS78", "OpenTop"),
)
JIS78, OPEN_TOP = FORMS.index("JIS78"), FORMS.index("OpenTop")

# JIS C 6226-1978, in force when ETL9G was written, had the older form at these level-1 codes; the revision of 1983
# put the simpler one there (22 pairs changed places; 堯, 槇 and 遙 moved behind level 2).
_JIS78_FORMS: dict[str, str] = dict(
    zip(
        "鯵鴬蛎撹竃潅諌頚砿蕊靭賎壷砺梼涛迩蝿桧侭薮篭尭槙遥",
        "鰺鶯蠣攪竈灌諫頸礦蘂靱賤壺礪檮濤邇蠅檜儘藪籠堯槇遙",
        strict=True,
    )
)

# そ with a dot in place of the first line, as if ソ stood on top of it; the same units as KanjiVG's
_DOT_OF_OPEN_TOP = np.array([[[37.0, 18.5], [39.5, 21.5], [42.0, 25.0], [43.5, 29.0]]])
_START_BELOW_OPEN_TOP = (71.0, 16.5)
_CURVES_OF_FIRST_LINE = 3  # of KanjiVG's そ

NO_COMPONENT = -1
NOTHING = np.iinfo(np.int32).min
PLAIN, SWEEP, SPREADING_SWEEP, DOT, HOOKED = range(5)  # how a stroke ends
_ENDING_OF_KIND = {"㇒": SWEEP, "㇓": SWEEP, "㇀": SWEEP, "㇏": SPREADING_SWEEP, "㇔": DOT}
_KINDS_WITH_HOOK = "㇁㇂㇃㇆㇈㇉㇖㇙㇚㇟㇡"
_HOOK_TURN = np.deg2rad(60)
_MAX_HOOK = 0.25  # of the stroke
_TICKS = 2.0**20  # to a unit of length
_TOUCH_UNITS = 3.5  # an end that is nearer than this to another stroke touches it


@dataclass(frozen=True)
class Copybook:
    """Strokes of every form of c classes; f counts forms, s strokes.

    Attributes:
        form_of_class: (c + 1,) int, the first form of each class, and the number of forms at the end.
        form_kind: (f,) int8, index into FORMS; each class begins with its main form.
        stroke_of_form: (f + 1,) int, the first stroke of each form.
        points: (s, 32, 2) float64, evenly spaced along the stroke; x right and y down, -54.5 ... 54.5.
        components: (s, 2) int16, the outermost and the next component that hold the stroke, counted within the
            form; NO_COMPONENT where there is none.
        ending: (s,) int8, PLAIN, SWEEP, SPREADING_SWEEP, DOT or HOOKED.
        hook_from: (s,) float64, where along the stroke, 0-1, its final hook begins; 1 where there is none.
        touches: (s, 2) int32, what the start and the end of each stroke touch in the copybook: a point of another
            stroke, as 32 * (that stroke - this stroke) + point; NOTHING where an end stands free.
        voicing: (s,) int8, 1 for the two dots of ば, 2 for the ring of ぱ, else 0.
    """

    form_of_class: npt.NDArray[np.int64]
    form_kind: npt.NDArray[np.int8]
    stroke_of_form: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    components: npt.NDArray[np.int16]
    ending: npt.NDArray[np.int8]
    hook_from: npt.NDArray[np.float64]
    touches: npt.NDArray[np.int32]
    voicing: npt.NDArray[np.int8]


def read_copybook(first_class: int = 0, last_class: int = NUM_CLASSES) -> Copybook:
    """Read all forms of the classes first_class <= class < last_class; about three seconds of work for all.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    folder = find_kanjivg_folder()
    characters = CHARACTERS[first_class:last_class]
    forms = list_forms(characters)
    glyphs: list[Glyph] = []
    form_kinds: list[int] = []
    form_of_class = [0]
    for character in characters:
        for form in ("", *(form for form in forms[character] if form in FORMS[1:])):
            glyphs.append(read_svg(folder / file_name(character, form)))
            form_kinds.append(FORMS.index(form))
        if character in _JIS78_FORMS:
            glyphs.append(read_svg(folder / file_name(_JIS78_FORMS[character])))
            form_kinds.append(JIS78)
        if character in "そぞ":
            glyphs.append(_open_top(glyphs[form_of_class[-1]]))
            form_kinds.append(OPEN_TOP)
        form_of_class.append(len(glyphs))
    return _arrange(glyphs, form_kinds, form_of_class)


def _open_top(glyph: Glyph) -> Glyph:
    """そ or ぞ, in another form, from KanjiVG's."""
    first, *marks = glyph.strokes
    rest = first.curves[_CURVES_OF_FIRST_LINE:].copy()
    rest[0, 0] = _START_BELOW_OPEN_TOP
    dot = replace(first, curves=_DOT_OF_OPEN_TOP)
    return replace(glyph, form=FORMS[OPEN_TOP], strokes=(dot, replace(first, curves=rest), *marks))


def join_copybooks(parts: Sequence[Copybook]) -> Copybook:
    """One copybook from those of successive classes."""
    num_forms = np.cumsum([0, *(part.form_of_class[-1] for part in parts)])
    num_strokes = np.cumsum([0, *(part.stroke_of_form[-1] for part in parts)])
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("form_kind", "points", "components", "ending", "hook_from", "touches", "voicing")
    }
    joined["form_of_class"] = np.concatenate(
        [[0], *(part.form_of_class[1:] + shift for part, shift in zip(parts, num_forms[:-1], strict=True))]
    )
    joined["stroke_of_form"] = np.concatenate(
        [[0], *(part.stroke_of_form[1:] + shift for part, shift in zip(parts, num_strokes[:-1], strict=True))]
    )
    return Copybook(**joined)


def save_copybook(path: Path, copybook: Copybook) -> None:
    """Write a copybook for other processes of the same run."""
    with replace_on_success(path) as file:
        np.savez(file, **vars(copybook))


def save_copybook_with(pool: Executor, workers: int, path: Path) -> None:
    """Write the copybook of all classes for a pool's processes, each of which reads its part of KanjiVG.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    borders = [round(NUM_CLASSES * part / workers) for part in range(workers + 1)]
    save_copybook(path, join_copybooks(list(pool.map(read_copybook, borders[:-1], borders[1:]))))


@functools.lru_cache(maxsize=1)
def load_copybook(path: Path) -> Copybook:
    """Read what `save_copybook` wrote, once a process."""
    with np.load(path) as arrays:
        return Copybook(**arrays)


def _arrange(glyphs: list[Glyph], form_kinds: list[int], form_of_class: list[int]) -> Copybook:
    strokes = [stroke for glyph in glyphs for stroke in glyph.strokes]
    points = sample_evenly([stroke.curves for stroke in strokes], POINTS_PER_STROKE) - VIEW_BOX / 2
    components = np.array(
        [(*stroke.components[:2], NO_COMPONENT, NO_COMPONENT)[:2] for stroke in strokes], dtype=np.int16
    )
    ending = np.array([_ENDING_OF_KIND.get(stroke.kind[:1], PLAIN) for stroke in strokes], dtype=np.int8)
    may_hook = np.array([stroke.kind[:1] in _KINDS_WITH_HOOK and stroke.kind != "" for stroke in strokes])
    hook_from = _find_hooks(points)
    hook_from[~may_hook] = 1.0  # those of kana, which have no kind, tell them apart and stay
    ending[hook_from < 1] = HOOKED
    counts = np.array([len(glyph.strokes) for glyph in glyphs])
    return Copybook(
        form_of_class=np.array(form_of_class),
        form_kind=np.array(form_kinds, dtype=np.int8),
        stroke_of_form=np.cumsum([0, *counts]),
        points=points,
        components=components,
        ending=ending,
        hook_from=hook_from,
        touches=_find_touches(points, counts),
        voicing=np.concatenate([_mark_voicing(glyph) for glyph in glyphs]),
    )


def sample_evenly(
    strokes: list[npt.NDArray[np.float64]], points_per_stroke: int, pieces_per_curve: int = 8
) -> npt.NDArray[np.float64]:
    """Points at equal distances along each stroke.

    Args:
        strokes: (k, 4, 2) cubic Bézier curves each, joined end to start.
        points_per_stroke: how many, both ends included.
        pieces_per_curve: straight pieces that stand for a curve when lengths are measured.

    Returns:
        (len(strokes), points_per_stroke, 2) float64.
    """
    curves = np.concatenate(strokes)  # (c, 4, 2)
    t = np.linspace(0, 1, pieces_per_curve + 1)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    line = np.zeros((len(curves), len(t), 2))  # (c, 4, 2) -> (c, 9, 2)
    for k in range(4):
        line += weights[:, k, None] * curves[:, None, k]
    x, y = line.reshape(-1, 2).T
    steps = np.zeros(len(x))
    steps[1:] = np.hypot(np.diff(x), np.diff(y))
    curves_per_stroke = np.array([len(stroke) for stroke in strokes])
    lasts = np.cumsum(curves_per_stroke) * (pieces_per_curve + 1) - 1
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    steps[firsts] = 1.0  # the pen in the air: keeps the strokes apart on the common ruler
    # In whole ticks every sum is exact, so that a stroke's points do not depend on what else is on the ruler.
    ruler = np.cumsum(np.round(steps * _TICKS))
    lengths = ruler[lasts] - ruler[firsts]
    wanted = ruler[firsts, None] + np.round(np.linspace(0, lengths, points_per_stroke, axis=1))
    return np.stack([np.interp(wanted, ruler, x), np.interp(wanted, ruler, y)], axis=-1)


def _find_hooks(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a stroke's short last part after a sharp turn begins, 0-1; 1 for strokes without one."""
    steps = np.diff(points, axis=1)
    heading = np.arctan2(steps[..., 1], steps[..., 0])  # (s, 31)
    last = points.shape[1] - 1
    tail = round(last * (1 - _MAX_HOOK))
    turn = np.abs((heading[:, tail:] - heading[:, tail - 3 : -3] + np.pi) % (2 * np.pi) - np.pi)
    sharpest = np.argmax(turn, axis=1)
    is_hooked = turn.max(axis=1) > _HOOK_TURN
    return np.where(is_hooked, (sharpest + tail - 1) / last, 1.0)


def _find_touches(points: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The nearest point of another stroke of the form to each end of each stroke, where it is near enough.

    Of two strokes that meet end to end, only the later one touches the earlier, so that a correction moves one.
    """
    touches = np.full((len(points), 2), NOTHING, dtype=np.int32)
    firsts = np.cumsum(counts) - counts
    last = POINTS_PER_STROKE - 1
    is_end = np.isin(np.arange(POINTS_PER_STROKE), [0, 1, last - 1, last])
    for count in np.unique(counts[counts > 1]):  # all forms with as many strokes at once
        rows = firsts[counts == count][:, None] + np.arange(count)  # (f, n)
        lines = points[rows].astype(np.float32)  # (f, n, 32, 2)
        ends = lines[:, :, [0, last]]  # (f, n, 2, 2)
        across = ends[..., None, None, 0] - lines[:, None, None, ..., 0]  # (f, n, 2, n, 32)
        down = ends[..., None, None, 1] - lines[:, None, None, ..., 1]
        distance_squared = across * across + down * down
        this, other = np.arange(count)[:, None, None], np.arange(count)[:, None]
        forbidden = (this == other) | ((other > this) & is_end)  # (n, n, 32)
        distance_squared += np.where(forbidden, np.float32(np.inf), np.float32(0))[:, None]
        distance_squared = distance_squared.reshape(len(rows), count, 2, -1)
        nearest = distance_squared.argmin(axis=3)
        smallest = np.take_along_axis(distance_squared, nearest[..., None], axis=3)[..., 0]
        relative = nearest - POINTS_PER_STROKE * np.arange(count)[:, None]
        touches[rows] = np.where(smallest < _TOUCH_UNITS**2, relative, NOTHING)
    return touches


def _mark_voicing(glyph: Glyph) -> npt.NDArray[np.int8]:
    marks = np.zeros(len(glyph.strokes), dtype=np.int8)
    decomposed = unicodedata.normalize("NFD", glyph.character)
    if decomposed.endswith("\u3099"):
        marks[-2:] = 1
    elif decomposed.endswith("\u309a"):
        marks[-1:] = 2
    return marks
