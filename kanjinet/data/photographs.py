"""Removes what photographs show beside the ink of a page: uneven light, and a desk around the paper.

Of plain, evenly lit paper only the paper's brightness is subtracted. `docs/preprocessing.md` has the steps in short.
"""

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.data.image_files import make_ink_bright
from kanjinet.data.preprocessing import subtract_paper

MAX_SIDE = 2048  # pixels of the images in which characters are looked for; larger ones are reduced
COARSE_SIDE = 128  # blocks along the longer side, for what varies slowly: the light, a desk
LIGHT_REACH = 13  # blocks: ink is narrower than twice that
LIGHT_DIVISOR = 11  # of the darkest ink: light that is nowhere further from the paper's is even
SMOOTH_REACH = 2  # blocks over which the light is averaged to either side
MIN_PAPER, MAX_PAPER = 0.15, 0.99  # of the image that a sheet on a desk covers
MIN_PAPER_SOLIDITY = 0.88  # of the sheet's outline that is light
MIN_CONVEXITY = 0.94  # of the sheet's convex hull that it fills; light ink on dark paper does not
MAX_DESK_BRIGHTNESS = 0.55  # of the paper's
MIN_EDGE_SHARPNESS = 0.7  # of the step from paper to desk that lies within two blocks to either side,
SHARP_QUANTILE = 0.25  # nearly everywhere: a shadow's edge is soft where no strokes cross it
MAX_INK_BRIGHTNESS = 0.85  # of the paper's: darker blocks are ink on a sheet
MIN_DESK_WIDTH = 2  # times the width of that ink's strokes
PAPER_MARGIN = 2  # blocks at the sheet's edge that are left out

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def even_light(gray: Gray) -> tuple[Gray, bool]:
    """Evens out the light of a gray image (height, width) and leaves out the desk around its paper.

    Returns:
        (height, width) ink on paper of 0, and whether nothing had to be done but what is done with plain paper.
    """
    factor = -(-max(gray.shape) // COARSE_SIDE)
    coarse = reduce(gray, factor)
    sheet = find_paper(coarse)
    if sheet is not None:
        return divide_by_light(gray, factor, sheet), False
    ink = make_ink_bright(gray)
    plain = subtract_paper(ink[None])[0]
    peak = int(plain.max())
    level = 255 - int(ink.max()) + peak  # of the paper
    light = leave_border(estimate_light(255 - reduce(ink, factor)))
    if max(level - float(light.min()), float(light.max()) - level) * LIGHT_DIVISOR <= peak:
        return plain, True
    return divide_by_light(gray if has_dark_ink(coarse) else 255 - gray, factor, None), False


def reduce(image: Gray, factor: int) -> Gray:
    """Averages blocks of factor x factor pixels; what is left over at the right and below is left out."""
    height, width = (max(1, length // factor) for length in image.shape)
    if factor == 1:
        return image
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def find_paper(coarse: Gray) -> Mask | None:
    """Finds a light sheet on a dark desk in a coarse image; None where there is none.

    It is the largest light piece, nearly convex, with a sharp edge to what is much darker, and written on.
    """
    _, light = cv2.threshold(coarse, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(np.asarray(light, np.uint8), connectivity=4)
    if len(stats) < 2:
        return None
    is_light = pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    sheet = fill_between(is_light)
    if not MIN_PAPER <= sheet.mean() <= MAX_PAPER or is_light.sum() < MIN_PAPER_SOLIDITY * sheet.sum():
        return None
    if sheet.sum() < MIN_CONVEXITY * measure_hull(sheet):
        return None
    brightness, desk = float(coarse[is_light].mean()), float(coarse[~sheet].mean())
    edge = sheet & ~erode(sheet, 1)
    edge[[0, -1]] = edge[:, [0, -1]] = False
    if not edge.any() or desk > MAX_DESK_BRIGHTNESS * brightness:
        return None
    kernel = np.ones((5, 5), np.uint8)
    steps = cv2.dilate(coarse, kernel).astype(np.int16) - cv2.erode(coarse, kernel)
    if float(np.quantile(steps[edge], SHARP_QUANTILE, method="lower")) < MIN_EDGE_SHARPNESS * (brightness - desk):
        return None
    return erode(sheet, PAPER_MARGIN) if is_written_on(sheet, coarse, ~sheet & (light == 0)) else None


def is_written_on(sheet: Mask, coarse: Gray, desk: Mask) -> bool:
    """Tells whether a sheet shows ink, apart from what is around it, whose strokes are much narrower than the desk.

    Otherwise what seems to be a desk may be strokes too: of a character that fills its image.
    """
    light = estimate_light(leave_paper(coarse, sheet))
    dark = ~sheet | (coarse < MAX_INK_BRIGHTNESS * light)
    _, labels = cv2.connectedComponents(dark.astype(np.uint8), connectivity=8)
    ink = dark & ~np.isin(labels, labels[~sheet])
    return bool(ink.any()) and measure_reach(desk) > MIN_DESK_WIDTH * measure_reach(ink)


def leave_paper(coarse: Gray, sheet: Mask) -> Gray:
    """Returns a coarse image with what is not of the sheet as bright as paper."""
    return np.where(sheet, coarse, np.uint8(np.median(coarse[sheet])))


def measure_reach(mask: Mask) -> int:
    """Measures how often a pixel can be taken off the edges of a mask until nothing is left: half of its width."""
    reach = 0
    while mask.any():
        mask, reach = erode(mask, 1), reach + 1
    return reach


def fill_between(mask: Mask) -> Mask:
    """Fills what lies between pixels of a mask both in its row and in its column."""
    filled = np.ones_like(mask)
    for axis in (0, 1):
        before = np.logical_or.accumulate(mask, axis)
        filled &= before & np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)
    return filled


def measure_hull(mask: Mask) -> float:
    """Returns the area of the convex hull of a mask's pixels."""
    rows = np.flatnonzero(mask.any(axis=1))
    left, right = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [np.stack([columns, rows + below], axis=1) for columns in (left, right) for below in (0, 1)]
    return cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype(np.int32)))


def erode(mask: Mask, reach: int) -> Mask:
    """Takes `reach` pixels off the edges of a mask, at the image's border too."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    padded = np.pad(mask.astype(np.uint8), reach)
    return np.asarray(cv2.erode(padded, kernel), np.bool_)[reach:-reach, reach:-reach]


def estimate_light(coarse: Gray) -> npt.NDArray[np.float32]:
    """Estimates how bright the paper is behind dark ink: the image closed, then smoothed.

    Beyond the border the image goes on as a slope of light would, or it would be closed too bright there.
    """
    reach = min(LIGHT_REACH, min(coarse.shape) - 1)
    if reach < 1:
        return coarse.astype(np.float32)
    wide = coarse.astype(np.float32)
    for _ in (0, 1):
        ends = [
            np.minimum(2 * wide[at] - wide[near], wide[at])
            for at, near in ((0, slice(reach, 0, -1)), (-1, slice(-2, -reach - 2, -1)))
        ]
        wide = np.concatenate([ends[0], wide, ends[1]]).T
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    wide = np.asarray(cv2.morphologyEx(wide, cv2.MORPH_CLOSE, kernel), np.float32)[reach:-reach, reach:-reach]
    side = 2 * SMOOTH_REACH + 1
    return np.asarray(cv2.blur(wide, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)


def leave_border(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns the light without its border, where it may be that of strokes which touch the border."""
    rows, columns = (min(LIGHT_REACH + SMOOTH_REACH, (length - 1) // 2) for length in light.shape)
    return light[rows : light.shape[0] - rows, columns : light.shape[1] - columns]


def has_dark_ink(coarse: Gray) -> bool:
    """Tells whether what stands out most from the light around it is dark: most of the image is paper."""
    side = 2 * LIGHT_REACH + 1
    around = cv2.blur(coarse.astype(np.float32), (side, side), borderType=cv2.BORDER_REPLICATE)
    return float(((coarse - around) ** 3).sum()) < 0


def divide_by_light(gray: Gray, factor: int, sheet: Mask | None) -> Gray:
    """Returns the ink (height, width) on paper of any brightness: 255 x the fraction of the light that it takes.

    Args:
        gray: (height, width) dark ink.
        factor: pixels to a block of the coarse image.
        sheet: where the coarse image shows paper; None for everywhere.
    """
    coarse = reduce(gray, factor)
    if sheet is not None:
        coarse = leave_paper(coarse, sheet)
    light = resize_blocks(estimate_light(coarse), factor, gray.shape)
    ink = np.maximum(light - gray, 0) * (255 / np.maximum(light, 1))
    if sheet is not None:
        ink *= resize_blocks(sheet.astype(np.float32), factor, gray.shape) >= 1
    return (ink + 0.5).astype(np.uint8)


def resize_blocks(blocks: npt.NDArray[np.float32], factor: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Interpolates between the middles of blocks, for each pixel of an image; the last ones go on to its edges."""
    height, width = (length * factor for length in blocks.shape)
    large = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    missing = [(0, length - have) for length, have in zip(shape, large.shape, strict=True)]
    return np.asarray(np.pad(large, missing, mode="edge"), np.float32)
