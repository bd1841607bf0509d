"""Images of none of the 3,036 characters, by the same simulated writers: other characters, scribbles, clicks."""

import functools
import unicodedata
from collections.abc import Callable, Iterable
from enum import Enum

import numpy as np
import numpy.typing as npt

from kanjinet.classes import CLASS_OF_CHARACTER, NUM_CLASSES
from kanjinet.data.etl_records import CELL_HEIGHT, CELL_WIDTH
from kanjinet.synth.glyph_table import POINTS_PER_STROKE, GlyphTable, make_table
from kanjinet.synth.handwriting import write_forms
from kanjinet.synth.kanjivg import file_name, find_kanjivg_folder, list_characters, read_svg
from kanjinet.synth.rasterizer import rasterize
from kanjinet.synth.strokes import ALONG, SheetStrokes, WrittenStrokes, concatenate_strokes
from kanjinet.synth.writers import Writer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Kind(Enum):
    """What an image shows that shows none of the 3,036 characters."""

    KATAKANA = "katakana"
    DIGITS = "digits"
    LATIN = "Latin letters"
    SIGNS = "ゐ, ゑ and signs"
    JOYO = "Joyo kanji outside ETL9G"
    KANJI = "other kanji"
    SCRIBBLES = "scribbles"
    CLICKS = "clicks"
    VERTICAL = "vertical lines"
    SLOPING = "sloping lines"


# Without what looks like one of the 3,036 when it alone is written, such as カ, ニ and ロ, or 丁 without its hook.
# Small kana are left out: an image is cropped to its ink.
_TEXT = {
    Kind.KATAKANA: "アイウキクケコサシスツテナネマミムメモヤユラルワヲンヰヱヴギグゲゴザジズダヂヅデドバブボパプポ",
    Kind.DIGITS: "0123456789",
    Kind.LATIN: "ABCDEFGHIJKMNOPQRSUVWXYabcdefghijkmnopqrsuvwxy",
    Kind.SIGNS: "ゐゑゔ々〆ゝゞ。゜!?:",
    Kind.JOYO: "彙鬱楷諧毀嗅惧憬錮傲刹恣摯羞箋踪緻嘲貪丼訃璧哺喩瘍拉辣慄曖",  # without 剝 塡 頰 𠮟 籠: forms of ETL9G's
}
# Forms of the 3,036 characters that have a code of their own, older ones above all, and kanji that only print tells
# from one of them.
_FORMS_OF_CHARACTERS = frozenset(
    "儘剝堯壺攪檜槇檮濤灌礦礪竈籠藪蘂蠅蠣諫賤遙邇靱頸鰺鶯俱頰噓吞萊讚繡閖簞蟬仝聨懷鷗恊舖繫焰釡襃騷醬艷圈冐狹單竒摑釀濳"
    "專凉愽雜擣繪壞關來兔萓纒穗謠剩搆讀乘亊曵顏亞惡壓圍醫爲壹稻飮隱營榮衞驛圓鹽應歐毆櫻奧穩假價畫會擴殼覺學嶽樂勸卷歡罐"
    "觀陷歸氣龜僞戲犧舊據擧峽挾曉區驅勳徑惠攜溪經繼莖螢輕鷄藝缺儉劍檢權獻縣險顯驗嚴效廣恆黃鑛號國黑濟碎齋劑册參慘棧蠶贊"
    "殘絲齒兒辭濕實寫釋壽收從澁獸縱肅處敍奬將燒稱證壤孃條淨疊讓囑觸寢愼眞盡圖粹醉隨髓數樞聲齊靜攝竊戰淺潛纖踐錢禪雙壯搜"
    "插爭窗總聰莊裝臟藏屬續墮體對帶滯臺擇澤擔膽團彈斷癡遲晝蟲鑄廳聽敕鎭遞鐵轉點傳黨盜當鬪獨屆貳惱腦霸廢拜賣麥發髮拔蠻祕"
    "濱拂佛竝變邊邉辨辯瓣寶豐沒飜萬滿默餠彌譯藥與豫餘譽搖樣亂覽兩獵壘禮勵靈齡戀爐勞樓灣凜巖晄祿穰萠塡瀆禱蔣蘆顚冰廐廏皋"
    "箏綫脉菴葢蕋蝨讎谿貍躰軆軣逹鄰鐡鑒閇鬥麁鼡𠮟牀穽筺鉤鴈嶌弍弌壻娚婬尅巓懽朞梹棊橸歿毓洒涅烟煕熈燻犂珎畄畆畧疉癈皃皷"
    "盖眤碪磆稟稾竚糀糺緜羇翆耻肬膓臈艸莵菷蓆蘓衂褌觧讌譛豎賍躱迯逎遯鄙釁釼鈬鎔鐇閙陏隲雋鞐餝鬱鰛鰮鵞黴已抉掎閠閻閹棯剌"
    "匆耒夭几毋戍聿"
)
_FRACTIONS = {
    **{Kind.KATAKANA: 0.17, Kind.DIGITS: 0.08, Kind.LATIN: 0.14, Kind.SIGNS: 0.05, Kind.JOYO: 0.1, Kind.KANJI: 0.25},
    **{Kind.SCRIBBLES: 0.11, Kind.CLICKS: 0.03, Kind.VERTICAL: 0.04, Kind.SLOPING: 0.03},
}
_KINDS = tuple(Kind)
# How others are written: those of a few strokes as freely as hiragana, kanji as kanji.
_AS_HIRAGANA, _AS_KANJI = CLASS_OF_CHARACTER["あ"], NUM_CLASSES - 1


@functools.lru_cache(maxsize=1)
def list_others() -> dict[Kind, str]:
    """Lists the characters of each kind that has some.

    Raises:
        KanjinetError: the package `kanjivg` is missing.
    """
    kanji = (each for each in list_characters() if unicodedata.name(each, "").startswith("CJK UNIFIED"))
    known = {*CLASS_OF_CHARACTER, *_FORMS_OF_CHARACTERS, *_TEXT[Kind.JOYO]}
    return {**_TEXT, Kind.KANJI: "".join(each for each in kanji if each not in known)}


@functools.lru_cache(maxsize=1)
def read_other_glyphs() -> tuple[GlyphTable, dict[Kind, range]]:
    """Reads the strokes of all other characters, once a process, and tells where in the table those of a kind are."""
    folder, characters, places = find_kanjivg_folder(), "", {}
    for kind, members in list_others().items():
        places[kind] = range(len(characters), len(characters) + len(members))
        characters += members
    glyphs = [read_svg(folder / file_name(character)) for character in characters]
    return make_table(glyphs, [0] * len(glyphs), list(range(len(glyphs) + 1))), places


def write_others(kinds: Iterable[Kind], writer: Writer, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Writes one image of each kind: (n, 127, 128) uint8 ink levels, 0-15.

    Raises:
        KanjinetError: the package `kanjivg` is missing or damaged.
    """
    table, places = read_other_glyphs()
    members, forms, cells, parts = tuple(kinds), [], [], []
    for cell, kind in enumerate(members):
        if kind in places:
            forms.append(rng.choice(places[kind]))
            cells.append(cell)
        else:
            parts.append(_write_lines(_DRAW[kind](rng), cell, writer, rng))
    if cells:
        as_class = [_AS_KANJI if members[cell] in (Kind.JOYO, Kind.KANJI) else _AS_HIRAGANA for cell in cells]
        strokes = write_forms(SheetStrokes.of_forms(table, np.array(as_class), np.array(forms)), writer, rng)
        parts.append(WrittenStrokes(strokes.points, strokes.half_widths, strokes.ink, np.array(cells)[strokes.cells]))
    return rasterize(concatenate_strokes(parts), len(members), writer.ink, rng)


def choose_kinds(count: int, rng: np.random.Generator) -> list[Kind]:
    """Chooses the kinds of images to train with."""
    fractions = np.array([_FRACTIONS[kind] for kind in _KINDS])
    return [_KINDS[number] for number in rng.choice(len(_KINDS), count, p=fractions)]


def _write_lines(lines: list[Floats], cell: int, writer: Writer, rng: np.random.Generator) -> WrittenStrokes:
    """Writes lines, (k, 2) points in pixels from a cell's middle, each as strokes of POINTS_PER_STROKE points."""
    strokes = np.concatenate([_divide_line(line) for line in lines]) + [CELL_WIDTH / 2, CELL_HEIGHT / 2]
    is_dot = np.ptp(strokes, axis=(0, 1)).max() < writer.pen_width
    width = writer.pen_width * np.exp(0.1 * rng.standard_normal((len(strokes), 1)))
    width *= rng.uniform(1, 8) if is_dot else 1  # as large as one is in a picture of the dot alone
    pressed = 1 - 0.5 * writer.pressure * rng.random((len(strokes), 1)) * ALONG
    return WrittenStrokes(strokes, 0.5 * width * pressed, np.ones(len(strokes)), np.full(len(strokes), cell))


def _divide_line(line: Floats) -> Floats:
    """Divides a line (k, 2) into strokes (s, 32, 2) that join end to start."""
    along = np.cumsum([0, *np.hypot(*np.diff(line, axis=0).T)])
    count = int(np.ceil(along[-1] / 120)) or 1
    at = np.linspace(0, along[-1], count * (POINTS_PER_STROKE - 1) + 1)
    points = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=-1)
    firsts = np.arange(count)[:, None] * (POINTS_PER_STROKE - 1)
    return points[firsts + np.arange(POINTS_PER_STROKE)]


def _draw_click(rng: np.random.Generator) -> list[Floats]:
    """Draws a dot, or what a click leaves where the pen moves a little."""
    start = rng.uniform(-25, 25, 2)
    return [np.array([start, start + rng.normal(0, rng.choice([0.1, 1.2]), 2)])]


def _draw_vertical(rng: np.random.Generator) -> list[Floats]:
    return [_draw_line(rng, rng.normal(0, 0.06))]


def _draw_sloping(rng: np.random.Generator) -> list[Floats]:
    """Draws a line that leans, but not so far that it might be 一."""
    return [_draw_line(rng, rng.choice([-1, 1]) * rng.uniform(0.15, 1.1))]


def _draw_line(rng: np.random.Generator, angle: float) -> Floats:
    """Draws a line at an angle to the vertical, so straight that it is no く, し or つ."""
    length, bow = rng.uniform(25, 105), rng.normal(0, 0.015)
    y = np.linspace(-0.5, 0.5, POINTS_PER_STROKE)
    x = bow * (1 - 4 * y * y) + rng.normal(0, 0.004) * np.sin(rng.uniform(4, 12) * y)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return length * np.stack([x, y], axis=-1) @ turn.T + rng.uniform(-8, 8, 2)


def _draw_scribble(rng: np.random.Generator) -> list[Floats]:
    """Draws random strokes, a zigzag, a coil, a crossing-out, a ring or a wave, turned by some angle."""
    ways = (_draw_random_strokes, _draw_zigzag, _draw_coil, _draw_crossing_out, _draw_wave)
    draw = ways[int(rng.integers(len(ways)))]
    angle, size = rng.uniform(-np.pi, np.pi), rng.uniform(25, 52, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [np.clip((line * size) @ turn.T, -58, 58) for line in draw(rng)]


def _draw_random_strokes(rng: np.random.Generator) -> list[Floats]:
    """Draws three strokes or more: some straight, some curved at random."""
    return [_smooth_through(rng.uniform(-1, 1, (rng.integers(2, 7), 2))) for _ in range(rng.integers(3, 14))]


def _draw_zigzag(rng: np.random.Generator) -> list[Floats]:
    turns = int(rng.integers(5, 16))
    line = np.stack([np.linspace(-1, 1, turns), np.where(np.arange(turns) % 2, 1.0, -1.0)], axis=-1)
    return [line + rng.normal(0, 0.12, line.shape)]


def _draw_coil(rng: np.random.Generator) -> list[Floats]:
    """Draws loops that advance, or a spiral; with little of both, rings on top of each other."""
    at = np.linspace(0, 2 * np.pi * rng.uniform(1, 8), 200)
    radius = 1 - rng.choice([0, rng.uniform(0, 0.9)]) * at / at[-1]
    loops = np.stack([np.cos(at), np.sin(at)], axis=-1) * radius[:, None]
    loops[:, 0] += rng.choice([0, rng.uniform(0.5, 3)]) * (at / at[-1] - 0.5)
    return [loops + 0.05 * rng.standard_normal(2) * np.sin(at[:, None] * rng.uniform(0.3, 1.3))]


def _draw_crossing_out(rng: np.random.Generator) -> list[Floats]:
    """Draws several near-parallel lines, or two such groups across each other."""
    count = int(rng.integers(4, 10))
    ends = np.stack([np.linspace(-1, 1, count), np.full(count, 1.0)], axis=-1)
    lines = [np.array([end * [1, -1], end]) + rng.normal(0, 0.1, (2, 2)) for end in ends]
    return lines + [line[:, ::-1] for line in lines] * int(rng.integers(2))


def _draw_wave(rng: np.random.Generator) -> list[Floats]:
    x = np.linspace(-1, 1, 120)
    y = rng.uniform(0.2, 0.8) * np.sin(np.pi * rng.uniform(3, 9) * x) * rng.uniform(0.7, 1.3, 1)
    return [np.stack([x, y + rng.normal(0, 0.2) * x * x], axis=-1)]


def _smooth_through(points: Floats) -> Floats:
    """Rounds the corners of a line (k, 2): every point between is a quadratic curve's control point."""
    middles = np.concatenate([points[:1], (points[1:-1] + points[2:]) / 2, points[-1:]]) if len(points) > 2 else points
    curves, at = [], np.linspace(0, 1, 12)[:, None]
    for start, control, end in zip(middles[:-1], points[1:-1], middles[1:], strict=False):
        curves.append((1 - at) ** 2 * start + 2 * at * (1 - at) * control + at**2 * end)
    return np.concatenate(curves) if curves else points


_DRAW: dict[Kind, Callable[[np.random.Generator], list[Floats]]] = {
    Kind.SCRIBBLES: _draw_scribble,
    Kind.CLICKS: _draw_click,
    Kind.VERTICAL: _draw_vertical,
    Kind.SLOPING: _draw_sloping,
}
