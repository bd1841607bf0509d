"""Faults between Python's file objects and the operating system: the code above runs as it is.

`arm` replaces `open`, `os.fsync`, `os.replace` and their like in this process. Files below one folder then get raw
files whose reads and writes are counted and, at the chosen one, fail, are cut short, or kill the run. Buffers, zipfile
and numpy lie above. What writes past Python (none of the toolkit's stages does) would not be reached.
"""

import builtins
import errno
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "KANJINET_FAULT"  # the fault, as JSON, for the processes that a run starts: see site/sitecustomize.py
WRITING = ("open", "write", "sync", "rename", "remove", "mkdir")
READING = ("read",)
READ_BYTES = 1 << 16  # of one read that counts


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        folder: files below it are watched, and files of its very name.
        action: an errno's name; kill (the run, from whichever of its processes); kill worker (one that the run
            started); vanish (the folder is removed); shrink (the file is cut in half); none, to list operations.
        at: which operation of a process, from 1.
        operations: those that count, of WRITING and READING.
        lasting: whether an errno stays, as on a full disk, or strikes once.
        run: the process that the run began with.
        log: a file that gets a line for every operation.
        clock_jumps_s: added to the time of day in turn, one at each look at it.
    """

    folder: str
    action: str = "none"
    at: int = 0
    operations: tuple[str, ...] = WRITING
    lasting: bool = False
    run: int = 0
    log: str = ""
    clock_jumps_s: tuple[float, ...] = ()


def arm_from_environment() -> None:
    """Arm what VARIABLE says."""
    if text := os.environ.get(VARIABLE):
        arm(Fault(**json.loads(text)))


def arm_run(fault: Fault) -> None:
    """Arm a fault in this process, as the run's first, and in those that it will start."""
    fault = Fault(**{**asdict(fault), "run": os.getpid()})
    os.environ[VARIABLE] = json.dumps(asdict(fault))
    arm(fault)


class _Counter:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.count, self.is_acting = fault, 0, False
        self.folder = os.path.realpath(fault.folder)

    def watches(self, path: Any) -> bool:
        if self.is_acting or not isinstance(path, str | os.PathLike):
            return False
        place = os.path.realpath(os.fspath(path))
        return place == self.folder or place.startswith(self.folder + os.sep)

    def strike(self, operation: str, path: str, begin: Callable[[], object] = lambda: None) -> None:
        """Count an operation and, at the chosen one, do harm; `begin` does the first half of it."""
        fault = self.fault
        if operation not in fault.operations or self.is_acting:
            return
        self.count += 1
        if fault.log:
            with open_file(fault.log, "a", encoding="utf-8") as log:
                log.write(f"{os.getpid()} {operation} {Path(path).name}\n")
        is_first = self.count == fault.at
        if not (is_first or (fault.lasting and 0 < fault.at < self.count)):
            return
        self.is_acting = True
        try:
            if is_first:
                begin()
            self.act(operation, path)
        finally:
            self.is_acting = False

    def act(self, operation: str, path: str) -> None:
        action = self.fault.action
        if action == "kill":
            os.kill(self.fault.run, signal.SIGKILL)
            time.sleep(60)  # in a worker, which must end with the run
        elif action == "kill worker":
            if os.getpid() != self.fault.run:
                os.kill(os.getpid(), signal.SIGKILL)
        elif action == "vanish":
            shutil.rmtree(self.folder, ignore_errors=True)
        elif action == "shrink":
            os.truncate(path, Path(path).stat().st_size // 2)
        elif action != "none":
            number = getattr(errno, action)
            if operation in ("read", "write", "sync"):  # the system knows no name there
                raise OSError(number, os.strerror(number))
            raise OSError(number, os.strerror(number), path)


open_file = io.open  # the true one


def arm(fault: Fault) -> None:
    """Watch this process's files from now on; once a process."""
    counter = _Counter(fault)

    class WatchedFile(io.FileIO):
        def write(self, data: Any) -> int:
            half = memoryview(data).cast("B")
            counter.strike("write", str(self.name), lambda: super(WatchedFile, self).write(half[: len(half) // 2]))
            return super().write(data)

        def readinto(self, buffer: Any) -> Any:
            counter.strike("read", str(self.name))
            return super().readinto(buffer)

        def readall(self) -> bytes:
            content, block = bytearray(), bytearray(READ_BYTES)
            while count := self.readinto(block):
                content += block[:count]
            return bytes(content)

    def open_watched(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable[[str, int], int] | None = None,
    ) -> Any:
        if not counter.watches(file):
            return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if set(mode) & set("wax+"):
            counter.strike("open", os.fspath(file))
        raw = WatchedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        buffered: Any
        if "+" in mode:
            buffered = io.BufferedRandom(raw)
        elif "r" in mode:
            buffered = io.BufferedReader(raw)
        else:
            buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def watch(operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *arguments: Any, **options: Any) -> Any:
            if counter.watches(path):
                counter.strike(operation, os.fspath(path))
            return function(path, *arguments, **options)

        return watched

    true_open, true_sync = os.open, os.fsync

    def open_descriptor(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and counter.watches(path):
            counter.strike("open", os.fspath(path))
        return true_open(path, flags, *arguments, **options)

    def sync(fd: Any) -> None:
        counter.strike("sync", "")
        true_sync(fd)

    builtins.open = io.open = open_watched
    os.open, os.fsync = open_descriptor, sync
    for name, operation in (
        ("replace", "rename"),
        ("rename", "rename"),
        ("unlink", "remove"),
        ("remove", "remove"),
        ("mkdir", "mkdir"),
    ):
        setattr(os, name, watch(operation, getattr(os, name)))
    if fault.clock_jumps_s:
        _jump_clock(fault.clock_jumps_s)


def _jump_clock(jumps_s: tuple[float, ...]) -> None:
    """Let the time of day jump at every look at it."""
    true_time, looks = time.time, 0

    def jumping_time() -> float:
        nonlocal looks
        looks += 1
        return true_time() + jumps_s[looks % len(jumps_s)]

    time.time = jumping_time
    time.time_ns = lambda: round(jumping_time() * 1e9)
