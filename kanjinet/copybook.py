"""All forms of the 3,036 characters as arrays of evenly spaced points, ready to be written by simulated writers."""

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS
from kanjinet.kanjivg import VIEW_BOX, Glyph, find_kanjivg_folder, list_forms, read_svg

POINTS_PER_STROKE = 32
FORMS = ("", "Kaisho", "Hyougai", "HyougaiKaisho", "Jinmei", "JinmeiKaisho", "Insatsu", "InsatsuKaisho", "JIS78")
JIS78 = FORMS.index("JIS78")

# JIS C 6226-1978, in force when ETL9G was written, had the older form at these level-1 codes; JIS X 0208-1983
# exchanged it with the simpler one (source: JIS X 0208:1997, appendix 2, table 1 and 2).
_JIS78_FORMS = dict(
    pair
    for pair in (
        "鯵鰺 鴬鶯 蛎蠣 撹攪 竃竈 潅灌 諌諫 頚頸 砿礦 蕊蘂 靭靱 賎賤 壷壺 砺礪 梼檮 涛濤 迩邇 蝿蠅 桧檜 侭儘 薮藪 篭籠 尭堯 槙槇 遥遙"
    ).split()
)

NO_COMPONENT = -1
PLAIN, SWEEP, SPREADING_SWEEP, DOT, HOOKED = range(5)  # how a stroke ends
_ENDING_OF_KIND = {"㇒": SWEEP, "㇓": SWEEP, "㇀": SWEEP, "㇏": SPREADING_SWEEP, "㇔": DOT}
_HOOK_TURN = np.deg2rad(60)


@dataclass(frozen=True)
class Copybook:
    """Strokes of every form of every class; f counts forms, s strokes.

    Attributes:
        form_of_class: (3037,) int, the first form of each class, and the number of forms at the end.
        form_kind: (f,) int8, index into FORMS; each class begins with its main form.
        stroke_of_form: (f + 1,) int, the first stroke of each form.
        points: (s, 32, 2) float64, evenly spaced along the stroke; x right and y down, -54.5 ... 54.5.
        components: (s, 2) int16, the outermost and the next component that hold the stroke, counted within the
            form; NO_COMPONENT where there is none.
        ending: (s,) int8, PLAIN, SWEEP, SPREADING_SWEEP, DOT or HOOKED.
        hook_from: (s,) float64, where along the stroke, 0-1, its final hook begins; 1 where there is none.
        voicing: (s,) int8, 1 for the two dots of ば, 2 for the ring of ぱ, else 0.
    """

    form_of_class: npt.NDArray[np.int64]
    form_kind: npt.NDArray[np.int8]
    stroke_of_form: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    components: npt.NDArray[np.int16]
    ending: npt.NDArray[np.int8]
    hook_from: npt.NDArray[np.float64]
    voicing: npt.NDArray[np.int8]


def load_copybook() -> Copybook:
    """Read all forms from the package `kanjivg`; takes about two seconds.

    Raises:
        KanjinetError: the package is missing or damaged.
    """
    folder = find_kanjivg_folder()
    forms = list_forms(CHARACTERS)
    glyphs: list[Glyph] = []
    form_kinds: list[int] = []
    form_of_class = [0]
    for character in CHARACTERS:
        for form in ("", *(form for form in forms[character] if form in FORMS[1:])):
            name = f"{ord(character):05x}-{form}.svg" if form else f"{ord(character):05x}.svg"
            glyphs.append(read_svg(folder / name))
            form_kinds.append(FORMS.index(form))
        if character in _JIS78_FORMS:
            glyphs.append(read_svg(folder / f"{ord(_JIS78_FORMS[character]):05x}.svg"))
            form_kinds.append(JIS78)
        form_of_class.append(len(glyphs))
    return _arrange(glyphs, form_kinds, form_of_class)


def _arrange(glyphs: list[Glyph], form_kinds: list[int], form_of_class: list[int]) -> Copybook:
    strokes = [stroke for glyph in glyphs for stroke in glyph.strokes]
    points = sample_evenly([stroke.curves for stroke in strokes], POINTS_PER_STROKE) - VIEW_BOX / 2
    components = np.array(
        [(*stroke.components[:2], NO_COMPONENT, NO_COMPONENT)[:2] for stroke in strokes], dtype=np.int16
    )
    ending = np.array([_ENDING_OF_KIND.get(stroke.kind[:1], PLAIN) for stroke in strokes], dtype=np.int8)
    is_typed = np.array([bool(stroke.kind) for stroke in strokes])
    hook_from = _find_hooks(points)
    hook_from[~is_typed | (ending != PLAIN)] = 1.0  # the hooks of kana tell them apart and stay
    ending[hook_from < 1] = HOOKED
    return Copybook(
        form_of_class=np.array(form_of_class),
        form_kind=np.array(form_kinds, dtype=np.int8),
        stroke_of_form=np.cumsum([0, *(len(glyph.strokes) for glyph in glyphs)]),
        points=points,
        components=components,
        ending=ending,
        hook_from=hook_from,
        voicing=np.concatenate([_mark_voicing(glyph) for glyph in glyphs]),
    )


def sample_evenly(
    strokes: list[npt.NDArray[np.float64]], points_per_stroke: int, pieces_per_curve: int = 12
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
    line = np.einsum("pk,ckd->cpd", weights, curves).reshape(-1, 2)  # (c, 4, 2) -> (c * 13, 2)
    steps = np.zeros(len(line))
    steps[1:] = np.hypot(*np.diff(line, axis=0).T)
    curves_per_stroke = np.array([len(stroke) for stroke in strokes])
    lasts = np.cumsum(curves_per_stroke) * (pieces_per_curve + 1) - 1
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    steps[firsts] = 1.0  # the pen in the air: keeps the strokes apart on the common ruler
    ruler = np.cumsum(steps)
    wanted = np.linspace(ruler[firsts], ruler[lasts], points_per_stroke, axis=1)
    return np.stack([np.interp(wanted, ruler, line[:, 0]), np.interp(wanted, ruler, line[:, 1])], axis=-1)


def _find_hooks(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a stroke's short last part after a sharp turn begins, 0-1; 1 for strokes without one."""
    steps = np.diff(points, axis=1)
    heading = np.arctan2(steps[..., 1], steps[..., 0])  # (s, 31)
    last = points.shape[1] - 1
    tail = round(last * 0.72)  # a hook is at most the last 28 % of its stroke
    turn = np.abs((heading[:, tail:] - heading[:, tail - 3 : -3] + np.pi) % (2 * np.pi) - np.pi)
    sharpest = np.argmax(turn, axis=1)
    is_hooked = turn.max(axis=1) > _HOOK_TURN
    return np.where(is_hooked, (sharpest + tail - 1) / last, 1.0)


def _mark_voicing(glyph: Glyph) -> npt.NDArray[np.int8]:
    marks = np.zeros(len(glyph.strokes), dtype=np.int8)
    decomposed = unicodedata.normalize("NFD", glyph.character)
    if decomposed.endswith("\u3099"):
        marks[-2:] = 1
    elif decomposed.endswith("\u309a"):
        marks[-1:] = 2
    return marks
