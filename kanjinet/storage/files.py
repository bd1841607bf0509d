"""Atomic writes, and bounded reads of files that may come from anyone."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kanjinet.errors import KanjinetError
from kanjinet.storage.locks import hold_file, open_no_link

PARTIAL_SUFFIX = ".part"  # a leftover of a killed run; the next run replaces it
CHECKPOINT, SAFETENSORS, ONNX = "a checkpoint (.pth)", "a SafeTensors file", "an ONNX file"  # kinds of models
MAX_JSON_BYTES = 8 << 20  # the toolkit's own have at most some 100 kB, and each byte may take 30 in memory


@contextmanager
def replace_on_success(path: Path) -> Iterator[IO[bytes]]:
    """Opens a binary file that becomes `path` only when the block ends without an error.

    The bytes go to a temporary name in the same folder, reach the disk, and are then renamed over `path`;
    after an error the temporary file is gone and an earlier `path` is untouched. Of two processes that write the same
    `path`, the second waits for the first.

    Raises:
        OSError: with `path` as its file name.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with _naming(path, partial), hold_file(partial):
        try:
            with open(partial, "w+b", opener=open_no_link) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                partial.unlink()
            raise


@contextmanager
def _naming(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Adds the name of `path` to an OSError that has no file name, or only that of `partial`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial), partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_bytes(path: Path, max_bytes: int = -1, first_byte: int = 0) -> bytes:
    """Reads a file, or only `max_bytes` of it from `first_byte` on.

    Raises:
        OSError: with `path` as its file name.
    """
    with _naming(path), open(path, "rb") as file:
        if first_byte:  # which a pipe cannot
            file.seek(first_byte)
        return file.read(max_bytes)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` atomically as indented UTF-8 JSON, characters not escaped."""
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with replace_on_success(path) as file:
        file.write(text.encode("utf-8"))


def read_json(path: Path, remedy: str) -> Any:
    """Reads a UTF-8 JSON file, with or without the byte-order mark that Windows' editors write.

    Raises:
        KanjinetError: the file is missing, larger than MAX_JSON_BYTES, or not JSON.
    """
    try:
        return json.loads(read_bounded(path, MAX_JSON_BYTES, remedy).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise KanjinetError(f"{path}: not found", remedy) from error
    except (ValueError, RecursionError) as error:
        raise KanjinetError(f"{path}: not a JSON file ({error})", remedy) from error


def read_bounded(path: Path, max_bytes: int, remedy: str) -> bytes:
    """Reads a file that may come from anyone.

    Raises:
        KanjinetError: a pipe or a device, which may never end, or more than `max_bytes`.
        OSError: not there, or not readable.
    """
    check_regular(path, remedy)
    content = read_bytes(path, max_bytes + 1)
    if len(content) > max_bytes:
        raise KanjinetError(f"{path}: larger than {max_bytes:,} bytes", remedy)
    return content


def check_regular(path: Path, remedy: str) -> None:
    """Refuses what could keep a reader waiting forever.

    Raises:
        KanjinetError: a pipe, a socket or a device.
        OSError: not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder says so
        raise KanjinetError(f"{path}: a pipe or a device where a file is needed", remedy)


def check_kind(path: Path, expected: str, remedy: str) -> None:
    """Refuses what cannot be a file of the expected kind, which may come from anyone, by its first bytes.

    Args:
        path: the file.
        expected: CHECKPOINT, SAFETENSORS or ONNX.
        remedy: for the message.

    Raises:
        KanjinetError: not there, a folder, a pipe or a device, or a file of another kind.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise KanjinetError(f"{path}: a folder where a file is needed", remedy)
    if not path.exists():
        raise KanjinetError(f"{path}: not found", remedy)
    check_regular(path, remedy)
    found = _find_kind(read_bytes(path, 9), path.suffix.lower())
    if found not in ("", expected):
        of_onnx = "name the .pth or .safetensors file that it was exported from"
        raise KanjinetError(f"{path}: {found}, expected {expected}", of_onnx if found == ONNX else remedy)


def _find_kind(head: bytes, suffix: str) -> str:
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")):
        return "an image"
    if head.startswith((b"{", b"[")):
        return "a JSON file"
    if head[5:] == b"\0\0\0{":  # eight bytes of a length, then JSON
        return SAFETENSORS
    if head.startswith(b"PK"):
        return "an NPZ file" if suffix == ".npz" else ""
    return ONNX if head.startswith(b"\x08") else ""  # the version of its format comes first


def sha256_of_entries(content: dict[str, Any], checksum_name: str) -> str:
    """Returns the SHA-256, in hex, of a JSON object's entries but its checksum, however they are laid out."""
    entries = {name: value for name, value in content.items() if name != checksum_name}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode("ascii")).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with _naming(path), open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_output_file(path: Path | None, option: str, suffix: str = "") -> None:
    """Refuses, before the work, a file that could not be written after it; leaves nothing behind.

    Args:
        path: the file, which may be there already, or not even its folder; None is fine.
        option: the command line's name for it, for the remedy.
        suffix: what its name must end in, so that it takes no other kind of file's name, such as the checkpoint's.

    Raises:
        KanjinetError: the wrong suffix; a folder, a pipe or a device; a place that cannot be written to.
    """
    if path is None:
        return
    if not path.name.lower().endswith(suffix):
        raise KanjinetError(f"{option} {path}", f"choose a name that ends in {suffix}")
    with _naming_option(path, option):
        if path.exists():
            if not path.is_file():
                problem = f"{path}: a folder, a pipe or a device where a file is needed"
                raise KanjinetError(problem, f"name another file with {option}")
            if os.name == "nt":  # which replaces no file that is read-only or open in another program
                path.open("r+b").close()
        _try_to_write(path.parent)


def check_output_folder(path: Path | None, option: str) -> None:
    """Refuses, before the work, a folder to which nothing could be written after it; leaves nothing.

    None is fine.

    Raises:
        KanjinetError: a file stands in its place, or it cannot be made or written to.
    """
    if path is not None:
        with _naming_option(path, option):
            _try_to_write(path)


@contextmanager
def _naming_option(path: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"{path}: {error.strerror or error}"
        raise KanjinetError(problem, f"name a place that can be written to with {option}") from error


def _try_to_write(folder: Path) -> None:
    """Writes an empty file, and removes it, to a folder or the nearest one above it that is there."""
    found = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if found.is_file():
        raise _block_folder(found)
    probe = found / f".kanjinet{PARTIAL_SUFFIX}"
    try:
        probe.open("ab").close()
        probe.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to report
            probe.unlink()
        raise


def make_folder(path: Path) -> Path:
    """Creates a folder and its parents; an existing folder is fine.

    Raises:
        KanjinetError: a file stands in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _block_folder(path) from error
    return path


def _block_folder(path: Path) -> KanjinetError:
    return KanjinetError(f"{path}: is a file where a folder is needed", "choose another folder")
