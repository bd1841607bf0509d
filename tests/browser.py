"""Chromium, driven by Playwright, and ways to draw in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from kanjinet.synth.bezier import sample_evenly
from kanjinet.synth.kanjivg import VIEW_BOX, read_glyph

CHROMIUM_REMEDY = "Chromium is missing: apt-get install chromium, or set CHROMIUM to the path of a Chromium or Chrome"
OPTIONS = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --no-sandbox"  # root has no sandbox; the pages are the toolkit's own
)
PATIENCE_MS = 60_000  # a machine that is busy with something else
READ = "#candidates[aria-busy=false]"
# Notes in window.waits how many milliseconds pass from each stroke's end to its prediction.
WATCH_WAITS = """() => {
  const list = document.getElementById("candidates");
  window.waits = [];
  addEventListener("pointerup", () => { window.lifted = performance.now(); }, true);
  new MutationObserver(() => {
    if (list.ariaBusy === "false") window.waits.push(performance.now() - window.lifted);
  }).observe(list, { attributes: true });
}"""

Strokes = list[npt.NDArray[np.float64]]  # (k, 2) points each, fractions of the paper's side


def find_chromium() -> str | None:
    """The path of Chromium, if this machine has it."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS.split())
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that was opened, and all that went wrong on it or left this machine."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def first_candidate(self) -> str:
        return self.candidates()[0]

    def candidates(self) -> list[str]:
        self.page.wait_for_selector(READ)
        return self.page.locator("#candidates .character").all_inner_texts()


@contextmanager
def visit(browser: Browser, port: int, **options: Any) -> Iterator[Visit]:
    """Open the page in a context of its own; the block's end asserts that nobody complained."""
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1200, "height": 860}, **options})
    home = f"http://127.0.0.1:{port}/"
    context.set_default_timeout(PATIENCE_MS)
    visited = Visit(context.new_page(), context)
    context.on("console", lambda message: visited.complaints.append(f"{message.type}: {message.text}"))
    context.on("weberror", lambda error: visited.complaints.append(str(error.error)))
    context.on(
        "request",
        lambda request: None if request.url.startswith((home, "blob:")) else visited.complaints.append(request.url),
    )
    try:
        visited.page.goto(home)
        visited.page.wait_for_selector("#sheet:not(.loading)")
        yield visited
        assert not visited.complaints, visited.complaints
    finally:
        context.close()


def write_with_jitter(character: str, rng: np.random.Generator, points: int = 20, tremble: float = 0.35) -> Strokes:
    """Return KanjiVG's strokes as someone might draw them: turned, slanted, each a little astray, trembling."""
    strokes = sample_evenly([stroke.curves for stroke in read_glyph(character).strokes], points) - VIEW_BOX / 2
    angle, slant = rng.normal(0, 0.05), rng.normal(0, 0.06)
    width, height = rng.uniform(0.85, 1.1, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = strokes @ (turn @ np.array([[width, slant], [0, height]])).T
    moved += rng.normal(0, 1.6, (len(strokes), 1, 2))  # units of 109
    moved += rng.normal(0, tremble, strokes.shape)
    size = rng.uniform(0.6, 0.85) / VIEW_BOX
    return list(moved * size + 0.5 + rng.normal(0, 0.02, 2))


def draw_with_mouse(page: Page, strokes: Strokes) -> None:
    paper = page.locator("#paper").bounding_box()
    assert paper
    for stroke in strokes:
        way = [(paper["x"] + x * paper["width"], paper["y"] + y * paper["height"]) for x, y in stroke]
        page.mouse.move(*way[0])
        page.mouse.down()
        for x, y in way[1:]:
            page.mouse.move(x, y)
        page.mouse.up()


def draw_with_finger(visited: Visit, strokes: Strokes) -> None:
    paper = visited.page.locator("#paper").bounding_box()
    assert paper
    session = visited.context.new_cdp_session(visited.page)
    for stroke in strokes:
        for index, (x, y) in enumerate(stroke):
            point = {"x": paper["x"] + x * paper["width"], "y": paper["y"] + y * paper["height"]}
            name = "touchMove" if index else "touchStart"
            session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


# Pointer events that the page cannot tell from a pen's, but by asking whether the browser made them.
DRAW_ALL = """
async (drawings) => {
  const canvas = document.getElementById("paper");
  const list = document.getElementById("candidates");
  const paper = canvas.getBoundingClientRect();
  const send = (target, type, [x, y]) => target.dispatchEvent(new PointerEvent(type, {
    pointerId: 7, pointerType: "pen", isPrimary: true, bubbles: true, button: 0,
    clientX: paper.left + x * paper.width, clientY: paper.top + y * paper.height,
  }));
  const read = [];
  for (const strokes of drawings) {
    document.getElementById("clear").click();
    for (const stroke of strokes) {
      send(canvas, "pointerdown", stroke[0]);
      for (const point of stroke.slice(1)) send(window, "pointermove", point);
      send(window, "pointerup", stroke.at(-1));
    }
    while (list.ariaBusy !== "false") await new Promise((done) => setTimeout(done, 1));
    read.push([...list.querySelectorAll(".character")].map((character) => character.textContent));
  }
  return read;
}
"""


def draw_with_events(page: Page, drawings: list[Strokes]) -> list[list[str]]:
    """Draw one after the other; the candidates of each."""
    return page.evaluate(DRAW_ALL, [[stroke.tolist() for stroke in strokes] for strokes in drawings])
