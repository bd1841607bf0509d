"""A table of all forms of the characters: evenly spaced points on strokes, and what is known of each stroke."""

import functools
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kanjinet.classes import ETL9G_SET
from kanjinet.synth.allographs import END_OF_SHI, FLICKED, list_allographs
from kanjinet.synth.bezier import sample_evenly
from kanjinet.synth.further_allographs import FURTHER_ALLOGRAPHS
from kanjinet.synth.kanjivg import VIEW_BOX, Glyph, file_name, find_kanjivg_folder, list_forms, read_main_form, read_svg
from kanjinet.synth.repertoire import REPERTOIRE, WITH_STROKES

POINTS_PER_STROKE = 32
FORMS = (
    *("", "Kaisho", "Hyougai", "HyougaiKaisho", "Jinmei", "JinmeiKaisho", "Insatsu", "InsatsuKaisho"),  # KanjiVG's
    *("JIS78", "Allograph", "Further"),  # "Further": of digits, letters and katakana, some of which have several
)
JIS78, ALLOGRAPH, FURTHER = FORMS.index("JIS78"), FORMS.index("Allograph"), FORMS.index("Further")

# JIS C 6226-1978, in force when ETL9G was written, had the older form at these level-1 codes; the revision of 1983
# put the simpler one there (22 pairs changed places; 堯, 槇 and 遙 moved behind level 2).
_JIS78_FORMS: dict[str, str] = dict(
    zip(
        "鯵鴬蛎撹竃潅諌頚砿蕊靭賎壷砺梼涛迩蝿桧侭薮篭尭槙遥",
        "鰺鶯蠣攪竈灌諫頸礦蘂靱賤壺礪檮濤邇蠅檜儘藪籠堯槇遙",
        strict=True,
    )
)

_WITH_LOOPS = ETL9G_SET.characters[: int(ETL9G_SET.is_of("hiragana").sum())] + "ぁぇぉゃゅょゎ"
NO_COMPONENT = -1
FREE_END = np.iinfo(np.int32).min
_KINDS_WITH_HOOK = "㇁㇂㇃㇆㇈㇉㇖㇙㇚㇟㇡"
_HOOK_TURN = np.deg2rad(60)
_MAX_HOOK = 0.25  # of the stroke
_MAX_LOOP_UNITS = 36  # a larger one, as in あ, is no small loop
_BEYOND_END = 3  # pieces of a stroke: one that would meet itself so near beyond its end has a loop too
_TOUCH_UNITS = 3.5  # an end that is nearer than this to another stroke touches it


class StrokeEnding(IntEnum):
    """How a stroke ends."""

    PLAIN = 0
    SWEEP = 1
    SPREADING_SWEEP = 2
    DOT = 3
    HOOKED = 4


_ENDING_OF_KIND = {
    **dict.fromkeys("㇒㇓㇀", StrokeEnding.SWEEP),
    "㇏": StrokeEnding.SPREADING_SWEEP,
    "㇔": StrokeEnding.DOT,
}


@dataclass(frozen=True)
class GlyphTable:
    """Represents the strokes of every form of c characters; f counts forms, s strokes.

    Components are the outermost and the next one that hold a stroke, counted within the form. What the start and the
    end of a stroke touch is a point of another stroke, as 32 * (that stroke - this stroke) + point.
    """

    form_of_class: npt.NDArray[np.int64]  # (c + 1,) each character's first form, and the number of forms at the end
    form_kind: npt.NDArray[np.int8]  # (f,) index into FORMS; each character begins with its main form
    stroke_of_form: npt.NDArray[np.int64]  # (f + 1,) the first stroke of each form
    points: npt.NDArray[np.float64]  # (s, 32, 2) evenly spaced along the stroke; x right and y down, -54.5 ... 54.5
    components: npt.NDArray[np.int16]  # (s, 2) NO_COMPONENT where there is none
    ending: npt.NDArray[np.int8]  # (s,) a StrokeEnding
    hook_from: npt.NDArray[np.float64]  # (s,) where along the stroke, 0-1, its final hook begins; 1 without one
    touches: npt.NDArray[np.int32]  # (s, 2) FREE_END where an end touches nothing
    voicing: npt.NDArray[np.int8]  # (s,) 1 for the two dots of ば, 2 for the ring of ぱ, else 0
    loop: npt.NDArray[np.int8]  # (s, 2) the pieces, counted from 0, where the small loop of ね or ま begins and ends


def read_glyph_table(numbers: npt.NDArray[np.int64] | None = None) -> GlyphTable:
    """Reads all forms of a set's characters from KanjiVG, once a process; for ETL9G it takes about three seconds.

    Args:
        numbers: of the repertoire: the table holds at least these. By default it holds ETL9G's.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    largest = -1 if numbers is None else int(numbers.max(initial=-1))
    return _read_first_glyphs(next(count for count in WITH_STROKES if largest < count))


@functools.lru_cache(maxsize=len(WITH_STROKES))
def _read_first_glyphs(count: int) -> GlyphTable:
    """Reads the table of the first characters of the repertoire."""
    folder, characters = find_kanjivg_folder(), REPERTOIRE[:count]
    forms = list_forms(characters)
    glyphs: list[Glyph] = []
    form_kinds: list[int] = []
    form_of_class = [0]
    for character in characters:
        glyphs.append(read_main_form(folder, character))
        form_kinds.append(0)
        for form in (form for form in forms[character] if form in FORMS[1:]):
            glyphs.append(read_svg(folder / file_name(character, form)))
            form_kinds.append(FORMS.index(form))
        if character in _JIS78_FORMS:
            glyphs.append(read_svg(folder / file_name(_JIS78_FORMS[character])))
            form_kinds.append(JIS78)
        for allograph in list_allographs(glyphs[form_of_class[-1]]):
            glyphs.append(allograph)
            form_kinds.append(FURTHER if character in FURTHER_ALLOGRAPHS else ALLOGRAPH)
        form_of_class.append(len(glyphs))
    return make_table(glyphs, form_kinds, form_of_class)


def make_table(glyphs: list[Glyph], form_kinds: list[int], form_of_class: list[int]) -> GlyphTable:
    """Makes a table of glyphs; `form_kinds` and `form_of_class` are the table's."""
    strokes = [stroke for glyph in glyphs for stroke in glyph.strokes]
    points = sample_evenly([stroke.curves for stroke in strokes], POINTS_PER_STROKE) - VIEW_BOX / 2
    components = np.array(
        [(*stroke.components[:2], NO_COMPONENT, NO_COMPONENT)[:2] for stroke in strokes], dtype=np.int16
    )
    ending = np.array([_ENDING_OF_KIND.get(stroke.kind[:1], StrokeEnding.PLAIN) for stroke in strokes], dtype=np.int8)
    may_hook = np.array([stroke.kind[:1] in _KINDS_WITH_HOOK and stroke.kind != "" for stroke in strokes])
    hook_from = _find_hooks(points)
    flicks = np.where(_is_first_of(glyphs, FLICKED), hook_from, 1.0)
    flicks[_is_first_of(glyphs, "し")] = END_OF_SHI
    hook_from[~may_hook] = 1.0
    ending[hook_from < 1] = StrokeEnding.HOOKED
    hook_from = np.minimum(hook_from, flicks)  # other ends of kana, which have no kind, tell them apart and stay
    counts = np.array([len(glyph.strokes) for glyph in glyphs])
    is_kana = [glyph.character in _WITH_LOOPS for glyph in glyphs]
    voicing = np.concatenate([_mark_voicing(glyph) for glyph in glyphs])
    return GlyphTable(
        form_of_class=np.array(form_of_class),
        form_kind=np.array(form_kinds, dtype=np.int8),
        stroke_of_form=np.cumsum([0, *counts]),
        points=points,
        components=components,
        ending=ending,
        hook_from=hook_from,
        touches=_find_touches(points, counts),
        voicing=voicing,
        loop=_find_loops(points, np.repeat(is_kana, counts) & (voicing == 0)),
    )


def _is_first_of(glyphs: list[Glyph], characters: str) -> npt.NDArray[np.bool_]:
    """Tells which strokes (s,) are the first of one of some characters."""
    firsts = [number == 0 for glyph in glyphs for number in range(len(glyph.strokes))]
    belongs = [glyph.character in characters for glyph in glyphs]
    return np.array(firsts) & np.repeat(belongs, [len(glyph.strokes) for glyph in glyphs])


def _find_loops(points: npt.NDArray[np.float64], may_loop: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Finds the smallest loop of each stroke that may have one, such as ね: (s, 2) first and last piece, else 0."""
    loops = np.zeros((len(points), 2), dtype=np.int8)
    first, last = np.triu_indices(POINTS_PER_STROKE - 1, 2)
    for row in np.flatnonzero(may_loop):
        line = points[row]
        steps = np.diff(line, axis=0)
        steps[-1] *= _BEYOND_END  # る ends on itself
        between = line[last] - line[first]
        turns = _cross(steps[first], steps[last])
        turns[turns == 0] = np.nan  # parallel pieces do not meet
        along_first, along_last = _cross(between, steps[last]) / turns, _cross(between, steps[first]) / turns
        meets = (along_first >= 0) & (along_first <= 1) & (along_last >= 0) & (along_last <= 1)
        for pair in np.flatnonzero(meets)[np.argsort((last - first)[meets], kind="stable")][:1]:
            if np.ptp(line[first[pair] : last[pair] + 2], axis=0).max() < _MAX_LOOP_UNITS:
                loops[row] = first[pair], last[pair]
    return loops


def _cross(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _find_hooks(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Finds where a stroke's short last part after a sharp turn begins, 0-1; 1 for strokes without one."""
    steps = np.diff(points, axis=1)
    heading = np.arctan2(steps[..., 1], steps[..., 0])  # (s, 31)
    last = points.shape[1] - 1
    tail = round(last * (1 - _MAX_HOOK))
    turn = np.abs((heading[:, tail:] - heading[:, tail - 3 : -3] + np.pi) % (2 * np.pi) - np.pi)
    sharpest = np.argmax(turn, axis=1)
    is_hooked = turn.max(axis=1) > _HOOK_TURN
    return np.where(is_hooked, (sharpest + tail - 1) / last, 1.0)


def _find_touches(points: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Finds the nearest point of another stroke of the form to each end of each stroke, where it is near enough.

    Of two strokes that meet end to end, only the later one touches the earlier, so that a correction moves one.
    """
    touches = np.full((len(points), 2), FREE_END, dtype=np.int32)
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
        touches[rows] = np.where(smallest < _TOUCH_UNITS**2, relative, FREE_END)
    return touches


def _mark_voicing(glyph: Glyph) -> npt.NDArray[np.int8]:
    """Finds the strokes (s,) that are dots of ば, 1, or the ring of ぱ, 2."""
    marks = np.zeros(len(glyph.strokes), dtype=np.int8)
    decomposed = unicodedata.normalize("NFD", glyph.character)
    if decomposed.endswith("\u3099"):
        marks[-2:] = 1
    elif decomposed.endswith("\u309a"):
        marks[-1:] = 2
    return marks
