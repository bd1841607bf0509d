"""The page's server, and a plain one, in a thread of the test."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

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


class PlainServer(ThreadingHTTPServer):
    """Any host of static files: in a folder, cached for a week, few types known, index.html redirected."""

    folder = "/app/kanji"
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

    def __init__(self, files: Mapping[str, bytes], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _PlainHandler)
        self.files = dict(files)
        self.requested: list[str] = []
        self.home = f"http://127.0.0.1:{self.server_port}{self.folder}/"


class _PlainHandler(BaseHTTPRequestHandler):
    server: PlainServer

    def do_GET(self) -> None:
        folder, _, name = self.path.partition("?")[0].rpartition("/")
        content = self.server.files.get(name or "index.html")
        if folder != self.server.folder or content is None:
            self.send_error(404)
            return
        self.server.requested.append(name)
        is_redirected = name == "index.html"
        self.send_response(301 if is_redirected else 200)
        if is_redirected:
            content = b""
            self.send_header("Location", "./")
        suffix = PurePosixPath(name or "index.html").suffix
        self.send_header("Content-Type", self.server.types.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=604800")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_plainly(files: Mapping[str, bytes], port: int = 0) -> Iterator[PlainServer]:
    with PlainServer(files, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
