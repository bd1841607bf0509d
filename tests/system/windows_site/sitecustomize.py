"""Python imports this at its start where a test puts it on the path: Windows renames no file that is open or mapped."""

import contextlib
import errno
import os
import sys
from pathlib import Path


def _list_open_paths() -> list[str]:
    paths = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one through which the folder is read
            paths.append(str(descriptor.readlink()))
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        return paths + [line.rstrip("\n").split(maxsplit=5)[5] for line in lines if "/" in line]


def _refuse_as_windows_does(event: str, arguments: tuple[object, ...]) -> None:
    if event != "os.rename":  # os.replace raises it too
        return
    open_paths = _list_open_paths()
    for path in map(os.fspath, arguments[:2]):  # type: ignore[arg-type]
        # what is written may be held open once, as a lock that Windows needs none of
        if open_paths.count(os.path.realpath(path)) > str(path).endswith(".part"):
            raise PermissionError(errno.EACCES, "Windows would not rename over or from an open file", path)


if sys.platform == "linux":
    sys.addaudithook(_refuse_as_windows_does)
