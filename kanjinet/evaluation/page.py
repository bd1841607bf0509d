"""Finds the characters of an image: which pieces of ink are one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kanjinet.data.image_files import MIN_INK, make_ink_bright, to_network_input
from kanjinet.data.layout import MAX_ALONG, Pieces, TextLine, find_pieces, find_text_lines, group_by_squares
from kanjinet.data.photographs import MAX_SIDE, even_light, reduce
from kanjinet.data.preprocessing import preprocess
from kanjinet.data.rules import Ruling, remove_ruling

MAX_ASPECT = 3.0  # of a single character's box, or 1 / that, where its parts lie apart
MAX_SIZES = 3.2  # of its largest piece's: the same
SURE = 0.8  # of all ink together: then it is one character
COMPACT_ASPECT, COMPACT_SURE = 1.4, 0.25  # the same where the box is nearly a square
MIN_ALIKE = 0.45  # of the largest one's longer side: characters of a word have no smaller ones
EACH = 1.5  # what each character costs, in units of the negative logarithm of its probability
LENGTHS = (0.5, 1.1)  # of the size of the line's characters: shorter and longer ones cost more
NARROW, LONG = 4.0, 6.0  # how much, on each size
MIN_PROBABILITY = 1e-3
MAX_PIECES = 4000  # of ink: a page of 600 characters has 3,000
TOO_MANY = "more pieces of ink than a page of characters has"

Gray = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom: pixels of the image, the last two one past the end
Prepare = Callable[[list[int]], Gray]  # turns pieces into what the network sees
Judge = Callable[[list[Gray]], npt.NDArray[np.float64]]  # returns the probability of each one's best class


@dataclass(frozen=True)
class Found:
    """Represents the characters of an image in reading order: boxes, and what the network sees of each."""

    boxes: list[Box]
    inputs: list[Gray]
    unsure: str | None = None  # what cannot be told


@dataclass(frozen=True)
class InkImage:
    """Represents an image and the ink found in it."""

    gray: Gray  # (height, width) the image itself
    scale: int  # its pixels to one of the pieces'
    pieces: Pieces
    ruling: Ruling
    is_plain: bool  # it shows nothing but ink on evenly lit paper

    def prepare(self, size: int, version: str, group: list[int] | None = None) -> Gray:
        """Returns what the network sees of some pieces, by default all: those of a plain image as they are."""
        if group is None or len(group) == len(self.pieces.boxes):
            whole = to_network_input(make_ink_bright(self.gray), size, version) if self.is_plain else None
            if whole is not None:
                return whole
            group = list(range(len(self.pieces.boxes)))
        return preprocess(self.pieces.cut_out(group)[None], size, version, cells=False)[0]


def take_ink(gray: Gray) -> InkImage | None:
    """Takes the ink off a gray image (height, width); None where no ink stands out."""
    scale = -(-max(gray.shape) // MAX_SIDE)
    evened, is_even = even_light(reduce(gray, scale))
    if int(evened.max(initial=0)) < MIN_INK:
        return None
    ink, ruling = remove_ruling(evened)
    pieces = find_pieces(ink, ruling)
    return InkImage(gray, scale, pieces, ruling, is_even and ink is evened) if len(pieces.boxes) else None


def prepare_one(gray: Gray, size: int, version: str) -> Gray | None:
    """Returns what the network sees of an image of one character, (size, size); None where no ink stands out."""
    image = take_ink(gray)
    return image.prepare(size, version) if image else None


def find_characters(gray: Gray, size: int, version: str, judge: Judge) -> Found:
    """Finds the characters of a gray image (height, width)."""
    image = take_ink(gray)
    if image is None:
        return Found([], [])

    known: dict[tuple[int, ...], Gray] = {}

    def prepare(group: list[int]) -> Gray:
        key = tuple(group)
        if key not in known:
            known[key] = image.prepare(size, version, group)
        return known[key]

    pieces, ruling, k = image.pieces, image.ruling, image.scale
    if is_too_many := len(pieces.boxes) > MAX_PIECES:
        groups = [list(range(len(pieces.boxes)))]
    else:
        groups = group_by_squares(pieces, ruling) or choose_groups(pieces, ruling, prepare, judge)
    boxes = [(left * k, top * k, right * k, bottom * k) for left, top, right, bottom in map(pieces.unite, groups)]
    return Found(boxes, [prepare(group) for group in groups], TOO_MANY if is_too_many else ruling.unsure)


def choose_groups(pieces: Pieces, ruling: Ruling, prepare: Prepare, judge: Judge) -> list[list[int]]:
    """Chooses what of each line of text is a character: the way to divide it that the network finds most probable."""
    everything = list(range(len(pieces.boxes)))
    left, top, right, bottom = pieces.unite(everything)
    aspect = (right - left) / (bottom - top)
    largest = int((pieces.boxes[:, 2:] - pieces.boxes[:, :2]).max())
    is_one_size = max(right - left, bottom - top) <= MAX_SIZES * largest and 1 / MAX_ASPECT <= aspect <= MAX_ASPECT
    is_compact = 1 / COMPACT_ASPECT <= aspect <= COMPACT_ASPECT
    if len(everything) == 1 or (
        is_one_size and judge([prepare(everything)])[0] >= (COMPACT_SURE if is_compact else SURE)
    ):
        return [everything]
    lines = find_text_lines(pieces, ruling)
    spans = [(line, first, last) for line in lines for first, last in list_spans(line)]
    chosen = [sum(line.groups[first:last], []) for line, first, last in spans]
    asked = [index for index, span in enumerate(spans) if not is_settled(*span)]
    probabilities = np.ones(len(spans))
    if asked:
        probabilities[asked] = judge([prepare(chosen[index]) for index in asked])
    groups = []
    for line in lines:
        costs = {
            (first, last): weigh(line, first, last, float(probability))
            for (each, first, last), probability in zip(spans, probabilities, strict=True)
            if each is line
        }
        groups += [sum(line.groups[first:last], []) for first, last in divide(len(line.groups), costs)]
    sides = [max(right - left, bottom - top) for left, top, right, bottom in map(pieces.unite, groups)]
    return [everything] if is_one_size and min(sides) < MIN_ALIKE * max(sides) else groups


def weigh(line: TextLine, first: int, last: int, probability: float) -> float:
    """Computes what it costs to take neighbors in a line for a character."""
    length = (line.ends[last - 1] - line.starts[first]) / line.size
    cost = -float(np.log(max(MIN_PROBABILITY, probability))) + EACH
    return cost + LONG * max(0.0, length - LENGTHS[1]) + NARROW * max(0.0, LENGTHS[0] - length)


def list_spans(line: TextLine) -> list[tuple[int, int]]:
    """Lists which neighbors in a line may be a character: the first, and one past the last."""
    spans = []
    for first, start in enumerate(line.starts):
        spans.append((first, first + 1))
        for last in range(first + 2, len(line.groups) + 1):
            if max(line.ends[first:last]) - start > MAX_ALONG * line.size:
                break
            spans.append((first, last))
    return spans


def is_settled(line: TextLine, first: int, last: int) -> bool:
    """Tells whether a group of pieces is too far from both neighbors to be a character with one of them."""
    alone = last == first + 1
    before = first == 0 or line.ends[first] - line.starts[first - 1] > MAX_ALONG * line.size
    after = last == len(line.groups) or line.ends[last] - line.starts[first] > MAX_ALONG * line.size
    return alone and before and after


def divide(count: int, costs: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Finds the cheapest way to divide `count` groups into spans."""
    best = [0.0] + [np.inf] * count
    start = [0] * (count + 1)
    for (first, last), cost in sorted(costs.items(), key=lambda item: item[0][1]):
        if best[first] + cost < best[last]:
            best[last], start[last] = best[first] + cost, first
    spans = []
    while count:
        spans.append((start[count], count))
        count = start[count]
    return spans[::-1]
