"""Recognize handwritten characters: which one each image shows, or which ones a page does, and how probably.

Reads:  image files of any kind and size, folders of them, or standard input (-); dark on light or light on dark
Writes: a table, JSON or CSV, on standard output or into --output; with --explain, the images that the network saw and
        the boxes of several characters, drawn on the image
Run:    python recognize_kanji.py drawing.png photographs --top 3
"""

from kanjinet.cli import ALLOW_HELP, make_parser, positive_int, run_script, show_path

import argparse
import csv
import fnmatch
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from kanjinet.classes import CHARACTER_SETS
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.data.image_files import MAX_FILE_BYTES, ImageArray, describe_skipped, list_images, read_gray
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.image_grid import draw_boxes
from kanjinet.evaluation.page import Found
from kanjinet.evaluation.recognizer import Candidates, Mask, Page, Recognizer, load_recognizer
from kanjinet.storage.files import check_output_file, check_output_folder, make_folder, replace_on_success
from kanjinet.storage.onnx_file import DEVICE_HELP, DEVICES
from kanjinet.storage.png import write_png

STANDARD_INPUT = "-"
BAR_FROM = 20  # images: fewer are read in a moment
MAX_STEM = 50  # characters, of up to 4 bytes: file systems have room for 255 bytes
NONE_OF_THESE = "none of the {:,}, as far as the model can tell; the nearest are:"
NO_CHARACTER = "no character: no ink stands out from the paper"
CSV_BOX = ("left", "top", "right", "bottom")
CSV_COLUMNS = (
    *("image", "rank", "character", "probability", "jis_code", "stroke_count", "problem", "is_none"),
    *("place", *CSV_BOX, "unsure"),
)


class Request(NamedTuple):
    """Represents what is asked for each character: how many candidates, and of which classes (None: of all)."""

    top: int
    allowed: Mask | None


@dataclass
class Prediction:
    """Represents what came of one image: its characters in reading order, or the problem that it has none for."""

    image: str
    problem: str | None
    page: Page


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python recognize_kanji.py drawing.png --format json")
    parser.add_argument("images", nargs="+", help="image files, folders of them, or - for standard input")
    names = " or ".join(CHARACTER_SETS)
    model_help = f"a .pth, .safetensors or .onnx file, or {names} for a pretrained model (default: etl9g)"
    parser.add_argument("--model", type=Path, help=model_help)
    parser.add_argument("--device", choices=DEVICES, default="auto", help=f"what the model runs on; {DEVICE_HELP}")
    parser.add_argument(
        "--top", type=positive_int, default=5, help="candidates for each character, at most all of the model's"
    )
    parser.add_argument("--allow", help=f"which characters may be given: {ALLOW_HELP}")
    parser.add_argument("--format", choices=tuple(WRITERS), default="table", help="form of the predictions")
    parser.add_argument("--output", type=Path, help="file for the predictions, in UTF-8 (default: standard output)")
    parser.add_argument("--explain", type=Path, help="folder for what the network saw, and where")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_output_file(args.output, "--output")
    check_output_folder(args.explain, "--explain")
    sources = list_sources(args.images)
    recognizer = load_recognizer(args.model, args.device)
    explain_dir = make_folder(args.explain) if args.explain else None
    failures: list[str] = []
    top = min(args.top, recognizer.character_set.num_classes)
    request = Request(top, recognizer.check_request(top, args.allow))
    predictions = predict(recognizer, sources, request, explain_dir, failures)
    write = WRITERS[args.format]
    if args.output:
        text = io.StringIO()
        write(text, predictions, recognizer)
        make_folder(args.output.parent)
        with replace_on_success(args.output) as file:
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))
        print(f"written    {show_path(args.output)}")
    else:
        if args.format != "table" and isinstance(sys.stdout, io.TextIOWrapper):
            # whatever the console's: a program reads it
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        write(sys.stdout, predictions, recognizer)
    if failures:
        raise KanjinetError(f"{len(failures)} of {len(sources)} images could not be read", "see above")


def list_sources(words: list[str]) -> list[str]:
    """Lists the files that the command line names: those in folders too, and what a pattern such as *.png matches.

    A word that stands for no image stays in the list, so that it is reported in its turn.
    """
    sources: list[str] = []
    for word in words:
        path = Path(word)
        found: list[Path] = []
        if path.is_dir():
            found = list_images(path)
            if found and (skipped := describe_skipped([path])):
                print(f"note: {path}: {skipped}", file=sys.stderr)
        elif set("*?[") & set(path.name) and not path.exists():  # Windows' shells leave patterns to the program
            inside = path.parent.iterdir() if path.parent.is_dir() else ()
            found = sorted(each for each in inside if fnmatch.fnmatch(each.name, path.name))
        sources += map(str, found) if found else [word]
    return sources


def predict(
    recognizer: Recognizer, sources: list[str], request: Request, explain_dir: Path | None, failures: list[str]
) -> Iterator[Prediction]:
    """Yields all sources' predictions in order; those that cannot be read are named on stderr and in `failures`."""
    hides_bar = True if len(sources) < BAR_FROM else None  # None: where the output is no terminal
    for number, name in enumerate(tqdm(sources, unit="image", leave=False, disable=hides_bar), start=1):
        found, problem = Found([], []), NO_CHARACTER
        try:
            gray = read_source(name)
            found = recognizer.find_characters(gray)
            if explain_dir:
                explain(explain_dir / f"{number:04d}_{Path(name).stem[:MAX_STEM]}", gray, found)
        except KanjinetError as error:
            problem = str(error).removeprefix(f"{name}: ")
            failures.append(name)
            tqdm.write(f"error: {error}", file=sys.stderr)
        yield Prediction(name, None if found.boxes else problem, recognizer.read_found(found, *request))


def read_source(name: str) -> ImageArray:
    """Reads a source that the command line names."""
    if Path(name).is_dir():
        problem = f"{name}: no image files in this folder"
        raise KanjinetError(problem, describe_skipped([Path(name)]) or "name the images, or their folder")
    if name == STANDARD_INPUT:  # one byte too many is refused
        return read_gray(sys.stdin.buffer.read(MAX_FILE_BYTES + 1), "standard input")
    return read_gray(name)


def explain(path: Path, gray: ImageArray, found: Found) -> None:
    """Writes what the network saw: of one character into PATH.png, of several into PATH_001.png and so on.

    PATH.png then is the image itself with their boxes, numbered in reading order.
    """
    if len(found.inputs) == 1:
        write_png(path.with_name(f"{path.name}.png"), found.inputs[0])
        return
    for place, seen in enumerate(found.inputs, start=1):
        write_png(path.with_name(f"{path.name}_{place:03d}.png"), seen)
    if found.inputs:
        write_png(path.with_name(f"{path.name}.png"), draw_boxes(gray, found.boxes))


def write_table(file: TextIO, predictions: Iterable[Prediction], recognizer: Recognizer) -> None:
    """Writes a line a candidate, for people."""
    note = f" (trained on a {SAMPLE_NOTE})" if recognizer.card.synthetic else ""
    print(f"model      {recognizer.path.name}{note}", file=file)
    for each in predictions:
        print(each.image if each.problem is None else f"{each.image}\n    {each.problem}", file=file)
        if each.page.unsure:
            print(f"    unsure: {each.page.unsure}", file=file)
        characters = each.page.characters
        for place, character in enumerate(characters, start=1):
            if len(characters) > 1:
                left, top, right, bottom = character.box
                print(f"  {place}  at {left}, {top} to {right}, {bottom}", file=file)
            if character.candidates.is_none:
                print(f"    {NONE_OF_THESE.format(recognizer.character_set.num_classes)}", file=file)
            for rank, found in enumerate(character.candidates, start=1):
                strokes = f"{found.stroke_count:2} stroke{'' if found.stroke_count == 1 else 's'}"
                line = f"{rank:4}  {found.character}  {found.probability:7.2%}  JIS {found.jis_code}  {strokes}"
                print(line, file=file, flush=True)
        if len(characters) > 1:
            print(f"    {''.join(character.candidates[0].character for character in characters)}", file=file)


def write_csv(file: TextIO, predictions: Iterable[Prediction], _recognizer: Recognizer) -> None:
    """Writes a row a candidate; an image without any has one row, with the problem."""
    rows = csv.DictWriter(file, CSV_COLUMNS, restval="", lineterminator="\n")
    rows.writeheader()
    for each in predictions:
        if each.problem is not None:
            rows.writerow({"image": each.image, "problem": each.problem})
        for place, character in enumerate(each.page.characters, start=1):
            shared = {"image": each.image, "is_none": int(character.candidates.is_none), "unsure": each.page.unsure}
            shared |= {"place": place, **dict(zip(CSV_BOX, character.box, strict=True))}
            for rank, found in enumerate(character.candidates, start=1):
                rows.writerow({**shared, "rank": rank, **asdict(found)})


def write_json(file: TextIO, predictions: Iterable[Prediction], recognizer: Recognizer) -> None:
    """Writes one object; `problem` is null for an image with candidates."""
    images = []
    for each in predictions:
        characters = [{"box": found.box, **describe(found.candidates)} for found in each.page.characters]
        first = describe(each.page.characters[0].candidates if characters else Candidates())
        images.append({"image": each.image, **first, "problem": each.problem, "characters": characters})
        images[-1]["unsure"] = each.page.unsure
    content = {
        "model": recognizer.path.name,
        "trained_on_synthetic_sample": recognizer.card.synthetic,
        "images": images,
    }
    print(json.dumps(content, ensure_ascii=False, indent=2), file=file)


def describe(candidates: Candidates) -> dict[str, Any]:
    """Returns what JSON says of a character."""
    return {"candidates": list(map(asdict, candidates)), "is_none": candidates.is_none}


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}

if __name__ == "__main__":
    run_script(main)
