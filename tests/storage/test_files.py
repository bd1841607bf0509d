import errno
import io
import json
import os
import threading
from pathlib import Path

import pytest

from kanjinet.errors import KanjinetError, explain_os_error
from kanjinet.storage.files import make_folder, read_json, replace_on_success, write_json


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"
    path.write_bytes(b"earlier")
    with pytest.raises(OSError, match="No space left") as caught, replace_on_success(path) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.bin"]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replace_on_success(tmp_path / "result.bin") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_json_is_utf8_and_not_escaped(tmp_path: Path) -> None:
    path = tmp_path / "字.json"
    write_json(path, {"character": "田"})
    assert "田".encode() in path.read_bytes()
    assert json.loads(path.read_text(encoding="utf-8")) == {"character": "田"} == read_json(path, "none")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_damaged_json_names_file_and_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "info.json"
    path.write_bytes(content)
    with pytest.raises(KanjinetError, match=r"info\.json: not a JSON file .*: do this"):
        read_json(path, "do this")


def test_missing_json_names_file_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(KanjinetError, match=r"info\.json: not found: do this"):
        read_json(tmp_path / "info.json", "do this")


def test_os_errors_come_with_file_and_remedy() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "dataset/chunk.npz")
    assert str(explain_os_error(error)) == (
        "dataset/chunk.npz: No space left on device: free some disk space and run the same command again"
    )


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(KanjinetError, match="out: is a file where a folder is needed"):
        make_folder(tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no open file, so that one of the two fails")
def test_of_two_writers_of_one_file_the_second_waits(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"

    def write_other() -> None:
        with replace_on_success(path) as file:
            file.write(b"b" * 3000)

    other = threading.Thread(target=write_other)
    with replace_on_success(path) as file:
        file.write(b"a" * 1000)
        file.flush()
        other.start()
        other.join(0.3)
        file.write(b"a" * 1000)
    other.join()
    assert path.read_bytes() == b"b" * 3000
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.bin"]


def test_a_failed_read_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "info.json"
    path.touch()

    class DefectFile(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("builtins.open", lambda *_: DefectFile())
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_json(path, "none")
    assert str(explain_os_error(caught.value)).startswith(f"{path}: Input/output error: check the disk")
