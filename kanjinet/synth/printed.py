"""Printed characters, drawn from KanjiVG: no font is needed."""

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.synth.kanjivg import VIEW_BOX, read_glyph

DRAWN_SIDE = 128  # pixels
_PEN_WIDTH = 5  # pixels
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel
_STEPS = np.linspace(0, 1, 9)[:, None]  # points on each Bézier curve


def draw_character(character: str) -> npt.NDArray[np.uint8]:
    """Draws a character's strokes with a round pen: (DRAWN_SIDE, DRAWN_SIDE) uint8, ink 255 on 0."""
    image = np.zeros((DRAWN_SIDE, DRAWN_SIDE), dtype=np.uint8)
    scale = (1 << _SHIFT) * DRAWN_SIDE / VIEW_BOX
    for stroke in read_glyph(character).strokes:
        p0, p1, p2, p3 = (stroke.curves[:, point, None, :] for point in range(4))  # (k, 1, 2) each
        curve = (1 - _STEPS) ** 3 * p0 + 3 * (1 - _STEPS) ** 2 * _STEPS * p1 + 3 * (1 - _STEPS) * _STEPS**2 * p2
        points = np.round((curve + _STEPS**3 * p3).reshape(-1, 1, 2) * scale).astype(np.int32)  # (k * 9, 1, 2)
        cv2.polylines(image, [points], False, 255, _PEN_WIDTH, cv2.LINE_AA, shift=_SHIFT)
    return image
