import errno
import importlib
import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kanjinet.errors import KanjinetError, explain_os_error
from kanjinet.storage.files import (
    check_output_file,
    check_output_folder,
    make_folder,
    read_json,
    replace_on_success,
    write_json,
)
from kanjinet.storage.locks import lock_folder
from tests.random_checkpoint import write_checkpoint


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


def test_targets_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"earlier")
    (tmp_path / "folder").mkdir()
    for path, problem in (
        (tmp_path / "folder", "folder: a folder, a pipe or a device .*: name another file with --output"),
        (Path(os.devnull), "a folder, a pipe or a device"),
        (tmp_path / "file" / "new" / "x.pth", "file: is a file where a folder is needed"),
        (tmp_path / "x.json", r"--output .*x\.json: choose a name that ends in \.pth"),
    ):
        with pytest.raises(KanjinetError, match=problem):
            check_output_file(path, "--output", ".pth" if path.suffix else "")
    with pytest.raises(KanjinetError, match="file: is a file where a folder is needed"):
        check_output_folder(tmp_path / "file" / "new", "--output-dir")
    for path in (tmp_path / "file", tmp_path / "new" / "x.PTH", None):
        check_output_file(path, "--output", ".pth" if path and path.suffix else "")
        check_output_folder(path and path.parent, "--output-dir")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"earlier"


@pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")
@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_folder_without_permission_to_write_is_refused(check: Callable[[Path, str], None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        user = os.geteuid()
        folder.chmod(0o555)
        try:
            if user == 0:  # for whom permissions do not count
                os.seteuid(65534)
            with pytest.raises(KanjinetError, match=r"new/x: Permission denied: name a place .* with --output"):
                check(folder / "new" / "x", "--output")
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        check(folder / "new" / "x", "--output")
        assert list(folder.iterdir()) == []


def test_every_stage_refuses_such_a_target_before_it_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    target, model = tmp_path / "file" / "new", write_checkpoint(tmp_path / "model.pth")
    for script, *options in (
        ("make_sample_etl9g", "--output-dir", target),
        ("make_sample_etl9g", "--contact-sheet", target / "x.png", "--output-dir", tmp_path / "ETL9G"),
        ("prepare_etl9g_dataset", "--output-dir", target, "--etl-dir", "missing"),
        ("test_etl9g_setup", "--picture", target / "x.png", "--data-dir", "missing"),
        ("train_etl9g_model", "--output-dir", target, "--data-dir", "missing"),
        ("train_etl9g_model", "--tensorboard", target, "--data-dir", "missing"),
        ("average_models", "--output", target / "x.pth", "missing", "missing"),
        ("calibrate_model", "--output", target / "x.pth", "--model-path", "missing"),
        ("convert_to_onnx", "--onnx-path", target / "x.onnx", "--model-path", model, "--data-dir", "missing"),
        ("convert_to_safetensors", "--output-path", target / "x.safetensors", "--model-path", model),
        ("generate_enhanced_mapping", "--output-path", target / "x.json"),
        ("evaluate_model", "--output-dir", target, "--model", "missing.onnx"),
        ("recognize_kanji", "--output", target / "x.csv", "missing.png"),
        ("recognize_kanji", "--explain", target, "missing.png"),
        ("serve_web", "--output-dir", target, "--model", "missing.onnx"),
    ):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, options)])
        with pytest.raises(KanjinetError, match="file: is a file where a folder is needed"):
            importlib.import_module(script).main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model.pth"]


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


@pytest.mark.parametrize("number", ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def test_a_file_system_without_locks_is_worked_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: str
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    monkeypatch.setattr("kanjinet.storage.locks._lock", fail)
    with lock_folder(tmp_path, "train_etl9g_model.py"):
        pass
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path}: no locks on this file system (")
    assert record.getMessage().endswith("let no second train_etl9g_model.py work in it")


@pytest.mark.parametrize("number", ["EWOULDBLOCK", "EACCES"])
def test_a_lock_that_another_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(getattr(errno, number), "held")

    monkeypatch.setattr("kanjinet.storage.locks._lock", fail)
    with pytest.raises(KanjinetError, match="another prepare is at work"), lock_folder(tmp_path, "prepare"):
        pass
