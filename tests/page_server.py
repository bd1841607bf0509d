"""The page's server in a thread of the test."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from kanjinet.web.server import PageServer


@contextmanager
def serve_page(files: Mapping[str, bytes], port: int = 0, *, only_loopback: bool = True) -> Iterator[int]:
    """Serve on 127.0.0.1 until the block ends; yields the port."""
    answers: Future[int] = Future()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
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
        if thread.is_alive():
            stop[0]()
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"
