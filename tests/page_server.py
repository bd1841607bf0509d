"""The page's server in a thread of the test."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kanjinet.web.server import PageServer


@contextmanager
def serve_page(files: Mapping[str, bytes], port: int = 0, *, only_loopback: bool = True) -> Iterator[int]:
    """Serve on 127.0.0.1 until the block ends; yields the port."""
    with PageServer(files, "127.0.0.1", port, only_loopback=only_loopback) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def hold_slow_clients(port: int, count: int, target: str) -> Iterator[None]:
    """Half of the clients begin a request, the others ask for a large file and read nothing."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.ExitStack() as held:
        for number in range(count):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            client.sendall(request if number % 2 else b"GET / HT")
        yield
