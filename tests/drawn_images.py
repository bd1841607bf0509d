"""Images for tests of the preprocessing: characters drawn by OpenCV, and odd ones."""

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS
from tests.browser import write_with_jitter

ImageArray = npt.NDArray[np.uint8]


def draw_image(character: str, side: int = 200) -> ImageArray:
    """A character (side, side), ink 255 on paper of 0, drawn by OpenCV."""
    image = np.zeros((side, side), np.uint8)
    for stroke in write_with_jitter(character, np.random.default_rng(7)):
        points = np.rint(stroke * side * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(image, [points], False, 255, side // 28, cv2.LINE_AA, 4)
    return image


def list_odd_images() -> list[ImageArray]:
    rng = np.random.default_rng(3)
    drawn = [draw_image(CHARACTERS[index], side) for index in range(0, 3036, 97) for side in (64, 150, 301)[:2]]
    noisy = [np.clip(draw_image("紙") * 0.5 + rng.normal(60, 12, (200, 200)), 0, 255) for _ in range(3)]
    dot, corner = np.zeros((40, 40)), np.zeros((33, 47))
    dot[17, 22] = 9
    corner[0, 0] = corner[-1, -1] = 255
    odd = [
        np.zeros((50, 50)),
        np.full((20, 30), 255),
        np.full((20, 30), 7),
        np.full((1, 1), 200),
        np.array([[0, 255]]),
        np.array([[0], [255], [0]]),
        np.arange(256).reshape(16, 16),
        np.pad(np.full((1, 100), 200), 60),
        np.pad(np.full((150, 2), 200), ((9, 9), (200, 200))),
        255 - draw_image("反"),
        draw_image("大", 700)[:, 100:600],
        (draw_image("二") > 99) * 255,
        dot,
        corner,
        *(rng.integers(0, 256, rng.integers(1, 90, 2)) for _ in range(20)),
        *(rng.integers(0, 2, rng.integers(1, 9, 2)) * 255 for _ in range(20)),
        *noisy,
    ]
    return drawn + [np.asarray(image).astype(np.uint8) for image in odd]
