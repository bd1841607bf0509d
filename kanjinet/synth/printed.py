"""Printed characters, drawn from KanjiVG: no font is needed."""

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.synth.bezier import evaluate_curves
from kanjinet.synth.kanjivg import VIEW_BOX, read_glyph

PRINTED_SIDE = 128  # pixels
_PEN_WIDTH = 5  # pixels
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel


def draw_character(character: str) -> npt.NDArray[np.uint8]:
    """Draws a character's strokes with a round pen: (PRINTED_SIDE, PRINTED_SIDE) uint8, ink 255 on 0."""
    image = np.zeros((PRINTED_SIDE, PRINTED_SIDE), dtype=np.uint8)
    scale = (1 << _SHIFT) * PRINTED_SIDE / VIEW_BOX
    for stroke in read_glyph(character).strokes:
        points = evaluate_curves(stroke.curves, np.linspace(0, 1, 9))  # (k, 9, 2)
        line = np.round(points.reshape(-1, 1, 2) * scale).astype(np.int32)
        cv2.polylines(image, [line], False, 255, _PEN_WIDTH, cv2.LINE_AA, shift=_SHIFT)
    return image
