"""Forms of characters that KanjiVG lacks: what people write, in its units and stroke by stroke."""

from dataclasses import replace

import numpy as np

from kanjinet.synth.further_allographs import FURTHER_ALLOGRAPHS, parse_form
from kanjinet.synth.kanjivg import Glyph, Stroke, parse_path

# The paths of the strokes that differ from those of the main form, by their number.
_STROKES = {
    "く": {
        0: "M59,17c0.4,1.6,0.2,4-0.9,5.8c-5,8-10.5,16-14,22c-2.8,5-2.7,7-0.3,11c5,8.3,11,18.5,19.3,34.5"
    },  # hardly bent
    "八": {1: "M41,31c5-2.5,10-4.2,15-4.5c1.5,15,14.5,33,29.3,46.5c3.8,3.7,6.7,5.6,10,7"},  # a bar at its start
    "千": {0: "M71,15.5c-0.6,0.9-1.3,1.4-2.6,1.8c-8,2-22,4.5-40,6"},  # flat
    "四": {  # low and wide
        0: "M11,40c1.5,1,2.2,2.2,2.5,3.5c1.1,5,2.6,16,4.3,26c0.3,1.6,0.4,2.4,0.6,3.9",
        1: "M14.5,42c22-1.2,55-2.5,74-2.7c4.8-0.1,6.3,1.6,6,3.4c-0.9,5.6-4.2,17.5-6.4,24.6c-0.5,1.6-0.9,2.9-1.3,3.8",
        2: "M40,43c0.1,0.4,0.1,1-0.2,1.6c-2.2,4.5-5.1,9-13.4,14",
        3: "M61,42c0.8,0.5,1.4,1.4,1.5,2.4c0.1,2.2,0,4.4,0,6.1c0,4.3,0.7,4.7,9.5,4.7c5,0,8.9-0.5,10.3-1.1",
        4: "M20,72c14-0.4,46-1.1,66-1.3",
    },
    "十": {1: "M52.2,11.6c1.4,1.4,2.2,4,2.2,6.3c0,1.1,0,48-0.2,69c0,8.5-1.5,9-9.2,3.2"},  # a hook at its end
    "二": {  # near to each other
        0: "M29.5,47c2.5,0.6,5.4,0.5,8,0.2c13-1.3,24-2.2,36-2.6c3-0.1,5,0,7.2,0.4",
        1: "M14,61c3,0.8,8.8,0.9,11.8,0.7c20-1.3,39-2.1,58-2.2c4.9,0,7.9,0.4,10.4,0.8",
    },
    "三": {
        0: "M27.5,36.5c2.5,0.6,5.4,0.5,8,0.2c13-1.3,26-2.2,38-2.6c3-0.1,5,0,7.2,0.4",
        1: "M31,50.5c2.5,0.6,5.4,0.5,8,0.2c11-1,22-1.8,31-2.1c3-0.1,5,0,7.2,0.3",
        2: "M14,66c3,0.8,8.8,0.9,11.8,0.7c20-1.3,39-2.1,58-2.2c4.9,0,7.9,0.4,10.4,0.8",
    },
}
# そ with a dot in place of the first line, as if ソ stood on top of it
_DOT_OF_OPEN_TOP = "M37,18.5C39.5,21.5,42,25,43.5,29"
_START_BELOW_OPEN_TOP = (71.0, 16.5)
_CURVES_OF_FIRST_LINE = 3  # of KanjiVG's そ
# The first strokes of these end in a flick, which some leave out and others draw long; the end of し is as free.
FLICKED = "いかがけげにはばぱほぼぽり"
END_OF_SHI = 0.9  # where along it


def list_allographs(glyph: Glyph) -> list[Glyph]:
    """Lists other forms of a character: of ETL9G's, made from the main one, and at most one."""
    if glyph.character in "そぞ":
        return [_open_top(glyph)]
    if glyph.character in _STROKES:
        paths = _STROKES[glyph.character]
        strokes = [
            replace(stroke, curves=parse_path(paths[number])) if number in paths else stroke
            for number, stroke in enumerate(glyph.strokes)
        ]
        return [replace(glyph, strokes=tuple(strokes))]
    forms = FURTHER_ALLOGRAPHS.get(glyph.character, ())
    return [replace(glyph, strokes=tuple(Stroke("", curves, ()) for curves in parse_form(form))) for form in forms]


def _open_top(glyph: Glyph) -> Glyph:
    """Makes そ or ぞ with an open top from KanjiVG's form."""
    first, *marks = glyph.strokes
    rest = first.curves[_CURVES_OF_FIRST_LINE:].copy()
    rest[0, 0] = np.array(_START_BELOW_OPEN_TOP)
    dot = replace(first, curves=parse_path(_DOT_OF_OPEN_TOP))
    return replace(glyph, strokes=(dot, replace(first, curves=rest), *marks))
