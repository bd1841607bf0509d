"""The page in a real browser: it reads what is drawn, and everything on it works."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from kanjinet.classes import CHARACTERS, NUM_HIRAGANA
from kanjinet.contract import IMAGE_SIZES, NORMALIZE
from kanjinet.data.preprocessing import preprocess
from kanjinet.evaluation.page import find_characters
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.synth.kanjivg import stroke_counts
from kanjinet.web.bundle import NODE_REMEDY, assemble_page, find_npm, list_files
from tests.browser import (
    PATIENCE_MS,
    WATCH_WAITS,
    Strokes,
    Visit,
    draw_with_events,
    draw_with_finger,
    draw_with_mouse,
    visit,
    write_with_jitter,
)
from tests.conftest import ROOT, require, run_script
from tests.drawn_images import ImageArray, draw_image, list_odd_images
from tests.page_server import serve_page
from tests.papers import frame, light, rule, square, warp
from tests.papers import write as write_rows
from tests.random_checkpoint import make_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def shared_visit(browser: Browser, port: int) -> Iterator[Visit]:
    with visit(browser, port) as visited:
        yield visited


@pytest.fixture
def visited(shared_visit: Visit) -> Iterator[Visit]:
    """One page for many tests, each of which finds it as if it were new."""
    shared_visit.page.select_option("#strokeFilter", "")
    shared_visit.page.keyboard.press("Escape")
    yield shared_visit
    assert shared_visit.complaints == []


def write(character: str) -> Strokes:
    """A character with few points, for real events, each of which takes its time."""
    return write_with_jitter(character, np.random.default_rng(5), points=6)


def encode(image: ImageArray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


# Reading


def test_at_least_90_percent_of_240_characters_are_read(visited: Visit) -> None:
    rng = np.random.default_rng(20_261_124)
    kanji = rng.choice(np.arange(NUM_HIRAGANA, len(CHARACTERS)), 169, replace=False)
    characters = [CHARACTERS[index] for index in (*range(NUM_HIRAGANA), *kanji)]
    assert len(set(characters)) == 240
    found = draw_with_events(visited.page, [write_with_jitter(character, rng) for character in characters])
    first = np.array([candidates[0] == character for candidates, character in zip(found, characters, strict=True)])
    assert all(len(set(candidates)) == 10 for candidates in found)
    assert first.mean() >= 0.9, np.array(characters)[~first]
    assert first[:NUM_HIRAGANA].mean() >= 0.85


def test_real_mouse_draws(visited: Visit) -> None:
    rng = np.random.default_rng(1)
    read = []
    for character in "永語あ龍":
        draw_with_mouse(visited.page, write_with_jitter(character, rng, points=9))
        read.append(visited.first_candidate())
        visited.page.keyboard.press("Escape")
    assert read == list("永語あ龍")


def test_size_and_place_on_the_paper_do_not_matter(visited: Visit) -> None:
    rng = np.random.default_rng(2)
    drawings = [write_with_jitter(character, rng) for character in "水火木金土日月山川ぬ"]
    small = [[stroke * 0.22 + (0.72, 0.05) for stroke in strokes] for strokes in drawings]
    # Points closer together than the pen's minimum step are left out, so that small ones are a little coarser.
    assert [found[0] for found in draw_with_events(visited.page, small)] == list("水火木金土日月山川ぬ")


def test_first_prediction_comes_within_300_ms(browser: Browser, port: int) -> None:
    waited = []
    for _ in range(3):
        with visit(browser, port) as visited:
            visited.page.evaluate(WATCH_WAITS)
            draw_with_mouse(visited.page, write("田")[:1])
            visited.candidates()
            waited += visited.page.evaluate("window.waits")
    print(f"first prediction after {waited} ms")
    assert np.median(waited) < 300


def test_what_is_none_of_the_characters_is_said_gently(browser: Browser, page_files: dict[str, bytes]) -> None:
    """Of a vertical line, not of 田; and never by a model without a threshold."""
    mapping = json.loads(page_files["mapping.json"])
    line = [np.array([[0.5, 0.15], [0.5, 0.85]])]
    for drawn, is_said in ((line, True), (write("田"), False)):
        with serve_page(page_files) as port, visit(browser, port) as visited:
            draw_with_mouse(visited.page, drawn)
            assert len(visited.candidates()) == 10
            said = visited.page.locator("#unlike")
            assert said.is_visible() == is_said
            assert ("none of the characters" in visited.page.inner_text("#status")) == is_said
            visited.page.click("#language")
            assert not is_said or "知らない文字" in said.inner_text()
            visited.page.keyboard.press("Escape")
            expect(said).to_be_hidden()
    del mapping["model_info"]["rejection_threshold"]
    files = {**page_files, "mapping.json": json.dumps(mapping).encode()}
    with serve_page(files) as port, visit(browser, port) as visited:
        draw_with_mouse(visited.page, line)
        assert len(visited.candidates()) == 10 and visited.page.locator("#unlike").is_hidden()


def test_any_export_can_be_used(browser: Browser, page_files: dict[str, bytes], tmp_path: Path) -> None:
    """A strict file of 32 pixels, with random weights: the page's probabilities are onnxruntime's."""
    save_checkpoint(tmp_path / "random.pth", make_checkpoint(image_size=32))
    run_script(["convert_to_onnx.py", "--model-path", "random.pth", "--target-backend", "strict"], tmp_path)
    model = tmp_path / "kanji_model_etl9g_32x32_3036classes_strict.onnx"
    ink = np.asarray(cv2.dilate(draw_image("十"), np.ones((9, 9), np.uint8)), np.uint8)  # one piece
    inputs = preprocess(ink[None], 32, NORMALIZE, cells=False)
    logits = load_recognizer(model).compute_logits(inputs)[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    files = assemble_page(ROOT / "web", model)
    with serve_page(files) as port, visit(browser, port) as visited:
        [found] = read_gray(visited.page, ink)
        assert "_strict.onnx" in visited.page.inner_text("#model")
    assert np.array_equal(found["seen"], inputs[0].ravel())
    assert np.allclose(found["probabilities"], expected, atol=1e-4)


def read_gray(page: Page, gray: ImageArray) -> list[dict[str, Any]]:
    script = """async ([width, height, pixels]) => {
      const { Recognizer } = await import("/recognizer.js");
      const { characters } = await new Promise((predicted, failed) => {
        const recognizer = new Recognizer("", { listed() {}, loading() {}, ready() {}, failed, predicted });
        recognizer.read({ gray: { width, height, pixels: Uint8Array.from(pixels) } });
      });
      return characters.map(({ seen, probabilities }) => ({ seen: [...seen], probabilities: [...probabilities] }));
    }"""
    return page.evaluate(script, [gray.shape[1], gray.shape[0], gray.ravel().tolist()])


# The same arrays as Python's


PREPROCESS_ALL = """
async ([images, size]) => {
  const { preprocess, PREPROCESSING } = await import("/preprocess.js");
  const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const inputs = images.map(([width, height, text]) => preprocess({ width, height, pixels: decode(text) }, size));
  return [PREPROCESSING, inputs.map((input) => btoa(String.fromCharCode(...input)))];
}
"""


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_are_prepared_as_python_does(visited: Visit, size: int) -> None:
    images = list_odd_images()
    packed = [[p.shape[1], p.shape[0], base64.b64encode(p.tobytes()).decode()] for p in images]
    version, inputs = visited.page.evaluate(PREPROCESS_ALL, [packed, size])
    assert version == NORMALIZE
    expected = np.stack([preprocess(p[None], size, NORMALIZE, cells=False)[0] for p in images]).astype(int)
    found = np.stack([np.frombuffer(base64.b64decode(each), np.uint8) for each in inputs]).reshape(expected.shape)
    differences = np.abs(found - expected)
    assert differences.max() <= 1, [images[index].shape for index in np.flatnonzero(differences.max((1, 2)) > 1)]
    assert (differences > 0).mean() < 1e-3
    assert (expected.max((1, 2)) > 0).sum() > 90


READ_PAGES = """
async (images) => {
  const { readPage } = await import("/page.js");
  const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const read = async (seen) => Float32Array.of(seen.reduce((sum, value) => sum + value, 0) / 4e5);
  const found = [];
  for (const [width, height, text] of images) {
    const image = { width, height, pixels: decode(text) };
    const { characters, unsure } = await readPage(image, 64, read, ({ probabilities }) => probabilities[0]);
    found.push([unsure, characters.map(({ box, seen }) => [box, btoa(String.fromCharCode(...seen))])]);
  }
  return found;
}
"""


def list_photographs() -> list[ImageArray]:
    rng = np.random.default_rng(8)
    rows = ["東験い永", "小川二語", "八あ工気"]
    one, word, page = np.pad(write_rows(["語"]), 90, constant_values=255), write_rows(["小川験"]), write_rows(rows)
    noisy = np.clip(light(rule(one, 60, False), 0.6) + rng.normal(0, 3, one.shape), 0, 255).astype(np.uint8)
    turned = warp(square(page))
    return [
        *(one, 255 - one, light(one, 0.45), 255 - light(one, 0.5), noisy, rule(one, 40, True)),
        *(np.pad(light(one, 0.8), 60, constant_values=50), np.pad(light(warp(one), 0.9), (9, 90), constant_values=20)),
        *(word, light(word, 0.5), write_rows([*"験い東二"]), page, rule(page, 150, False), turned, light(turned, 0.6)),
        *(np.pad(one, 40, constant_values=90), np.full((40, 60), 200, np.uint8), np.full((1, 1), 9, np.uint8)),
        *(rng.integers(0, 256, rng.integers(1, 200, 2)).astype(np.uint8) for _ in range(8)),
        (rng.random((400, 500)) < 0.03) * np.uint8(200),
        *(frame(write_rows(["語"]), gray) for gray in (40, 120)),
    ]


def test_photographs_and_pages_are_taken_apart_as_python_does(visited: Visit) -> None:
    """With the same stand-in for the network, the boxes are the same and the arrays at most 1 / 255 apart."""
    images = list_photographs()
    packed = [[p.shape[1], p.shape[0], base64.b64encode(p.tobytes()).decode()] for p in images]
    sizes, doubts = [], set()
    for number, (image, (unsure, found)) in enumerate(
        zip(images, visited.page.evaluate(READ_PAGES, packed), strict=True)
    ):
        expected = find_characters(image, 64, NORMALIZE, lambda seen: np.sum(seen, axis=(1, 2), dtype=float) / 4e5)
        assert [tuple(box) for box, _ in found] == expected.boxes, number
        assert (unsure is None) == (expected.unsure is None), number
        sizes.append(len(found))
        doubts.add(unsure)
        for (_, text), seen in zip(found, expected.inputs, strict=True):
            values = np.frombuffer(base64.b64decode(text), np.uint8).reshape(64, 64).astype(int)
            assert np.abs(values - seen).max() <= 1, number
    assert {0, 1, 3, 12} <= set(sizes) and doubts == {None, "frame", "pieces"}


def test_ink_becomes_bright_by_the_rule_in_words(visited: Visit) -> None:
    """Luma; inverted where the border's median is brighter than the middle of the range."""
    rng = np.random.default_rng(4)
    colors = [rng.integers(low, low + 130, (*rng.integers(1, 40, 2), 3)) for low in rng.integers(0, 125, 60)]
    for index, image in enumerate(colors):
        if index % 3:
            image[1:-1, 1:-1] = 255 * (index % 3 - 1)
    script = """async (images) => {
      const { toGray, makeInkBright } = await import("/gray.js");
      return images.map(([width, height, bytes]) =>
        Array.from(makeInkBright(toGray(Uint8ClampedArray.from(bytes)), width, height)));
    }"""
    opaque = [np.dstack([p, np.full(p.shape[:2], 255)]) for p in colors]
    found = visited.page.evaluate(script, [[p.shape[1], p.shape[0], p.ravel().tolist()] for p in opaque])
    inverted = 0
    for image, ink in zip(colors, found, strict=True):
        gray = cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(int)
        is_border = np.pad(np.zeros(np.maximum(np.array(gray.shape) - 2, 0), bool), 1, constant_values=True)
        border = np.sort(gray[is_border[: gray.shape[0], : gray.shape[1]]])
        is_light = border[(len(border) - 1) // 2] > (gray.min() + gray.max()) / 2
        inverted += is_light
        assert np.abs(np.array(ink).reshape(gray.shape) - (255 - gray if is_light else gray)).max() <= 1
    assert 15 < inverted < 45


# What the page offers


def test_undo_and_clear(visited: Visit) -> None:
    page = visited.page
    expect(page.locator("#undo")).to_be_disabled()
    strokes = write("木")
    draw_with_mouse(page, strokes[:2])
    assert visited.first_candidate() == "十"
    draw_with_mouse(page, strokes[2:])
    assert visited.first_candidate() == "木"
    page.click("#undo")
    page.keyboard.press("Control+z")
    assert visited.first_candidate() == "十"
    page.click("#clear")
    assert visited.candidates() == []
    expect(page.locator("#clear")).to_be_disabled()
    expect(page.locator("#status")).to_have_text("The paper is empty")
    assert page.evaluate("paper.getContext('2d').getImageData(0, 0, 400, 400).data.some((value) => value)") is False


def test_clear_starts_over(visited: Visit) -> None:
    for clear in (lambda: visited.page.click("#clear"), lambda: visited.page.keyboard.press("Escape")):
        draw_with_mouse(visited.page, write("田"))
        visited.page.select_option("#strokeFilter", "9")
        assert "田" not in visited.candidates()
        clear()
        expect(visited.page.locator("#strokeFilter")).to_have_value("")


def test_back_and_reload_keep_the_drawing(browser: Browser, port: int) -> None:
    with visit(browser, port) as visited:
        page = visited.page
        drop(page, encode(255 - draw_image("墨")))
        assert visited.first_candidate() == "墨"
        image = page.evaluate("paper.toDataURL()")
        for leave in (page.reload, lambda: (page.goto("about:blank"), page.go_back())):
            leave()
            expect(page.locator("#candidates .character").first).to_have_text("墨")
            assert page.evaluate("paper.toDataURL()") == image
        draw_with_mouse(page, write("田"))
        assert visited.first_candidate() == "田"
        page.reload()
        expect(page.locator("#candidates .character").first).to_have_text("田")
        for _ in range(5):
            page.click("#undo")
        assert visited.first_candidate() == "墨"  # the image that the strokes took the place of
        page.click("#clear")
        page.reload()
        page.wait_for_selector("#sheet.empty:not(.loading)")
    with visit(browser, port) as other:  # another tab has its own paper
        assert other.candidates() == []


def test_an_image_is_pasted(browser: Browser, port: int) -> None:
    with visit(browser, port, permissions=["clipboard-read", "clipboard-write"]) as visited:
        script = """async (text) => {
          const png = await (await new Response(Uint8Array.from(atob(text), (l) => l.charCodeAt(0)))).blob();
          await navigator.clipboard.write([new ClipboardItem({ "image/png": png.slice(0, png.size, "image/png") })]);
        }"""
        visited.page.evaluate(script, base64.b64encode(encode(255 - draw_image("筆"))).decode())
        visited.page.keyboard.press("Control+v")
        visited.page.wait_for_selector("#sheet:not(.empty)")
        assert visited.first_candidate() == "筆"


@pytest.mark.parametrize(
    "kind", ["dark on light", "light on dark", "transparent", "white ink", "gray photo", "JPEG", "large"]
)
def test_images_of_many_kinds_are_dropped(visited: Visit, kind: str) -> None:
    ink = draw_image("墨", 3000 if kind == "large" else 200)
    noise = np.random.default_rng(6).normal(0, 3, ink.shape)
    content = {
        "dark on light": lambda: encode(255 - ink),
        "light on dark": lambda: encode(ink),
        "transparent": lambda: encode(np.dstack([ink * 0, ink * 0, ink * 0, ink])),
        "white ink": lambda: encode(np.dstack([ink * 0 + 255, ink * 0 + 255, ink * 0 + 255, ink])),
        "gray photo": lambda: encode(np.clip(170 - ink * 0.3 + noise, 0, 255).astype(np.uint8)),
        "JPEG": lambda: encode(255 - ink, ".jpg"),
        "large": lambda: encode(255 - ink),
    }[kind]()
    drop(visited.page, content)
    assert visited.first_candidate() == "墨"
    draw_with_mouse(visited.page, write("一"))  # takes the image's place
    assert visited.first_candidate() == "一"
    visited.page.click("#undo")
    assert visited.first_candidate() == "墨"


def drop(page: Page, content: bytes) -> None:
    script = """(text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], "image"));
      const send = (type) => paper.dispatchEvent(
        new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      send("dragover");
      const isShown = sheet.classList.contains("drop");
      send("drop");
      return isShown && !sheet.classList.contains("drop");
    }"""
    assert page.evaluate(script, base64.b64encode(content).decode())
    page.wait_for_selector("#sheet:not(.empty), #status:has-text('this image'), #status:has-text('as an image')")


def test_characters_of_an_image_are_boxed_and_chosen(visited: Visit) -> None:
    page = visited.page
    paper = write_rows(["東験い"])
    drop(page, encode(light(paper, 0.6)))
    assert visited.first_candidate() == "東"
    expect(page.locator("#status")).to_have_text(re.compile(r"^東験い: 3 characters, read in \d+ ms\. Choose one"))
    boxes = page.get_by_role("group", name="Characters in the image").get_by_role("button")
    expect(boxes).to_have_count(3)
    sheet, second = page.locator("#sheet").bounding_box(), boxes.nth(1).bounding_box()
    assert sheet and second
    middle = (second["x"] + second["width"] / 2 - sheet["x"]) / sheet["width"]
    assert abs(middle - 0.5) < 0.03
    boxes.nth(1).click()
    assert visited.first_candidate() == "験"
    expect(page.locator("#status")).to_have_text(re.compile(r"^験, \d\d\.\d %"))
    boxes.nth(2).focus()
    page.keyboard.press("Enter")
    assert visited.first_candidate() == "い"
    assert boxes.evaluate_all("all => all.map((e) => e.ariaPressed)") == ["false", "false", "true"]
    expect(page.get_by_role("button", name="Character 3: い")).to_be_focused()
    page.evaluate((ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    check_with_axe(page)
    page.click("#language")
    expect(page.get_by_role("button", name="3字目：い")).to_be_visible()
    page.click("#language")
    draw_with_mouse(page, [stroke * 0.2 + 0.75 for stroke in write("一")])
    assert visited.first_candidate() == "一"
    expect(boxes).to_have_count(0)
    page.click("#undo")
    expect(boxes).to_have_count(3)
    page.click("#clear")
    expect(boxes).to_have_count(0)


def test_what_is_no_image_is_named(visited: Visit) -> None:
    drop(visited.page, b"no image")
    expect(visited.page.locator("#status")).to_have_text("The browser cannot read this file as an image")
    assert visited.candidates() == []


@pytest.mark.parametrize("stands_out", [15, 16])
def test_what_hardly_stands_out_is_no_ink(visited: Visit, stands_out: int) -> None:
    ink = draw_image("川")
    drop(visited.page, encode((200 - ink / 255 * stands_out).astype(np.uint8)))
    if stands_out == 16:
        expect(visited.page.locator("#candidates .character").first).to_have_text("川")
    else:
        expect(visited.page.locator("#status")).to_have_text("Nothing stands out in this image")
        assert visited.candidates() == []


def test_an_image_file_is_chosen(visited: Visit, tmp_path: Path) -> None:
    path = tmp_path / "字.png"
    path.write_bytes(encode(255 - draw_image("字")))
    with visited.page.expect_file_chooser() as chooser:
        visited.page.click("#chooseImage")
    chooser.value.set_files(path)
    visited.page.wait_for_selector("#sheet:not(.empty)")
    assert visited.first_candidate() == "字"


def test_candidates_are_filtered_by_their_strokes(visited: Visit) -> None:
    counts = dict(zip(CHARACTERS, stroke_counts(), strict=True))
    draw_with_mouse(visited.page, write("田"))
    assert visited.first_candidate() == "田"
    for chosen in (4, 9, max(counts.values())):
        visited.page.select_option("#strokeFilter", str(chosen))
        of_count = [character for character, count in counts.items() if count == chosen]
        found = visited.candidates()
        assert len(found) == min(10, len(of_count))
        assert set(found) <= set(of_count)
    visited.page.select_option("#strokeFilter", "drawn")
    assert visited.first_candidate() == "田"
    assert {counts[character] for character in visited.candidates()} == {5}
    values = visited.page.locator("#strokeFilter option").evaluate_all("options => options.map(o => o.value)")
    assert values == ["", "drawn", *map(str, sorted(set(counts.values())))]


def test_candidates_say_what_they_are_and_are_copied(browser: Browser, port: int) -> None:
    with visit(browser, port, permissions=["clipboard-read", "clipboard-write"]) as visited:
        page = visited.page
        draw_with_mouse(page, write("田"))
        first, second = visited.candidates()[:2]
        button = page.get_by_role("button", name=re.compile(r"^田 ?, \d\d\.\d % ?, JIS 4544 ?, 5 strokes$"))
        percents = page.locator("#candidates .probability").all_inner_texts()
        numbers = [0.0 if "<" in percent else float(percent.removesuffix(" %")) for percent in percents]
        assert numbers == sorted(numbers, reverse=True)
        assert sum(numbers) <= 100
        button.click()
        expect(page.locator("#status")).to_have_text(f"Copied {first}")
        assert page.evaluate("navigator.clipboard.readText()") == first
        page.keyboard.press("2")
        expect(page.locator("#status")).to_have_text(f"Copied {second}")
        assert page.evaluate("navigator.clipboard.readText()") == second


def test_it_copies_where_the_browser_has_no_clipboard_for_pages(visited: Visit) -> None:
    page = visited.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.evaluate("document.addEventListener('copy', () => { window.copied = getSelection().toString(); })")
    draw_with_mouse(page, write("田"))
    visited.candidates()
    page.locator("#candidates button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Copied 田")
    page.evaluate("delete navigator.clipboard")
    assert page.evaluate("window.copied") == "田"
    assert page.evaluate("document.activeElement.value") == "田"  # the focus came back


# Everybody's page


def test_the_keyboard_reaches_everything(browser: Browser, port: int) -> None:
    with visit(browser, port) as visited:
        page = visited.page
        draw_with_events(page, [write("田")])  # a mouse would leave a place where the tabulator goes on from
        expected = page.locator("button:visible, select:visible").evaluate_all("all => all.map(e => e.id || e.value)")
        reached = []
        for _ in expected:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
            style = page.evaluate(
                "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])"
                "(getComputedStyle(document.activeElement))"
            )
            assert style == ["solid", "3px"], reached
        assert reached == expected
        assert len(expected) == 17
        assert page.locator("#status").get_attribute("role") == "status"
        expect(page.locator("#status")).to_have_text(re.compile(r"^田, \d\d\.\d %, read in \d+ ms$"))


def test_it_speaks_the_browsers_language_and_the_one_chosen(browser: Browser, port: int) -> None:
    with visit(browser, port, locale="ja-JP") as visited:
        page = visited.page
        draw_with_mouse(page, write("田"))
        visited.candidates()
        expect(page.locator("#status")).to_have_text(re.compile(r"^田、\d\d\.\d %、\d+ミリ秒で認識$"))
        expect(page.locator("html")).to_have_attribute("lang", "ja")
        expect(page.locator("#candidates .count").first).to_have_text("5画")
        assert page.title() == "漢字リーダー"
        english = re.findall(r"[A-Za-z]{4,}", page.inner_text("header") + page.inner_text("main"))
        assert english == ["English"]
        page.get_by_role("button", name="English").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#candidates .count").first).to_have_text("5 strokes")
        expect(page.locator("#status")).to_have_text(re.compile(r"^田, \d\d\.\d %, read in \d+ ms$"))
        page.reload()
        page.wait_for_selector("#sheet:not(.loading)")
        expect(page.get_by_role("button", name="日本語")).to_be_visible()
        assert page.title() == "Kanji reader"


@pytest.mark.parametrize(
    ("width", "height"), [(320, 568), (390, 844), (844, 390), (640, 400), (768, 1024), (1920, 1080)]
)
def test_it_fits_the_screen(browser: Browser, port: int, width: int, height: int) -> None:
    options = {"viewport": {"width": width, "height": height}, "has_touch": True, "is_mobile": width < 900}
    with visit(browser, port, **options) as visited:
        page = visited.page
        draw_with_finger(visited, write("龍"))
        assert visited.first_candidate() == "龍"
        assert page.evaluate("scrollY") == 0  # the finger drew, and did not scroll
        paper = page.locator("#sheet").bounding_box()
        assert paper
        assert abs(paper["width"] - paper["height"]) < 1
        assert 240 <= paper["width"] <= min(480, height - 40)
        if (width, height) == (390, 844):
            first = page.locator("#candidates button").first.bounding_box()
            assert first
            assert first["y"] + first["height"] <= height  # seen without scrolling
        for _language in ("en", "ja"):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for box in page.locator("button:visible, select:visible").evaluate_all(
                "all => all.map((e) => ({ id: e.id || e.value, ...e.getBoundingClientRect().toJSON(), "
                "isCut: e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1 }))"
            ):
                assert box["height"] >= 44, box
                assert box["width"] >= 44, box
                assert not box["isCut"], box
            page.click("#language")


def test_a_second_finger_draws_nothing(browser: Browser, port: int) -> None:
    with visit(browser, port, has_touch=True) as visited:
        session = visited.context.new_cdp_session(visited.page)
        paper = visited.page.locator("#paper").bounding_box()
        assert paper
        x, y = paper["x"], paper["y"]
        touches = [
            ("touchStart", [{"x": x + 50, "y": y + 100, "id": 0}]),
            ("touchStart", [{"x": x + 50, "y": y + 100, "id": 0}, {"x": x + 200, "y": y + 20, "id": 1}]),
            ("touchMove", [{"x": x + 300, "y": y + 100, "id": 0}, {"x": x + 200, "y": y + 300, "id": 1}]),
            ("touchEnd", []),
        ]
        for name, points in touches:
            session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": points})
        assert visited.first_candidate() == "一"
        visited.page.click("#undo")
        assert visited.candidates() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_axe_finds_no_violation(
    browser: Browser, port: int, page_files: dict[str, bytes], scheme: Any, locale: str
) -> None:
    script = (ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    with visit(browser, port, color_scheme=scheme, locale=locale) as visited:
        visited.page.evaluate(script)
        check_with_axe(visited.page)
        draw_with_mouse(visited.page, write("田"))
        visited.candidates()
        check_with_axe(visited.page)
    context = browser.new_context(color_scheme=scheme, locale=locale)
    with serve_page({name: content for name, content in page_files.items() if name != "model.bin"}) as broken:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{broken}/")
        expect(page.get_by_role("alert")).to_be_visible()
        page.evaluate(script)
        check_with_axe(page)
        page.evaluate("openedAsFile.hidden = notStarted.hidden = false")
        check_with_axe(page)
    context.close()


def check_with_axe(page: Page) -> None:
    rules = """() => {
      const rules = axe.getRules().filter(({ tags }) => !tags.includes("wcag2aaa")); // also those on trial
      return axe.run({ rules: Object.fromEntries(rules.map(({ ruleId }) => [ruleId, { enabled: true }])) });
    }"""
    found = page.evaluate(rules)
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, port: int, scheme: Any) -> None:
    script = """() => [...document.querySelectorAll("h1, h2, p, button:enabled, span, small, select, figcaption")]
      .filter((e) => e.checkVisibility({ visibilityProperty: true }) && e.textContent.trim())
      .map((e) => {
        let ground = e;
        while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
        return [e.id || e.className || e.tagName, getComputedStyle(e).color, getComputedStyle(ground).backgroundColor];
      })"""
    with visit(browser, port, color_scheme=scheme) as visited:
        draw_with_mouse(visited.page, write("田"))
        visited.candidates()
        pairs = visited.page.evaluate(script)
        pen = visited.page.evaluate(
            "[...paper.getContext('2d').getImageData(0, 0, paper.width, paper.height).data]"
            ".reduce((sum, value, at) => sum + (at % 4 === 0 ? value : 0), 0)"
        )
    assert len(pairs) > 30
    for name, text, ground in pairs:
        lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, text, ground)
        assert name not in {"H1", "H2"} or (luminance(ground) < 0.1) == (scheme == "dark")
    assert pen > 0


def luminance(color: str) -> float:
    """WCAG 2's relative luminance of a color such as rgb(1, 2, 3)."""
    channels = np.array([float(number) for number in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


# Without a network, and without something that it needs


def test_it_works_offline_and_shows_what_is_newer(browser: Browser, page_files: dict[str, bytes]) -> None:
    with serve_page(page_files) as port:
        context = browser.new_context(locale="en-GB")
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    page.close()  # and the server is gone
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("#sheet:not(.loading)")
    rng = np.random.default_rng(8)
    found = draw_with_events(page, [write_with_jitter(character, rng) for character in "山川田"])
    assert [candidates[0] for candidates in found] == list("山川田")
    assert problems == []
    newer = {**page_files, "index.html": page_files["index.html"].replace(b"<h1 ", b'<h1 class="newer" ')}
    newer["files.json"] = list_files({name: content for name, content in newer.items() if name != "files.json"})
    with serve_page(newer, port):
        page.reload()
        assert page.locator("h1.newer").count() == 1
    context.close()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.bin", "The model could not be loaded: run serve_web.py again"),
        ("mapping.json", "The table of characters could not be loaded"),
        ("ort-wasm-simd-threaded.wasm", "The program that runs the network could not be loaded"),
        ("onnxruntime.js", "The program that runs the network could not be loaded"),
    ],
)
def test_what_is_missing_is_named(browser: Browser, page_files: dict[str, bytes], missing: str, message: str) -> None:
    with serve_page({name: content for name, content in page_files.items() if name != missing}) as port:
        assert show_failure(browser, port).startswith(message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.bin", b"no model", "The model could not be loaded"),
        ("mapping.json", b"{", "The table of characters could not be loaded"),
        ("ort-wasm-simd-threaded.wasm", b"no wasm", "The program that runs the network could not be loaded"),
    ],
)
def test_what_is_damaged_is_named(
    browser: Browser, page_files: dict[str, bytes], name: str, content: bytes, message: str
) -> None:
    with serve_page({**page_files, name: content}) as port:
        assert show_failure(browser, port).startswith(message)


def test_another_preprocessing_is_named(browser: Browser, page_files: dict[str, bytes]) -> None:
    mapping = json.loads(page_files["mapping.json"])
    mapping["model_info"]["preprocessing"] = "plain-1"
    with serve_page({**page_files, "mapping.json": json.dumps(mapping).encode()}) as port:
        assert show_failure(browser, port).startswith("The model was trained on images made in another way")


def test_a_browser_without_webassembly_is_told(browser: Browser, port: int) -> None:
    message = show_failure(browser, port, before="delete globalThis.WebAssembly")
    assert message.startswith("This browser has no WebAssembly")


def show_failure(browser: Browser, port: int, before: str = "") -> str:
    """Open a page that cannot read, draw on it all the same, and return what it says."""
    context = browser.new_context(locale="en-GB")
    context.add_init_script(before)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.get_by_role("alert")).to_be_visible()
    message = page.inner_text("#failureText")
    draw_with_mouse(page, write("田"))
    expect(page.locator("#candidates")).to_have_attribute("aria-busy", "false")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_visible()
    context.close()
    assert problems == []
    return message


# The code


def test_types_are_sound(page_files: dict[str, bytes]) -> None:
    npm = find_npm()
    require(npm, NODE_REMEDY)
    result = subprocess.run([str(npm), "run", "check"], cwd=ROOT / "web", capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_no_file_names_another_host() -> None:
    for path in (*(ROOT / "web" / "site").iterdir(), *(ROOT / "web" / "reader").glob("*.[jt]s")):
        found = set(re.findall(r"\b(?:https?|wss?)://[^\s\"'<>]+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org/2000/svg"}, path.name


def test_the_page_is_measured_and_its_image_taken(browser: Browser, tmp_path: Path) -> None:
    command = ["benchmarks/bench_web_page.py", "--characters", "5", "--loads", "1", "--image", "docs/page.png"]
    output = run_script(command, tmp_path).stdout
    assert re.search(
        r"^first prediction +\d+ ms .*\n.*\n.*\nread +\d+\.\d%, among the ten 100", output, re.MULTILINE
    ), output
    image = cv2.imread(str(tmp_path / "docs" / "page.png"))
    assert image is not None
    committed = cv2.imread(str(ROOT / "docs" / "web_page.png"))
    assert committed is not None
    assert image.shape == committed.shape
    assert (ROOT / "docs" / "web_page.png").stat().st_size < 150_000
