"""Fonts made for tests, of shapes whose sizes are known."""

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen

BAR = [[(100, 350), (900, 350), (900, 450), (100, 450)]]  # of 1,000 to the em, clockwise seen from below
FRAME = [[(100, 0), (100, 800), (900, 800), (900, 0)], [(140, 40), (860, 40), (860, 760), (140, 760)]]
OFL, MIT = {"licenseInfoURL": "https://openfontlicense.org"}, {"licenseDescription": "MIT License"}


def make_font(path: Path, characters: str, names: dict[str, str], style: str = "Regular") -> None:
    """Writes a font whose characters are a frame, but 一 a bar."""
    is_otf = path.suffix == ".otf"
    glyphs = {".notdef": [], **{f"u{ord(each):04X}": BAR if each == "一" else FRAME for each in characters}}
    builder = FontBuilder(1000, isTTF=not is_otf)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(each): f"u{ord(each):04X}" for each in characters})
    drawn = {}
    for name, contours in glyphs.items():
        pen = T2CharStringPen(1000, None) if is_otf else TTGlyphPen(None)
        for contour in contours:
            pen.moveTo(contour[0])
            for point in contour[1:]:
                pen.lineTo(point)
            pen.closePath()
        drawn[name] = pen.getCharString() if is_otf else pen.glyph()
    if is_otf:
        builder.setupCFF(path.stem, {}, drawn, {})
    else:
        builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": path.stem.partition("-")[0], "styleName": style, **names})
    builder.setupOS2()
    builder.setupPost()
    builder.font.flavor = "woff2" if path.suffix == ".woff2" else None
    builder.save(path)
