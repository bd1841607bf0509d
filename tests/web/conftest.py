"""Chromium and the page's server, for the tests of a module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import CHROMIUM_REMEDY, find_chromium, open_browser
from tests.conftest import require
from tests.page_server import serve_page


@pytest.fixture(scope="module")
def browser(page_files: dict[str, bytes]) -> Iterator[Browser]:
    path = find_chromium()
    require(path, CHROMIUM_REMEDY)
    with open_browser(str(path)) as browser:
        yield browser


@pytest.fixture(scope="module")
def port(page_files: dict[str, bytes]) -> Iterator[int]:
    with serve_page(page_files) as port:
        yield port
