"""How well photographs of characters and of whole pages are read: real strokes put on paper as a telephone sees them.

Reads:  real drawings, and a model (default: the pretrained one)
Writes: a table: percent read right for each kind of photograph, then for each kind of page what was found and read
Run:    python benchmarks/judge_photographs.py --drawings drawings.npz

Photographs have 480 pixels a side, pages --page-pixels on the longer one; all go through JPEG and are seeded. A page is
turned by up to 5 degrees, seen in slight perspective, and half of the pages have a shadow. A character is found where a
box overlaps it by half of what both cover together; a box lies on nothing where it touches no character's.
"""

import common  # noqa: F401  (puts the toolkit on the path)
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kanjinet.classes import CHARACTERS
from kanjinet.data.drawings import Drawings, read_drawings
from kanjinet.evaluation.recognizer import Recognizer, load_recognizer

SEED = 20_270_000
SIDE = 480  # pixels of a photograph of one character
PEN, PENCIL = (0.15, 0.30), (0.45, 0.58)  # reflectance of the ink, white paper being 1
DRAWN = 160  # pixels of a drawing's canvas that fill a character's place
LIGHTS = {"even light": None, "sloping to .65": 0.65, "sloping to .45": 0.45, "soft shadow": "shadow"}
KINDS = (  # name, paper, light, ink
    *((f"plain, {name}", "plain", light, PEN) for name, light in LIGHTS.items()),
    ("ruled, even light", "ruled", None, PEN),
    ("ruled, sloping to .65", "ruled", 0.65, PEN),
    ("pencil on ruled", "ruled", 0.85, PENCIL),
    ("squared", "squared", None, PEN),
    ("manuscript frame", "frame", 0.8, PEN),
    ("dark desk", "desk", 0.85, PEN),
)
PAGES = ("squares", "manuscript", "ruled", "plain across", "plain down")

Image = npt.NDArray[np.float32]  # reflectance, 0-1
Lines = list[tuple[float, float, float, float]]  # ends: x, y, x, y
Boxes = npt.NDArray[np.float64]  # (n, 4): left, top, right, bottom, pixels


@dataclass
class Page:
    """Represents a page: reflectance, the boxes of its characters' ink in reading order, their drawings."""

    image: Image
    boxes: Boxes
    drawings: list[int]


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/judge_photographs.py --drawings drawings.npz")
    parser.add_argument("--drawings", type=Path, required=True, help=".npz of real drawings (images and characters)")
    parser.add_argument("--model", type=Path, help="the model (default: the pretrained one)")
    parser.add_argument("--half", choices=("even", "odd"), help="only drawings of even or odd index (default: all)")
    parser.add_argument("--photographs", type=positive_int, default=200, help="photographs of each kind")
    parser.add_argument("--pages", type=positive_int, default=10, help="pages of each kind")
    parser.add_argument("--page-pixels", type=positive_int, default=1600, help="longer side of a page")
    parser.add_argument("--keep", type=Path, help="folder for the composed images, to look at")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    recognizer = load_recognizer(args.model)
    drawings = read_drawings(args.drawings)
    if args.half:
        rows = slice(args.half == "odd", None, 2)
        drawings = Drawings(drawings.ink[rows], drawings.classes[rows])
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    print(f"{args.drawings.name}, {args.half or 'all'}: {len(drawings.classes):,} drawings, {recognizer.path.name}")
    print(f"{'':24}{'images':>8}{'right':>9}{'several':>9}{'unsure':>8}{'wrong, over 90 % sure':>23}")
    for kind in KINDS:
        judge_photographs(recognizer, drawings, kind, args)
    columns = ("characters", "found", "on nothing", "right", "alone", "in order", "s a page")
    print(f"\n{'':16}" + "".join(f"{column:>12}" for column in columns))
    for name in PAGES:
        judge_pages(recognizer, drawings, name, args)


def judge_photographs(recognizer: Recognizer, drawings: Drawings, kind: tuple, args: argparse.Namespace) -> None:
    """Prints how many photographs of a kind are read right."""
    name, paper, light, ink = kind
    right = several = unsure = sure_wrong = 0
    for number in range(args.photographs):
        rng = np.random.default_rng([SEED, number])
        index = int(rng.integers(len(drawings.classes)))
        photograph = expose(compose_photograph(drawings.ink[index], paper, ink, rng), light, rng)
        keep(photograph, f"{name}_{number:03}", args)
        page = recognizer.read_page(photograph, 1)
        found = page.characters[0].candidates[0] if len(page.characters) == 1 else None
        is_right = found is not None and found.character == CHARACTERS[drawings.classes[index]]
        right += is_right
        several += len(page.characters) > 1
        unsure += page.unsure is not None
        sure_wrong += found is not None and not is_right and page.unsure is None and found.probability > 0.9
    print(
        f"{name:24}{args.photographs:8}{right / args.photographs:9.1%}{several:9}{unsure:8}{sure_wrong:23}", flush=True
    )


def judge_pages(recognizer: Recognizer, drawings: Drawings, name: str, args: argparse.Namespace) -> None:
    """Prints how many characters of pages of a kind are found and read right."""
    total = found = right = alone = nothing = boxes = in_order = 0
    seconds = 0.0
    for number in range(args.pages):
        rng = np.random.default_rng([SEED, 1, number])
        page = compose_page(drawings, name, args.page_pixels, rng)
        photograph = expose(page.image, "shadow" if number % 2 else None, rng)
        keep(photograph, f"{name}_{number:03}", args)
        start = time.perf_counter()
        read = recognizer.read_page(photograph, 1).characters
        seconds += time.perf_counter() - start
        overlaps = compute_overlaps(page.boxes, np.array([each.box for each in read], dtype=float).reshape(-1, 4))
        best = overlaps.argmax(axis=1) if len(read) else np.zeros(len(page.boxes), int)
        is_found = overlaps.max(axis=1, initial=0) >= 0.5
        labels = [CHARACTERS[drawings.classes[index]] for index in page.drawings]
        first = [each[0].character for each in recognizer.read([255 - drawings.ink[i] for i in page.drawings], 1)]
        total += len(labels)
        found += int(is_found.sum())
        nothing += int((overlaps.max(axis=0, initial=0) == 0).sum())
        boxes += len(read)
        in_order += bool((np.diff(best[is_found]) > 0).all())
        right += sum(read[best[i]].candidates[0].character == labels[i] for i in np.flatnonzero(is_found))
        alone += sum(first[i] == labels[i] for i in np.flatnonzero(is_found))
    fractions = (found / total, nothing / max(boxes, 1), right / max(found, 1), alone / max(found, 1))
    shown = "".join(f"{fraction:12.1%}" for fraction in fractions)
    print(f"{name:16}{total:12,}{shown}{in_order:9}/{args.pages:2}{seconds / args.pages:12.2f}", flush=True)


def keep(photograph: npt.NDArray[np.uint8], name: str, args: argparse.Namespace) -> None:
    """Writes a composed image, if that was asked for."""
    if args.keep:
        cv2.imwrite(str(args.keep / f"{name.replace(',', '').replace(' ', '_')}.png"), photograph)


def compute_overlaps(ones: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Computes for each pair of boxes (n, 4), (m, 4) the area of both over that of either."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ones, others)]
    return np.asarray(both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9))


def write_ink(
    paper: Image, drawing: npt.NDArray[np.uint8], center: tuple[float, float], side: float, ink: float
) -> tuple[float, ...]:
    """Writes a drawing onto paper; `side` pixels are what DRAWN pixels of its canvas become. Returns its ink's box."""
    rows, columns = np.nonzero(drawing >= 64)
    box = drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = side / max(DRAWN, *box.shape)
    target = [max(1, round(length * scale)) for length in box.shape]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.clip(cv2.resize(box, (target[1], target[0]), interpolation=method), 0, 255) / np.float32(255)
    left, top = round(center[0] - target[1] / 2), round(center[1] - target[0] / 2)
    place = paper[top : top + target[0], left : left + target[1]]
    place *= 1 - small[: place.shape[0], : place.shape[1]] * (1 - ink)
    return (left, top, left + target[1], top + target[0])


def draw_lines(paper: Image, ends: Lines, width: float, gray: float) -> None:
    """Draws straight lines (x, y, x, y) of a width in pixels, with fractions, and a reflectance."""
    mask = np.zeros([4 * length for length in paper.shape], np.uint8)
    for line in ends:
        x, y, to_x, to_y = (round(4 * value) for value in line)
        cv2.line(mask, (x, y), (to_x, to_y), 255, max(1, round(4 * width)))
    small = cv2.resize(mask, paper.shape[::-1], interpolation=cv2.INTER_AREA)
    paper *= 1 - small / np.float32(255) * (1 - gray)


def compose_photograph(
    drawing: npt.NDArray[np.uint8], kind: str, ink: tuple[float, float], rng: np.random.Generator
) -> Image:
    """Composes one character on paper, (SIDE, SIDE)."""
    paper = np.full((SIDE, SIDE), rng.uniform(0.9, 0.97), np.float32)
    side = rng.uniform(0.45, 0.7) * SIDE
    x, y = (SIDE / 2 + rng.uniform(-0.06, 0.06, 2) * SIDE).tolist()
    gray, width, slope = rng.uniform(0.55, 0.8), rng.uniform(1.2, 2.6), np.tan(np.radians(rng.uniform(-3, 3)))
    if kind in ("ruled", "squared"):
        pitch = rng.uniform(36, 70) if kind == "ruled" else rng.uniform(24, 44)
        across: Lines = [
            (0, at, SIDE, at + slope * SIDE) for at in np.arange(rng.uniform(-pitch, 0) - 60, SIDE + 60, pitch)
        ]
        down: Lines = [
            (at, 0, at - slope * SIDE, SIDE) for at in np.arange(rng.uniform(-pitch, 0) - 60, SIDE + 60, pitch)
        ]
        draw_lines(paper, across + (down if kind == "squared" else []), width, gray)
    if kind == "frame":  # a square with its neighbors above and below, and the strips to its left and right
        half, strip = side * rng.uniform(0.6, 0.72), side * rng.uniform(0.15, 0.3)
        verticals = (-half - strip, -half, half, half + strip)
        down = [(x + at - slope * (0 - y), 0, x + at - slope * (SIDE - y), SIDE) for at in verticals]
        across = [
            (x - half, y + at - slope * half, x + half, y + at + slope * half)
            for at in (-3 * half, -half, half, 3 * half)
        ]
        draw_lines(paper, across + down, width, gray)
        x, y = (np.array([x, y]) + rng.uniform(-0.04, 0.04, 2) * side).tolist()
    if kind == "desk":
        side *= 0.7
    write_ink(paper, drawing, (x, y), side, rng.uniform(*ink))
    if kind == "desk":
        paper = lay_on_desk(paper, rng)
    return paper


def lay_on_desk(paper: Image, rng: np.random.Generator) -> Image:
    """Shows the middle of a paper, turned a little, on a dark desk."""
    height, width = paper.shape
    mask = np.zeros(paper.shape, np.uint8)
    size = rng.uniform(0.72, 0.88, 2) * (width, height)
    corners = cv2.boxPoints(((width / 2, height / 2), size.tolist(), rng.uniform(-8, 8))) + rng.uniform(-8, 8, (4, 2))
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 255, cv2.LINE_AA)
    grain = cv2.GaussianBlur(rng.normal(0, 1, paper.shape).astype(np.float32), (0, 0), 1, sigmaY=12)
    desk = rng.uniform(0.12, 0.35) + grain / grain.std() * np.float32(0.02)
    return np.asarray(np.where(mask > 127, paper, desk), np.float32)


def compose_page(drawings: Drawings, kind: str, pixels: int, rng: np.random.Generator) -> Page:
    """Composes a page of a kind, 3 to 4, turned and in perspective."""
    height, width = pixels, pixels * 3 // 4
    paper = np.full((height, width), rng.uniform(0.9, 0.97), np.float32)
    count = int(rng.integers(6, 11))  # places across
    pitch = 0.8 * width / count
    step_x, step_y = pitch, pitch
    if kind == "manuscript":
        step_x = pitch * 1.3
    elif kind == "plain down":
        step_x = pitch * rng.uniform(1.25, 1.6)
    elif kind in ("plain across", "ruled"):
        step_y = pitch * rng.uniform(1.2, 1.5)
    columns, rows = int(0.82 * width / step_x), int(0.82 * height / step_y)
    left, top = (width - columns * step_x) / 2, (height - rows * step_y) / 2
    gray, line = rng.uniform(0.55, 0.8), rng.uniform(1.2, 2.6) * pixels / 1600
    if kind != "plain across" and kind != "plain down":
        draw_lines(paper, list_page_lines(kind, (left, top, columns, rows), (step_x, step_y, pitch), width), line, gray)
    places = [(column, row) for row in range(rows) for column in range(columns)]
    if kind in ("manuscript", "plain down"):
        places.sort(key=lambda place: (-place[0], place[1]))
    ink, fill, jitter = rng.uniform(*PEN), rng.uniform(0.68, 0.8), 0.04 if kind in ("squares", "manuscript") else 0.03
    boxes, chosen = [], []
    for column, row in places:
        if rng.random() < 0.08:  # an empty place
            continue
        index = int(rng.integers(len(drawings.classes)))
        x = left + column * step_x + pitch / 2 + rng.normal(0, jitter) * pitch
        y = top + row * step_y + step_y - pitch / 2 + rng.normal(0, jitter) * pitch
        boxes.append(write_ink(paper, drawings.ink[index], (x, y), fill * pitch * rng.uniform(0.9, 1.1), ink))
        chosen.append(index)
    return Page(*turn(paper, np.array(boxes, float), rng), chosen)


def list_page_lines(
    kind: str, grid: tuple[float, float, int, int], steps: tuple[float, float, float], width: int
) -> Lines:
    """Lists the lines of squares, of manuscript paper with its strips, or of ruled paper."""
    left, top, columns, rows = grid
    step_x, step_y, pitch = steps
    bottom = top + rows * step_y
    if kind == "ruled":
        return [(0, top + row * step_y, width, top + row * step_y) for row in range(rows + 1)]
    lines = []
    for column in range(columns):
        x = left + column * step_x
        lines += [(x, top, x, bottom), (x + pitch, top, x + pitch, bottom)]
        lines += [(x, top + row * step_y, x + pitch, top + row * step_y) for row in range(rows + 1)]
    return lines


def turn(paper: Image, boxes: Boxes, rng: np.random.Generator) -> tuple[Image, Boxes]:
    """Turns a page by up to 5 degrees and moves its corners by up to 2 percent; its boxes with it."""
    height, width = paper.shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    turned = cv2.transform(corners[None], cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-5, 5), 0.97))
    moved = (turned[0] + rng.uniform(-0.02, 0.02, (4, 2)) * (width, height)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    image = cv2.warpPerspective(paper, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    points = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    seen = cv2.perspectiveTransform(points, matrix.astype(np.float64)).reshape(-1, 4, 2)
    return np.asarray(image, np.float32), np.concatenate([seen.min(axis=1), seen.max(axis=1)], axis=1)


def expose(paper: Image, light: float | str | None, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Photographs paper in a light: even (None), sloping down to a fraction, or with a soft shadow ("shadow")."""
    height, width = paper.shape
    ys, xs = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    if light == "shadow":
        edge = (along - rng.uniform(-0.2, 0.2)) / rng.uniform(0.03, 0.12)
        brightness = 1 - rng.uniform(0.35, 0.55) / (1 + np.exp(-edge))
    elif light is None:
        brightness = np.ones(paper.shape)
    else:
        fraction = (along - along.min()) / (along.max() - along.min())
        brightness = 1 - (1 - float(light)) * fraction
    seen = cv2.GaussianBlur(paper, (0, 0), 0.8) * brightness * 250 + rng.normal(0, 2, paper.shape)
    _, file = cv2.imencode(".jpg", np.clip(seen, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


if __name__ == "__main__":
    run_script(main)
