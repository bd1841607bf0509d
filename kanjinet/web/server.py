"""The page's web server: `http.server`'s, for a fixed set of files that it holds in memory."""

import contextlib
import hashlib
import io
import ipaddress
import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from socketserver import TCPServer
from typing import Any, NamedTuple

MAX_HEAD_BYTES = 16 << 10
MAX_CONNECTIONS = 200  # far below the number of files that a process may have open
PATIENCE_S = 10.0  # for a whole request head, also the next one, and for each piece of a response to be taken
PIECE_BYTES = 256 << 10
HEADERS = {
    # Nothing comes from elsewhere. The runtime compiles WebAssembly; no script may be made from text.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Allow": "GET, HEAD",
}

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".bin": "application/octet-stream",
}
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} /[!-~]* HTTP/1\.[01]\r\n")
_LOOPBACK_HOST = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)


class _File(NamedTuple):
    content: bytes
    content_type: str
    etag: str


class PageServer(ThreadingHTTPServer):
    """Serves the files of one page, with a thread for each connection.

    A slow client costs one thread, and for at most PATIENCE_S without progress. Where MAX_CONNECTIONS are open, the
    one that has made no progress for longest is ended when a new one comes.
    """

    request_queue_size = 100
    allow_reuse_address = os.name == "posix"  # on Windows two servers would share a port
    allow_reuse_port = False
    server_bind = TCPServer.server_bind  # HTTPServer's looks up this machine's name, which may ask the network

    def __init__(self, files: Mapping[str, bytes], host: str, port: int, *, only_loopback: bool) -> None:
        """Listens on a port, or for 0 on any free one, which `server_port` then tells.

        With `only_loopback`, requests that name another host are refused, as by a site whose name points here.

        Raises:
            OSError: the port is taken, or the host is none of this machine's.
        """
        self.files: dict[str, _File] = {}
        for name, content in files.items():
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            self.files[f"/{name}"] = _File(content, _CONTENT_TYPES[PurePosixPath(name).suffix], etag)
        self.files["/"] = self.files["/index.html"]
        self.only_loopback = only_loopback
        self.progress: dict[Any, float] = {}  # open socket -> when its client last sent a request or took a piece
        self.address_family = socket.getaddrinfo(host, port)[0][0]
        super().__init__((host, port), _Handler)
        self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.progress[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Ends connections without progress; `serve_forever` calls it for each new one, and twice a second."""
        for request, since in sorted(self.progress.copy().items(), key=lambda item: item[1]):
            if len(self.progress) > MAX_CONNECTIONS or time.monotonic() - since > PATIENCE_S:
                self._end(request)

    def _end(self, request: Any) -> None:
        self.progress.pop(request, None)
        with contextlib.suppress(OSError):  # the client was quicker
            request.shutdown(socket.SHUT_RDWR)  # the connection's thread finds it closed

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.progress.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the client went
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for request in self.progress.copy():
            self._end(request)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    raw_requestline: bytes
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    disable_nagle_algorithm = True  # else a response's body waits until the client has received its head
    error_message_format = "%(code)d %(message)s: %(explain)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def parse_request(self) -> bool:
        """Reads a request's head and refuses what `http.server` would let pass; returns whether to go on."""
        self.command, self.request_version = "", self.protocol_version  # for a response to what is not understood
        if not _REQUEST_LINE.fullmatch(self.raw_requestline):
            return self._refuse(HTTPStatus.BAD_REQUEST, "the request line is not understood")
        fields, max_bytes = b"", MAX_HEAD_BYTES - len(self.raw_requestline)
        while len(fields) <= max_bytes and (line := self.rfile.readline(MAX_HEAD_BYTES)):
            fields += line
            if line == b"\r\n":
                break
        if len(fields) > max_bytes:
            text = f"a request has at most {MAX_HEAD_BYTES} bytes here"
            return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)
        stream, self.rfile = self.rfile, io.BytesIO(fields)
        is_parsed = super().parse_request()
        rest, self.rfile = self.rfile.read(), stream
        return is_parsed and self._check_fields(has_rest=bool(rest))

    def _check_fields(self, *, has_rest: bool) -> bool:
        hosts = self.headers.get_all("Host", [])
        body_sizes = self.headers.get_all("Content-Length", []) + self.headers.get_all("Transfer-Encoding", [])
        is_elsewhere = self.server.only_loopback and not all(map(_LOOPBACK_HOST.fullmatch, hosts))
        for is_wrong, status, text in (
            (has_rest or self.headers.defects, HTTPStatus.BAD_REQUEST, "a header field is not understood"),
            (not hosts and self.request_version == "HTTP/1.1", HTTPStatus.BAD_REQUEST, "a request names its host"),
            (self.command not in ("GET", "HEAD"), HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered"),
            (any(size != "0" for size in body_sizes), HTTPStatus.BAD_REQUEST, "a request here has no body"),
            (is_elsewhere, HTTPStatus.MISDIRECTED_REQUEST, "only this machine is answered: see serve_web.py --host"),
        ):
            if is_wrong:
                return self._refuse(status, text)
        self.server.progress[self.connection] = time.monotonic()
        return True

    def _refuse(self, status: HTTPStatus, text: str) -> bool:
        self.send_error(status, explain=text)  # which also ends the connection
        return False

    def do_GET(self) -> None:
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None:
            self._refuse(HTTPStatus.NOT_FOUND, "the page has no such file")
            return
        is_known = self.headers.get("If-None-Match") == file.etag
        self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
        self.send_header("ETag", file.etag)
        self.send_header("Cache-Control", "no-cache")
        if not is_known:
            self.send_header("Content-Type", file.content_type)
            self.send_header("Content-Length", str(len(file.content)))
        self.end_headers()
        for first in range(0, 0 if is_known or self.command == "HEAD" else len(file.content), PIECE_BYTES):
            self.wfile.write(memoryview(file.content)[first : first + PIECE_BYTES])
            self.server.progress[self.connection] = time.monotonic()

    do_HEAD = do_GET

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)  # unlike http.server's: no log, no version of Python
        for name, value in {"Date": self.date_time_string(), **HEADERS}.items():
            self.send_header(name, value)

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        super().finish()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(MAX_HEAD_BYTES):  # what the client still sends: else it may lose the response
                pass


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches what listens on a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
