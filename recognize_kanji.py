"""Read images of single handwritten characters: which of the 3,036 characters each may show, and how probably.

Reads:  image files of any kind and size, folders of them, or standard input (-); dark on light or light on dark
Writes: a table, JSON or CSV, on standard output or into --output; with --explain, the images that the network saw
Run:    python recognize_kanji.py drawing.png photographs --top 3
"""

import argparse
import csv
import fnmatch
import functools
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from kanjinet.classes import CHARACTERS, JIS_CODES, NUM_CLASSES
from kanjinet.cli import make_parser, positive_int, run_script, show_path
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.image_files import MAX_FILE_BYTES, list_images, read_image, to_network_input
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.image_grid import write_png
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, Recognizer, load_recognizer
from kanjinet.storage.files import make_folder, replace_on_success
from kanjinet.synth.kanjivg import count_strokes

STANDARD_INPUT = "-"
BATCH = 64  # images
BAR_FROM = 20  # images: fewer are read in a moment
MAX_STEM = 50  # characters, of up to 4 bytes: file systems have room for 255 bytes
NO_CHARACTER = "no character: no ink stands out from the paper"
CSV_COLUMNS = ("image", "rank", "character", "probability", "jis_code", "stroke_count", "problem")

count_strokes_once = functools.cache(count_strokes)  # it reads a file


@dataclass(frozen=True)
class Reading:
    """What came of one image: its candidates, best first, or the problem that it has none for."""

    image: str
    candidates: tuple[dict[str, Any], ...] = ()
    problem: str | None = None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python recognize_kanji.py drawing.png --format json")
    parser.add_argument("images", nargs="+", help="image files, folders of them, or - for standard input")
    parser.add_argument("--model", type=Path, default=PRETRAINED_PATH, help="a .pth, .safetensors or .onnx file")
    parser.add_argument("--top", type=positive_int, default=5, help="candidates for each image")
    parser.add_argument("--format", choices=tuple(WRITERS), default="table", help="form of the answers")
    parser.add_argument("--output", type=Path, help="write the answers into this file, in UTF-8 (default: print them)")
    parser.add_argument("--explain", type=Path, help="folder for the images as the network saw them")
    return parser.parse_args()


def main() -> None:
    """Read image after image; those that cannot be read are named, and the others are still read."""
    args = parse_args()
    sources = list_sources(args.images)
    recognizer = load_recognizer(args.model)
    explain_dir = make_folder(args.explain) if args.explain else None
    failures: list[str] = []
    readings = read_images(recognizer, sources, min(args.top, NUM_CLASSES), explain_dir, failures)
    write = WRITERS[args.format]
    if args.output:
        text = io.StringIO()
        write(text, readings, recognizer)
        with replace_on_success(args.output) as file:
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))
        print(f"written    {show_path(args.output)}")
    else:
        if args.format != "table" and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(
                encoding="utf-8", errors="backslashreplace", newline="\n"
            )  # whatever the console's: a program reads it
        write(sys.stdout, readings, recognizer)
    if failures:
        raise KanjinetError(f"{len(failures)} of {len(sources)} images could not be read", "see above")


def list_sources(words: list[str]) -> list[str]:
    """The files that the command line names: those in folders too, and what a pattern such as *.png matches.

    A word that stands for no image stays in the list, so that it is reported in its turn.
    """
    sources: list[str] = []
    for word in words:
        path = Path(word)
        found: list[Path] = []
        if path.is_dir():
            found = list_images(path)
        elif set("*?[") & set(path.name) and not path.exists():  # Windows' shells leave patterns to the program
            inside = path.parent.iterdir() if path.parent.is_dir() else ()
            found = sorted(each for each in inside if fnmatch.fnmatch(each.name, path.name))
        sources += map(str, found) if found else [word]
    return sources


def read_images(
    recognizer: Recognizer, sources: list[str], top: int, explain_dir: Path | None, failures: list[str]
) -> Iterator[Reading]:
    """The readings of all sources in their order; those that cannot be read are named on stderr and in `failures`."""
    is_short = len(sources) < BAR_FROM
    with tqdm(total=len(sources), unit="image", leave=False, disable=True if is_short else None) as bar:
        for first in range(0, len(sources), BATCH):
            names = sources[first : first + BATCH]
            seen: list[npt.NDArray[np.uint8] | None] = []
            problems: list[str | None] = []
            for name in names:
                try:
                    seen.append(see(name, recognizer))
                    problems.append(NO_CHARACTER if seen[-1] is None else None)
                except KanjinetError as error:
                    seen.append(None)
                    problems.append(str(error).removeprefix(f"{name}: "))
                    failures.append(name)
                    bar.clear()
                    print(f"error: {error}", file=sys.stderr)
                bar.update()
            if explain_dir:
                explain(explain_dir, first + 1, names, seen)
            answers = iter(recognize([image for image in seen if image is not None], recognizer, top))
            bar.clear()
            for name, image, problem in zip(names, seen, problems, strict=True):
                yield Reading(name, () if image is None else next(answers), problem)


def see(name: str, recognizer: Recognizer) -> npt.NDArray[np.uint8] | None:
    """What the network sees of an image, (S, S) uint8; None for an image without a character.

    Raises:
        KanjinetError: it cannot be read.
    """
    if Path(name).is_dir():
        raise KanjinetError(f"{name}: no image files in this folder", "name the images, or their folder")
    if name == STANDARD_INPUT:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)  # one too many is refused
        ink = read_image(io.BytesIO(content), "standard input")
    else:
        ink = read_image(Path(name), name)
    return to_network_input(ink, recognizer.image_size, recognizer.preprocessing)


def explain(folder: Path, number: int, names: list[str], seen: list[npt.NDArray[np.uint8] | None]) -> None:
    """Write what the network saw: bright ink on dark paper, numbered in the order of the answers."""
    for index, (name, image) in enumerate(zip(names, seen, strict=True), start=number):
        if image is not None:
            write_png(folder / f"{index:04d}_{Path(name).stem[:MAX_STEM]}.png", image)


def recognize(
    images: list[npt.NDArray[np.uint8]], recognizer: Recognizer, top: int
) -> list[tuple[dict[str, Any], ...]]:
    """The candidates for each network input (S, S), best first."""
    if not images:
        return []
    best = recognizer.find_best(np.stack(images), top)
    return [
        tuple(map(describe_candidate, classes, probabilities))
        for classes, probabilities in zip(best.classes.tolist(), best.probabilities.tolist(), strict=True)
    ]


def describe_candidate(index: int, probability: float) -> dict[str, Any]:
    """A class as JSON and CSV have it."""
    return {
        "character": CHARACTERS[index],
        "probability": round(probability, 6),
        "jis_code": f"{JIS_CODES[index]:04X}",
        "stroke_count": count_strokes_once(CHARACTERS[index]),
    }


def write_table(file: TextIO, readings: Iterable[Reading], recognizer: Recognizer) -> None:
    """For people: a line a candidate."""
    note = f" (trained on a {SAMPLE_NOTE})" if recognizer.synthetic else ""
    print(f"model      {recognizer.path.name}{note}", file=file)
    for reading in readings:
        print(reading.image if reading.problem is None else f"{reading.image}\n    {reading.problem}", file=file)
        for rank, found in enumerate(reading.candidates, start=1):
            strokes = f"{found['stroke_count']:2} stroke{'' if found['stroke_count'] == 1 else 's'}"
            line = f"{rank:4}  {found['character']}  {found['probability']:7.2%}  JIS {found['jis_code']}  {strokes}"
            print(line, file=file, flush=True)


def write_csv(file: TextIO, readings: Iterable[Reading], _recognizer: Recognizer) -> None:
    """A row a candidate; an image without any has one row, with the problem."""
    rows = csv.DictWriter(file, CSV_COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()
    for reading in readings:
        if reading.problem is not None:
            rows.writerow({"image": reading.image, "problem": reading.problem})
        for rank, found in enumerate(reading.candidates, start=1):
            rows.writerow({"image": reading.image, "rank": rank, **found})


def write_json(file: TextIO, readings: Iterable[Reading], recognizer: Recognizer) -> None:
    """One object; `problem` is null for an image with candidates."""
    content = {
        "model": recognizer.path.name,
        "trained_on_synthetic_sample": recognizer.synthetic,
        "images": [asdict(reading) for reading in readings],
    }
    print(json.dumps(content, ensure_ascii=False, indent=2), file=file)


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}

if __name__ == "__main__":
    run_script(main)
