"""Locks on folders and files, held by the operating system, which releases those of a killed process."""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kanjinet.errors import KanjinetError

LOCK_NAME = ".kanjinet.lock"
_HELD_ERRORS = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}  # the last two are Windows'


@contextmanager
def lock_folder(folder: Path, stage: str) -> Iterator[None]:
    """Locks a folder for one stage; on a file system without locks, warns that a second one would not be noticed.

    Raises:
        KanjinetError: another process holds it.
    """
    path = folder / LOCK_NAME
    with open(path, "a+b", opener=open_no_link) as file:
        is_held = False
        try:
            _lock(file.fileno())
            is_held = not _is_still_there(path, file.fileno())  # its holder removed it after it had been opened here
        except OSError as error:  # ENOLCK, ENOSYS and others: as over a network
            is_held = error.errno in _HELD_ERRORS
            if not is_held:
                message = "%s: no locks on this file system (%s): let no second %s work in it"
                logging.getLogger(__name__).warning(message, folder, error.strerror, stage)
        if is_held:
            problem = f"{folder}: another {stage} is at work in this folder"
            raise KanjinetError(problem, "wait for it, or choose another folder")
        try:
            yield
        finally:
            if os.name != "nt":  # Windows does not remove an open file: there it stays, empty
                path.unlink(missing_ok=True)


def open_no_link(path: str | Path, flags: int) -> int:
    """Opens a file as `open`'s opener does, but no symbolic link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # Windows has no such flag, and rarely links


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]

    @contextmanager
    def hold_file(path: Path) -> Iterator[None]:
        """Does nothing: Windows does not replace an open file, so that one of two writers fails."""
        yield

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @contextmanager
    def hold_file(path: Path) -> Iterator[None]:
        """Creates and locks a file, or waits for the process that holds it and may rename or remove it.

        A link or a pipe of that name, through which another file would be written, is removed.
        """
        while True:
            if path.is_symlink():
                path.unlink()
            descriptor = open_no_link(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                    path.unlink()
                    continue
                with contextlib.suppress(OSError):  # a file system without locks: as good as it can be
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_still_there(path, descriptor):
                    yield
                    return
            finally:
                os.close(descriptor)
