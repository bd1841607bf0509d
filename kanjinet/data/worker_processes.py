"""Worker processes: how many to start, and how each one begins."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

import cv2

from kanjinet.data.resources import usable_cores, usable_memory_bytes

T = TypeVar("T")
MAX_WORKERS = 61  # more processes than that ProcessPoolExecutor refuses on Windows
WORKER_BYTES = 250 << 20  # of a process: a data file of 100 MB, its images, and packages


def choose_workers(requested: int | None, num_tasks: int) -> int:
    """Chooses how many processes to start: those requested, or as many as cores and memory allow; a task each."""
    fitting = requested or min(usable_cores(), usable_memory_bytes() // WORKER_BYTES)
    return max(1, min(fitting, num_tasks, MAX_WORKERS))


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Keeps Ctrl-C until afterwards, and from processes that are started meanwhile where signals can be blocked."""
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)


class WorkerPool(ProcessPoolExecutor):
    """Represents worker processes that leave Ctrl-C to their parent from their very beginning."""

    def submit(self, task: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """Schedules a call, and starts a process for it, whole or not at all."""
        is_main = threading.current_thread() is threading.main_thread()  # signals are its alone
        with defer_interrupts() if is_main else contextlib.nullcontext():
            return super().submit(task, *args, **options)


@contextlib.contextmanager
def open_workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Starts at most `count` worker processes; in the end, drops the tasks that have not begun."""
    context = multiprocessing.get_context("spawn")  # the same on every platform
    pool = WorkerPool(min(count, MAX_WORKERS), mp_context=context, initializer=start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Initializes a worker: one thread for OpenCV, Ctrl-C left to the parent, exit when the parent is killed.

    Without the last, a worker of a killed run would go on writing into a folder where the next run is at work.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
