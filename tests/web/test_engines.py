"""The page in three engines, which must read the same characters alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from kanjinet.classes import CHARACTERS
from tests.browser import DRAW_ALL, visit, write_with_jitter
from tests.conftest import require
from tests.page_server import serve_page, serve_plainly
from tests.webdriver import (
    FIREFOX_REMEDY,
    WEBKIT_REMEDY,
    Driver,
    find_firefox,
    find_webkit,
    open_firefox,
    open_webkit,
    wait_for,
)

# Notes in window.complaints what went wrong in the page.
WATCH = b"""
window.complaints = [];
const note = (...words) => window.complaints.push(words.join(" "));
console.error = console.warn = note;
addEventListener("error", (event) => note("error", event.message ?? event.target.src), true);
addEventListener("unhandledrejection", (event) => note("rejected", event.reason));
addEventListener("securitypolicyviolation", (event) => note("forbidden", event.blockedURI));
"""
NUM_DRAWN = 60
LOAD = """async () => {
  const text = (id) => document.getElementById(id).textContent.trim();
  while (document.getElementById("sheet").classList.contains("loading")) {
    await new Promise((done) => setTimeout(done, 10));
  }
  return text("failureText");
}"""
READ_AGAIN = """async () => {
  const list = document.getElementById("candidates");
  while (!list.children.length) await new Promise((done) => setTimeout(done, 10));
  return list.querySelector(".character").textContent;
}"""


@pytest.fixture(scope="module")
def characters() -> list[str]:
    return np.random.default_rng(20_261_127).choice(list(CHARACTERS), NUM_DRAWN, replace=False).tolist()


@pytest.fixture(scope="module")
def drawings(characters: list[str]) -> list[list[list[list[float]]]]:
    rng = np.random.default_rng(9)
    return [[stroke.tolist() for stroke in write_with_jitter(character, rng)] for character in characters]


@pytest.fixture(scope="module")
def first_in_chromium(browser: Browser, port: int, drawings: list[list[list[list[float]]]]) -> list[str]:
    with visit(browser, port) as visited:
        return [found[0] for found in visited.page.evaluate(DRAW_ALL, drawings)]


@contextmanager
def open_engine(name: str) -> Iterator[Driver]:
    if name == "Firefox":
        firefox = find_firefox()
        require(firefox, FIREFOX_REMEDY)
        with open_firefox(str(firefox)) as driver:
            yield driver
    else:
        webkit = find_webkit()
        require(webkit, WEBKIT_REMEDY)
        assert webkit
        with open_webkit(*webkit) as driver:
            yield driver


def test_chromium_reads(first_in_chromium: list[str], characters: list[str]) -> None:
    assert sum(map(str.__eq__, first_in_chromium, characters)) >= 0.95 * NUM_DRAWN


@pytest.mark.parametrize("engine", ["Firefox", "WebKit"])
def test_other_engines_read_alike(
    engine: str,
    page_files: dict[str, bytes],
    characters: list[str],
    drawings: list[list[list[list[float]]]],
    first_in_chromium: list[str],
    tmp_path: Path,
) -> None:
    index = page_files["index.html"].replace(b"<script src=", b'<script src="watch.js"></script><script src=', 1)
    files = {**page_files, "index.html": index, "watch.js": WATCH}
    for name, content in page_files.items():
        (tmp_path / name).write_bytes(content)
    with open_engine(engine) as driver, serve_page(files) as port, serve_plainly(files) as plain:
        driver.open(f"http://127.0.0.1:{port}/")
        assert driver.call(LOAD) == ""
        first = [found[0] for found in driver.call(DRAW_ALL, drawings)]
        driver.open(f"http://127.0.0.1:{port}/")  # again: what was drawn last is still there
        assert driver.call(READ_AGAIN) == first[-1]
        complaints = driver.call("async () => complaints")
        driver.open(plain.home)  # without a header that the page's own server sends
        assert driver.call(LOAD) == ""
        assert [found[0] for found in driver.call(DRAW_ALL, drawings[:3])] == first[:3]
        complaints += driver.call("async () => complaints")
        driver.open((tmp_path / "index.html").as_uri())
        wait_for(lambda: driver.call("async () => document.readyState") == "complete")
        assert driver.call("async () => document.getElementById('openedAsFile').checkVisibility()")
    assert complaints == []
    assert sum(map(str.__eq__, first, characters)) >= 0.95 * NUM_DRAWN
    assert sum(map(str.__eq__, first, first_in_chromium)) >= NUM_DRAWN - 1
