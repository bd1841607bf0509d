"""Firefox and WebKitGTK, by WebDriver: Firefox takes its commands over Marionette, WebKitGTK's driver over HTTP."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIREFOX_REMEDY = "Firefox is missing: apt-get install firefox-esr"
WEBKIT_REMEDY = "WebKit is missing: apt-get install webkit2gtk-driver xvfb"
PATIENCE_S = 120
_MARIONETTE_NAMES = {"url": "Navigate", "timeouts": "SetTimeouts", "execute/async": "ExecuteAsyncScript"}

Send = Callable[..., Any]  # a WebDriver command's path and its parameters


class Driver:
    """A browser with one page."""

    def __init__(self, send: Send) -> None:
        self._send = send
        send("timeouts", script=PATIENCE_S * 1000)

    def open(self, url: str) -> None:
        self._send("url", url=url)

    def call(self, function: str, *arguments: Any) -> Any:
        """What a function in JavaScript, which may be async, returns in the page."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"({function})(...[...arguments].slice(0, -1)).then((value) => done([value, null]),"
            "(error) => done([null, String(error)]));"
        )
        value, error = self._send("execute/async", script=script, args=list(arguments))
        assert error is None, error
        return value


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


def find_webkit() -> tuple[str, str] | None:
    """The paths of WebKitGTK's driver and browser, where an X server for them is there, too."""
    driver = shutil.which("WebKitWebDriver")
    browser = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), None)
    return (driver, str(browser)) if driver and browser and shutil.which("Xvfb") else None


@contextmanager
def open_firefox(path: str) -> Iterator[Driver]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder, "user.js").write_text('user_pref("marionette.port", 0);\n', encoding="utf-8")
        command = [path, "--headless", "--marionette", "--no-remote", "--profile", folder]
        port_path = Path(folder, "MarionetteActivePort")
        with _run(command, HOME=folder):
            wait_for(lambda: port_path.is_file() and port_path.read_text(encoding="utf-8").strip())
            address = ("127.0.0.1", int(port_path.read_text(encoding="utf-8")))
            with socket.create_connection(address, timeout=PATIENCE_S) as connection:
                yield Driver(_start_marionette(connection))


def _start_marionette(connection: socket.socket) -> Send:
    stream = connection.makefile("rb")

    def receive() -> Any:
        size = b"".join(iter(lambda: stream.read(1), b":"))
        return json.loads(stream.read(int(size)))

    def send(name: str, **parameters: Any) -> Any:
        message = json.dumps([0, 1, f"WebDriver:{_MARIONETTE_NAMES.get(name, name)}", parameters]).encode()
        connection.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = receive()
        assert error is None, error
        return result.get("value", result)

    receive()  # its greeting
    send("NewSession")
    return send


@contextmanager
def open_webkit(driver: str, browser: str) -> Iterator[Driver]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _open_display() as display:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        # WebKit's way of painting without a graphics processor takes half a second for each candidate list
        environment = {"HOME": folder, "DISPLAY": display, "WEBKIT_DISABLE_DMABUF_RENDERER": "1"}
        with _run([driver, f"--port={port}"], **environment):
            home = f"http://127.0.0.1:{port}"
            wait_for(lambda: _is_answered(f"{home}/status"))
            options = {"binary": browser, "args": ["--automation"]}
            capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
            session = f"{home}/session/{_post(f'{home}/session', capabilities=capabilities)['sessionId']}"
            try:
                yield Driver(lambda name, **parameters: _post(f"{session}/{name}", **parameters))
            finally:
                urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=PATIENCE_S).close()


def _post(address: str, **parameters: Any) -> Any:
    request = urllib.request.Request(address, data=json.dumps(parameters).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return json.load(response)["value"]


def _is_answered(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=PATIENCE_S):
        return True
    return False


@contextmanager
def _open_display() -> Iterator[str]:
    """An X server that shows nothing; yields the display's name."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with _run(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield f":{process.stdout.readline().decode().strip()}"


@contextmanager
def _run(
    command: list[str], *, stdout: int = subprocess.DEVNULL, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(is_done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
