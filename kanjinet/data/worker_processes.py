"""Worker processes: how many to start, and how each one begins."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import cv2

MAX_WORKERS = 61  # more processes than that ProcessPoolExecutor refuses on Windows


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def open_workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Starts at most `count` worker processes; in the end, drops the tasks that have not begun."""
    context = multiprocessing.get_context("spawn")  # the same on every platform
    pool = ProcessPoolExecutor(min(count, MAX_WORKERS), mp_context=context, initializer=start_worker)
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
