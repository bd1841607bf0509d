"""Reads ZIP files that may come from anyone within bounds: small ones can unpack to more than a machine can hold."""

import errno
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

MAX_UNPACKED_BYTES = 1 << 28  # of a whole file; the images of a chunk at 128 pixels have 0.75 of it
MAX_DIRECTORY_BYTES = 1 << 20  # as a Python object, an entry takes twenty times its room in the file

# The ends of a ZIP file, from PKWARE's APPNOTE: (signature, 3 numbers, entries, directory's bytes, ..., comment) and
# before it, in large files, the same with more digits, and where that stands.
_END = struct.Struct("<4s4H2LH")
_LARGE_END = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks the others without a bound
# What numpy raises on a header, which it has Python parse.
_BAD_HEADER = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(SyntaxError, tokenize.TokenError, RecursionError, MemoryError),
)


@contextmanager
def open_zip(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Opens a ZIP file whose members together fit into memory.

    Raises:
        ValueError: no ZIP file, a comment in it, a directory of more than MAX_DIRECTORY_BYTES, members of more than
            MAX_UNPACKED_BYTES, or another compression than NPZ and PyTorch files have.
        OSError: it cannot be read.
    """
    if _read_directory_bytes(file) > MAX_DIRECTORY_BYTES:
        raise ValueError("its ZIP directory is too large")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
            if any(entry.compress_type not in _METHODS for entry in entries):
                raise ValueError("it is packed in another way than by deflating")
            yield archive
    # damage, and members that are encrypted or of a later version
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        raise ValueError("a member is not where its directory says") from error


def _read_directory_bytes(file: IO[bytes]) -> int:
    """Returns the length of a ZIP file's directory, from the record at the file's end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LARGE_END.size - _LOCATOR.size - _END.size))
    tail = file.read()
    if len(tail) < _END.size:
        raise ValueError("it is no ZIP file")
    signature, *_, directory_bytes, _, comment_bytes = _END.unpack(tail[-_END.size :])
    if signature != b"PK\5\6" or comment_bytes:
        raise ValueError("it does not end as a ZIP file does")
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if locator.startswith(b"PK\6\7"):
        start = len(tail) - _LARGE_END.size - _LOCATOR.size - _END.size
        if start < 0 or not tail[start:].startswith(b"PK\6\6") or _LOCATOR.unpack(locator)[2] != size - len(tail):
            raise ValueError("its ZIP directory is not where the file says")
        directory_bytes = _LARGE_END.unpack_from(tail, start)[-2]
    return directory_bytes


def read_arrays(file: IO[bytes], names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Reads arrays of an open NPZ file, but no objects, which could run code.

    Raises:
        ValueError: no such array, a damaged one, or a file that `open_zip` refuses.
        OSError: the file cannot be read.
    """
    arrays = {}
    with open_zip(file) as archive:
        for name in names:
            with open_array(archive, f"{name}.npy") as (member, _, _):
                member.seek(0)
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


@contextmanager
def open_array(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Opens an array's member of an NPZ file.

    Returns:
        The member, positioned at the array's first byte, the array's shape and its type; the member holds no more.

    Raises:
        ValueError: no such array, a damaged header, objects, or another size than the member's.
    """
    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise ValueError(f"there is no {name} in it") from error
    with archive.open(entry) as member:
        shape, dtype = _read_header(member, name)
        size_bytes = dtype.itemsize
        for length in shape:  # Python's numbers have no end, where numpy's product would wrap around
            size_bytes *= length
        if min((dtype.itemsize, *shape), default=0) < 0 or dtype.itemsize == 0 or dtype.hasobject:
            raise ValueError(f"{name} is of {dtype}, {shape}")
        if member.tell() + size_bytes != entry.file_size:
            raise ValueError(f"{name} has other than the {size_bytes:,} bytes that its header promises")
        yield member, shape, dtype


def _read_header(member: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError("another version than 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    except _BAD_HEADER as error:
        raise ValueError(f"{name} has no header of an array") from error
    return shape, dtype
