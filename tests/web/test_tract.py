"""The page with tract as its engine, and where onnxruntime-web does not start."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from kanjinet.classes import CHARACTERS
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from kanjinet.web import tract
from kanjinet.web.bundle import LIST_NAME, assemble_page, list_files
from kanjinet.web.tract import TRACT_NAME, build_tract, find_tract
from tests.browser import PATIENCE_MS, draw_with_mouse, visit, write_with_jitter
from tests.conftest import ROOT, run_script
from tests.drawn_images import draw_image
from tests.page_server import serve_page

NUM_DRAWN = 120
# How far both engines are apart for each character of each input: best classes, and the largest differences of images
# and of probabilities; and the boxes that each found in each.
COMPARE = """async ([drawings, images]) => {
  const { load } = await import("/reader.js");
  const inputs = [...drawings];
  for (const [width, height, pixels] of images) inputs.push({ width, height, pixels: Uint8Array.from(pixels) });
  const [ort, tract] = await Promise.all(["onnxruntime", "tract"].map(
    (engine) => load({ model: "model.bin", mapping: "mapping.json", engine })));
  const apart = (one, other) => one.reduce((max, value, at) => Math.max(max, Math.abs(value - other[at])), 0);
  const found = [], boxes = [];
  for (const input of inputs) {
    const [one, other] = [(await ort.read(input)).characters, (await tract.read(input)).characters];
    boxes.push([one, other].map((characters) => characters.map(({ box }) => box)));
    one.forEach(({ probabilities, seen }, at) => {
      const best = [probabilities, other[at].probabilities].map((each) => each.indexOf(Math.max(...each)));
      found.push([...best, apart(seen, other[at].seen), apart(probabilities, other[at].probabilities)]);
    });
  }
  const blank = [(await ort.read([])).characters, (await tract.read([])).characters];
  const refused = await tract.read([[0, NaN]]).catch((error) => error.message);
  tract.close();
  const closed = await tract.read([[0, 0]]).catch((error) => error.message);
  return { engines: [ort.engine, tract.engine], found, boxes, blank, refused, closed };
}"""


@pytest.fixture(scope="module")
def both_files(page_files: dict[str, bytes], tract_wasm: bytes) -> dict[str, bytes]:
    return {**page_files, TRACT_NAME: tract_wasm}


def test_both_engines_read_alike(browser: Browser, both_files: dict[str, bytes]) -> None:
    rng = np.random.default_rng(20_261_128)
    characters = rng.choice(list(CHARACTERS), NUM_DRAWN, replace=False)
    drawings = [[stroke.ravel().tolist() for stroke in write_with_jitter(each, rng)] for each in characters]
    words = np.hstack([255 - draw_image(each) for each in "手書き"])
    images = [[each.shape[1], each.shape[0], each.ravel().tolist()] for each in (draw_image("書"), words)]
    with serve_page(both_files) as port, visit(browser, port) as visited:
        result = visited.page.evaluate(COMPARE, [drawings, images])
    best, best_in_tract, image_difference, difference = np.array(result["found"]).T
    read = np.array(list(CHARACTERS))[best.astype(int)]
    assert result["engines"] == ["onnxruntime", "tract"]
    assert (best == best_in_tract).all()
    assert (read[:NUM_DRAWN] == characters).mean() > 0.9
    assert "".join(read[NUM_DRAWN:]) == "書手書き"
    assert all(one == other for one, other in result["boxes"])
    assert image_difference.max() == 0
    assert difference.max() < 0.02  # activations are rounded to 8 bits, of which each engine sums in its own order
    assert result["blank"] == [[], []]
    assert "no number" in result["refused"]
    assert "closed" in result["closed"]


WAIT_UNTIL_KEPT = """async (name) => {
  while (!(await caches.match(name))) await new Promise((done) => setTimeout(done, 20));
}"""


def test_the_page_falls_back_where_onnxruntime_does_not_start(browser: Browser, both_files: dict[str, bytes]) -> None:
    files = {**both_files, "ort-wasm-simd-threaded.wasm": b"no wasm"}
    files[LIST_NAME] = list_files({name: files[name] for name in files if name not in {LIST_NAME, TRACT_NAME}})
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)

    def visit_and_read(port: int) -> Page:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#sheet:not(.loading)")
        assert page.inner_text("#failureText") + page.inner_text("#failureDetail") == ""
        draw_with_mouse(page, write_with_jitter("山", np.random.default_rng(5), points=6))
        page.wait_for_selector("#candidates[aria-busy=false]")
        assert page.locator("#candidates .character").first.inner_text() == "山"
        return page

    with serve_page(files) as port:
        page = visit_and_read(port)
        page.evaluate(WAIT_UNTIL_KEPT, TRACT_NAME)
    page.close()
    visit_and_read(port)  # the server is gone
    context.close()


def test_another_tract_is_another_version_of_the_page(page_files: dict[str, bytes]) -> None:
    versions = {json.loads(list_files(page_files, tract))["version"] for tract in (b"one", b"other")}
    assert len(versions) == 2


def test_the_script_writes_a_page_with_tract_alone(browser: Browser, tract_wasm: bytes, tmp_path: Path) -> None:
    run_script(["serve_web.py", "--engine", "tract", "--output-dir", "page"], tmp_path)
    files = {path.name: path.read_bytes() for path in (tmp_path / "page").iterdir()}
    assert files[TRACT_NAME] == tract_wasm
    assert not [name for name in files if "onnxruntime" in name or name.startswith("ort")]
    with serve_page(files) as port, visit(browser, port) as visited:
        strokes = write_with_jitter("語", np.random.default_rng(5), points=6)
        draw_with_mouse(visited.page, strokes)
        assert visited.first_candidate() == "語"


def test_a_damaged_model_is_named(browser: Browser, both_files: dict[str, bytes]) -> None:
    load = (
        "(engine) => import('/reader.js').then((m) => m.load({ model: 'engine.js', mapping: 'mapping.json', engine }))"
    )
    with serve_page(both_files) as port, visit(browser, port) as visited:
        script = f"(engine) => ({load})(engine).then(() => '', (error) => error.name + ' ' + error.failure)"
        for engine in ("onnxruntime", "tract", "auto"):
            assert visited.page.evaluate(script, engine) == "LoadError model", engine


def copy_tools(folder: Path) -> Path:
    """A web/ without packages, and an empty crate beside it."""
    for name in ("site", "reader"):
        shutil.copytree(ROOT / "web" / name, folder / "web" / name)
    (folder / "examples" / "rust").mkdir(parents=True)
    return folder / "web"


def test_without_cargo_a_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tract, "find_cargo", lambda: None)
    monkeypatch.delenv("CARGO_TARGET_DIR", raising=False)
    web_dir = copy_tools(tmp_path)
    with pytest.raises(KanjinetError, match=r"cargo: not found.*rustup\.rs.*tract\.wasm"):
        assemble_page(web_dir, PRETRAINED_PATH, engine="tract")
    assert find_tract(web_dir) is None
    (web_dir / TRACT_NAME).write_bytes(b"downloaded")
    assert build_tract(web_dir) == find_tract(web_dir) == web_dir / TRACT_NAME


def test_what_cargo_says_is_told(cargo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARGO_TARGET_DIR", raising=False)
    web_dir = copy_tools(tmp_path)
    with pytest.raises(KanjinetError, match=r"cargo wasm in .*: failed with exit status 101 \(error: .*rustup update"):
        build_tract(web_dir)
