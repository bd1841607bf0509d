"""The page with models of two character sets, in Chromium."""

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from kanjinet.classes import ETL9G_SET, JAPANESE_SET
from tests.browser import draw_with_mouse, visit, write_with_jitter
from tests.page_server import serve_page

pytestmark = pytest.mark.slow


def test_either_set_is_there_offline(browser: Browser, page_files: dict[str, bytes]) -> None:
    with serve_page(page_files) as port:
        context = browser.new_context(locale="en-GB")
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    page.close()  # and the server is gone
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    for name, count in (("japanese", "6,594"), ("etl9g", "3,036")):
        page.select_option("#characters", name)
        expect(page.locator("#model")).to_contain_text(count)
    context.close()


def test_the_page_reads_either_set_and_only_what_is_allowed(browser: Browser, page_files: dict[str, bytes]) -> None:
    drawn = write_with_jitter("田", np.random.default_rng(3))
    with serve_page(page_files) as port, visit(browser, port) as visited:
        page = visited.page
        assert page.locator("#characters option").count() == 2
        draw_with_mouse(page, drawn)
        assert visited.first_candidate() == "田"
        scripts = page.locator("#script option").evaluate_all("all => all.map((each) => each.value)")
        assert scripts == ["", "kanji", "hiragana"]  # kana would be the same as hiragana
        page.select_option("#script", "hiragana")
        assert all(character in ETL9G_SET.characters[:71] for character in visited.candidates())
        page.select_option("#characters", "japanese")
        expect(page.locator("#model")).to_contain_text("6,594")
        assert visited.first_candidate() == "田"
        for script in ("katakana", "kana", "kanji", "digits", "latin"):
            page.select_option("#script", script)
            found = [JAPANESE_SET.class_of_character[each] for each in visited.candidates()]
            assert len(found) == 10 and JAPANESE_SET.find_allowed(script)[found].all()
            groups = JAPANESE_SET.twin_group[found].tolist()
            assert sorted(groups, key=groups.index) == groups  # twins follow each other
        page.reload()
        page.wait_for_selector("#sheet:not(.loading)")
        assert "6,594" in page.inner_text("#model")  # it is remembered
        visited.candidates()
        page.select_option("#characters", "etl9g")
        expect(page.locator("#model")).to_contain_text("3,036")
        assert visited.first_candidate() == "田"


def test_a_set_that_cannot_be_loaded_leaves_the_other(browser: Browser, port: int) -> None:
    with visit(browser, port, service_workers="block") as visited:
        page = visited.page
        page.route("**/model1.bin", lambda route: route.abort())
        page.select_option("#characters", "japanese")
        expect(page.locator("#failure")).to_contain_text("The network failed")
        assert page.input_value("#characters") == "japanese"
        page.click("#retry")
        page.wait_for_selector("#sheet:not(.loading)")
        assert (page.input_value("#characters"), "3,036" in page.inner_text("#model")) == ("etl9g", True)
        page.select_option("#characters", "japanese")
        expect(page.locator("#failure")).to_be_visible()
        page.unroute("**/model1.bin")
        page.select_option("#characters", "etl9g")
        expect(page.locator("#model")).to_contain_text("3,036")
        expect(page.locator("#failure")).to_be_hidden()
        page.select_option("#characters", "japanese")
        expect(page.locator("#model")).to_contain_text("6,594")
        visited.complaints.clear()  # of the browser, that a file did not come
