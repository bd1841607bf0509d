"""The page's server in a thread of the test, and what the tests of the page need of this machine."""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from kanjinet.web_server import PageServer


def require(is_there: object, remedy: str) -> None:
    """Skip the test where the machine lacks something; in CI, fail."""
    if not is_there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(remedy)


@contextmanager
def serve_page(files: Mapping[str, bytes], port: int = 0, *, only_loopback: bool = True) -> Iterator[int]:
    """Serve on 127.0.0.1 until the block ends; yields the port."""
    answers: Future[int] = Future()
    stop: list[object] = []

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        stop.append((asyncio.get_running_loop(), task))
        await PageServer(files, only_loopback=only_loopback).serve("127.0.0.1", port, answers.set_result)

    def run() -> None:
        try:
            asyncio.run(serve())
        except asyncio.CancelledError:
            pass
        except OSError as error:
            answers.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers.result(timeout=10)
    finally:
        for loop, task in stop:
            loop.call_soon_threadsafe(task.cancel)
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"
