"""examples/service: a real server, asked by many at once."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from kanjinet.classes import CHARACTERS
from kanjinet.evaluation.recognizer import load_recognizer
from tests.conftest import ROOT
from tests.drawn_images import draw_image

NUM_REQUESTS = 1000
NUM_CLIENTS = 40


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    """Yields the server's port and the process's id."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", "examples/service", "service:app", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stderr
            lines = iter(process.stderr.readline, "")
            found = next(match for line in lines if (match := re.search(r"running on http://[\d.]+:(\d+)", line)))
            yield int(found[1]), process.pid
        finally:
            process.terminate()
            process.communicate()


def ask(port: int, body: bytes, target: str = "/read", method: str = "POST") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def encode(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_thousand_requests_are_read_in_batches(server: tuple[int, int]) -> None:
    port, process_id = server
    images = [encode(255 - draw_image(CHARACTERS[index], side=96)) for index in range(0, 3036, 61)]
    expected = [[each.character for each in candidates] for candidates in load_recognizer().read(images)]
    ask(port, images[0])
    memory = psutil.Process(process_id).memory_info().rss

    def read(number: int) -> bool:
        status, content = ask(port, images[number % len(images)])
        found = [each["character"] for each in content["candidates"]]
        return status == 200 and found[:2] == expected[number % len(images)][:2]

    start = time.monotonic()
    with ThreadPoolExecutor(NUM_CLIENTS) as clients:
        assert all(clients.map(read, range(NUM_REQUESTS)))
    print(f"{NUM_REQUESTS / (time.monotonic() - start):.0f} requests a second")
    batches = ask(port, b"", "/status", "GET")[1]["batches"]
    assert batches < 0.9 * NUM_REQUESTS
    assert psutil.Process(process_id).memory_info().rss < memory + (300 << 20)


@pytest.mark.parametrize(
    ("body", "target", "status", "message"),
    [
        (b"no image", "/read", 422, "the image: not an image"),
        (b"", "/read", 422, "not an image"),
        (b"x" * ((16 << 20) + 1), "/read", 413, "at most 16 MiB"),
        (encode(draw_image("字")), "/read?top=0", 422, "greater than or equal to 1"),
    ],
)
def test_bad_requests_are_explained(
    server: tuple[int, int], body: bytes, target: str, status: int, message: str
) -> None:
    found, content = ask(server[0], body, target)
    assert found == status
    assert message in json.dumps(content)


def test_a_blank_image_has_no_candidates(server: tuple[int, int]) -> None:
    assert ask(server[0], encode(np.full((40, 40), 255, np.uint8))) == (200, {"candidates": [], "is_none": False})
    status, content = ask(server[0], encode(draw_image("字")), "/read?top=2")
    assert (status, len(content["candidates"]), content["candidates"][0]["character"]) == (200, 2, "字")
