"""A small web server for a handful of files that it holds in memory: nothing else can be asked of it.

Source of the protocol: RFC 9110 and 9112; only GET and HEAD are answered, and no request may have a body.
"""

import asyncio
import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from kanjinet.web.bundle import content_type

MAX_HEAD_BYTES = 16 << 10
PATIENCE_S = 10.0  # for a whole request, for the next one, and for each piece of an answer to be taken
PIECE_BYTES = 256 << 10
MAX_CONNECTIONS = 200  # far below the number of files that a process may have open
SECURITY_HEADERS = {
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
}

_REQUEST_LINE = re.compile(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_LOOPBACK_HOST = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    content: bytes
    content_type: str
    etag: str


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    fields: dict[str, str]  # by lower-case name
    keeps_alive: bool


class _Refusal(Exception):
    """A request that is answered with an error, after which the connection ends."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class PageServer:
    """Answers requests for the files of one page.

    A client that is slow costs no more than its place among MAX_CONNECTIONS; where all are taken, the connection that
    has got nowhere for longest makes room for a new one.
    """

    def __init__(self, files: Mapping[str, bytes], *, only_loopback: bool) -> None:
        """Hold the files.

        Args:
            files: content by name; "index.html" is also what "/" shows.
            only_loopback: refuse requests that name another host, so that no other site's name can be made to
                point here.
        """
        self._files = {
            f"/{name}": _File(content, content_type(name), f'"{hashlib.sha256(content).hexdigest()[:32]}"')
            for name, content in files.items()
        }
        self._files["/"] = self._files["/index.html"]
        self._only_loopback = only_loopback
        self._connections: dict[asyncio.StreamWriter, None] = {}  # the one that got nowhere for longest is first

    async def serve(self, host: str, port: int, ready: Callable[[int], None]) -> None:
        """Listen until cancelled.

        Args:
            host: name or address to listen on.
            port: 0 for any that is free.
            ready: called with the port once requests are answered.

        Raises:
            OSError: the port is taken, or the host is none of this machine's.
        """
        server = await asyncio.start_server(self._connect, host, port, limit=MAX_HEAD_BYTES)
        try:
            ready(server.sockets[0].getsockname()[1])
            await asyncio.Event().wait()
        finally:
            server.close()
            for writer in list(self._connections):
                writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()
        self._connections[writer] = None
        try:
            while await self._answer_one(reader, writer):
                pass
            await asyncio.wait_for(_end(reader, writer), PATIENCE_S)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went, or was too slow
        except asyncio.CancelledError:
            pass  # the server ends; asyncio would print this as an error of its own
        finally:
            self._connections.pop(writer, None)
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it; whether another may follow."""
        try:
            request = _parse(await asyncio.wait_for(_read_head(reader), PATIENCE_S))
            self._show_progress(writer)
            file = self._find(request)
        except _Refusal as refusal:
            body = f"{refusal.status.value} {refusal.status.phrase}: {refusal}\n".encode()
            fields = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
            if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
                fields["Allow"] = "GET, HEAD"
            await self._send(writer, _format_head(refusal.status, {**fields, "Connection": "close"}) + body)
            return False
        fields = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if not request.keeps_alive:
            fields["Connection"] = "close"
        if request.fields.get("if-none-match") == file.etag:
            await self._send(writer, _format_head(HTTPStatus.NOT_MODIFIED, fields))
        else:
            fields |= {"Content-Type": file.content_type, "Content-Length": str(len(file.content))}
            await self._send(writer, _format_head(HTTPStatus.OK, fields))
            if request.method == "GET":
                await self._send(writer, file.content)
        return request.keeps_alive

    def _find(self, request: _Request) -> _File:
        if request.method not in ("GET", "HEAD"):
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered")
        if request.fields.get("content-length", "0") != "0" or "transfer-encoding" in request.fields:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "a request here has no body")
        if self._only_loopback and not _LOOPBACK_HOST.fullmatch(request.fields.get("host", "localhost")):
            raise _Refusal(HTTPStatus.MISDIRECTED_REQUEST, "only this machine is answered: see serve_web.py --host")
        file = self._files.get(request.path)
        if file is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "the page has no such file")
        return file

    async def _send(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        view = memoryview(content)
        for first in range(0, len(view), PIECE_BYTES):
            writer.write(view[first : first + PIECE_BYTES])
            await asyncio.wait_for(writer.drain(), PATIENCE_S)
            self._show_progress(writer)

    def _show_progress(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._connections:  # not where it had to make room
            del self._connections[writer]
            self._connections[writer] = None


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        text = f"a request has at most {MAX_HEAD_BYTES} bytes here"
        raise _Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text) from error


def _parse(head: bytes) -> _Request:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").lstrip("\r\n").split("\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if not request:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "the request line is not understood")
    method, target, minor_version = request.groups()
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if not field:
            raise _Refusal(HTTPStatus.BAD_REQUEST, "a header field is not understood")
        name, value = field[1].lower(), field[2].strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if minor_version == "1" and "host" not in fields:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "a request names its host")
    wishes = fields.get("connection", "").lower()
    keeps_alive = "close" not in wishes and (minor_version == "1" or "keep-alive" in wishes)
    return _Request(method, target.partition("?")[0], fields, keeps_alive)


def _format_head(status: HTTPStatus, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in {**fields, **SECURITY_HEADERS}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say that no more comes, and read what the client still sends: else it may lose the answer."""
    writer.write_eof()
    while await reader.read(MAX_HEAD_BYTES):
        pass


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
