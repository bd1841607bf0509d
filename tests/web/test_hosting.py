"""The page from any host of static files: what it loads, keeps for offline and says when something fails."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from kanjinet.web.bundle import list_files
from tests.browser import PATIENCE_MS, draw_with_events, write_with_jitter
from tests.page_server import serve_page, serve_plainly

Files = dict[str, bytes]


@contextmanager
def open_context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def read(page: Page) -> str:
    """Wait until the page is ready, and draw on it."""
    page.wait_for_selector("#sheet:not(.loading)")
    [found] = draw_with_events(page, [write_with_jitter("山", np.random.default_rng(8))])
    return found[0]


def make_version(files: Files, name: str) -> Files:
    """The page with another index.html and script, each of which names its version."""
    index = files["index.html"].replace(b"<h1 ", f'<h1 class="{name}" '.encode())
    script = files["main.js"] + f'document.body.className = "{name}";\n'.encode()
    changed = {**files, "index.html": index, "main.js": script}
    changed["files.json"] = list_files({name: content for name, content in changed.items() if name != "files.json"})
    return changed


def test_a_plain_host_serves_whole_versions_online_and_offline(browser: Browser, page_files: Files) -> None:
    with open_context(browser) as context:
        page = context.new_page()
        first, second = make_version(page_files, "first"), make_version(page_files, "second")
        with serve_plainly(first) as server:
            port = server.server_port
            page.goto(server.home)
            assert read(page) == "山"
            page.evaluate("caches.open('of another page')")
            page.evaluate("navigator.serviceWorker.ready.then(() => null)")
            # while files are being replaced, by a host that has no more than the list of the new ones
            server.files["files.json"] = second["files.json"]
            page.goto(server.home)
            assert read(page) == "山"
            assert page.locator("body.first h1.first").count() == 1
            # the next visit takes the new version, and loads only what has changed
            server.files = second
            server.requested.clear()
            page.goto(server.home)
            assert read(page) == "山"
            assert page.locator("body.second h1.second").count() == 1
            assert {"main.js", "files.json"} <= set(server.requested)
            assert {"model.bin", "mapping.json", "ort-wasm-simd-threaded.wasm"}.isdisjoint(server.requested)
        page.close()  # and the host is gone
        page = context.new_page()
        for name in ("", "index.html", "?from=elsewhere"):
            page.goto(f"http://127.0.0.1:{port}/app/kanji/{name}")
            assert read(page) == "山"
            assert page.locator("body.second h1.second").count() == 1
        kept = page.evaluate("caches.keys()")
        assert len(kept) == 2
        assert "of another page" in kept


def test_it_says_why_it_does_not_work_as_a_file(browser: Browser, page_files: Files, tmp_path: Path) -> None:
    for name, content in page_files.items():
        (tmp_path / name).write_bytes(content)
    with open_context(browser) as context:
        page = context.new_page()
        page.goto((tmp_path / "index.html").as_uri())
        expect(page.get_by_role("alert")).to_contain_text("python -m http.server")
        expect(page.get_by_role("alert")).to_contain_text("ファイルとして開いたページは動きません")
        expect(page.locator("#status")).to_be_hidden()


@pytest.mark.parametrize("fault", ["missing", "of another type", "not understood"])
def test_scripts_that_do_not_run_are_explained(browser: Browser, page_files: Files, fault: str) -> None:
    files = dict(page_files)
    if fault == "missing":
        del files["drawing.js"]
    elif fault == "not understood":
        files["drawing.js"] += b"of a newer language"
    with serve_plainly(files) as server, open_context(browser) as context:
        page = context.new_page()
        if fault == "of another type":
            page.route("**/main.js", lambda route: route.fulfill(body=files["main.js"], content_type="text/plain"))
        page.goto(server.home)
        expect(page.get_by_role("alert")).to_contain_text("The page's scripts do not run")
        expect(page.get_by_role("alert")).to_contain_text("スクリプトを実行できません")


def refuse_memory(files: Files, condition: str) -> Files:
    """The page where the browser refuses memory; the worker's first import makes it so."""
    refusal = (
        "WebAssembly.Memory = class extends WebAssembly.Memory { constructor(descriptor) {"
        f"if ({condition}) throw new RangeError('Out of memory'); super(descriptor); }} }};"
    )
    worker = b'import "./refuse.js";\n' + files["onnxruntime_worker.js"]
    return {**files, "onnxruntime_worker.js": worker, "refuse.js": refusal.encode()}


def test_it_reads_where_the_browser_reserves_no_gigabytes(browser: Browser, page_files: Files) -> None:
    """As iPhones did until iOS 17."""
    files = refuse_memory(page_files, "descriptor.maximum > 16384")
    with serve_page(files) as port, open_context(browser) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        assert read(page) == "山"


@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_too_little_memory_is_named(browser: Browser, page_files: Files, locale: str) -> None:
    with serve_page(refuse_memory(page_files, "true")) as port:
        context = browser.new_context(locale=locale)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expected = "The browser has too little memory" if locale == "en-GB" else "メモリーが足りません"
        expect(page.locator("#failureText")).to_contain_text(expected)
        context.close()


def test_a_failing_network_is_named(browser: Browser, port: int) -> None:
    with open_context(browser) as context:
        page = context.new_page()
        page.route("**/model.bin", lambda route: route.abort())
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#failureText")).to_contain_text("The network failed while the reader was loading")


def test_loading_shows_its_progress_and_that_it_takes_long(browser: Browser, port: int) -> None:
    with open_context(browser) as context:
        page = context.new_page()
        page.clock.install()
        waiting: list[Route] = []
        page.route("**/model.bin", lambda route: waiting.append(route))
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#status")).to_have_text(re.compile(r"^Loading the reader … 1\d MB$"))
        expect(page.get_by_role("alert")).to_be_hidden()
        page.clock.fast_forward(31_000)
        expect(page.get_by_role("alert")).to_contain_text("Loading takes long, and goes on.")
        page.evaluate(
            """() => {
              const status = document.getElementById("status");
              window.texts = [];
              new MutationObserver(() => texts.push(`${status.textContent}, ${progress.className}`))
                .observe(status, { childList: true });
            }"""
        )
        waiting[0].continue_()
        assert read(page) == "山"
        expect(page.get_by_role("alert")).to_be_hidden()
        texts = page.evaluate("texts")
        assert any(re.fullmatch(r"Loading the reader … 1\d of 1\d MB, progress counted", text) for text in texts), texts
