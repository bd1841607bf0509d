"""Images as PNG files: gray, (height, width) uint8, or blue-green-red, (height, width, 3) uint8."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from kanjinet.storage.files import replace_on_success

ImageArray = npt.NDArray[np.uint8]


def encode_png(image: ImageArray) -> bytes:
    """Returns the bytes of a PNG file that holds an image."""
    _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return encoded.tobytes()


def write_png(path: Path, image: ImageArray) -> None:
    """Writes an image as a PNG file, whole or not at all."""
    with replace_on_success(path) as file:
        file.write(encode_png(image))


def write_few_grays(path: Path, image: ImageArray) -> None:
    """Writes a gray image of at most 16 values with four bits a pixel: half the bytes of `write_png`."""
    grays, codes = np.unique(image, return_inverse=True)
    indexed = Image.fromarray(codes.reshape(image.shape).astype(np.uint8))
    indexed.putpalette(np.repeat(grays, 3).tobytes())
    with replace_on_success(path) as file:
        indexed.save(file, "PNG", optimize=True, bits=4)
