"""The one exception that a user is meant to read."""

import reprlib

LONGEST_VALUE = 80  # characters


class KanjinetError(Exception):
    """Something a user can put right: one line that names the file, the value and the remedy."""


def brief(value: object) -> str:
    """A value as a message shows it: `repr`, cut off where it is long, for a small file can hold one without end."""
    text = reprlib.repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
