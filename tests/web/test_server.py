"""The page's server: what it serves, what it refuses, and that slow or many clients do it no harm."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, list_pretrained, load_recognizer
from kanjinet.web import bundle, server
from tests.conftest import ROOT, require, run_script
from tests.page_server import hold_slow_clients, serve_page

FILES = {"index.html": b"<!doctype html><title>x</title>", "main.js": b"let x;", "model.bin": bytes(20 << 20)}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve_page(FILES) as port:
        yield port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def talk(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server ends the connection."""
    with connect(port) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def get(port: int, target: str, *, method: str = "GET", fields: str = "") -> tuple[int, dict[str, str], bytes]:
    request = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{fields}\r\n"
    head, _, body = talk(port, request.encode()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_the_files_are_served_with_their_types(port: int) -> None:
    for target, name, kind in (
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html?x=../y", "index.html", "text/html; charset=utf-8"),
        ("/main.js", "main.js", "text/javascript; charset=utf-8"),
        ("/model.bin", "model.bin", "application/octet-stream"),
    ):
        status, fields, body = get(port, target)
        assert (status, fields["Content-Type"], body) == (200, kind, FILES[name])
        assert int(fields["Content-Length"]) == len(body)


def test_every_response_carries_the_security_headers(port: int) -> None:
    for target, method in (("/", "GET"), ("/main.js", "HEAD"), ("/none", "GET"), ("/", "POST")):
        _, fields, _ = get(port, target, method=method)
        policy = dict(part.split(" ", 1) for part in fields["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert not re.search(r"unsafe-inline|'unsafe-eval'|https?:|\*", fields["Content-Security-Policy"])
        assert fields["X-Content-Type-Options"] == "nosniff"
        assert fields["Cross-Origin-Opener-Policy"] == "same-origin"
        assert fields["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "Server" not in fields


def test_a_file_that_the_browser_has_is_not_sent_again(port: int) -> None:
    _, fields, _ = get(port, "/main.js")
    status, _, body = get(port, "/main.js", fields=f"If-None-Match: {fields['ETag']}\r\n")
    assert (status, body) == (304, b"")
    status, fields, body = get(port, "/main.js", method="HEAD")
    assert (status, body, fields["Content-Length"]) == (200, b"", str(len(FILES["main.js"])))
    status, _, body = get(port, "/none", method="HEAD")
    assert (status, body) == (404, b"")


@pytest.mark.parametrize(
    "target",
    [
        "/../serve_web.py",
        "/../../../../etc/passwd",
        "/%2e%2e/serve_web.py",
        "/..%2f..%2fetc/passwd",
        "/..%5c..%5cserve_web.py",
        "/..\\serve_web.py",
        "//etc/passwd",
        "/./main.js",
        "/main.js/",
        "/main.js/../index.html",
        "/main.js%00.html",
        "/MAIN.JS",
        "/C:/Windows/win.ini",
        "/CON",
        "/model.bin::$DATA",
        "/.git/config",
        "/package.json",
    ],
)
def test_nothing_else_is_reached(port: int, target: str) -> None:
    status, _, body = get(port, target)
    assert status == 404
    assert b"root:" not in body
    assert len(body) < 100


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET /\xe7\x94\xb0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),  # TLS
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\n\r\nabcde", 405),
        (b"PUT / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 37\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno field\r\nContent-Length: 37\r\n\r\nGET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\n\nContent-Length: 37\r\n\r\nGET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_odd_requests_are_refused(port: int, request_bytes: bytes, status: int) -> None:
    response = talk_and_close(port, request_bytes)
    assert response.startswith(b"HTTP/1.1 %d " % status), response[:80]
    assert response.count(b"HTTP/1.1 ") == 1  # what follows a refused request is no request


def talk_and_close(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_the_whole_network_may_name_any_host() -> None:
    with serve_page(FILES, only_loopback=False) as port:
        assert talk(port, b"GET / HTTP/1.1\r\nHost: kanji.example\r\nConnection: close\r\n\r\n")[9:12] == b"200"


def test_many_requests_leave_nothing_behind(port: int) -> None:
    get(port, "/")
    process = psutil.Process()
    handles = count_handles(process)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(1000):  # over one connection
        connection.request("GET", "/main.js")
        assert connection.getresponse().read() == FILES["main.js"]
    connection.close()
    for _ in range(300):  # each over one of its own
        assert get(port, "/main.js")[0] == 200
    deadline = time.monotonic() + 5
    while count_handles(process) > handles + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count_handles(process) <= handles + 2


def count_handles(process: psutil.Process) -> int:
    return process.num_handles() if os.name == "nt" else process.num_fds()


def test_slow_clients_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections than there are places begin a request, or do not take the response, and stay."""
    monkeypatch.setattr(server, "PATIENCE_S", 600.0)  # it is not this that makes room
    with serve_page(FILES) as port, hold_slow_clients(port, server.MAX_CONNECTIONS + 50, "/model.bin"):
        for _ in range(20):
            assert get(port, "/")[0] == 200
        assert get(port, "/model.bin")[2] == FILES["model.bin"]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.4)
    with serve_page(FILES) as port:
        with connect(port) as dripping:
            dripping.settimeout(0.1)
            start = time.monotonic()
            while time.monotonic() < start + 5:  # a byte now and then does not prolong it
                try:
                    dripping.sendall(b"G")
                    if dripping.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert 0.3 < time.monotonic() - start < 5
        with connect(port) as reader:
            reader.sendall(b"GET /model.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(1.5)
            received = 0
            with contextlib.suppress(ConnectionError):
                while piece := reader.recv(1 << 20):
                    received += len(piece)
            assert received < len(FILES["model.bin"])  # it was cut off, in the middle of the file


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert server.is_loopback(host) is expected


# serve_web.py


def start_script(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "serve_web.py"), *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # a shell that runs the tests in the background has its children ignore Ctrl-C
        preexec_fn=None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_the_script_serves_on_loopback_until_ctrl_c(page_files: dict[str, bytes], tmp_path: Path) -> None:
    process = start_script(tmp_path, "--port", "0")
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", lines[-1])
        assert found, lines
        port = int(found[1])
        assert get(port, "/mapping.json")[2] == page_files["mapping.json"]
        listening = {each.laddr.ip for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        taken = run_script(["serve_web.py", "--port", str(port)], tmp_path, check=False)
        assert taken.returncode == 1
        assert re.fullmatch(rf"error: --host 127\.0\.0\.1 --port {port}: cannot listen there .*\n", taken.stderr)
        with connect(port) as waiting:  # a browser stays connected
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert waiting.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (0, "stopped\n", "")
    finally:
        process.kill()


def test_the_script_writes_a_static_page(page_files: dict[str, bytes], tmp_path: Path) -> None:
    run_script(["serve_web.py", "--output-dir", "public"], tmp_path)
    written = {path.name: path.read_bytes() for path in (tmp_path / "public").iterdir()}
    written.pop("tract.wasm", None)  # on a machine that has built it
    models = bundle.name_models(list(map(bundle.read_model, list_pretrained())))
    expected = {**page_files, **models, "files.json": written["files.json"]}  # of which the version tells a tract.wasm
    assert written == expected
    kept = json.loads(written["files.json"])["files"]
    assert kept == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in written.items()
        if name not in {"service_worker.js", "files.json"}
    }
    # types that every web server knows
    assert {name.rpartition(".")[2] for name in written} == {"html", "css", "js", "json", "svg", "wasm", "bin"}


def copy_model(folder: Path) -> Path:
    model = folder / "model.onnx"
    model.write_bytes(PRETRAINED_PATH.read_bytes())
    mapping = PRETRAINED_PATH.with_name(f"{PRETRAINED_PATH.stem}_mapping.json")
    model.with_name("model_mapping.json").write_bytes(mapping.read_bytes())
    return model


def test_a_model_without_its_own_mapping_is_refused(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    mapping_path = tmp_path / "model_mapping.json"
    mapping = json.loads(mapping_path.read_text(encoding="utf-8"))
    bundle.read_model(model)
    mapping["model_info"]["model_sha256"] = "0" * 64
    for content, reason in ((json.dumps(mapping), "another model"), ("[]", "not the mapping"), (None, "not found")):
        mapping_path.unlink() if content is None else mapping_path.write_text(content, encoding="utf-8")
        with pytest.raises(KanjinetError, match=rf"model_mapping\.json: .*{reason}.*convert_to_onnx\.py"):
            bundle.read_model(model)


def test_other_files_than_models_are_refused(tmp_path: Path) -> None:
    safetensors = next(PRETRAINED_PATH.parent.glob("*.safetensors"))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    for path in (safetensors, damaged, tmp_path / "none.onnx"):
        result = run_script(["serve_web.py", "--model", path], tmp_path, check=False)
        assert result.returncode == 1
        assert re.fullmatch(rf"error: {re.escape(str(path))}: [^\n]+\n", result.stderr)


def test_a_model_of_another_preprocessing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = copy_model(tmp_path)
    recognizer = load_recognizer(model)
    plain = replace(recognizer, card=replace(recognizer.card, preprocessing="plain-1"))
    monkeypatch.setattr(bundle, "load_recognizer", lambda _path: plain)
    with pytest.raises(KanjinetError, match=r"plain-1, the page makes even-lines-2: .*--preprocess normalize"):
        bundle.read_model(model)


def copy_web(folder: Path) -> Path:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        (folder / name).write_bytes((ROOT / "web" / name).read_bytes())
    return folder


def test_missing_npm_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KanjinetError, match=r"^npm: not found, .*: install Node\.js 18 or later"):
        bundle.install_packages(copy_web(tmp_path))


def test_failing_npm_is_reported(tmp_path: Path) -> None:
    require(bundle.find_npm(), bundle.NODE_REMEDY)
    web_dir = copy_web(tmp_path)
    (web_dir / ".npmrc").write_text("offline=true\ncache=empty\n", encoding="utf-8")
    with pytest.raises(KanjinetError, match=r"^npm ci in .*: failed with exit status \d+ \(.*ENOTCACHED.*: check the"):
        bundle.install_packages(web_dir)
    assert not bundle.are_packages_installed(web_dir)


def test_the_lock_file_names_no_registry() -> None:
    text = (ROOT / "web" / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
