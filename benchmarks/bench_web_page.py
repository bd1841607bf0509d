"""Measures the page in Chromium: how fast it predicts, how many characters it reads, and how it looks.

Reads:  web/ and the pretrained model; the package kanjivg
Writes: a table; with --image, an image of the page
Run:    python benchmarks/bench_web_page.py --characters 600 --image docs/web_page.png

Needs requirements-dev.txt and Chromium. The characters are KanjiVG's, drawn with jitter by a pen's pointer events.
"""

from common import ROOT
from kanjinet.cli import make_parser, positive_int, run_script, show_path

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page

from kanjinet.classes import CHARACTERS
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import list_pretrained
from kanjinet.storage.files import make_folder, replace_on_success
from kanjinet.web.bundle import assemble_page
from tests.browser import (
    CHROMIUM_REMEDY,
    WATCH_WAITS,
    draw_with_events,
    draw_with_mouse,
    find_chromium,
    open_browser,
    visit,
    write_with_jitter,
)
from tests.page_server import serve_page

SEED = 20_261_125


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_web_page.py --characters 100")
    parser.add_argument("--characters", type=positive_int, default=600, help="drawn at random, of all 3,036")
    parser.add_argument("--loads", type=positive_int, default=5, help="times that the page is opened again")
    parser.add_argument("--image", type=Path, help="PNG of the page")
    return parser.parse_args()


def measure_waits(browser: Browser, port: int, loads: int) -> tuple[list[float], list[float], list[float]]:
    """Measures milliseconds until the page is ready, and from a stroke's end to its prediction: first, later."""
    ready, first, later = [], [], []
    for load in range(loads):
        start = time.perf_counter()
        with visit(browser, port) as visited:
            ready.append((time.perf_counter() - start) * 1000)
            visited.page.evaluate(WATCH_WAITS)
            for stroke in write_with_jitter("語", np.random.default_rng(load), points=8):
                draw_with_mouse(visited.page, [stroke])
                visited.candidates()
            waits = visited.page.evaluate("window.waits")
            first.append(waits[0])
            later += waits[1:]
    return ready, first, later


def count_read(page: Page, count: int) -> tuple[float, float]:
    """Returns the fractions of characters that are the first candidate, and among the ten."""
    rng = np.random.default_rng(SEED)
    classes = rng.choice(len(CHARACTERS), min(count, len(CHARACTERS)), replace=False)
    drawn = [CHARACTERS[index] for index in classes]
    found = draw_with_events(page, [write_with_jitter(character, rng) for character in drawn])
    pairs = list(zip(drawn, found, strict=True))
    mistakes = [f"{character}>{candidates[0]}" for character, candidates in pairs if candidates[0] != character]
    print(f"mistakes          {' '.join(mistakes)}")
    among_ten = np.mean([character in candidates for character, candidates in pairs])
    return 1 - len(mistakes) / len(pairs), float(among_ten)


def take_image(browser: Browser, port: int, path: Path) -> None:
    """Takes an image of the page, light on a desktop and dark on a phone, side by side."""
    views: list[npt.NDArray[np.uint8]] = []
    for size, scheme, locale, character in (
        ((1040, 830), "light", "en-GB", "語"),
        ((390, 830), "dark", "ja-JP", "龍"),
    ):
        is_phone = size[0] < size[1]
        look = {"color_scheme": scheme, "locale": locale, "is_mobile": is_phone, "has_touch": is_phone}
        with visit(browser, port, viewport={"width": size[0], "height": size[1]}, **look) as visited:
            draw_with_events(visited.page, [write_with_jitter(character, np.random.default_rng(5), tremble=0)])
            png = np.frombuffer(visited.page.screenshot(), np.uint8)
            views.append(np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR), dtype=np.uint8))
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]  # flat colors
    encoded = cv2.imencode(".png", np.hstack(views), options)[1].tobytes()
    make_folder(path.parent)
    with replace_on_success(path) as file:
        file.write(encoded)
    print(f"written           {show_path(path)}, {len(encoded) / 1000:.0f} kB")


def main() -> None:
    args = parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise KanjinetError(CHROMIUM_REMEDY)
    files = assemble_page(ROOT / "web", *list_pretrained())
    print(f"files             {len(files)}, {sum(map(len, files.values())) / 1e6:.1f} MB")
    with serve_page(files) as port, open_browser(chromium) as browser:
        print(f"Chromium          {browser.version}")
        waits = measure_waits(browser, port, args.loads)
        for name, milliseconds in zip(("ready", "first prediction", "later ones"), waits, strict=True):
            low, middle, high = np.percentile(milliseconds, [0, 50, 100])
            print(f"{name:18}{middle:.0f} ms ({low:.0f} to {high:.0f}, {len(milliseconds)} times)")
        with visit(browser, port) as visited:
            first, among_ten = count_read(visited.page, args.characters)
        print(f"read              {first:.1%}, among the ten {among_ten:.1%}, of {args.characters:,} characters")
        if args.image:
            take_image(browser, port, args.image)


if __name__ == "__main__":
    run_script(main)
