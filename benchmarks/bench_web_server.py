"""Measures the page's server: many requests, while slow clients hold more connections than it allows.

Reads:  web/ and the pretrained model, through serve_web.py
Writes: a table
Run:    python benchmarks/bench_web_server.py --requests 10000
"""

import argparse
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.errors import KanjinetError
from tests.page_server import hold_slow_clients

TARGETS = ("/", "/main.js", "/style.css", "/mapping.json", "/none", "/../serve_web.py")
KEPT_OPEN = 50  # requests over one connection
LARGE = "/ort-wasm-simd-threaded.wasm"  # some 14 MB: no client's buffer takes it all


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_web_server.py --requests 10000 --slow-clients 400")
    parser.add_argument("--requests", type=positive_int, default=10_000, help="one after the other")
    parser.add_argument("--slow-clients", type=positive_int, default=400, help="half begin a request, half do not read")
    return parser.parse_args()


@contextmanager
def start_server() -> Iterator[tuple[psutil.Process, int]]:
    """Runs serve_web.py; yields its process and its port.

    Raises:
        KanjinetError: it ended at once.
    """
    command = [sys.executable, str(ROOT / "serve_web.py"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.search(r":(\d+)/", line):
                yield psutil.Process(server.pid), int(found[1])
                return
        raise KanjinetError("serve_web.py did not start", "its message is above")
    finally:
        server.terminate()
        server.wait()


def ask(port: int, count: int) -> list[float]:
    """Requests files in turn, KEPT_OPEN over each connection; returns the seconds that each took.

    Raises:
        KanjinetError: a response is not what it should be.
    """
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(count):
        if number % KEPT_OPEN == 0:
            connection.close()
        target = TARGETS[number % len(TARGETS)]
        start = time.perf_counter()
        connection.request("GET", target)
        response = connection.getresponse()
        size = len(response.read())
        took.append(time.perf_counter() - start)
        is_file = target in TARGETS[:4]
        if (response.status, size > 100) != (200 if is_file else 404, is_file):
            raise KanjinetError(f"{target}: status {response.status}, {size} bytes: the server failed")
    connection.close()
    return took


def main() -> None:
    """Measures without slow clients, then beside them."""
    args = parse_args()
    with start_server() as (process, port):
        ask(port, 200)
        print(f"{'':24}{'requests':>10}{'a second':>10}{'median ms':>11}{'99 % ms':>10}{'MB':>8}{'handles':>9}")
        for name, slow_clients in (("alone", 0), (f"{args.slow_clients} slow clients", args.slow_clients)):
            with hold_slow_clients(port, slow_clients, LARGE):
                took = np.array(ask(port, args.requests))
            median, high = np.percentile(took, [50, 99]) * 1000
            memory = process.memory_info().rss / 1e6
            handles = process.num_handles() if sys.platform == "win32" else process.num_fds()
            rate = len(took) / took.sum()
            print(f"{name:24}{len(took):10,}{rate:10,.0f}{median:11.2f}{high:10.2f}{memory:8.1f}{handles:9}")


if __name__ == "__main__":
    run_script(main)
