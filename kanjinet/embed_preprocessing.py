"""The preprocessing contract as part of an exported network, which then takes raw pictures.

All of it is arithmetic on whole tensors: lines are found by products with constant matrices, and where a rule would
branch, a clipped difference of whole numbers is 0 or 1. So no engine needs control flow, sorting or indexing for it.
`kanjinet.preprocess` is the reference: CONTRACT_DIFFERENCES says what is not done.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from kanjinet.errors import KanjinetError
from kanjinet.etl9g import CELL_HEIGHT, CELL_WIDTH
from kanjinet.onnx_graph import INPUT, GraphWriter, read_tensors
from kanjinet.preprocess import (
    BOX_SHARE,
    DEEP_FRAGMENT,
    DIRT_SHARE,
    EDGE_PIXELS,
    FILL,
    FRAGMENT_DEPTH,
    FRAGMENT_SHARE,
    GAP_PIXELS,
    LARGE_FRAGMENT_SHARE,
    NORMALIZE,
    REACH,
)

KINDS = ("cell", "picture")
OPERATORS = {
    *("Cast", "Sub", "Add", "Mul", "Div", "Relu", "Clip", "Abs", "Floor", "Sqrt", "Sin", "Max", "Min"),
    *("MatMul", "ReduceMax", "Transpose", "Unsqueeze"),
}
CONTRACT_DIFFERENCES = {
    "cell": (
        "fragments of neighbouring cells are erased where blank paper parts them from the character; small connected "
        "pieces at an edge that no blank line parts from it stay"
    ),
    "picture": "none but rounding",
}
_TINY = 1e-6
_LARGE = 1024  # elements


@dataclass(frozen=True)
class RawInput:
    """What a network with embedded preprocessing takes: uint8 (batch, height, width), ink bright on dark paper."""

    kind: str
    height: int
    width: int

    def describe(self) -> str:
        """In words, for those who write a client."""
        what = {
            "cell": "ETL9G cells of 4-bit ink times 17, paper 0",
            "picture": "grey pictures of one character each, ink bright (up to 255) on darker paper",
        }[self.kind]
        return f"uint8 (batch, {self.height}, {self.width}): {what}"


def describe_raw_input(kind: str, image_size: int) -> RawInput:
    """The raw input of one of KINDS."""
    if kind == "cell":
        return RawInput(kind, CELL_HEIGHT, CELL_WIDTH)
    return RawInput(kind, image_size, image_size)


def embed_preprocessing(model: onnx.ModelProto, raw: RawInput, preprocessing: str) -> onnx.ModelProto:
    """The same network behind its preprocessing.

    Args:
        model: with the input (batch, 1, size, size) float32.
        raw: what the new one takes.
        preprocessing: version that the network was trained with.

    Raises:
        KanjinetError: another preprocessing than NORMALIZE.
    """
    if preprocessing != NORMALIZE:
        raise KanjinetError(
            f"--embed-preprocessing knows {NORMALIZE} only, and the network was trained with {preprocessing}: leave "
            "the option out and preprocess its pictures as the contract in the file's metadata says"
        )
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    arithmetic = _Arithmetic(model.opset_import[0].version)
    names = {INPUT: _write_contract(arithmetic, raw, size)}
    names |= {name: arithmetic.writer.tensor(array) for name, array in read_tensors(model).items()}
    for node in model.graph.node:
        arithmetic.writer.copy(node, names)
    outer = onnx.ModelProto()
    outer.CopyFrom(model)
    del outer.graph.input[:]
    shape = [batch.dim_param or batch.dim_value, raw.height, raw.width]
    outer.graph.input.append(helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, shape, raw.describe()))
    return arithmetic.writer.build(outer)


class _Arithmetic:
    """Operations on float32 values of a graph, which are named by strings; numbers stand for constants."""

    def __init__(self, opset: int) -> None:
        self.writer = GraphWriter()
        self.opset = opset
        self._cast: dict[str, str] = {}

    def constant(self, values: npt.ArrayLike) -> str:
        """A constant; large matrices, whose elements are -1, 0 and 1, are stored in 8 bits."""
        array = np.asarray(values, dtype=np.float32)
        if array.size < _LARGE:
            return self.writer.tensor(array)
        codes = self.writer.tensor(array.astype(np.int8))
        if codes not in self._cast:
            self._cast[codes] = self.writer.add("Cast", codes, to=onnx.TensorProto.FLOAT)
        return self._cast[codes]

    def _name(self, value: str | float) -> str:
        return value if isinstance(value, str) else self.constant(value)

    def apply(self, operator: str, *values: str | float) -> str:
        return self.writer.add(operator, *[self._name(value) for value in values])

    def add(self, *values: str | float) -> str:
        total = self._name(values[0])
        for value in values[1:]:
            total = self.apply("Add", total, value)
        return total

    def sub(self, a: str | float, b: str | float) -> str:
        return self.apply("Sub", a, b)

    def mul(self, a: str | float, b: str | float) -> str:
        return self.apply("Mul", a, b)

    def div(self, a: str | float, b: str | float) -> str:
        return self.apply("Div", a, b)

    def matmul(self, a: str, b: str) -> str:
        return self.apply("MatMul", a, b)

    def clip(self, value: str) -> str:
        return self.writer.add("Clip", value, self.constant(0), self.constant(1))

    def at_least(self, a: str | float, b: str | float) -> str:
        """1 where a >= b, else 0, for whole numbers."""
        return self.clip(self.add(self.sub(a, b), 1))

    def peak(self, value: str, *axes: int) -> str:
        return self.writer.add("ReduceMax", value, axes=list(axes), keepdims=1)

    def turn(self, value: str) -> str:
        """(B, m, n) -> (B, n, m)."""
        return self.writer.add("Transpose", value, perm=[0, 2, 1])

    def unsqueeze(self, value: str) -> str:
        """(B, m, n) -> (B, 1, m, n)."""
        if self.opset >= 13:
            return self.writer.add("Unsqueeze", value, self.writer.tensor(np.array([1], dtype=np.int64)))
        return self.writer.add("Unsqueeze", value, axes=[1])

    def choose(self, condition: str, if_one: str | float, if_zero: str | float) -> str:
        """The first value where the condition is 1, the second where it is 0."""
        return self.add(if_zero, self.mul(condition, self.sub(if_one, if_zero)))


def _write_contract(a: _Arithmetic, raw: RawInput, size: int) -> str:
    """Steps 0 to 7 of the contract: (B, height, width) uint8 -> (B, 1, size, size) float32."""
    ink = a.writer.add("Cast", INPUT, to=onnx.TensorProto.FLOAT)
    if raw.kind == "cell":
        ink = _drop_parted_fragments(a, ink, raw)
    else:
        ink = a.apply("Relu", a.sub(ink, _find_median(a, ink, raw)))
    peak = a.peak(ink, 1, 2)  # (B, 1, 1)
    ink = a.mul(ink, a.at_least(a.mul(ink, DIRT_SHARE), peak))
    across = _Lines(a, a.peak(ink, 1), peak, raw.width, raw.height)
    down = _Lines(a, a.turn(a.peak(ink, 2)), peak, raw.height, raw.width)
    ink = a.mul(a.mul(ink, across.mask), a.turn(down.mask))

    longer, shorter = a.apply("Max", across.length, down.length), a.apply("Min", across.length, down.length)
    target = round(size * FILL)
    ratio = a.apply("Sqrt", a.apply("Sin", a.mul(a.div(shorter, longer), math.pi / 2)))
    flattened = a.apply("Max", a.apply("Floor", a.add(a.mul(ratio, target), 0.5)), 1.0)
    reach = a.apply("Floor", a.add(a.mul(longer, REACH), 0.5))
    weights = []
    for lines, other, picture in ((across, down, ink), (down, across, a.turn(ink))):
        count = a.choose(a.at_least(lines.length, other.length), float(target), flattened)
        weights.append(lines.place(picture, reach, count, size))
    resampled = a.matmul(a.turn(weights[1]), a.matmul(ink, weights[0]))  # (B, size, size)
    factor = a.div(255.0, a.apply("Max", a.peak(resampled, 1, 2), _TINY))
    levels = a.apply("Floor", a.add(a.mul(resampled, factor), 0.5 + 1e-4))  # float32 errors are larger than the tie's
    return a.unsqueeze(a.div(levels, 255.0))


def _find_median(a: _Arithmetic, ink: str, raw: RawInput) -> str:
    """The lower median of each picture, (B, 1, 1), bit by bit: the largest value that at most half lie below."""
    middle = (raw.height * raw.width - 1) // 2
    median = a.mul(a.peak(ink, 1, 2), 0.0)
    for bit in (128, 64, 32, 16, 8, 4, 2, 1):
        candidate = a.add(median, float(bit))
        below = _sum_all(a, a.clip(a.sub(candidate, ink)), raw)
        median = a.add(median, a.mul(a.at_least(float(middle), below), float(bit)))
    return median


def _sum_all(a: _Arithmetic, value: str, raw: RawInput) -> str:
    """(B, height, width) -> (B, 1, 1)."""
    return a.matmul(a.matmul(a.constant(np.ones((1, raw.height))), value), a.constant(np.ones((raw.width, 1))))


def _drop_parted_fragments(a: _Arithmetic, ink: str, raw: RawInput) -> str:
    """Erase what blank lines part from the character at each edge: the first half of `preprocess._drop_fragments`."""
    for is_turned, is_backward, largest_share in (
        (False, False, LARGE_FRAGMENT_SHARE),
        (False, True, LARGE_FRAGMENT_SHARE),
        (True, False, FRAGMENT_SHARE),
        (True, True, FRAGMENT_SHARE),
    ):
        picture, shape = (a.turn(ink), (raw.width, raw.height)) if is_turned else (ink, (raw.height, raw.width))
        kept = _keep_behind_fragment(a, picture, shape, largest_share, is_backward=is_backward)
        ink = a.mul(ink, a.turn(kept) if is_turned else kept)
    return ink


def _keep_behind_fragment(
    a: _Arithmetic, picture: str, shape: tuple[int, int], largest_share: float, *, is_backward: bool
) -> str:
    """(B, m, n) -> (B, 1, n): 0 for the columns of a fragment at the first (or last) ones, else 1.

    `preprocess._find_fragment_end` says what a fragment is.
    """
    pixels, count = shape
    numbers = np.arange(count)[::-1] if is_backward else np.arange(count)  # of the columns, from the edge on
    depth = a.constant(numbers[None, None])
    inked = a.at_least(a.mul(a.peak(picture, 1), BOX_SHARE), a.peak(picture, 1, 2))  # (B, 1, n)
    sums = a.matmul(a.constant(np.ones((1, pixels))), picture)

    def sum_where(value: str, condition: str) -> str:
        return a.matmul(a.mul(value, condition), a.constant(np.ones((count, 1))))  # (B, 1, 1)

    reaches = a.peak(a.mul(inked, a.constant((numbers < EDGE_PIXELS)[None, None])), 2)
    following = (0 <= numbers[:, None] - numbers) & (numbers[:, None] - numbers < GAP_PIXELS)  # (lines, starts)
    outside = numbers > count - GAP_PIXELS
    is_gap = a.clip(a.sub(1.0, a.add(a.matmul(inked, a.constant(following)), a.constant(outside[None, None]))))
    is_gap = a.mul(is_gap, a.constant((numbers < round(DEEP_FRAGMENT * count))[None, None]))
    nearest = a.peak(a.mul(is_gap, a.sub(float(count), depth)), 2)
    first = a.sub(float(count), nearest)
    near_gaps = a.mul(is_gap, a.constant((numbers <= FRAGMENT_DEPTH * count)[None, None]))
    later = a.sub(a.peak(a.mul(near_gaps, a.add(depth, 1.0)), 2), 1.0)  # -1: none
    before_first = a.clip(a.sub(first, depth))
    between = a.mul(a.clip(a.sub(later, depth)), a.sub(1.0, before_first))
    most_at_edge = a.clip(a.sub(sum_where(sums, before_first), sum_where(sums, between)))
    end = a.choose(a.mul(most_at_edge, a.clip(a.add(later, 1.0))), later, first)
    end = a.mul(end, a.mul(reaches, a.clip(nearest)))
    fragment = a.clip(a.sub(end, depth))
    total = a.matmul(sums, a.constant(np.ones((count, 1))))
    is_small = a.clip(a.mul(a.sub(a.mul(total, largest_share), sum_where(sums, fragment)), 16.0))
    return a.sub(1.0, a.mul(fragment, is_small))


class _Lines:
    """The columns of a batch of pictures, or the rows of turned ones: which of them are in the box.

    Attributes:
        mask: (B, 1, n) 1 for those in the box, else 0.
        first: (B, 1, 1) number of the box's first line.
        end: (B, 1, 1) one past its last line.
        length: (B, 1, 1) how many.
    """

    def __init__(self, a: _Arithmetic, line_peaks: str, peak: str, count: int, pixels: int) -> None:
        self.a, self.count, self.pixels = a, count, pixels  # lines, and the pixels of each
        self.index = a.constant(np.arange(count)[None, None])  # (1, 1, n)
        inked = a.at_least(a.mul(line_peaks, BOX_SHARE), peak)
        self.first = a.sub(float(count), a.peak(a.mul(inked, a.sub(float(count), self.index)), 2))
        self.end = a.peak(a.mul(inked, a.add(self.index, 1.0)), 2)
        self.length = a.sub(self.end, self.first)
        self.mask = a.mul(a.at_least(self.index, self.first), a.clip(a.sub(self.end, self.index)))

    def place(self, picture: str, reach: str, count: str, size: int) -> str:
        """How much of each line goes into each of the output's: (B, n, size), as means.

        Args:
            picture: (B, m, n), 0 outside the box.
            reach: (B, 1, 1) lines to either side over which density is averaged.
            count: (B, 1, 1) lines of the output that the box takes.
            size: all lines of the output, the box in their middle.
        """
        a = self.a
        density = self._smooth(self._measure_contrast(picture), reach)
        share = a.div(density, a.apply("Max", self._sum(density), _TINY))
        share = a.mul(a.mul(a.add(share, a.div(1.0, self.length)), 0.5), self.mask)
        before = a.matmul(share, a.constant(np.triu(np.ones((self.count, self.count)), 1)))  # of the lines before each
        margin = a.apply("Floor", a.mul(a.sub(float(size), count), 0.5))
        borders = a.constant(np.arange(size + 1)[None, None])
        wanted = a.clip(a.div(a.sub(borders, margin), count))  # (B, 1, size + 1) shares at the output's borders
        # Each line that lies below a share counts whole, the one in which it ends by part.
        parts = a.clip(a.div(a.sub(wanted, a.turn(before)), a.turn(a.apply("Max", share, _TINY))))  # (B, n, size + 1)
        position = a.add(a.matmul(self.mask, parts), self.first)  # (B, 1, size + 1)
        covered = a.clip(a.sub(position, a.turn(self.index)))  # (B, n, size + 1) of each line, before each border
        step = np.eye(size + 1, size, -1) - np.eye(size + 1, size)
        widths = a.apply("Max", a.matmul(position, a.constant(step)), _TINY)
        return a.div(a.matmul(covered, a.constant(step)), widths)

    def _sum(self, value: str) -> str:
        return self.a.matmul(value, self.a.constant(np.ones((self.count, 1))))

    def _measure_contrast(self, picture: str) -> str:
        """(B, m, n) -> (B, 1, n): the sum of differences at both borders of each line."""
        a, n = self.a, self.count
        steps = a.apply("Abs", a.matmul(picture, a.constant(np.eye(n, n + 1) - np.eye(n, n + 1, 1))))
        at_borders = a.matmul(a.constant(np.ones((1, self.pixels))), steps)  # (B, 1, n + 1)
        return a.mul(a.matmul(at_borders, a.constant(np.eye(n + 1, n) + np.eye(n + 1, n, -1))), self.mask)

    def _smooth(self, contrast: str, reach: str) -> str:
        """The sum of each line and `reach` to either side, the box's end lines repeated."""
        a = self.a
        first = self._pick(contrast, self.first)
        last = self._pick(contrast, a.sub(self.end, 1.0))

        def sum_below(border: str) -> str:
            """Of all lines below a border (B, 1, n), where the end lines go on for ever."""
            inside = a.apply("Min", a.apply("Max", border, self.first), self.end)
            whole = a.matmul(contrast, a.clip(a.sub(inside, a.turn(self.index))))
            beyond = a.mul(a.apply("Relu", a.sub(border, self.end)), last)
            return a.sub(a.add(whole, beyond), a.mul(a.apply("Relu", a.sub(self.first, border)), first))

        upper = sum_below(a.add(self.index, a.add(reach, 1.0)))
        return a.mul(a.sub(upper, sum_below(a.sub(self.index, reach))), self.mask)

    def _pick(self, value: str, index: str) -> str:
        a = self.a
        return self._sum(a.mul(value, a.clip(a.sub(1.0, a.apply("Abs", a.sub(self.index, index))))))
