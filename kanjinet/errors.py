"""The one exception that a user is meant to read."""

import errno
import reprlib

MAX_VALUE_CHARACTERS, MAX_LINE_CHARACTERS = 80, 300
_REMEDIES = {
    errno.ENOSPC: "free some disk space and run the same command again",
    errno.EDQUOT: "free some disk space and run the same command again",
    errno.EACCES: "check the permissions, or choose another folder",
    errno.EPERM: "check the permissions, or choose another folder",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
    errno.EISDIR: "a folder stands where a file is needed; choose another path",
    errno.EIO: "check the disk, then run the same command again",
    errno.ENOENT: "check the path, and that nobody else removes it, then run the same command again",
}


class KanjinetError(Exception):
    """Reports something that a user can put right.

    Attributes:
        problem: what is wrong, with the file and the value.
        remedy: what to do about it; empty where nothing but the problem can be said.
        exit_status: what a script ends with that does not catch it.
    """

    def __init__(self, problem: str, remedy: str = "", *, exit_status: int = 1) -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem, self.remedy, self.exit_status = problem, remedy, exit_status


def explain_os_error(error: OSError) -> KanjinetError:
    """Returns what a user can read instead of an operating-system error: file, what went wrong, what to do about it."""
    parts = [str(error.filename)] if error.filename else []
    parts.append(error.strerror or str(error) or type(error).__name__)
    return KanjinetError(": ".join(parts), _REMEDIES.get(error.errno or 0, ""))


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, cut off where it is long, or its type where it has none."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= MAX_LINE_CHARACTERS else line[: MAX_LINE_CHARACTERS - 3] + "..."


def brief(value: object) -> str:
    """Shortens a value's `repr` for a message, for a small file can hold one without end."""
    text = reprlib.repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 3] + "..."
